"""A connection that is cut off comes back, and says truthfully what became of everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    Connection,
    ConnectionLostError,
    EventGapError,
    Gap,
    Retry,
    Status,
    StatusChange,
    StatusStream,
)
from tests.faults.proxy import Proxy
from tests.servers import Server, start_server

from .injection import undisturbed

RETRY = Retry(initial=0.05, maximum=0.2)


@pytest.fixture(scope="module")
def own_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A server that a test may stop and start."""
    with start_server(pytestconfig.getoption("--server")) as server:
        yield server


@pytest.fixture
async def own_client(own_server: Server) -> AsyncGenerator[Client]:
    async with Client(own_server.endpoint, metadata_lookup=False, retry=RETRY) as client:
        yield client


async def _until(changes: StatusStream, status: Status) -> StatusChange:
    async for change in changes:
        if change.status is status:
            return change
    raise AssertionError(f"the connection ended before it was {status}")


async def _lose_and_return(conn: Connection, proxy: Proxy, *, reset: bool = False) -> None:
    changes = conn.status_changes()
    proxy.cut(reset=reset)
    await _until(changes, Status.DISCONNECTED)
    await _until(changes, Status.CONNECTED)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
async def test_an_action_in_flight_is_lost_and_never_repeated(
    client: Client, direct: Client, proxy: Proxy, key: list[str], reset: bool
) -> None:
    errors: list[ConnectionLostError] = []
    with anyio.fail_after(60), undisturbed():
        async with client.ledger.get_or_create(key).connect() as conn:
            written = proxy.upstream_bytes

            async def lose() -> None:
                with pytest.raises(ConnectionLostError) as caught:
                    await conn.appendSlow("slow", 100)
                errors.append(caught.value)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lose)
                await proxy.until(lambda proxy: proxy.upstream_bytes > written)
                proxy.cut(reset=reset)
            assert len(errors) == 1
            await conn.append("after")
        # Longer than what is slow takes, if it ran at all.
        await direct.ledger.get_or_create(key).appendSlow("last", 200)
        log = await direct.ledger.get_or_create(key).log()
        assert log.count("slow") <= 1
        assert [entry for entry in log if entry != "slow"] == ["after", "last"]


async def test_actions_called_while_away_run_once_and_in_order(
    client: Client, direct: Client, server: Server, proxy: Proxy, key: list[str]
) -> None:
    sequence: dict[int, int] = {}
    with anyio.fail_after(60):
        async with client.ledger.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            proxy.refuse()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)

            async def append(number: int) -> None:
                sequence[number] = await conn.append(number)

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(append, number)
                    await anyio.wait_all_tasks_blocked()
                assert sequence == {}
                proxy.accept()
        log = await direct.ledger.get_or_create(key).log()
        assert sequence == {number: place + 1 for place, number in enumerate(log)}
        # 2.3 begins the actions of one connection in any order.
        assert (sorted(log) if server.version.startswith("2.3.") else log) == list(range(20))


