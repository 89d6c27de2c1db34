# mypy: disable-error-code="empty-body"
"""Typed actors without a server: what classes may say; what becomes of arguments and results."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import pathlib
import re
import subprocess
import sys
import textwrap
import traceback
import types
import uuid
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast

import attrs
import cbor2
import msgspec
import pydantic
import pydantic.alias_generators
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

import rivet_anyio as rivet
from rivet_anyio import (
    UNDEFINED,
    Client,
    ClosedError,
    Event,
    ProtocolError,
    Queue,
    TypedActor,
    action,
    event,
    queue,
)
from rivet_anyio._convert import convert
from rivet_anyio._handle import ActorHandle
from rivet_anyio._typed.members import is_stub
from rivet_anyio._typed.plain import Plain
from rivet_anyio.protocol.values import COMPAT_JSON, PARAMS_JSON, PLAIN_CBOR, prepare

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Job(msgspec.Struct, rename="camel"):
    job_id: int
    tags: list[str] = []


class Tagged(msgspec.Struct):
    tags: set[int]
    inner: Tagged | None = None


class Box(msgspec.Struct, Generic[T]):
    content: T


@dataclasses.dataclass
class Point:
    x: float
    y: float


@attrs.define
class Size:
    width: int


class Sample(TypedActor[Job, Point], name="sample", rename="camel"):
    """Describes an actor that only these tests know."""

    new_count: Event[int]
    moved: ClassVar[Event[tuple[float, float]]]
    qualified: rivet.Event[Later | None]
    odd_name: Event[str] = event(name="odd-name")
    plain = event(int)
    jobs: Queue[Job, Point]
    other_jobs: Queue[Job, None] = queue(name="OTHER")
    plain_jobs = queue(Job, Point)

    LIMIT = 5

    async def increment(self, by: int = 1) -> int:
        """Add to the count."""
        raise NotImplementedError

    async def get_count(self) -> int: ...

    async def untyped(self, a, b=...): ...  # type: ignore[no-untyped-def]

    async def run_job(self, job: Job) -> Later: ...

    async def many(self, first: str, *rest: int) -> list[int]: ...

    async def left_to_server(self, a: int = ..., b: int | None = None, c: int = ...) -> None: ...

    @action("math.add")
    async def add(self, a: float, b: float) -> float: ...

    async def missing(self) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    async def _helper(self) -> int:
        return await self.increment(2)

    def _sync_helper(self) -> int:
        return 7


class Later(msgspec.Struct):
    done: bool


class FakeHandle:
    """Answers every action with what it was told, and keeps what it was asked."""

    name = "sample"
    key = ("k",)

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []

    async def action(self, name: str, *args: Any, **options: Any) -> Any:
        self.calls.append((name, *args))
        return self.answer

    async def send(self, queue: str, body: Any) -> None:
        self.calls.append((queue, body))


def sample(handle: FakeHandle) -> Sample:
    return Sample._over(cast("ActorHandle", handle))


# Classes


def test_names_follow_the_rule_or_are_given_one_by_one() -> None:
    assert Sample.new_count.server_name == "newCount"
    assert Sample.odd_name.server_name == "odd-name"
    assert Sample.plain.server_name == "plain"
    assert Sample.jobs.server_name == "jobs"
    assert Sample.other_jobs.server_name == "OTHER"
    assert Sample.plain_jobs.server_name == "plainJobs"
    assert repr(Sample.new_count) == "<event Sample.new_count>"
    assert repr(Sample.jobs) == "<queue Sample.jobs>"


def test_types_are_found_however_they_are_written() -> None:
    assert Sample.new_count.type is int
    assert Sample.moved.type == tuple[float, float]
    assert Sample.qualified.type == Later | None
    assert Sample.plain.type is int
    assert Sample.jobs.response is Point
    assert Sample.other_jobs.response is type(None)
    assert Sample.plain_jobs.response is Point


def test_stubs_keep_their_signature_and_documentation() -> None:
    assert str(inspect.signature(Sample.increment)) == "(self, by: 'int' = 1) -> 'int'"
    assert Sample.increment.__doc__ == "Add to the count."
    assert inspect.iscoroutinefunction(Sample.increment)


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (None, "send_message"),
        ("camel", "sendMessage"),
        ("pascal", "SendMessage"),
        ("kebab", "send-message"),
        (str.upper, "SEND_MESSAGE"),
        ({"send_message": "say"}, "say"),
    ],
)
async def test_rename_is_that_of_msgspec(rename: Any, expected: str) -> None:
    class Room(TypedActor, name="sample", rename=rename):
        async def send_message(self) -> None: ...

    handle = FakeHandle()
    await Room._over(cast("ActorHandle", handle)).send_message()
    assert handle.calls == [(expected,)]


async def test_a_subclass_has_what_its_base_has() -> None:
    class More(Sample, name="more"):
        extra: Event[str]

        async def get_more(self) -> int: ...

    handle = FakeHandle(5)
    more = More._over(cast("ActorHandle", handle))
    assert await more.get_more() == await more.get_count() == 5
    assert await more._helper() == 5
    assert handle.calls == [("getMore",), ("getCount",), ("increment", 2)]
    assert More.new_count is Sample.new_count
    assert More.LIMIT == 5 and more._sync_helper() == 7
    with pytest.raises(TypeError, match="params of actor 'more'"):
        More._plain_params(cast("Job", {"jobId": "x"}))


def test_a_name_can_be_taken_once() -> None:
    with pytest.raises(TypeError, match="'send_message' and 'sendMessage' are both the action"):

        class Twice(TypedActor, name="twice", rename="camel"):
            async def send_message(self) -> None: ...

            async def sendMessage(self) -> None: ...

    with pytest.raises(TypeError, match="'a' and 'b' are both the event 'x' at the server"):

        class TwoEvents(TypedActor, name="twice"):
            a: Event[int] = event(name="x")
            b: Event[int] = event(name="x")

    with pytest.raises(TypeError, match="'get_count' and 'again' are both the action 'getCount'"):

        class Inherited(Sample):
            @action("getCount")
            async def again(self) -> int: ...

    class Overridden(Sample):
        async def get_count(self) -> int: ...


def test_different_kinds_may_share_a_name() -> None:
    class Same(TypedActor, name="same"):
        jobs: Event[int]
        run: Queue[int, int] = queue(name="jobs")

        @action("jobs")
        async def call(self) -> None: ...

    assert Same.jobs.server_name == Same.run.server_name == "jobs"


def test_what_handles_have_is_not_hidden() -> None:
    with pytest.raises(TypeError, match=r"Bad\.resolve: .*another name.*@action\(\"resolve\"\)"):

        class Bad(TypedActor, name="bad"):
            async def resolve(self, x: int) -> int: ...  # type: ignore[override]

    with pytest.raises(TypeError, match=r"Wrong\.status: .*event\(name=\"status\"\)"):

        class Wrong(TypedActor, name="bad"):
            status: Event[str]  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"Worse\.key: .*queue\(name=\"key\"\)"):

        class Worse(TypedActor, name="bad"):
            key = queue(str)  # type: ignore[assignment]

    class Good(TypedActor, name="good"):
        @action("resolve")
        async def settle(self, x: int) -> int: ...

        state: Event[str] = event(name="status")

    assert Good.state.server_name == "status"


def test_stubs_that_cannot_be_actions() -> None:
    with pytest.raises(TypeError, match=r"Sync\.get: an action is declared by 'async def'"):

        class Sync(TypedActor, name="bad"):
            def get(self) -> int: ...

    decorators: list[Any] = [staticmethod, classmethod, property]
    for decorator in decorators:
        text = rf"Decorated\.get: .* plain method: remove @{decorator.__name__}"
        with pytest.raises(TypeError, match=text):

            class Decorated(TypedActor, name="bad"):
                @decorator  # type: ignore[untyped-decorator]
                async def get(self) -> int: ...

    with pytest.raises(TypeError, match=r"Keyword\.get: 'by' can be given by keyword only"):

        class Keyword(TypedActor, name="bad"):
            async def get(self, *, by: int) -> int: ...

    with pytest.raises(TypeError, match=r"Keywords\.get: 'more' can be given by keyword only"):

        class Keywords(TypedActor, name="bad"):
            async def get(self, **more: int) -> int: ...

    with pytest.raises(TypeError, match=r"Selfless\.get: the first parameter is self"):

        class Selfless(TypedActor, name="bad"):
            async def get() -> int: ...  # type: ignore[misc]

    with pytest.raises(TypeError, match=r"Body\.get: the body of an action is '\.\.\.'"):

        class Body(TypedActor, name="bad"):
            async def get(self, x: int) -> int:
                return 2 * x

    with pytest.raises(ValueError, match="must not be empty"):
        action("")
    with pytest.raises(ValueError, match="must not be empty"):

        class Nameless(TypedActor, name=""):
            pass


def test_bodies_that_do_something() -> None:
    outer = object()

    class Bodies:
        async def calls(self) -> None:
            print()

        async def awaits(self, x: Any) -> None:
            await x

        async def returns_an_argument(self, x: int) -> int:
            return x

        async def computes(self, x: int) -> int:
            return x * x

        async def returns_a_constant(self) -> str:
            """Says what it does."""
            return "text"

        async def returns_true(self) -> bool:
            return True

        async def reads_a_global(self) -> int:
            return sys.maxsize

        async def reads_what_is_around(self) -> object:
            return outer

        async def keeps_a_local(self) -> None:
            x = None
            del x

        async def nests(self, *x: int) -> Any:
            return lambda: None

        async def raises_something_else(self) -> None:
            raise ValueError("no")

        async def raises_and_more(self, x: int) -> int:
            if x:
                raise NotImplementedError
            return x

        async def calls_its_base(self) -> None:
            super().__init__()

    methods = [method for name, method in vars(Bodies).items() if not name.startswith("__")]
    assert [method.__name__ for method in methods if is_stub(method)] == []
    assert len(methods) == 13


async def test_every_form_of_empty_body() -> None:
    class Bodies(TypedActor, name="sample"):
        async def dots(self) -> None: ...

        async def passes(self) -> None:
            pass

        async def raises(self) -> int:
            raise NotImplementedError

        async def raises_with_a_text(self) -> int:
            raise NotImplementedError("it runs at the server")

        async def returns(self, x: int | None = None, /) -> None:
            return None

        async def documented(self) -> None:
            """Says what it does."""

        async def documented_dots(self, x: int, y: int = 3) -> None:
            """Says what it does."""

        async def documented_raises(self, *x: int) -> int:
            """Says what it does."""
            raise NotImplementedError

    handle = FakeHandle()
    bodies = Bodies._over(cast("ActorHandle", handle))
    await bodies.dots()
    await bodies.passes()
    await bodies.documented()
    await bodies.documented_dots(1)
    assert [call[0] for call in handle.calls] == ["dots", "passes", "documented", "documented_dots"]


def test_classes_are_not_handles() -> None:
    with pytest.raises(TypeError, match=r"client\.get_or_create"):
        Sample()
    with pytest.raises(TypeError, match="does not say which actor"):

        class Mixin(TypedActor):
            pass

        Client("http://127.0.0.1:9").get(Mixin)


# Calls


async def call(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call sends, without its name; the types are those of tests that mean to be wrong."""
    handle: Any = method.__self__._handle  # type: ignore[attr-defined]
    handle.calls.clear()
    await method(*args, **kwargs)
    return list(handle.calls[0][1:])


