"""Objects as plain arguments: what msgspec and pydantic make of them, whatever carries it."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
import pickle
import types
import uuid
from typing import Any, NamedTuple

import attrs
import cbor2
import msgspec
import pydantic
import pydantic.alias_generators
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio import UNDEFINED
from rivet_anyio.protocol.values import (
    COMPAT_CBOR,
    COMPAT_JSON,
    PARAMS_JSON,
    PLAIN_CBOR,
    PLAIN_JSON,
    TAGLESS_CBOR,
    ValueForm,
    prepare,
)

FORMS = [PLAIN_CBOR, COMPAT_CBOR, TAGLESS_CBOR, PLAIN_JSON, COMPAT_JSON, PARAMS_JSON]


def name_of(form: ValueForm) -> str:
    return next(name for name, value in globals().items() if value is form)


every_form = pytest.mark.parametrize("form", FORMS, ids=name_of)


class Color(enum.Enum):
    RED = "red"
    HIGH = decimal.Decimal("1.5")


class Pair(NamedTuple):
    a: int
    b: uuid.UUID


@dataclasses.dataclass
class Point:
    x: Any
    _hidden: int = 2
    unset: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass(slots=True, frozen=True)
class Slotted:
    x: Any = 1
    unset: int | msgspec.UnsetType = msgspec.UNSET


@attrs.define
class Size:
    width: Any
    _hidden: int = 2
    unset: int | msgspec.UnsetType = msgspec.UNSET


@attrs.define(slots=False)
class Loose:
    width: Any


class Job(msgspec.Struct, rename="camel", tag=True):
    job_id: Any
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Sparse(msgspec.Struct, omit_defaults=True, tag="s", tag_field="kind"):
    needed: Any
    number: int = 1000
    items: list[Any] = []
    names: dict[str, Any] = {}
    made: list[int] = msgspec.field(default_factory=lambda: [1])


class Row(msgspec.Struct, array_like=True, tag=7, omit_defaults=True):
    a: Any
    b: int = 5


class MyDate(dt.date):
    """As freezegun and pendulum have them."""


class MyDatetime(dt.datetime):
    """As pandas and pendulum have them."""


class MyTime(dt.time):
    pass


class MySpan(dt.timedelta):
    pass


class MyDecimal(decimal.Decimal):
    pass


DATE, SPAN = dt.date(2020, 1, 2), dt.timedelta(days=1, seconds=5, microseconds=6)
ZONED = dt.time(1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2)))

OBJECTS: list[Any] = [
    *(uuid.UUID(int=5), decimal.Decimal("1.50"), decimal.Decimal("NaN"), Color.RED, Color.HIGH),
    *(DATE, dt.time(1, 2, 3), dt.time(1, 2, tzinfo=dt.UTC), ZONED, SPAN, -SPAN),
    *(Point(1), Point(DATE), Slotted(), Size(1), Size(uuid.UUID(int=1)), Loose(Point(2))),
    *(Job(1), Job(Job(SPAN)), Row(1), Row(DATE, 6), Pair(1, uuid.UUID(int=2))),
    *(Sparse(1), Sparse(1, 1000, [1], {"a": DATE}, [1]), Sparse(Sparse(1, 2), items=[Size(1)])),
    *({uuid.UUID(int=1): 1}, {DATE: DATE, "a": 1}, {Color.RED: 1, Color.HIGH: 2}, {SPAN: SPAN}),
]


@every_form
@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: repr(value)[:40])
def test_objects_are_what_msgspec_makes_of_them(form: ValueForm, value: Any) -> None:
    plain = msgspec.to_builtins(value)
    for nested in (lambda x: x, lambda x: [x], lambda x: {"a": (x,)}, Point):
        assert prepare(nested(value), form, "v") == prepare(nested(plain), form, "v")


@given(
    st.one_of(
        st.dates(),
        st.times(),
        st.times(timezones=st.timezones()),
        st.timedeltas(),
        st.uuids(),
        st.decimals(),
        st.builds(Sparse, st.none(), st.integers(998, 1002), st.lists(st.none(), max_size=1)),
    )
)
def test_every_value_is_what_msgspec_makes_of_it(value: Any) -> None:
    assert prepare(value, COMPAT_JSON, "v") == prepare(msgspec.to_builtins(value), COMPAT_JSON, "v")


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (MyDate(2020, 1, 2), DATE),
        (MyTime(1, 2, tzinfo=dt.UTC), dt.time(1, 2, tzinfo=dt.UTC)),
        (MySpan(days=1, seconds=5, microseconds=6), SPAN),
        (MyDecimal("1.50"), decimal.Decimal("1.50")),
        (MyDatetime(2020, 1, 2, tzinfo=dt.UTC), dt.datetime(2020, 1, 2, tzinfo=dt.UTC)),
    ],
)
def test_subclasses_are_what_their_bases_are(value: Any, base: Any) -> None:
    assert prepare([value], PLAIN_CBOR, "v") == prepare([base], PLAIN_CBOR, "v")


def test_native_values_stay_native_inside_objects() -> None:
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    for value in (moment, b"\x01", {1, 2}):
        for holder in (Point, Size):
            name = dataclasses.fields(Point)[0].name if holder is Point else "width"
            assert prepare(holder(value), COMPAT_CBOR, "v")[name] == prepare(
                value, COMPAT_CBOR, "v"
            )
    with pytest.raises(TypeError, match=r"v\[0\]\.x: .* no form for datetime"):
        prepare([Point(moment)], COMPAT_JSON, "v")


@every_form
@pytest.mark.parametrize(
    "value",
    [object(), pathlib.Path("x"), range(2), iter([1]), collections.deque([1]), Point, Job, 1j],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_refused_by_name(form: ValueForm, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"v\.a\[0\]: .* {type(value).__name__}.*pydantic model"):
        prepare({"a": [value]}, form, "v")


def test_keys_that_become_the_same_text_are_refused() -> None:
    with pytest.raises(TypeError, match="two of its keys are the same text"):
        prepare({DATE: 1, "2020-01-02": 2}, COMPAT_CBOR, "v")


def test_keys_of_other_kinds_stay_what_they_are() -> None:
    for mapping in ({1: 2, "a": 3}, {None: 1}, {True: 1}, {(1, 2): 3}):
        assert isinstance(prepare(mapping, PLAIN_CBOR, "v"), cbor2.CBORTag)


# pydantic


class Sender(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        alias_generator=pydantic.alias_generators.to_camel, populate_by_name=True
    )
    first_name: str


class Message(pydantic.BaseModel):
    sender: Sender
    sent: dt.datetime
    day: dt.date = DATE
    data: bytes = b"\x01"
    tags: set[int] = {1}
    id: uuid.UUID = uuid.UUID(int=1)
    price: decimal.Decimal = decimal.Decimal("1.50")
    path: pathlib.Path = pathlib.Path("x/y")
    url: pydantic.AnyUrl = pydantic.AnyUrl("http://x/")
    color: Color = Color.RED
    extra: Any = None


class Numbers(pydantic.RootModel[list[int]]):
    pass


@pydantic.dataclasses.dataclass
class Place:
    full_name: str = pydantic.Field(serialization_alias="fullName")


class Token(pydantic.BaseModel):
    token: pydantic.SecretStr


MOMENT = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
MESSAGE = Message(sender=Sender(first_name="ann"), sent=MOMENT)
DUMPED = {
    "sender": {"firstName": "ann"},
    "sent": MOMENT,
    "day": "2020-01-02",
    "data": b"\x01",
    "tags": {1},
    "id": str(uuid.UUID(int=1)),
    "price": "1.50",
    "path": "x/y",
    "url": "http://x/",
    "color": "red",
    "extra": None,
}


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        (MESSAGE, DUMPED),
        (MESSAGE.model_copy(update={"extra": Place("x")}), {**DUMPED, "extra": {"fullName": "x"}}),
        (MESSAGE.model_copy(update={"extra": Job(1)}), {**DUMPED, "extra": Job(1)}),
        (Numbers([1, 2]), [1, 2]),
        (Place("home"), {"fullName": "home"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_models_are_dumped_by_alias(model: Any, plain: Any) -> None:
    for form in (PLAIN_CBOR, COMPAT_CBOR):
        for nested in (lambda x: x, lambda x: [x], Point, Job):
            assert prepare(nested(model), form, "v") == prepare(nested(plain), form, "v")


@every_form
def test_secrets_are_never_sent_as_asterisks(form: ValueForm) -> None:
    secret = Token(token=pydantic.SecretStr("s3cr3t"))
    for value, path in ((secret, "v.token"), ([secret.token], r"v\[0\]")):
        with pytest.raises(TypeError, match=rf"^{path}: ") as caught:
            prepare(value, form, "v")
        assert "s3cr3t" not in str(caught.value)
        assert "get_secret_value" in str(caught.value)


@every_form
def test_a_model_that_cannot_be_dumped_is_refused_by_path(form: ValueForm) -> None:
    class Endless(pydantic.BaseModel):
        value: str = "s3cr3t"
        again: Any = None

    class Failing(pydantic.BaseModel):
        value: str = "x"

        @pydantic.field_serializer("value")
        def write(self, value: str) -> str:
            raise ValueError("s3cr3t")

    endless = Endless()
    endless.again = endless
    for model in (endless, Failing()):
        with pytest.raises(TypeError, match=r"^v\[0\]: .*" + type(model).__name__) as caught:
            prepare([model], form, "v")
        shown = "s3cr3t" in str(caught.value)
        assert shown is (model is not endless and not form.secret)


def test_what_a_model_cannot_write_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^v: .*Message"):
        prepare(MESSAGE.model_copy(update={"extra": object()}), COMPAT_CBOR, "v")


# undefined


def test_undefined_is_one_falsy_thing() -> None:
    assert not UNDEFINED
    assert repr(UNDEFINED) == "UNDEFINED"
    for again in (copy.copy(UNDEFINED), copy.deepcopy([UNDEFINED])[0]):
        assert again is UNDEFINED
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps({"a": UNDEFINED}, protocol))["a"] is UNDEFINED


@pytest.mark.parametrize("form", [COMPAT_CBOR, TAGLESS_CBOR, COMPAT_JSON], ids=name_of)
def test_undefined_as_2_3_writes_it(form: ValueForm) -> None:
    marker = ["$Undefined", 0]
    for nested, prepared in (
        ([UNDEFINED, 1], [marker, 1]),
        ({"a": UNDEFINED}, {"a": marker}),
        (Point(UNDEFINED), {"x": marker, "_hidden": 2}),
        (MESSAGE.sender.model_copy(update={"first_name": UNDEFINED}), {"firstName": marker}),
    ):
        assert prepare(nested, form, "v") == prepared


def test_undefined_in_cbor_is_that_of_cbor() -> None:
    assert prepare([{"a": UNDEFINED}], PLAIN_CBOR, "v") == [{"a": cbor2.undefined}]


@pytest.mark.parametrize("form", [PLAIN_JSON, PARAMS_JSON], ids=name_of)
def test_undefined_is_refused_where_it_has_no_form(form: ValueForm) -> None:
    with pytest.raises(TypeError, match=r"v\[0\]\.a: .* has no form for UNDEFINED: "):
        prepare([{"a": UNDEFINED}], form, "v")


def test_mappings_of_every_kind_are_objects() -> None:
    for mapping in (types.MappingProxyType({"a": DATE}), collections.OrderedDict(a=DATE)):
        assert prepare(mapping, COMPAT_JSON, "v") == {"a": "2020-01-02"}
