"""Subscriptions on real servers: confirmed, refused, in order, and with gaps that miss nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    Connection,
    ConnectionLostError,
    EventStream,
    Gap,
    NamedEvent,
    Retry,
    Status,
    live,
)
from rivet_anyio.protocol.codec import Encoding
from tests.faults.proxy import running_proxy
from tests.servers import Server

SECONDS = 60
QUICK = Retry(initial=0.01, maximum=0.05)


@asynccontextmanager
async def pair(handle: ActorHandle, **params: object) -> AsyncGenerator[tuple[Connection, ...]]:
    """A connection with these params, and one that causes events."""
    with anyio.fail_after(SECONDS):
        async with handle.connect(params=params, retry=QUICK) as conn, handle.connect() as other:
            yield conn, other


def can_refuse(server: Server) -> bool:
    return not server.version.startswith("2.0")


@pytest.mark.parametrize("name", ["plain", "slow"])
async def test_what_anybody_causes_after_it_is_delivered(
    name: str, client: Client, key: list[str]
) -> None:
    async with pair(client.gate.get_or_create(key)) as (conn, other):
        for number in range(3):
            async with conn.events(name) as stream:
                await other.emit(name, number)
                assert await stream.receive() == number


async def test_the_bare_form(client: Client, key: list[str]) -> None:
    async with pair(client.gate.get_or_create(key)) as (conn, other):
        stream = conn.events("slow")
        await stream.subscribed()
        await stream.subscribed()
        await other.emit("slow", 1)
        assert await stream.receive() == 1


async def test_several_names_come_in_one_order(client: Client, key: list[str]) -> None:
    names = [("opened", "closed", "slow")[number * 7 % 3] for number in range(60)]
    async with (
        pair(client.gate.get_or_create(key)) as (conn, other),
        conn.events(("opened", "closed", "slow")) as stream,
    ):
        for number, name in enumerate(names):
            await other.emit(name, number)
        got = [await stream.receive() for _ in names]
    assert got == [NamedEvent(name, number) for number, name in enumerate(names)]


async def test_a_live_state_knows_what_its_snapshot_has(client: Client, key: list[str]) -> None:
    """An action that sends events and then returns: those are in its answer, later ones not."""
    handle = client.probe.get_or_create(key)
    async with (
        pair(handle) as (conn, other),
        live(
            conn,
            partial(conn.emitMany, "e", 3),
            {"e": lambda state, event: state + 10 * event},
            atomic_snapshot=True,
        ) as state,
    ):
        states = aiter(state)
        assert await anext(states) == 3 and state.is_current
        await other.emit("e", 7)
        assert await anext(states) == 73
        with suppress(ConnectionLostError):
            await conn.kick("maintenance")
        assert await anext(states) == 3
        assert state.refreshed == 1
        await other.emit("e", 8)
        assert await anext(states) == 83


@pytest.mark.one_encoding
@pytest.mark.parametrize("how", ["refuse", "fail", "broken"])
async def test_a_refused_subscription_ends_its_own_stream(
    how: str, server: Server, client: Client, key: list[str]
) -> None:
    if not can_refuse(server):
        pytest.skip("this version does not refuse subscriptions")
    handle = client.gate.get_or_create(key)
    refused = {"refuse": ["b"]} if how == "refuse" else {how: "b"}
    async with pair(handle, **refused) as (conn, other):
        streams = {name: conn.events(name) for name in ("a", "c", "b", "both")}
        both = conn.events(("both", "b"))
        for stream in (streams["b"], both):
            with pytest.raises(ActorError) as caught:
                await stream.receive()
            error = caught.value
            if how == "refuse":
                assert (error.group, error.code) == ("auth", "forbidden")
            elif how == "fail":
                assert (error.group, error.code) == ("user", "no_b")
        del streams["b"]
        for name, stream in streams.items():
            await stream.subscribed()
            await other.emit(name, 1)
            assert await stream.receive() == 1
        with pytest.raises(ActorError):
            async with conn.events("b"):
                pass
        for name, stream in streams.items():
            await stream.subscribed()
            await other.emit(name, 2)
            assert await stream.receive() == 2
        assert await conn.echo(1) == 1


@pytest.mark.one_encoding
async def test_a_name_that_is_refused_after_a_loss(
    server: Server, client: Client, key: list[str]
) -> None:
    """The connection comes back with what it may have."""
    if not can_refuse(server):
        pytest.skip("this version does not refuse subscriptions")
    refused: list[str] = []

    async def params() -> dict[str, list[str]]:
        return {"refuse": refused}

    handle = client.gate.get_or_create(key)
    with anyio.fail_after(SECONDS):
        async with (
            handle.connect(get_params=params, retry=QUICK) as conn,
            handle.connect() as other,
            conn.events("a", gaps="mark") as a,
            conn.events("b") as b,
        ):
            refused.append("b")
            await other.kickOthers("enough")
            with pytest.raises(ActorError):
                await b.receive()
            assert isinstance(await a.receive(), Gap)
            await other.emit("a", 1)
            assert await a.receive() == 1
            assert conn.status is Status.CONNECTED


@pytest.mark.one_encoding
@pytest.mark.parametrize("end", ["destroy", "sleepNow"])
async def test_a_stream_is_left_whose_actor_has_stopped(
    private_server: Server, encoding: Encoding, key: list[str], end: str
) -> None:
    """RivetKit 2.1 and 2.2 keep its connections, and would die of the end of a subscription."""
    if not private_server.version.startswith(("2.1", "2.2")):
        pytest.skip("this version closes the connections, or starts the actor again")
    before = private_server.pids()
    with anyio.fail_after(SECONDS):
        async with (
            Client(private_server.endpoint, encoding=encoding, retry=QUICK) as client,
            client.probe.get_or_create(key).connect() as conn,
            client.probe.get_or_create(key).connect() as witness,
        ):
            first = conn.connection_id, witness.connection_id
            async with conn.events("e"), conn.events(("e", "f")):
                await client.probe.get_or_create(key).action(end)
                while witness.connection_id == first[1]:
                    with suppress(ActorError, ConnectionLostError):
                        await witness.echo(1)
            while conn.connection_id == first[0]:
                with suppress(ActorError, ConnectionLostError):
                    await conn.echo(1)
            assert await conn.echo(2) == await witness.echo(2) == 2
    assert private_server.pids() == before


class Race:
    """Numbered events by one connection, and what another one received of them."""

    def __init__(self, sender: Connection) -> None:
        self.sender = sender
        self.began = anyio.current_time()
        self.sent_at: list[float] = []
        self.got: list[int | Gap] = []
        self.got_at: list[float] = []

    async def send(self) -> None:
        self.sent_at.append(anyio.current_time())
        await self.sender.emit("e", len(self.sent_at) - 1)

    async def follow(self, stream: EventStream[int | Gap]) -> None:
        async for item in stream:
            self.got.append(item)
            self.got_at.append(anyio.current_time())

    def check(self) -> None:
        """Not how long an event is on its way: on a busy machine that proves nothing."""
        last = -1
        earliest, latest = 0.0, self.began  # of the last message that came
        untils: list[float] = []  # of the gaps since the last event
        for item, at in zip(self.got, self.got_at, strict=True):
            if isinstance(item, Gap):
                assert earliest <= item.since <= latest, (last, earliest, item, latest)
                earliest = latest = item.until
                untils.append(item.until)
                continue
            assert item > last
            for number in range(last + 1, item):
                sent_at = self.sent_at[number]
                assert any(sent_at <= until for until in untils), (number, sent_at, untils)
            last, untils = item, []
            earliest, latest = self.sent_at[item], at


@pytest.mark.one_encoding
async def test_each_missing_event_lies_in_a_gap(
    server: Server, encoding: Encoding, key: list[str], request: pytest.FixtureRequest
) -> None:
    """Two connections, one of which is lost at every moment, in both ways."""
    losses: int = request.config.getoption("--gap-losses")
    chance = random.Random(str(key))
    with running_proxy(server.port) as proxy, anyio.fail_after(60 + losses):
        async with (
            Client(server.endpoint, encoding=encoding, metadata_lookup=False) as direct,
            Client(proxy.endpoint, encoding=encoding, metadata_lookup=False, retry=QUICK) as client,
            direct.gate.get_or_create(key).connect() as sender,
            client.gate.get_or_create(key).connect() as follower,
            follower.events("e", gaps="mark", buffer_size=1 << 30) as stream,
            anyio.create_task_group() as tasks,
        ):
            race = Race(sender)
            tasks.start_soon(race.follow, stream)
            for _ in range(losses):
                for _ in range(chance.randrange(6)):
                    await race.send()
                if chance.random() < 0.5:
                    proxy.cut()
                else:
                    await sender.kickOthers("enough")
                told = stream.gaps
                while stream.gaps == told:
                    await race.send()
                    await anyio.sleep(chance.choice((0, 0, 0.001, 0.003)))
            await race.send()
            while race.got[-1] != len(race.sent_at) - 1:  # noqa: ASYNC110
                await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
    race.check()