async def test_arguments_are_bound_to_positions() -> None:
    actor = sample(FakeHandle(1))
    assert await call(actor.increment) == [1]
    assert await call(actor.increment, by=5) == [5]
    actor = sample(FakeHandle(1.5))
    assert await call(actor.add, b=1.0, a=2) == [2, 1.0]
    actor = sample(FakeHandle([]))
    assert await call(actor.many, "x") == ["x"]
    assert await call(actor.many, "x", 1, 2) == ["x", 1, 2]
    actor = sample(FakeHandle())
    assert await call(actor.untyped, 1) == [1]
    assert await call(actor.left_to_server, 1) == [1, None]
    assert await call(actor.left_to_server, 1, c=3) == [1, None, 3]
    assert await call(actor.left_to_server) == [UNDEFINED, None]
    with pytest.raises(TypeError, match=r"Sample\.increment\(\): too many positional"):
        await call(actor.increment, 1, 2)
    with pytest.raises(TypeError, match=r"Sample\.add\(\): missing a required argument: 'b'"):
        await call(actor.add, 1)
    with pytest.raises(TypeError, match=r"Sample\.add\(\): got an unexpected keyword"):
        await call(actor.add, 1, 2, c=3)
    with pytest.raises(
        TypeError, match=r"'retry_for'; it belongs to @action above the declaration$"
    ):
        await call(actor.add, 1, 2, retry_for=5)


