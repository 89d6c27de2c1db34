# mypy: disable-error-code="empty-body"
"""Objects as plain arguments, and models of pydantic, against the real servers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import attrs
import msgspec
import pydantic
import pydantic.alias_generators
import pytest

from rivet_anyio import (
    UNDEFINED,
    ActorError,
    Client,
    Event,
    ProtocolError,
    Queue,
    TypedActor,
    action,
)
from tests.servers import Server


class Level(enum.Enum):
    LOW = "low"


@dataclasses.dataclass
class Point:
    x: Any
    y: Any


@attrs.define
class Size:
    width: int


class Shape(msgspec.Struct, rename="camel", tag=True):
    top_left: Any
    unset: int | msgspec.UnsetType = msgspec.UNSET


class Author(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        alias_generator=pydantic.alias_generators.to_camel, populate_by_name=True
    )
    full_name: str
    born: dt.date | None = None
    id: uuid.UUID = uuid.UUID(int=1)
    worth: decimal.Decimal = decimal.Decimal("1.50")
    homepage: pydantic.AnyUrl | None = None


@pydantic.dataclasses.dataclass
class Place:
    full_name: str = pydantic.Field(serialization_alias="fullName")


@dataclasses.dataclass
class Signed:
    author: Author | None
    number: int


ANN = Author(full_name="ann", born=dt.date(1815, 12, 10), homepage=pydantic.AnyUrl("http://x/"))
PLAIN_ANN = {
    "fullName": "ann",
    "born": "1815-12-10",
    "id": "00000000-0000-0000-0000-000000000001",
    "worth": "1.50",
    "homepage": "http://x/",
}

OBJECTS: list[tuple[Any, Any]] = [
    (Point(1, Size(2)), {"x": 1, "y": {"width": 2}}),
    (Shape(Point(1.5, Level.LOW)), {"type": "Shape", "topLeft": {"x": 1.5, "y": "low"}}),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.50"), "1.50"),
    (dt.date(2020, 1, 2), "2020-01-02"),
    (dt.time(1, 2, 3, 4, tzinfo=dt.UTC), "01:02:03.000004Z"),
    (dt.timedelta(days=1, seconds=5), "P1DT5S"),
    ({uuid.UUID(int=1): Level.LOW}, {"00000000-0000-0000-0000-000000000001": "low"}),
    (ANN, PLAIN_ANN),
    (Place("home"), {"fullName": "home"}),
    (Signed(ANN, 1), {"author": PLAIN_ANN, "number": 1}),
]


class Probe(TypedActor[Author], name="probe", rename="camel"):
    changed: Event[Signed]
    listed: Event[list[Author | None]]

    @action("echo")
    async def echo_signed(self, signed: Signed) -> Signed: ...

    @action("args")
    async def spread(self, *authors: Author | None) -> tuple[Author | None, ...]: ...

    async def emit(self, name: str, value: Any) -> None: ...

    async def emit_many(self, name: str, n: int, start: int = ...) -> int: ...

    async def describe_args(self, a: Any = ..., b: Any = ..., c: Any = ...) -> list[str]: ...

    async def conn_params(self) -> Author: ...


class WrongProbe(TypedActor, name="probe"):
    async def echo(self, value: Any) -> list[Author]: ...


class Start(pydantic.BaseModel):
    initial: int


class Counter(TypedActor[Any, Start], name="counter", rename="camel"):
    async def get_count(self) -> int: ...


class Done(pydantic.BaseModel):
    done: Signed


class Worker(TypedActor, name="worker"):
    jobs: Queue[Signed, Done]

    async def processed(self) -> list[Signed]: ...


Action = Callable[..., Awaitable[Any]]


@pytest.fixture
async def ways(client: Client, key: list[str]) -> AsyncGenerator[list[Action]]:
    """How actions of the probe are called: over HTTP and over a connection."""
    probe = client.probe.get_or_create(key)
    async with probe.connect() as conn:
        yield [probe.action, conn.action]


async def test_objects_arrive_as_plain_values(ways: list[Action]) -> None:
    for call in ways:
        for value, plain in OBJECTS:
            nested = (value, {"a": [value]}, Point(value, None))
            expected = (plain, {"a": [plain]}, {"x": plain, "y": None})
            assert await call("args", *nested) == list(expected)
            assert await call("describeArgs", *nested) == await call("describeArgs", *expected)


async def test_undefined_is_undefined(ways: list[Action], server: Server, encoding: str) -> None:
    for call in ways:
        if encoding == "json" and server.version < "2.3":
            with pytest.raises(TypeError, match=r"args\[1\]\.a: the json encoding .*UNDEFINED"):
                await call("describeArgs", 1, {"a": UNDEFINED})
            continue
        described = await call("describeArgs", UNDEFINED, {"a": [UNDEFINED]}, Point(UNDEFINED, 1))
        assert described == ["undefined", '{"a":[undefined]}', '{"x":undefined,"y":number:1}']
        # What JavaScript's default stands in for.
        assert await call("emitMany", "event", 0, UNDEFINED) == 0
        assert await call("echo", UNDEFINED) is None
        assert await call("args", UNDEFINED, 1) == [None, 1]


async def test_arguments_that_are_left_out(client: Client, key: list[str], server: Server) -> None:
    probe = client.get_or_create(Probe, key)
    assert await probe.emit_many("event", 0) == 0
    if client._core.config.encoding == "json" and server.version < "2.3":
        return
    assert await probe.describe_args(c=1) == ["undefined", "undefined", "number:1"]
    assert await probe.describe_args(1, UNDEFINED) == ["number:1", "undefined"]


async def test_input(client: Client, key: list[str]) -> None:
    typed = client.get_or_create(Counter, [*key, "typed"], input=Start(initial=5))
    assert await typed.get_count() == 5
    plain = client.counter.get_or_create([*key, "plain"], input=Start(initial=6))
    assert await plain.getCount() == 6
    undefined = client.counter.get_or_create([*key, "none"], input={"initial": UNDEFINED})
    assert await undefined.getCount() == 0


async def test_params(client: Client, key: list[str]) -> None:
    async def later() -> Author:
        return ANN

    typed = client.get_or_create(Probe, key, params=ANN)
    assert await typed.conn_params() == ANN
    async with typed.connect(get_params=later) as conn:
        assert await conn.conn_params() == ANN
    async with client.probe.get(key).connect(params=Signed(ANN, 1)) as plain:
        assert await plain.connParams() == {"author": PLAIN_ANN, "number": 1}


async def test_models_come_back(client: Client, key: list[str], ways: list[Action]) -> None:
    probe = client.get_or_create(Probe, key)
    signed = Signed(ANN, 1)
    async with (
        probe.connect() as conn,
        conn.events(Probe.changed) as changes,
        conn.events(Probe.listed) as lists,
    ):
        for either in (probe, conn):
            assert await either.echo_signed(signed) == signed
            assert await either.spread(ANN, None) == (ANN, None)
            with pytest.raises(
                ProtocolError, match=r"action 'echo' .*Field required - at `\$\[0\]\."
            ):
                await client.get(WrongProbe, key).echo([{}])
        await conn.emit("changed", signed)
        await conn.emit("listed", [ANN, None])
        await conn.emit("listed", [5])
        await conn.emit("listed", [])
        assert await changes.receive() == signed
        assert await lists.receive() == [ANN, None]
        with pytest.raises(ProtocolError, match=r"event 'listed' .* - at `\$\[0\]"):
            await lists.receive()
        assert await lists.receive() == []
    for call in ways:
        assert await call("echo", ANN, type=Author) == ANN
        assert await call("args", ANN, ANN, type=list[Author]) == [ANN, ANN]
        with pytest.raises(ProtocolError, match=r"result of action 'echo': not of type `Author`: "):
            await call("echo", 5, type=Author)
    plain = client.probe.get(key)
    async with plain.connect() as untyped, untyped.events("changed", type=Author) as authors:
        await untyped.emit("changed", ANN)
        assert await authors.receive() == ANN


async def test_queues(client: Client, server: Server, key: list[str]) -> None:
    if server.version < "2.1":
        pytest.skip("queues came with 2.1")
    worker = client.get_or_create(Worker, key)
    signed = Signed(ANN, 1)
    result = await worker.send_and_wait(Worker.jobs, signed, timeout=30)
    assert result.response == Done(done=signed)
    plain = client.worker.get(key)
    again = await plain.send_and_wait("jobs", ANN, timeout=30)
    assert again.response == {"done": PLAIN_ANN}
    with pytest.raises(ProtocolError, match="response of queue 'jobs': not of type `Author`"):
        await plain.send_and_wait("jobs", ANN, timeout=30, type=Author)


async def test_nothing_runs_for_a_type_that_nothing_can_be_made_of(
    client: Client, key: list[str]
) -> None:
    class Unknown:
        pass

    room = client.chatRoom.get_or_create(key)
    async with room.connect() as conn:
        for call in (room.action, conn.action):
            with pytest.raises(TypeError, match=r"^type=.*`.*Unknown`"):
                await call("sendMessage", "x", type=list[Unknown])
        assert await conn.getHistory() == []


async def test_names_that_are_refused_can_still_be_called(ways: list[Action]) -> None:
    for call in ways:
        with pytest.raises(ActorError, match=r"actor\.|action"):
            await call("close")
