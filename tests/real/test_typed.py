# mypy: disable-error-code="empty-body"
"""Typed actors against the real servers."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import attrs
import msgspec
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ClosedError,
    Event,
    Gap,
    ProtocolError,
    Queue,
    Status,
    TypedActor,
    action,
    event,
)
from tests.servers import Server


class Start(msgspec.Struct):
    initial: int


class Counter(TypedActor[Any, Start], name="counter", rename="camel"):
    new_count: Event[int]

    async def increment(self, by: int = 1) -> int: ...

    async def get_count(self) -> int: ...

    async def set_count(self, n: int) -> int: ...


class Profile(msgspec.Struct):
    name: str


class Message(msgspec.Struct):
    sender: str
    text: str


class ChatRoom(TypedActor[Profile], name="chatRoom", rename="camel"):
    message: Event[Message]

    async def send_message(self, text: str) -> int: ...

    async def get_history(self) -> list[Message]: ...


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@dataclasses.dataclass
class Point:
    x: float
    y: float


@attrs.define
class Size:
    width: int
    height: int


class Shape(msgspec.Struct, rename="camel"):
    top_left: Point
    size: Size
    level: Level
    labels: dict[str, list[str | None]]


class Probe(TypedActor, name="probe", rename="camel"):
    shape: Event[Shape]
    pair: Event[tuple[str, int]]
    nothing: Event[tuple[()]]

    @action("echo")
    async def echo_shape(self, shape: Shape) -> Shape: ...

    async def describe(self, value: set[int]) -> str: ...

    async def describe_args(self, moment: dt.datetime, data: bytes) -> list[str]: ...

    async def emit(self, name: str, *values: Any) -> None: ...

    @action("math.add")
    async def add(self, a: float, b: float) -> float: ...

    async def fail(self, kind: str, detail: str) -> None: ...

    async def kick(self, reason: str) -> None: ...


class WrongProbe(TypedActor, name="probe"):
    wrong: Event[int] = event(name="shape")

    async def echo(self, value: Any) -> list[int]: ...


class Done(msgspec.Struct):
    done: Shape


class Worker(TypedActor, name="worker"):
    jobs: Queue[Shape, Done]

    async def processed(self) -> list[Shape]: ...


class WrongWorker(TypedActor, name="worker"):
    jobs: Queue[Shape, int]


SHAPE = Shape(Point(1.5, 2), Size(3, 4), Level.HIGH, {"a": ["x", None]})


@pytest.fixture
def encoding() -> str:
    """One is enough: what becomes of plain values in every encoding is tested elsewhere."""
    return "bare"


@pytest.fixture
async def probe(client: Client, key: list[str]) -> AsyncGenerator[Probe]:
    yield client.get_or_create(Probe, key)


async def test_a_counter(client: Client, key: list[str]) -> None:
    counter = client.get_or_create(Counter, key, input=Start(40))
    assert (counter.name, counter.key) == ("counter", tuple(key))
    assert await counter.increment() == 41
    assert await counter.increment(by=2) == 43
    async with counter.connect() as conn, conn.events(Counter.new_count) as counts:
        assert isinstance(conn, Counter)
        assert conn.status is Status.CONNECTED
        assert conn.actor_id == await counter.resolve() == await conn.resolve()
        assert conn.connection_id
        assert await conn.set_count(n=7) == 7
        assert await counter.increment(1) == 8
        assert [await counts.receive(), await counts.receive()] == [7, 8]
        await conn.wait_connected()
    assert await counter.action("getCount", type=int) == 8
    with pytest.raises(ClosedError):
        await conn.get_count()


async def test_every_way_to_an_actor(client: Client, key: list[str]) -> None:
    with pytest.raises(ActorError):
        await client.get(Counter, key).get_count()
    made = await client.create(Counter, key, input=Start(5))
    found = client.get(Counter, key)
    by_id = client.get_for_id(Counter, await made.resolve())
    assert await made.get_count() == await found.get_count() == await by_id.get_count() == 5
    assert await made.resolve() == await found.resolve() == await by_id.resolve()
    listed = [actor.actor_id async for actor in client.list(Counter, key=key)]
    assert listed == [await made.resolve()]
    assert by_id.key is None


async def test_params_reach_the_actor(client: Client, key: list[str]) -> None:
    async def later() -> Profile:
        return Profile("carol")

    async def broken() -> Profile:
        return msgspec.convert({"name": "x"}, dict)  # type: ignore[return-value]

    alice = client.get_or_create(ChatRoom, key, params=Profile("alice"))
    assert await alice.send_message("one") == 1
    async with alice.connect(params=Profile("bob")) as conn:
        assert await conn.send_message("two") == 2
    async with alice.connect(get_params=later) as conn:
        assert await conn.send_message("three") == 3
    async with client.get(ChatRoom, key, get_params=broken).connect() as conn:
        assert await conn.send_message("four") == 4
    history = await alice.get_history()
    assert history[0] == Message("alice", "one")
    assert [message.sender for message in history] == ["alice", "bob", "carol", "x"]


async def test_values_of_many_types(probe: Probe) -> None:
    assert await probe.echo_shape(SHAPE) == SHAPE
    async with probe.connect() as conn:
        assert await conn.echo_shape(SHAPE) == SHAPE
        for either in (probe, conn):
            with pytest.raises(ActorError) as caught:
                await either.fail("", "why")
            assert (caught.value.code, caught.value.metadata) == ("my_code", {"detail": "why"})
    assert await probe.add(1, b=2.5) == 3.5
    # What JavaScript has types of its own for stays what it is.
    assert await probe.describe({1}) == "Set{number:1}"
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    assert await probe.describe_args(moment, b"\x01") == [
        "Date:2020-01-02T00:00:00.000Z",
        "Uint8Array:[1]",
    ]


async def test_events_have_their_types(probe: Probe) -> None:
    async with (
        probe.connect() as conn,
        conn.events(Probe.shape) as shapes,
        conn.events(Probe.pair, gaps="mark") as pairs,
        conn.events(Probe.nothing) as nothings,
    ):
        await conn.emit("shape", msgspec.to_builtins(SHAPE))
        await conn.emit("pair", "a", 1)
        await conn.emit("nothing")
        assert await shapes.receive() == SHAPE
        pair = await pairs.receive()
        assert not isinstance(pair, Gap)
        assert pair == ("a", 1)
        assert await nothings.receive() == ()


async def test_next_event(probe: Probe) -> None:
    seen: list[tuple[str, int]] = []

    async def wait(conn: Probe) -> None:
        seen.append(await conn.next_event(Probe.pair))

    async with probe.connect() as conn, anyio.create_task_group() as tasks:
        tasks.start_soon(wait, conn)
        await anyio.wait_all_tasks_blocked()
        await conn.emit("pair", "a", 1)
    assert seen == [("a", 1)]


async def test_the_end_of_a_connection(probe: Probe) -> None:
    async def wait(conn: Probe) -> None:
        with pytest.raises(ClosedError, match="closed before the event came"):
            await conn.next_event(Probe.pair)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError, match="mine"):
            async with probe.connect() as conn:
                tasks.start_soon(wait, conn)
                await anyio.wait_all_tasks_blocked()
                raise KeyError("mine")


async def test_what_the_server_sends_is_checked(client: Client, key: list[str]) -> None:
    probe = client.get_or_create(Probe, key)
    wrong = client.get_or_create(WrongProbe, key)
    with pytest.raises(
        ProtocolError, match=r"result of action 'echo' of actor 'probe': .* at `\$\[1\]`"
    ):
        await wrong.echo([1, "x"])
    async with wrong.connect() as conn, conn.events(WrongProbe.wrong) as stream:
        with pytest.raises(ProtocolError, match=r"result of action 'echo' of actor 'probe'"):
            await conn.echo([1, "x"])
        await probe.emit("shape", "x")
        await probe.emit("shape", 5)
        with pytest.raises(ProtocolError, match=r"event 'shape' of actor 'probe': Expected `int`"):
            await stream.receive()
        assert await stream.receive() == 5


async def test_queues(client: Client, server: Server, key: list[str]) -> None:
    worker = client.get_or_create(Worker, key)
    if server.version < "2.1":
        with pytest.raises(ActorError, match=r"feature\.unsupported"):
            await worker.send(Worker.jobs, SHAPE)
        return
    result = await worker.send_and_wait(Worker.jobs, SHAPE, timeout=30)
    assert (result.status, result.response) == ("completed", Done(SHAPE))
    async with worker.connect() as conn:
        await conn.send(Worker.jobs, SHAPE)
        result = await conn.send_and_wait(Worker.jobs, SHAPE, timeout=30)
        assert result.response == Done(SHAPE)
        assert await conn.processed() == [SHAPE] * 3
    wrong = client.get_or_create(WrongWorker, key)
    with pytest.raises(ProtocolError, match="response of queue 'jobs' of actor 'worker'"):
        await wrong.send_and_wait(WrongWorker.jobs, SHAPE, timeout=30)


async def test_http_and_sockets_of_the_actor(client: Client, key: list[str]) -> None:
    class Web(TypedActor, name="web"):
        pass

    web = client.get_or_create(Web, key)
    assert (await web.fetch("/echo/x")).json()["path"] == "/echo/x"
    async with web.stream("/bytes/5") as response:
        assert await response.aread() == bytes(range(5))
    async with web.websocket("/chat") as socket:
        assert await socket.receive() == '{"hello":"/chat"}'
    assert await web.resolve() in await web.gateway_url()