async def test_arguments_are_checked_by_path() -> None:
    actor = sample(FakeHandle({"done": True}))
    assert await call(actor.run_job, Job(1, ["a"])) == [{"jobId": 1, "tags": ["a"]}]
    assert await call(actor.run_job, {"jobId": 1}) == [{"jobId": 1}]
    wrong = Job(1, cast("list[str]", ["a", 5]))
    with pytest.raises(
        TypeError,
        match=r"argument job of action 'runJob' of actor 'sample': "
        r"Expected `str`, got `int` - at `\$\.tags\[1\]`",
    ):
        await call(actor.run_job, wrong)
    with pytest.raises(TypeError, match=r"argument job of action .*\.tags\[0\]: .* object"):
        await call(actor.run_job, Job(1, cast("list[str]", [object()])))
    with pytest.raises(TypeError, match=r"argument rest\[1\] of action 'many' of actor 'sample'"):
        await call(actor.many, "x", 1, "y")
    with pytest.raises(TypeError, match=r"argument by of action 'increment'.*got `bool`"):
        await call(actor.increment, True)


async def test_results_are_converted_and_checked() -> None:
    assert await sample(FakeHandle({"done": True})).run_job(Job(1)) == Later(True)
    assert await call(sample(FakeHandle(None)).left_to_server, 1) == [1, None]
    with pytest.raises(
        ProtocolError,
        match=r"result of action 'runJob' of actor 'sample': "
        r"Expected `bool`, got `int` - at `\$\.done`",
    ):
        await sample(FakeHandle({"done": 1})).run_job(Job(1))
    with pytest.raises(ProtocolError, match="Expected `null`, got `int`"):
        await sample(FakeHandle(1)).left_to_server(1)
    anything = object()
    untyped: Any = sample(FakeHandle(anything)).untyped
    assert await untyped(1) is anything