async def test_a_waiting_action_that_is_cancelled_is_never_sent(
    client: Client, direct: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with client.ledger.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            proxy.refuse()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(conn.action, "append", "cancelled")
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            proxy.accept()
            assert await conn.append("kept") == 1
        assert await direct.ledger.get_or_create(key).log() == ["kept"]


async def test_leaving_while_away_is_immediate(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with client.probe.get_or_create(key).connect(
            retry=Retry(initial=30, random=lambda: 1.0)
        ) as conn:
            changes = conn.status_changes()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            before = anyio.current_time()
        assert anyio.current_time() - before < 15
        assert [change.status async for change in changes] == [Status.CLOSED]


async def test_the_states_in_order(client: Client, proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            others = conn.status_changes()
            first = conn.connection_id
            await _lose_and_return(conn, proxy)
            assert conn.connection_id not in (None, first)
            assert await conn.connId() == conn.connection_id
        seen = [change async for change in changes]
        assert [change.status for change in seen] == [
            Status.CONNECTED,
            Status.DISCONNECTED,
            Status.CONNECTING,
            Status.CONNECTED,
            Status.CLOSED,
        ]
        assert isinstance(seen[1].error, ConnectionLostError)
        assert [change.error for change in (seen[0], *seen[2:])] == [None] * 4
        assert [change async for change in others] == seen


async def test_subscriptions_come_back_before_waiting_actions(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            old = conn.events("tick")
            closed = conn.events("closed")
            changes = conn.status_changes()
            proxy.refuse()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            new = conn.events("tock")
            await closed.aclose()
            async with anyio.create_task_group() as tasks:
                for name in ("tick", "tock", "closed"):
                    tasks.start_soon(conn.action, "emit", name, 1)
                await anyio.wait_all_tasks_blocked()
                proxy.accept()
            assert (await old.receive(), old.gaps) == (1, 1)
            assert (await new.receive(), new.gaps) == (1, 1)


async def test_gaps(client: Client, direct: Client, proxy: Proxy, key: list[str]) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            ignoring = conn.events("ignoring")
            marking = conn.events("marking", gaps="mark")
            raising = conn.events("raising", gaps="raise")
            names = ("ignoring", "marking", "raising")
            began = anyio.current_time()
            for name in names:
                await conn.emit(name, 1)
            changes = conn.status_changes()
            proxy.refuse()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            for name in names:
                await direct.probe.get_or_create(key).emit(name, 2)
            proxy.accept()
            for name in names:
                await conn.emit(name, 3)
            assert [await ignoring.receive() for _ in range(2)] == [1, 3]
            assert await marking.receive() == 1
            gap = await marking.receive()
            assert isinstance(gap, Gap)
            assert began <= gap.since <= gap.until <= anyio.current_time()
            assert gap.attempts >= 1
            assert await marking.receive() == 3
            assert await raising.receive() == 1
            with pytest.raises(EventGapError) as caught:
                await raising.receive()
            assert (caught.value.since, caught.value.until) == (gap.since, gap.until)
            assert await raising.receive() == 3
            assert [stream.gaps for stream in (ignoring, marking, raising)] == [1, 1, 1]


async def test_gaps_without_events_between_are_one(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            marking = conn.events("n", gaps="mark")
            for _ in range(3):
                await _lose_and_return(conn, proxy)
            await conn.emit("n", 1)
            assert isinstance(await marking.receive(), Gap)
            assert await marking.receive() == 1
            assert marking.gaps == 3


async def test_a_server_that_restarts_under_a_consumer(
    own_server: Server, own_client: Client, key: list[str]
) -> None:
    seen: list[Any] = []
    with anyio.fail_after(60):
        async with own_client.ledger.get_or_create(key).connect() as conn:
            events = conn.events("appended", gaps="mark")

            async def consume() -> None:
                async for event in events:
                    seen.append("gap" if isinstance(event, Gap) else event[0])
                    if event == ("c", 3):
                        break

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(consume)
                await conn.append("a")
                changes = conn.status_changes()
                await anyio.to_thread.run_sync(own_server.stop)
                await _until(changes, Status.DISCONNECTED)
                await anyio.to_thread.run_sync(own_server.start)
                assert await conn.append("b") == 2
                assert await conn.append("c") == 3
            assert seen == ["a", "gap", "b", "c"]


async def test_params_that_fail_on_a_reconnect_are_seen_and_asked_again(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    failures = [LookupError("first"), OSError("second")]
    calls = 0

    async def get_params() -> object:
        nonlocal calls
        calls += 1
        if 1 < calls <= 3:
            raise failures[calls - 2]
        return {"call": calls}

    with anyio.fail_after(60):
        handle = client.probe.get_or_create(key, get_params=get_params)
        async with handle.connect() as conn:
            assert await conn.connParams() == {"call": 1}
            changes = conn.status_changes()
            await _lose_and_return(conn, proxy)
            assert await conn.connParams() == {"call": 4}
        assert [c.error async for c in changes if c.status is Status.DISCONNECTED][1:] == failures


async def test_a_refusal_on_a_reconnect_is_final(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    token = "secret"

    async def get_params() -> object:
        return {"token": token}

    with anyio.fail_after(60), undisturbed():
        handle = client.guarded.get_or_create(key, get_params=get_params)
        async with handle.connect() as conn:
            events = conn.events("never")
            changes = conn.status_changes()
            token = "wrong"
            proxy.cut()
            closed = await _until(changes, Status.CLOSED)
            assert isinstance(closed.error, ActorError)
            calls = (conn.me, events.receive, conn.wait_connected, lambda: conn.next_event("e"))
            for call in calls:
                with pytest.raises(ActorError) as caught:
                    await call()
                assert caught.value.code == "forbidden"
            assert [change async for change in changes] == []


async def test_a_kick_by_the_server(client: Client, direct: Client, key: list[str]) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            first = conn.connection_id
            changes = conn.status_changes()
            await direct.probe.get_or_create(key).kickAll("out")
            lost = await _until(changes, Status.DISCONNECTED)
            assert isinstance(lost.error, ConnectionLostError)
            await _until(changes, Status.CONNECTED)
            assert conn.connection_id != first
            assert await conn.echo(1) == 1


async def test_a_refused_port_is_no_reason_to_give_up(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            proxy.refuse()
            proxy.cut()
            for _ in range(6):
                await _until(changes, Status.DISCONNECTED)
            proxy.accept()
            await conn.wait_connected()
            assert await conn.echo(1) == 1


async def test_a_websocket_says_how_it_was_lost(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with client.web.get_or_create(key).websocket() as ws:
            await ws.receive()
            proxy.cut()
            for _ in range(2):
                with pytest.raises(ConnectionLostError):
                    await ws.receive()
            with pytest.raises(ConnectionLostError):
                await ws.send("late")
        async with client.web.get_or_create(key).websocket() as ws:
            await ws.receive()
            await ws.send("close:3001:enough")
            with pytest.raises(ConnectionLostError) as caught:
                await ws.receive()
            assert (caught.value.code, caught.value.reason) == (3001, "enough")


async def test_a_ping_and_a_close_in_one_piece(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    """The pong cannot be sent any more once the close frame has been read."""
    with anyio.fail_after(60), undisturbed():
        async with client.probe.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            proxy.inject(b"\x89\x00\x88\x02\x03\xe8")
            await _until(changes, Status.DISCONNECTED)
            assert await conn.echo(1) == 1
        async with client.web.get_or_create(key).websocket() as ws:
            await ws.receive()
            proxy.inject(b"\x89\x00\x88\x02\x03\xe8")
            with pytest.raises(anyio.EndOfStream):
                await ws.receive()


async def test_gaps_reach_every_stream_of_a_name(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60), undisturbed():
        async with client.probe.get_or_create(key).connect() as conn:
            first = conn.events("n")
            second = conn.events("n", gaps="raise", buffer_size=1)
            await _lose_and_return(conn, proxy)
            await conn.emit("n", 1)
            assert (first.gaps, second.gaps) == (1, 1)
            with pytest.raises(EventGapError):
                await second.receive()
            assert await second.receive() == 1


@pytest.mark.parametrize(
    "error", [TypeError("no token"), ActorError("user", "no_token"), ValueError("expired")]
)
async def test_get_params_may_fail_in_any_way(
    client: Client, proxy: Proxy, key: list[str], error: Exception
) -> None:
    calls = 0

    async def get_params() -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return {}

    with anyio.fail_after(60), undisturbed():
        handle = client.probe.get_or_create(key)
        async with handle.connect(get_params=get_params) as conn:
            changes = conn.status_changes()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            assert (await _until(changes, Status.DISCONNECTED)).error is error
            assert await conn.echo(1) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_stray_cancellation_of_get_params_stays_inside(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    calls = 0

    async def get_params() -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        return {}

    with anyio.fail_after(60), undisturbed():
        handle = client.probe.get_or_create(key)
        async with handle.connect(get_params=get_params) as conn:
            changes = conn.status_changes()
            proxy.cut()
            await _until(changes, Status.DISCONNECTED)
            assert await conn.echo(1) == 1


async def test_a_failure_is_raised_afresh_in_every_stream(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    allowed = True

    async def get_params() -> object:
        return {"token": "secret" if allowed else "revoked"}

    with anyio.fail_after(60):
        handle = client.guarded.get_or_create(key)
        async with handle.connect(get_params=get_params) as conn:
            streams = [conn.events("a"), conn.events("b")]
            changes = conn.status_changes()
            allowed = False
            proxy.cut()
            ended = await _until(changes, Status.CLOSED)
            assert isinstance(ended.error, ActorError)
            errors = []
            for stream in (*streams, *streams):
                with pytest.raises(ActorError) as caught:
                    await stream.receive()
                errors.append(caught.value)
            assert len({id(error) for error in errors}) == 4
            with pytest.raises(ActorError):
                await conn.me()
            with pytest.raises(ActorError):
                await conn.wait_connected()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancelling_the_tasks_of_a_connection_leaves_nobody_waiting(
    client: Client, key: list[str]
) -> None:
    """asyncio lets anybody cancel any task, one by one here."""
    with anyio.fail_after(60), undisturbed():
        for number in range(3):
            before = asyncio.all_tasks()
            async with client.probe.get_or_create(key).connect() as conn:
                await conn.echo(0)
                tasks = sorted(asyncio.all_tasks() - before, key=lambda task: task.get_name())
                tasks = [task for task in tasks if "checks" not in task.get_name()]
                assert len(tasks) == 2
                changes = conn.status_changes()
                if number < len(tasks):
                    tasks[number].cancel()
                    while (await changes.receive()).error is None:
                        pass
                try:
                    assert await conn.echo(number) == number
                except ConnectionLostError:
                    assert conn.status is Status.CLOSED
