"""Python values on their way to JavaScript and back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
from collections import OrderedDict
from types import MappingProxyType
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio import ProtocolError
from rivet_anyio.protocol.numbers import exact_number
from rivet_anyio.protocol.values import (
    COMPAT_CBOR,
    COMPAT_JSON,
    MAX_DEPTH,
    PARAMS_JSON,
    PLAIN_CBOR,
    PLAIN_JSON,
    TAGLESS_CBOR,
    ValueForm,
    dump_ascii_json,
    dump_cbor,
    dump_json,
    javascript_numbers,
    load_cbor,
    load_json,
    prepare,
    revive,
)

CBOR_FORMS = [PLAIN_CBOR, COMPAT_CBOR, TAGLESS_CBOR]
JSON_FORMS = [PLAIN_JSON, COMPAT_JSON, PARAMS_JSON]
ALL_FORMS = CBOR_FORMS + JSON_FORMS
NAMES = {
    id(PLAIN_CBOR): "plain-cbor",
    id(COMPAT_CBOR): "compat-cbor",
    id(TAGLESS_CBOR): "tagless-cbor",
    id(PLAIN_JSON): "plain-json",
    id(COMPAT_JSON): "compat-json",
    id(PARAMS_JSON): "params-json",
}


def name_of(value: Any) -> str | None:
    return NAMES.get(id(value))


def dump(tree: Any, form: ValueForm) -> bytes:
    return dump_cbor(tree) if form in CBOR_FORMS else dump_json(tree)


def there_and_back(value: Any, form: ValueForm) -> Any:
    data = dump(prepare(value, form, "value"), form)
    return revive(load_cbor(data) if form in CBOR_FORMS else load_json(data), form)


NOON = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
NOON_678 = NOON.replace(microsecond=678000)


# What is written

CBOR = [
    (0, COMPAT_CBOR, "00"),
    (23, COMPAT_CBOR, "17"),
    (24, COMPAT_CBOR, "1818"),
    (255, COMPAT_CBOR, "18ff"),
    (256, COMPAT_CBOR, "190100"),
    (65536, COMPAT_CBOR, "1a00010000"),
    (2**32 - 1, COMPAT_CBOR, "1affffffff"),
    (2**32, COMPAT_CBOR, "fb41f0000000000000"),
    (2**53 - 1, COMPAT_CBOR, "fb433fffffffffffff"),
    (-1, COMPAT_CBOR, "20"),
    (-(2**31), COMPAT_CBOR, "3a7fffffff"),
    (-(2**32) - 1, COMPAT_CBOR, "fbc1f0000000100000"),
    (2**53 + 1, COMPAT_CBOR, "826724426967496e747039303037313939323534373430393933"),
    (2**53 + 1, PLAIN_CBOR, "1b0020000000000001"),
    (2**64, PLAIN_CBOR, "c249010000000000000000"),
    (1.5, COMPAT_CBOR, "fb3ff8000000000000"),
    (0.1, COMPAT_CBOR, "fb3fb999999999999a"),
    (None, COMPAT_CBOR, "f6"),
    (True, COMPAT_CBOR, "f5"),
    (False, COMPAT_CBOR, "f4"),
    (math.inf, PLAIN_CBOR, "f97c00"),
    ("ü", COMPAT_CBOR, "62c3bc"),
    (b"\1\2\3", COMPAT_CBOR, "826b2455696e743841727261796441514944"),
    (b"\1\2\3", TAGLESS_CBOR, "826b2455696e743841727261796441514944"),
    (b"\1\2\3", PLAIN_CBOR, "d84043010203"),
    (["$x", 1], COMPAT_CBOR, "826324247801"),
    (["$x", 1], PLAIN_CBOR, "8262247801"),
    (["$BigInt", "1"], COMPAT_CBOR, "82682424426967496e746131"),
    ({1}, COMPAT_CBOR, "82642453657481 01"),
    ({1}, TAGLESS_CBOR, "82642453657481 01"),
    ({1}, PLAIN_CBOR, "d90102 8101"),
    ({1: 2}, COMPAT_CBOR, "d90103 a1 01 02"),
    ({"a": 1}, COMPAT_CBOR, "a1 6161 01"),
    (NOON, COMPAT_CBOR, "c1 1a65937d25"),
    (NOON_678, COMPAT_CBOR, "c1 fb 41d964df496b645a"),
]


@pytest.mark.parametrize("value, form, text", CBOR, ids=name_of)
def test_cbor(value: Any, form: ValueForm, text: str) -> None:
    assert dump_cbor(prepare(value, form, "value")) == bytes.fromhex(text)


JSON = [
    (2**53 + 1, COMPAT_JSON, '["$BigInt","9007199254740993"]'),
    (-(2**63), PLAIN_JSON, '["$BigInt","-9223372036854775808"]'),
    (b"\1\2\3", COMPAT_JSON, '["$Uint8Array","AQID"]'),
    ({1}, COMPAT_JSON, '["$Set",[1]]'),
    (["$x", 1], COMPAT_JSON, '["$$x",1]'),
    (["$$x", 1], PLAIN_JSON, '["$$$x",1]'),
    (["$BigInt", "1"], COMPAT_JSON, '["$$BigInt","1"]'),
    (["$x", 1, 2], COMPAT_JSON, '["$x",1,2]'),
    (["$"], COMPAT_JSON, '["$"]'),
    (["$x", ["$y", 2]], COMPAT_JSON, '["$$x",["$$y",2]]'),
    (["$x", 1], PARAMS_JSON, '["$x",1]'),
    ({"a": {"b": []}}, COMPAT_JSON, '{"a":{"b":[]}}'),
]


@pytest.mark.parametrize("value, form, text", JSON, ids=name_of)
def test_json(value: Any, form: ValueForm, text: str) -> None:
    assert dump_json(prepare(value, form, "value")).decode() == text


@pytest.mark.parametrize("form", ALL_FORMS, ids=name_of)
@pytest.mark.parametrize("value", [2**32, -(2**32) - 1, 2**53, -(2**53)])
def test_integers_up_to_2_53_are_numbers(value: int, form: ValueForm) -> None:
    if form.rounds:
        assert dump(prepare(value, form, "value"), form) == f"{value}e0".encode()
    else:
        tree = prepare(value, form, "value")
        assert type(tree) is float and tree == value
    back = there_and_back(value, form)
    assert type(back) is int and back == value


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: Any


class Person(msgspec.Struct, rename="camel", tag="person", tag_field="kind"):
    first_name: str
    nick: str | msgspec.UnsetType = msgspec.UNSET


class Pair(msgspec.Struct, array_like=True):
    one: int
    two: Any


class Text(str):
    pass


@pytest.mark.parametrize(
    "value, tree",
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Point(1, Point(2, None)), {"x": 1, "y": {"x": 2, "y": None}}),
        (Person("Ada"), {"kind": "person", "firstName": "Ada"}),
        (Person("Ada", "A"), {"kind": "person", "firstName": "Ada", "nick": "A"}),
        (Pair(1, [2]), [1, [2]]),
        ((1, (2, 3)), [1, [2, 3]]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Text("x"), "x"),
        (bytearray(b"\1"), ["$Uint8Array", "AQ=="]),
        pytest.param(memoryview(b"\1"), ["$Uint8Array", "AQ=="], id="memoryview"),
        (frozenset({1}), ["$Set", [1]]),
    ],
    ids=repr,
)
def test_more_kinds(value: Any, tree: Any) -> None:
    prepared = prepare(value, COMPAT_JSON, "value")
    assert prepared == tree
    assert type(prepared) is type(tree)


# What is read

READ_CBOR: list[tuple[str, Any]] = [
    ("1b0000000000000007", 7),
    ("3b0000000000000006", -7),
    ("c249010000000000000000", 2**64),
    ("c349010000000000000000", -(2**64) - 1),
    ("f7", None),
    ("f93c00", 1.0),
    ("fb41f0000000000000", 2**32),
    ("d84043010203", b"\1\2\3"),
    ("43010203", b"\1\2\3"),
    ("d90102 820102", {1, 2}),
    ("d90103 a1 6161 01", {"a": 1}),
    ("d90103 a1 82 01 02 01", {(1, 2): 1}),
    ("c1 1a65937d25", NOON),
    ("c1 fb 41d964df496b645a", NOON_678),
    ("c1 fb7ff8000000000000", None),
    ("d84544 01000200", [1, 2]),
    ("d85648 000000000000f83f", [1.5]),
    ("9f0102ff", [1, 2]),
    ("82 67 2442 6967496e74 63 313233", 123),
    ("82 6b 2455696e74384172726179 64 41514944", b"\1\2\3"),
    ("82 6a 24556e646566696e6564 00", None),
    ("b90001 6161 82 6a24556e646566696e6564 00", {"a": None}),
    ("82 63 242478 01", ["$x", 1]),
    ("82 68 2424426967496e74 61 31", ["$BigInt", "1"]),
    ("82 64 24536574 82 01 02", {1, 2}),
    ("82 64 24536574 81 a0", [{}]),
]


@pytest.mark.parametrize("text, value", READ_CBOR)
def test_read_cbor(text: str, value: Any) -> None:
    found = revive(load_cbor(bytes.fromhex(text)), COMPAT_CBOR)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text, value",
    [
        ('["$BigInt","-5"]', -5),
        ('["$ArrayBuffer","AQI="]', b"\1\2"),
        ('["$Undefined",0]', None),
        ('["$Set",[["$BigInt","1"]]]', {1}),
        ('["$Later",["$BigInt","1"]]', ["$Later", 1]),
        ('["$$BigInt",["$BigInt","1"]]', ["$BigInt", 1]),
        ('["$BigInt","1",2]', ["$BigInt", "1", 2]),
        ("4294967296.0", 2**32),
        ("1e300", 1e300),
    ],
)
def test_read_json(text: str, value: Any) -> None:
    found = revive(load_json(text), COMPAT_JSON)
    assert found == value
    assert type(found) is type(value)


def test_markers_are_plain_lists_where_there_are_none() -> None:
    assert revive(["$BigInt", "1"], PLAIN_CBOR) == ["$BigInt", "1"]


@pytest.mark.parametrize(
    "text",
    [
        '["$BigInt","x"]',
        '["$BigInt",null]',
        '["$Uint8Array","!"]',
        '["$Uint8Array",5]',
        '["$ArrayBuffer",[]]',
    ],
)
def test_markers_with_other_content(text: str) -> None:
    with pytest.raises(ProtocolError, match="marker"):
        revive(load_json(text), COMPAT_JSON)


# Round trips

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = (
    st.integers(-(2**53), 2**53)
    # Whole floats of 2**32 and more come back as integers, by design.
    | st.floats(-(2**31), 2**31, allow_nan=False)
)
plain = st.none() | st.booleans() | numbers | text | st.just("$BigInt")
big = st.integers(-(2**80), 2**80)
moments = st.datetimes(
    dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC)
).map(lambda m: m.replace(microsecond=m.microsecond // 1000 * 1000))
hashables = st.integers(-10, 10) | text


def has_exact_text(value: Any) -> bool:
    """Whether a float is one of the nearly all that RivetKit 2.3 reads exactly."""
    return not isinstance(value, float) or exact_number(value) is not None


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> Any:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(st.just("$x"), inner).map(list)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=12,
    )


everything = plain | big | st.binary(max_size=8) | moments | st.sets(hashables, max_size=3)
CARRIED = {
    "plain-cbor": (PLAIN_CBOR, nested(everything, hashables)),
    "compat-cbor": (COMPAT_CBOR, nested(everything, hashables)),
    "tagless-cbor": (
        TAGLESS_CBOR,
        nested(plain | big | st.binary() | st.sets(hashables, max_size=3), text),
    ),
    "plain-json": (PLAIN_JSON, nested(plain | big | st.binary(max_size=8), text)),
    "compat-json": (
        COMPAT_JSON,
        nested(
            plain.filter(has_exact_text)
            | big
            | st.binary(max_size=8)
            | st.sets(hashables, max_size=3),
            text,
        ),
    ),
    "params-json": (PARAMS_JSON, nested(plain.filter(has_exact_text), text)),
}


@pytest.mark.parametrize("name", CARRIED)
@given(st.data())
def test_there_and_back(name: str, data: st.DataObject) -> None:
    form, values = CARRIED[name]
    value = data.draw(values)
    assert there_and_back(value, form) == value


@pytest.mark.parametrize("form", [PLAIN_CBOR, COMPAT_CBOR], ids=name_of)
def test_not_finite_there_and_back(form: ValueForm) -> None:
    assert there_and_back([math.inf, -math.inf], form) == [math.inf, -math.inf]
    assert math.isnan(there_and_back(math.nan, form))


@given(nested(plain.filter(has_exact_text), text))
def test_params_are_ascii(value: Any) -> None:
    written = dump_ascii_json(prepare(value, PARAMS_JSON, "params"))
    assert written.isascii()
    assert revive(load_json(written), PARAMS_JSON) == value


# What cannot travel


@pytest.mark.parametrize("form", ALL_FORMS, ids=name_of)
def test_the_path_is_named(form: ValueForm) -> None:
    with pytest.raises(TypeError, match=r"^args\[0\]\.a\[3\]: .*object"):
        prepare([{"a": [1, 2, 3, object()]}], form, "args")
    with pytest.raises(TypeError, match=r"^args\[1\]\['a b'\]: "):
        prepare([0, {"a b": object()}], form, "args")


def test_the_path_through_other_containers() -> None:
    with pytest.raises(TypeError, match=r"^args\[0\]\[1\]\.y: "):
        prepare([{1: Point(0, object())}], COMPAT_CBOR, "args")
    with pytest.raises(TypeError, match=r"^args\[0\]\{\.\.\.\}: .*surrogate"):
        prepare([{"\ud800"}], COMPAT_CBOR, "args")


class Unshown:
    """Its `__repr__` raises, as those of some database rows do."""

    def __repr__(self) -> str:
        raise LookupError("no session")


LARGE = 10**5000  # Python writes no integers of this size


@pytest.mark.parametrize("form", ALL_FORMS, ids=name_of)
@pytest.mark.parametrize(
    "value",
    [
        Unshown(),
        {Unshown(): 1},
        {LARGE: object()},
        {LARGE: Unshown()},
        {(1, Unshown()): 1},
        {"a" * 10**6: object()},
        {"a b" * 10**6: object()},
        {b"a" * 10**6: object()},
    ],
    ids=["value", "key", "large", "both", "tuple", "name", "text", "bytes"],
)
def test_a_refusal_is_short_and_names_the_place(value: Any, form: ValueForm) -> None:
    with pytest.raises(TypeError, match=r"^args\[0\]") as caught:
        prepare([value], form, "args")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "value, forms, said",
    [
        (math.nan, [TAGLESS_CBOR, *JSON_FORMS], "no form for float nan: send None"),
        (math.inf, [TAGLESS_CBOR, *JSON_FORMS], "no form for float inf: send None"),
        ([{"a": -math.inf}], [TAGLESS_CBOR, *JSON_FORMS], r"^args\[0\]\.a: .* float -inf: "),
        (NOON, [TAGLESS_CBOR, *JSON_FORMS], "isoformat"),
        (NOON.replace(tzinfo=None), [PLAIN_CBOR, COMPAT_CBOR], "time zone"),
        ({1: 2}, [TAGLESS_CBOR, *JSON_FORMS], "the key 1 is not a string"),
        ({1}, [PLAIN_JSON, PARAMS_JSON], "send a list"),
        (b"x", [PARAMS_JSON], "base64"),
        (2**53 + 1, [PARAMS_JSON], r"2\*\*53"),
        ("\udc80", ALL_FORMS, "surrogate"),
        ({"\udc80": 1}, ALL_FORMS, "surrogate"),
        (1j, ALL_FORMS, "no form for complex"),
        (range(3), ALL_FORMS, "no form for range"),
        (Point, ALL_FORMS, "no form for type"),
        (cbor2.CBORTag(1000, 1), [TAGLESS_CBOR, *JSON_FORMS], "no form for CBORTag"),
    ],
    ids=lambda value: None if isinstance(value, list) else repr(value)[:40],
)
def test_refused(value: Any, forms: list[ValueForm], said: str) -> None:
    for form in forms:
        with pytest.raises(TypeError, match=said):
            prepare(value, form, "args")


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("form", ALL_FORMS, ids=name_of)
def test_depth(form: ValueForm) -> None:
    tree = prepare(deep(MAX_DEPTH), form, "args")
    assert revive(tree, form) == deep(MAX_DEPTH)
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH}"):
        prepare(deep(MAX_DEPTH + 1), form, "args")
    with pytest.raises(ProtocolError, match=f"deeper than {MAX_DEPTH}"):
        revive(deep(MAX_DEPTH + 1), form)


def test_cycles_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="deeper"):
        prepare(loop, COMPAT_CBOR, "args")


def test_deep_bytes_are_refused() -> None:
    with pytest.raises(ProtocolError):
        load_cbor(b"\x81" * 100_000 + b"\x00")
    with pytest.raises(ProtocolError):
        load_json(b"[" * 100_000)


@pytest.mark.parametrize("text", ["d9010281c480", "82642453657481c480"])
def test_sets_of_what_cannot_be_hashed_are_lists(text: str) -> None:
    assert isinstance(revive(load_cbor(bytes.fromhex(text)), COMPAT_CBOR), list)


@pytest.mark.parametrize("content", [float("inf"), True, 1.5, "1_0", "", "x", None, []])
def test_a_bigint_is_decimal_digits(content: object) -> None:
    with pytest.raises(ProtocolError, match="BigInt"):
        revive(["$BigInt", content], COMPAT_CBOR)


# Numbers that RivetKit 2.3 reads


def as_serde_reads(text: str) -> float:
    """serde_json's way to read a number that is no integer."""
    mantissa, _, power = text.lstrip("-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    assert int(whole + fraction) < 2**64
    value, exponent = float(int(whole + fraction)), int(power or 0) - len(fraction)
    while exponent < -308:
        value, exponent = value / 1e308, exponent + 308
    value = value / float(f"1e{-exponent}") if exponent < 0 else value * float(f"1e{exponent}")
    return -value if text.startswith("-") else value


@given(
    st.floats(allow_nan=False, allow_infinity=False)
    | st.floats(-1e6, 1e6)
    | st.integers(2**32, 2**53)
    | st.integers(-(2**53), -(2**32) - 1)
)
def test_numbers_arrive_exactly_or_are_refused(value: float) -> None:
    for form, write in ((COMPAT_JSON, dump_json), (PARAMS_JSON, dump_ascii_json)):
        try:
            text = write(prepare(value, form, "args"))
        except TypeError as error:
            assert isinstance(value, float) and "would not arrive exactly" in str(error)
            assert (repr(value) in str(error)) is not form.secret
            return
        written = text if isinstance(text, str) else text.decode()
        for found in (float(written), as_serde_reads(written)):
            assert found == value and math.copysign(1, found) == math.copysign(1, value)


def test_a_float_that_cannot_arrive_is_named() -> None:
    with pytest.raises(TypeError, match=r"^args\[1\]\.x: the float 0\.9654801388982029 .*bare"):
        prepare([0, {"x": 0.9654801388982029}], COMPAT_JSON, "args")
    assert prepare(0.9654801388982029, PLAIN_JSON, "args") == 0.9654801388982029


@pytest.mark.parametrize(
    "text, value",
    [
        ("18446744073709552000", 2.0**64),
        ("-123456789012345680000", -1.2345678901234568e20),
        ("9007199254740992", 2**53),
        ('{"a":[18446744073709552000,"18446744073709552000",7]}', None),
    ],
)
def test_long_integers_of_javascript_are_floats(text: str, value: object) -> None:
    if value is None:
        value = {"a": [2.0**64, "18446744073709552000", 7]}
    for data in (text, text.encode()):
        found = javascript_numbers(load_json(data), data)
        assert found == value and type(found) is type(value)


class Suit(enum.StrEnum):
    HEARTS = "hearts"


class Loud(str):
    def __str__(self) -> str:
        return self.upper()


@pytest.mark.parametrize("form", ALL_FORMS, ids=name_of)
def test_a_subclass_of_str_is_a_str(form: ValueForm) -> None:
    value = {Suit.HEARTS: Suit.HEARTS, Loud("k"): [Loud("v")], Colour.RED: 1}
    tree = prepare(value, form, "args")
    assert tree == {"hearts": "hearts", "k": ["v"], "red": 1}
    assert all(type(text) is str for text in (*tree, tree["hearts"], tree["k"][0]))
    with pytest.raises(TypeError, match="two of its keys are the same text"):
        prepare({Colour.RED: 1, "red": 2}, form, "args")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_params_are_printable(text: str) -> None:
    written = dump_ascii_json(prepare({text: [text]}, PARAMS_JSON, "params"))
    assert written.isascii() and written.isprintable()
    assert load_json(written) == {text: [text]}