async def test_an_annotation_that_means_nothing_says_so() -> None:
    with pytest.raises(TypeError, match=r"annotation of Sample\.missing .*'Nowhere'"):
        await sample(FakeHandle()).missing()


def test_a_type_that_cannot_be_checked_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Unions\.get, return: .* must be tagged"):

        class Unions(TypedActor, name="sample"):
            async def get(self) -> Job | Later: ...

    with pytest.raises(
        TypeError, match=r"several arguments is a tuple: Event\[tuple\[int, str\]\]"
    ):

        class TwoArguments(TypedActor, name="sample"):
            changed: Event[int, int]  # type: ignore[type-arg]

    with pytest.raises(
        TypeError, match=r"of its messages and of their responses: Queue\[Job, Any\]"
    ):

        class NoResponse(TypedActor, name="sample"):
            jobs: Queue[Job]  # type: ignore[type-arg]

    with pytest.raises(TypeError, match=r"Texts\.changed: Type unions may not"):

        class Texts(TypedActor, name="sample"):
            changed: Event[str | bytes]

    with pytest.raises(TypeError, match=r"params of .*Unchecked: .* must be tagged"):

        class Unchecked(TypedActor[Job | Later], name="sample"):
            pass


def test_params_and_input_have_types() -> None:
    assert Sample._plain_params(Job(1)) == {"jobId": 1, "tags": []}
    assert Sample._plain_params(None) is None
    assert Sample._plain_input(Point(1, 2)) == {"x": 1, "y": 2}
    with pytest.raises(TypeError, match=r"params of actor 'sample': .* at `\$\.jobId`"):
        Sample._plain_params(cast("Job", {"jobId": "secret"}))
    with pytest.raises(TypeError, match=r"input of actor 'sample': .* got `int`"):
        Sample._plain_input(cast("Point", 3))

    class OnlyParams(TypedActor[Job], name="sample"):
        pass

    assert OnlyParams._plain_input({1, 2}) == {1, 2}
    with pytest.raises(TypeError, match="params"):
        OnlyParams._plain_params(cast("Job", 3))


async def test_a_handle_is_no_connection() -> None:
    actor = sample(FakeHandle())
    assert actor.name == "sample" and actor.key == ("k",)
    for use in (
        lambda: actor.events(Sample.new_count),
        lambda: actor.status,
        lambda: actor.actor_id,
        lambda: actor.connection_id,
        actor.status_changes,
    ):
        with pytest.raises(ClosedError, match=r"async with handle\.connect\(\) as conn"):
            use()
    with pytest.raises(ClosedError):
        await actor.next_event(Sample.new_count)
    with pytest.raises(ClosedError):
        await actor.wait_connected()


async def test_members_of_a_base_are_those_of_a_class() -> None:
    class Louder(Sample):
        pass

    handle = FakeHandle()
    louder: Any = Louder._over(cast("ActorHandle", handle))
    await louder.send(Sample.jobs, Job(1))
    with pytest.raises(ClosedError):  # as it is no connection
        louder.events(Sample.new_count)


@pytest.mark.parametrize("wrong", [0, 1])
async def test_which_of_many_arguments_is_wrong(wrong: int) -> None:
    rest: list[Any] = [1, 2]
    rest[wrong] = "x"
    with pytest.raises(TypeError, match=rf"argument rest\[{wrong}\] of action 'many'"):
        await call(sample(FakeHandle()).many, "a", *rest)


async def test_members_belong_to_a_class() -> None:
    class Foreign(TypedActor, name="foreign"):
        message: Event[str]
        jobs: Queue[Job, None]

    actor: Any = sample(FakeHandle())
    with pytest.raises(TypeError, match=r"Foreign\.message> is no event of Sample"):
        actor.events(Foreign.message)
    with pytest.raises(TypeError, match="'new_count' is no event of Sample"):
        await actor.next_event("new_count")
    with pytest.raises(TypeError, match=r"Foreign\.jobs> is no queue of Sample"):
        await actor.send(Foreign.jobs, Job(1))
    with pytest.raises(TypeError, match="message for queue 'jobs' of actor 'sample'"):
        await actor.send(Sample.jobs, {"jobId": "x"})


async def test_get_params_of_a_class() -> None:
    given: Any = Job(1)

    async def get_params() -> Any:
        return given

    plain = Sample._plain_get_params(get_params)
    assert plain is not None
    assert await plain() == {"jobId": 1, "tags": []}
    given = None
    assert await plain() is None
    given = {"jobId": "secret"}
    with pytest.raises(TypeError, match="params of actor 'sample'") as caught:
        await plain()
    assert "secret" not in str(caught.value)


