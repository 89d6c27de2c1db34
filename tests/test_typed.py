# mypy: disable-error-code="empty-body"
"""Typed actors without a server: what classes may say; what becomes of arguments and results."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import uuid
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rivet_anyio as rivet
from rivet_anyio import (
    Actor,
    Client,
    ClosedError,
    Event,
    ProtocolError,
    Queue,
    action,
    event,
    queue,
)
from rivet_anyio._handle import ActorHandle
from rivet_anyio._members import Plain

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


class Sample(Actor[Job, Point], name="sample", rename="camel"):
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
    class Room(Actor, name="sample", rename=rename):
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

        class Twice(Actor, name="twice", rename="camel"):
            async def send_message(self) -> None: ...

            async def sendMessage(self) -> None: ...

    with pytest.raises(TypeError, match="'a' and 'b' are both the event 'x' at the server"):

        class TwoEvents(Actor, name="twice"):
            a: Event[int] = event(name="x")
            b: Event[int] = event(name="x")

    with pytest.raises(TypeError, match="'get_count' and 'again' are both the action 'getCount'"):

        class Inherited(Sample):
            @action("getCount")
            async def again(self) -> int: ...

    class Overridden(Sample):
        async def get_count(self) -> int: ...


def test_different_kinds_may_share_a_name() -> None:
    class Same(Actor, name="same"):
        jobs: Event[int]
        run: Queue[int, int] = queue(name="jobs")

        @action("jobs")
        async def call(self) -> None: ...

    assert Same.jobs.server_name == Same.run.server_name == "jobs"


def test_what_handles_have_is_not_hidden() -> None:
    with pytest.raises(TypeError, match=r"Bad\.resolve: .*another name.*@action\(\"resolve\"\)"):

        class Bad(Actor, name="bad"):
            async def resolve(self, x: int) -> int: ...  # type: ignore[override]

    with pytest.raises(TypeError, match=r"Wrong\.status: .*event\(name=\"status\"\)"):

        class Wrong(Actor, name="bad"):
            status: Event[str]  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"Worse\.key: .*queue\(name=\"key\"\)"):

        class Worse(Actor, name="bad"):
            key = queue(str)  # type: ignore[assignment]

    class Good(Actor, name="good"):
        @action("resolve")
        async def settle(self, x: int) -> int: ...

        state: Event[str] = event(name="status")

    assert Good.state.server_name == "status"


def test_stubs_that_cannot_be_actions() -> None:
    with pytest.raises(TypeError, match=r"Sync\.get: an action is declared by 'async def'"):

        class Sync(Actor, name="bad"):
            def get(self) -> int: ...

    with pytest.raises(TypeError, match=r"Keyword\.get: 'by' can be given by keyword only"):

        class Keyword(Actor, name="bad"):
            async def get(self, *, by: int) -> int: ...

    with pytest.raises(TypeError, match=r"Keywords\.get: 'more' can be given by keyword only"):

        class Keywords(Actor, name="bad"):
            async def get(self, **more: int) -> int: ...

    with pytest.raises(TypeError, match=r"Selfless\.get: the first parameter is self"):

        class Selfless(Actor, name="bad"):
            async def get() -> int: ...  # type: ignore[misc]

    with pytest.raises(TypeError, match=r"Body\.get: the body of an action is '\.\.\.'"):

        class Body(Actor, name="bad"):
            async def get(self, x: int) -> int:
                return 2 * x

    with pytest.raises(ValueError, match="not empty"):
        action("")
    with pytest.raises(ValueError, match="not empty"):

        class Nameless(Actor, name=""):
            pass


async def test_every_form_of_empty_body() -> None:
    class Bodies(Actor, name="sample"):
        async def dots(self) -> None: ...

        async def passes(self) -> None:
            pass

        async def raises(self) -> int:
            raise NotImplementedError

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

        class Mixin(Actor):
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
    with pytest.raises(TypeError, match="'a' must be given where 'b' is"):
        await call(actor.left_to_server)
    with pytest.raises(TypeError, match=r"Sample\.increment\(\): too many positional"):
        await call(actor.increment, 1, 2)
    with pytest.raises(TypeError, match=r"Sample\.add\(\): missing a required argument: 'b'"):
        await call(actor.add, 1)
    with pytest.raises(TypeError, match=r"Sample\.add\(\): got an unexpected keyword"):
        await call(actor.add, 1, 2, c=3)


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


async def test_a_type_that_cannot_be_checked_says_so_before_anything_is_sent() -> None:
    class Unions(Actor, name="sample"):
        changed: Event[str | bytes]

        async def get(self) -> Job | Later: ...

    handle = FakeHandle()
    with pytest.raises(TypeError, match=r"Unions\.get, return: .* must be tagged"):
        await Unions._over(cast("ActorHandle", handle)).get()
    assert handle.calls == []
    with pytest.raises(TypeError, match=r"Unions\.changed: Type unions may not"):
        _ = Unions.changed.type

    class Unchecked(Actor[Job | Later], name="sample"):
        pass

    with pytest.raises(TypeError, match=r"params of .*Unchecked: .* must be tagged"):
        Unchecked._plain_params(Job(1))


def test_params_and_input_have_types() -> None:
    assert Sample._plain_params(Job(1)) == {"jobId": 1, "tags": []}
    assert Sample._plain_params(None) is None
    assert Sample._plain_input(Point(1, 2)) == {"x": 1, "y": 2}
    with pytest.raises(TypeError, match=r"params of actor 'sample': .* at `\$\.jobId`"):
        Sample._plain_params(cast("Job", {"jobId": "secret"}))
    with pytest.raises(TypeError, match=r"input of actor 'sample': .* got `int`"):
        Sample._plain_input(cast("Point", 3))

    class OnlyParams(Actor[Job], name="sample"):
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


async def test_members_belong_to_a_class() -> None:
    class Foreign(Actor, name="foreign"):
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