# Types

NUMBERS = st.floats(allow_nan=False)  # a NaN is not equal to itself
POINTS = st.builds(Point, NUMBERS, NUMBERS)

ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (str, st.text()),
    (bytes, st.binary()),
    (Color, st.sampled_from(Color)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Job, st.builds(Job, st.integers(), st.lists(st.text()))),
    (Box[int], st.builds(Box, st.integers())),
    (Box[list[Point]], st.builds(Box, st.lists(POINTS))),
    (Point, POINTS),
    (Size, st.builds(Size, st.integers())),
    (dt.datetime, st.datetimes(timezones=st.just(dt.UTC))),
    (dt.date, st.dates()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (int | str | None, st.one_of(st.integers(), st.text(), st.none())),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (dict[str, Job], st.dictionaries(st.text(), st.builds(Job, st.integers()))),
    (dict[int, str], st.dictionaries(st.integers(), st.text())),
    (set[int], st.sets(st.integers())),
    (Annotated[int, msgspec.Meta(ge=0)], st.integers(min_value=0)),
]


@pytest.mark.parametrize(("type", "values"), ROUND_TRIPS, ids=lambda x: str(x)[:40])
def test_what_is_sent_is_what_was_meant(type: Any, values: st.SearchStrategy[Any]) -> None:
    plain = Plain(type, "test")

    @given(values)
    def check(value: Any) -> None:
        assert msgspec.convert(plain(value, "value"), type) == value

    check()


@given(st.sets(st.integers()))
def test_sets_stay_sets(value: set[int]) -> None:
    assert Plain(set[int], "test")(value, "value") == value
    assert Plain(dict[str, set[int]], "test")({"a": value}, "value") == {"a": value}
    assert Plain(Tagged, "test")(Tagged(value), "value") == Tagged(value)
    assert Plain(Any, "test")(value, "value") is value


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (int, "1"),
        (Job, Point(1, 2)),
        (Color, "blue"),
        (Annotated[int, msgspec.Meta(ge=0)], -1),
        (tuple[int, str], (1,)),
        (set[int], {"x"}),
        (dt.datetime, 5),
    ],
)
def test_what_is_not_of_its_type_is_not_sent(type: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="value: "):
        Plain(type, "test")(value, "value")


def test_values_without_end_are_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TypeError, match="value"):
        Plain(list[Any], "test")(endless, "value")


# Types of pydantic


class Author(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        alias_generator=pydantic.alias_generators.to_camel, populate_by_name=True
    )
    full_name: str


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    born: dt.datetime | None = None


@pydantic.dataclasses.dataclass
class Place:
    full_name: str = pydantic.Field(alias="fullName")


@dataclasses.dataclass
class Signed:
    author: Author
    number: int


class Sealed(msgspec.Struct, rename="camel"):
    the_author: Author
    seen: set[int] = msgspec.field(default_factory=lambda: {1})


@attrs.define
class Framed:
    author: Author | None


class Token(pydantic.BaseModel):
    token: pydantic.SecretStr


class Linked(pydantic.BaseModel):
    value: int
    next: Linked | None = None


ANN, PLAIN_ANN = Author(full_name="ann"), {"fullName": "ann"}
Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]

MODELS: list[tuple[Any, Any, Any]] = [
    (Author, ANN, PLAIN_ANN),
    (list[Author], [ANN, ANN], [PLAIN_ANN, PLAIN_ANN]),
    (dict[str, Author], {"a": ANN}, {"a": PLAIN_ANN}),
    (dict[uuid.UUID, Author], {uuid.UUID(int=1): ANN}, {str(uuid.UUID(int=1)): PLAIN_ANN}),
    (tuple[Author, int], (ANN, 1), [PLAIN_ANN, 1]),
    (Author | None, ANN, PLAIN_ANN),
    (Author | None, None, None),
    (Author | str, "x", "x"),
    (list[Author | None], [None, ANN], [None, PLAIN_ANN]),
    (Cat | Dog, Cat(lives=9), {"kind": "cat", "lives": 9}),
    (
        list[Pet],
        [Dog(), Cat(lives=1)],
        [{"kind": "dog", "born": None}, {"kind": "cat", "lives": 1}],
    ),
    (Signed, Signed(ANN, 1), {"author": PLAIN_ANN, "number": 1}),
    (Sealed, Sealed(ANN), {"theAuthor": PLAIN_ANN, "seen": [1]}),
    (list[Sealed | None], [Sealed(ANN), None], [{"theAuthor": PLAIN_ANN, "seen": [1]}, None]),
    (Framed, Framed(ANN), {"author": PLAIN_ANN}),
    (tuple[Job, Author], (Job(1), ANN), [{"jobId": 1, "tags": []}, PLAIN_ANN]),
    (Place, Place(fullName="x"), {"fullName": "x"}),
    (list[Place], [Place(fullName="x")], [{"fullName": "x"}]),
    (
        Linked,
        Linked(value=1, next=Linked(value=2)),
        {"value": 1, "next": {"value": 2, "next": None}},
    ),
    (pydantic.AnyUrl, pydantic.AnyUrl("http://x/"), "http://x/"),
    (pydantic.PositiveInt, 5, 5),
    (dt.datetime | Author, dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None),
]


@pytest.mark.parametrize(("type", "value", "plain"), MODELS, ids=lambda x: repr(x)[:40])
def test_models_travel_both_ways(type: Any, value: Any, plain: Any) -> None:
    made = Plain(type, "test")(value, "value")
    if plain is not None:
        tree = prepare(made, PLAIN_CBOR, "value")
        assert msgspec.to_builtins(_without_tags(tree)) == plain
    assert convert(made if plain is None else plain, type, "answer") == value


def _without_tags(tree: Any) -> Any:
    """A prepared tree with CBOR's sets as lists."""
    if isinstance(tree, dict):
        return {key: _without_tags(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_without_tags(item) for item in tree]
    return tree.value if isinstance(tree, cbor2.CBORTag) else tree


@pytest.mark.parametrize(
    ("type", "answer", "message"),
    [
        (Author, {"fullName": 5}, r"not of type `Author`: .*valid string - at `\$\.fullName`$"),
        (Author, 5, r"not of type `Author`: .*"),
        (
            list[Author],
            [{}, {}],
            r"`list\[.*Author\]`: Field required - at `\$\[0\]\.fullName`, and 1",
        ),
        (
            Signed,
            {"author": {}, "number": 1},
            r"`Signed`: Field required - at `\$\.author\.fullName`",
        ),
        (Sealed, {"theAuthor": {}}, r"Field required - at `\$\.fullName` - at `\$\.theAuthor`"),
        (Place, {"full_name": "x"}, r"`Place`: "),
        (list[Pet], [{"kind": "cow"}], r"'kind' does not match .* - at `\$\[0\]`"),
        (pydantic.PositiveInt, -1, "greater than 0"),
    ],
)
def test_an_answer_that_does_not_fit_is_named(type: Any, answer: Any, message: str) -> None:
    with pytest.raises(ProtocolError, match=r"^answer: .*" + message) as caught:
        convert(answer, type, "answer")
    assert "\n" not in str(caught.value) and "errors.pydantic.dev" not in str(caught.value)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (Author, {"fullName": 5}),
        (Author, Cat(lives=1)),
        (Author, Author.model_construct(full_name=5)),
        (Signed, Signed(ANN, "x")),  # type: ignore[arg-type]
        (list[Author], [None]),
        (Sealed, Sealed({"fullName": 5})),  # type: ignore[arg-type]
        (Token, Token(token=pydantic.SecretStr("s3cr3t"))),
    ],
    ids=lambda x: repr(x)[:40],
)
@pytest.mark.parametrize("secret", [False, True])
def test_a_model_that_does_not_fit_is_not_sent(type: Any, value: Any, secret: bool) -> None:
    with pytest.raises(TypeError, match=r"^value(\.token)?: ") as caught:
        made = Plain(type, "test", secret=secret)(value, "value")
        prepare(made, PARAMS_JSON, "value")
    assert "s3cr3t" not in str(caught.value)
    assert not (secret and caught.value.__cause__)


def test_secrets_of_params_are_in_no_text() -> None:
    class Params(pydantic.BaseModel):
        token: int

    plain = Plain(Params, "params", secret=True)
    for value in (
        {"token": "s3cr3t"},
        Params.model_construct(token="s3cr3t"),
        Params.model_construct(token="x, input_type=s3cr3t"),
    ):
        with pytest.raises(TypeError) as caught:
            plain(value, "params")
        assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    wrong = Job(cast("int", "s3cr3t"), cast("list[str]", [object()]))
    with pytest.raises(TypeError) as caught:
        Plain(Job, "params", secret=True)(wrong, "params")
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    cases: list[tuple[Any, Any]] = [
        (Color, "s3cr3t - at `$x"),
        (list[Color], ["s3cr3t"]),
        (list[Pet], [{"kind": "s3cr3t"}]),
        (list[Author], [{"fullName": ["s3cr3t"]}]),
        (Author, {"fullName": b"s3cr3t\xff"}),
    ]
    for type, refused in cases:
        with pytest.raises(TypeError, match=r"^params: ") as caught:
            Plain(type, "params", secret=True)(refused, "params")
        assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_what_is_wrong_with_params_is_said_in_words() -> None:
    """In pydantic's, where they have nothing of the value; else by its code."""

    def refused(value: str) -> str:
        raise PydanticCustomError("string_type", "refused: {value}", {"value": value})

    class Params(pydantic.BaseModel):
        name: Annotated[str, pydantic.Field(max_length=3)]
        mail: Annotated[str, pydantic.AfterValidator(refused)] = "none"

    plain = Plain(Params, "params", secret=True)
    for value, text in (
        ({}, "Field required - at `$.name`"),
        ({"name": 5}, "Input should be a valid string - at `$.name`"),
        ({"name": "s3cr3t"}, "string_too_long - at `$.name`"),
        ({"name": "x", "mail": "s3cr3t"}, "Input should be a valid string - at `$.mail`"),
    ):
        with pytest.raises(
            TypeError, match=rf"^params: not of type `.*Params`: {re.escape(text)}$"
        ):
            plain(value, "params")


class Tags(pydantic.BaseModel):
    tags: set[int]


class Labelled(msgspec.Struct):
    tags: Tags


def test_sets_in_models_stay_sets() -> None:
    arrived = {"tags": ["$Set", [1]]}
    for type, value, plain in (
        (Tags, Tags(tags={1}), arrived),
        (Labelled, Labelled(Tags(tags={1})), {"tags": arrived}),
    ):
        assert prepare(Plain(type, "test")(value, "value"), COMPAT_JSON, "value") == plain


def test_params_are_json() -> None:
    plain = Plain(Dog, "params", secret=True)
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    assert plain(Dog(born=moment), "params") == {"kind": "dog", "born": "2020-01-02T00:00:00Z"}


async def test_an_actor_of_models() -> None:
    class Room(TypedActor[Author, Cat], name="sample"):
        message: Event[Author]
        changed: Event[list[Author] | None]
        valued = event(Author)
        jobs: Queue[Author, list[Cat]]

        async def say(self, author: Author, *others: Author | None) -> list[Author]: ...

    handle = FakeHandle([PLAIN_ANN])
    room = Room._over(cast("ActorHandle", handle))
    assert await room.say(ANN, None, ANN) == [ANN]
    assert handle.calls == [("say", PLAIN_ANN, None, PLAIN_ANN)]
    await room.send(Room.jobs, ANN)
    assert handle.calls[-1] == ("jobs", PLAIN_ANN)
    assert Room._plain_params(ANN) == PLAIN_ANN
    assert Room._plain_input(Cat(lives=1)) == {"kind": "cat", "lives": 1}
    assert Room.message.type is Author and Room.jobs.response == list[Cat]
    handle.answer = [{"fullName": None}]
    with pytest.raises(
        ProtocolError, match=r"result of action 'say' of actor 'sample': .*`\$\[0\]"
    ):
        await room.say(ANN)


def test_models_that_are_not_defined_yet_wait_for_their_use() -> None:
    class Early(pydantic.BaseModel):
        late: Late

    class Room(TypedActor, name="sample"):
        message = event(Early)

        async def say(self) -> Early: ...

    with pytest.raises(TypeError, match="Late"):
        _ = Room.message.type

    class Late(pydantic.BaseModel):
        x: int

    Early.model_rebuild(_types_namespace={"Late": Late})
    assert Room.message.type is Early
    assert convert({"late": {"x": 1}}, Early, "answer") == Early(late=Late(x=1))


def test_pydantic_is_not_imported_for_others() -> None:
    program = """
        import dataclasses, sys
        import rivet_anyio
        from rivet_anyio import TypedActor, Event

        @dataclasses.dataclass
        class Point:
            x: int

        class Room(TypedActor[Point], name="room"):
            moved: Event[list[Point]]
            async def move(self, to: Point) -> Point: ...

        assert Room.moved.type == list[Point]
        Room._plain_params(Point(1))
        from rivet_anyio.protocol.values import COMPAT_JSON, prepare
        prepare(Point(1), COMPAT_JSON, "x")
        assert not [name for name in sys.modules if name.startswith("pydantic")]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)


# Types that nothing can be made of


class Unknown:
    pass


UNKNOWN: list[Any] = [
    *(Unknown, list[Unknown], dict[str, Unknown | None], tuple[int, Unknown], pathlib.Path),
    *(dataclasses.make_dataclass("Holder", [("x", Unknown)]), collections.deque[int]),
    *(list[Author | Unknown], tuple[Author, Unknown], tuple[Sealed, Place], tuple[Sealed, Unknown]),
]


def made(base: Any = TypedActor, **namespace: Any) -> Any:
    """A class of this body."""
    return types.new_class("Room", (base,), {"name": "sample"}, lambda body: body.update(namespace))


@pytest.mark.parametrize("type", UNKNOWN, ids=str)
def test_unknown_classes_are_refused_when_the_class_is_made(type: Any) -> None:
    name = r"Unknown|Path|deque|Place|Sealed"

    async def get(self: Any, x: Any) -> Any: ...

    for place, body in (
        (r"\.message", {"__annotations__": {"message": Event[type]}}),
        (r"\.message", {"message": event(type)}),
        (r"\.jobs", {"__annotations__": {"jobs": Queue[type, int]}}),
        (r"\.jobs", {"jobs": queue(type, int)}),
        (r"\.jobs", {"jobs": queue(int, type)}),
        ("params of Room", {"base": TypedActor[type]}),
        ("input of Room", {"base": TypedActor[Any, type]}),
        (r"\.get, x", {"get": get}),
    ):
        get.__annotations__ = {"x": type}
        with pytest.raises(TypeError, match=rf"{place}: .*({name})"):
            made(**body)
    get.__annotations__ = {"return": type}
    with pytest.raises(TypeError, match=rf"\.get, return: .*({name})"):
        made(get=get)


@pytest.mark.parametrize("type", [*UNKNOWN, 5, "int", Job | Later, Linked | Unknown], ids=str)
async def test_no_call_with_an_unknown_type_is_sent(type: Any) -> None:
    async with Client("http://127.0.0.1:9", metadata_lookup=False) as client:
        handle = client.probe.get_for_id("a")
        conn = handle.connect()
        for call in (
            lambda: handle.action("echo", 1, type=type),
            lambda: handle.echo(1, type=type),
            lambda: handle.send_and_wait("jobs", 1, type=type),
            lambda: conn.action("echo", 1, type=type),
            lambda: conn.next_event("changed", type=type),
        ):
            with pytest.raises(TypeError, match=r"^type="):
                await call()
        with pytest.raises(TypeError, match=r"^type="):
            conn.events("changed", type=type)


def test_types_of_what_arrives_stay_types() -> None:
    tag = cbor2.CBORTag(5, 1)
    assert convert(tag, cbor2.CBORTag, "answer") is tag
    assert convert([1, "x"], list[object], "answer") == [1, "x"]


# undefined


async def test_undefined_takes_the_place_of_any_argument() -> None:
    class Room(TypedActor, name="sample"):
        async def say(self, a: int = 1, b: list[Any] = ..., c: Job = ..., *d: int) -> None: ...

    handle = FakeHandle()
    room = Room._over(cast("ActorHandle", handle))
    assert await call(room.say, UNDEFINED) == [UNDEFINED]
    assert await call(room.say, 5, [1, UNDEFINED]) == [5, [1, UNDEFINED]]
    assert await call(room.say, c=Job(1)) == [1, UNDEFINED, {"jobId": 1, "tags": []}]
    assert await call(room.say, 1, ..., ..., 5) == [1, UNDEFINED, UNDEFINED, 5]
    assert await call(room.say, ..., [2], Job(1)) == [UNDEFINED, [2], {"jobId": 1, "tags": []}]
    assert await call(room.say, 1) == [1]
    with pytest.raises(TypeError, match=r"argument c of action 'say'.*Expected `int`, got `null`"):
        await call(room.say, 1, [], Job(UNDEFINED))


# Names that are refused


def test_attributes_that_are_set() -> None:
    actor: Any = sample(FakeHandle())
    conn: Any = Sample._made(cast("ActorHandle", FakeHandle()), cast("Any", object()))
    for either in (actor, conn):
        before = dict(vars(either))
        for name in ("color", "_color", "say", "name", "action"):
            with pytest.raises(AttributeError, match=rf"'Sample' takes no attribute '{name}'"):
                setattr(either, name, 1)
        assert vars(either) == before


def test_advice_where_nothing_is_declared() -> None:
    actor: Any = sample(FakeHandle())
    conn: Any = Sample._made(cast("ActorHandle", FakeHandle()), cast("Any", object()))
    for name in ("close", "aclose", "dispose", "disconnect", "on", "once", "getOrCreate"):
        for either in (actor, conn):
            assert not hasattr(either, name)
            with pytest.raises(AttributeError, match=rf"'Sample' .*{name!r}; .*\.action\({name!r}"):
                getattr(either, name)
    with pytest.raises(AttributeError, match=r"^'Sample' .* 'incremnt'; actions that the class"):
        actor.incremnt  # noqa: B018
    with pytest.raises(AttributeError, match=r"^'Sample' has no attribute '_x'$"):
        actor._x  # noqa: B018


async def test_what_a_class_declares_is_an_action() -> None:
    class Door(TypedActor, name="sample"):
        on: Event[int]

        async def close(self) -> int: ...

        @action("dispose")
        async def throw_away(self) -> int: ...

    handle = FakeHandle(1)
    door = Door._over(cast("ActorHandle", handle))
    assert await door.close() == await door.throw_away() == 1
    assert handle.calls == [("close",), ("dispose",)]
    assert Door.on.server_name == "on"


def test_a_forgotten_await_is_named() -> None:
    with pytest.warns(RuntimeWarning, match=r"Sample\.get_count' was never awaited"):
        cast("Any", sample(FakeHandle()).get_count)()
