"""Hosts of actors that die behind a gateway: what clients notice of it, in virtual time."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import anyio
import msgspec
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConfigError,
    Connection,
    ConnectionLostError,
    EventStream,
    Gap,
    Management,
    Retry,
    Status,
)
from rivet_anyio._gateway.host_checked_request import _CheckedRequest
from rivet_anyio._gateway.host_checks import ActorChecks
from rivet_anyio.protocol.management import ActorInfo
from rivet_anyio.testing import ActionCalled, Actor, ActorServer, virtual_backend
from tests.checks import count_checks

TICK = 0.5
INTERVAL = 30.0
LONGEST = 6.0 + INTERVAL + 5.0
"""Until a death is noticed: by the engine, by the next check, and by the reconnect."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Ticker(Actor):
    """Broadcasts numbers while it is awake."""

    sleep_timeout = None
    sent: ClassVar[list[float]] = []

    async def run(self) -> None:
        while True:
            await anyio.sleep(TICK)
            self.sent.append(anyio.current_time())
            self.context.broadcast("tick", len(self.sent) - 1)

    async def ping(self) -> str:
        return "pong"

    async def slow(self, seconds: float) -> float:
        await anyio.sleep(seconds)
        return seconds


class TickerOf20(Ticker):
    """As `Ticker`, in 2.0, which calls no `run`."""

    async def on_create(self, input: Any) -> None:
        self.context.schedule.after(TICK, "tick")

    async def tick(self) -> None:
        self.sent.append(anyio.current_time())
        self.context.broadcast("tick", len(self.sent) - 1)
        self.context.schedule.after(TICK, "tick")


class Sleeper(Actor):
    """Falls asleep as soon as it may, also while connections are open."""

    starts = 0

    async def on_wake(self) -> None:
        type(self).starts += 1

    async def ping(self) -> str:
        return "pong"

    async def nap(self) -> None:
        await anyio.sleep(50)

    async def rest(self) -> None:
        self.context.sleep()


@pytest.fixture(autouse=True)
def begin_anew() -> None:
    Ticker.sent = []
    Sleeper.starts = 0


class Listener:
    """One stream, and the account of what it missed."""

    def __init__(self, stream: EventStream[Any]) -> None:
        self.stream = stream
        self.items: list[int | Gap] = []

    async def listen(self) -> None:
        async for item in self.stream:
            self.items.append(item)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    def check(self) -> None:
        """Each event that is missing was sent in a gap, and the newest ones came."""
        got = [item for item in self.items if not isinstance(item, Gap)]
        assert got == sorted(set(got))
        missing = set(range(got[0], len(Ticker.sent) - 1)) - set(got)
        outside = [
            Ticker.sent[number]
            for number in missing
            if not any(gap.since <= Ticker.sent[number] <= gap.until for gap in self.gaps)
        ]
        assert not outside, (outside, self.gaps)
        assert self.stream.gaps >= len(self.gaps)


async def call(conn: Connection, every: float) -> None:
    while True:
        try:
            assert await conn.ping() == "pong"
        except ConnectionLostError:
            pass
        await anyio.sleep(every)


async def count_requests(server: ActorServer, client: Client) -> list[list[str]]:
    """What the client's checks ask for from now on; time does not jump over any."""
    server._host.unnoticed += 1
    return count_checks(client)


@pytest.mark.parametrize("calls", [False, True])
@pytest.mark.parametrize("wakes", ["nobody", "another client"])
async def test_a_host_that_dies_at_any_moment(calls: bool, wakes: str) -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        for moment in (0, 1, 3, 6):
            async with handle.connect() as conn, anyio.create_task_group() as tasks:
                listener = Listener(conn.events("tick", gaps="mark"))
                await listener.stream.subscribed()
                tasks.start_soon(listener.listen)
                if calls:
                    tasks.start_soon(call, conn, 1.0)
                await anyio.sleep(moment * 5.3)
                await server.kill_host(silent_for=0.6 if moment % 2 else 0.0)
                if wakes != "nobody":
                    await anyio.sleep(7)
                    assert await handle.ping() == "pong"
                await anyio.sleep(LONGEST)
                assert conn.status is Status.CONNECTED
                assert await conn.ping() == "pong"
                tasks.cancel_scope.cancel()
            listener.check()
            assert len(listener.gaps) == 1, moment


@pytest.mark.parametrize(("pause", "calls"), [(0.0, True), (12.0, False)])
async def test_two_deaths_within_one_interval(pause: float, calls: bool) -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        for moment in (0.0, 26.0):
            async with (
                handle.connect() as conn,
                conn.events("tick", gaps="mark") as stream,
                anyio.create_task_group() as tasks,
            ):
                listener = Listener(stream)
                tasks.start_soon(listener.listen)
                if calls:
                    tasks.start_soon(call, conn, 0.5)
                await anyio.sleep(moment)
                for _ in range(2):
                    await server.kill_host(silent_for=0.5)
                    await handle.action("ping", retry_for=60.0)
                    await anyio.sleep(pause)
                await anyio.sleep(2 * LONGEST)
                tasks.cancel_scope.cancel()
            listener.check()
            assert listener.gaps


@pytest.mark.parametrize("by", ["key", "id"])
@pytest.mark.parametrize("again", [False, True])
async def test_a_loss_after_a_restart_that_no_check_saw(by: str, again: bool) -> None:
    """The gap of the loss has what the death took as well, in one gap."""
    async with (
        ActorServer({"ticker": Ticker}) as server,
        server.client(retry=Retry(initial=0.1, maximum=0.2)) as client,
    ):
        handle = client.ticker.get_or_create("k")
        if by == "id":
            handle = client.ticker.get_for_id(await handle.resolve())
        async with (
            handle.connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            await anyio.sleep(5)
            await server.kill_host(silent_for=1.0)
            await anyio.sleep(6.5)
            assert await handle.ping() == "pong"
            await anyio.sleep(3)
            if again:
                await server.kill_host(silent_for=1.0)
            server.drop_connections()
            await anyio.sleep(2 * LONGEST)
            tasks.cancel_scope.cancel()
        listener.check()
        assert again or len(listener.gaps) == 1


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2"])
async def test_where_a_host_breaks_its_connections_a_gap_begins_with_the_last_message(
    version: str,
) -> None:
    """Records of RivetKit up to 2.2 tell starts apart, too. There nothing is lost unnoticed."""
    later = Retry(initial=5.0, maximum=5.0, random=lambda: 1.0)
    made = TickerOf20 if version == "2.0" else Ticker
    async with (
        ActorServer({"ticker": made}, version=version) as server,
        server.client() as client,
        server.client(retry=later) as late,
    ):
        ticker = client.ticker.get_or_create("k")
        assert await ticker.ping() == "pong"  # the record names the start from now on
        async with (
            late.ticker.get_or_create("k").connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            first = await Management(client).get(await ticker.resolve())
            await anyio.sleep(70.1)
            await server.restart()
            assert await ticker.ping() == "pong"
            second = await Management(client).get(await ticker.resolve())
            await anyio.sleep(LONGEST)
            tasks.cancel_scope.cancel()
        assert first and second and first.connectable_since and second.connectable_since
        assert first.connectable_since < second.connectable_since
        (gap,) = listener.gaps
        assert gap.since == 70.0
        listener.check()


@pytest.mark.parametrize("by_id", [False, True])
async def test_a_plain_loss_has_its_gap_from_the_last_message(by_id: bool) -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        if by_id:
            handle = client.ticker.get_for_id(await handle.resolve())
        async with (
            handle.connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            await anyio.sleep(70.1)
            server.drop_connections()
            await anyio.sleep(LONGEST)
            tasks.cancel_scope.cancel()
        (gap,) = listener.gaps
        assert gap.since == 70.0 and gap.attempts == 1
        listener.check()


async def test_a_management_api_that_hangs_keeps_no_connection_by_id_away() -> None:
    """Its actor's record would only say where a gap begins."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_for_id(await client.ticker.get_or_create("k").resolve())
        async with handle.connect(connect_timeout=2.0) as conn:
            await anyio.sleep(4)
            server.faults.delay_request(1000, management="get", times=10)
            changes = conn.status_changes()
            await changes.receive()
            lost_at = anyio.current_time()
            server.drop_connections()
            assert (await changes.receive()).status is Status.DISCONNECTED
            await conn.wait_connected()
            assert anyio.current_time() < lost_at + 2.0
            server.faults.clear()


async def test_a_gap_without_a_reconnect() -> None:
    """Somebody else wakes the actor: the connection stays, and so does the call that waits."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        async with (
            handle.connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            await anyio.sleep(35)
            first, last = conn.connection_id, anyio.current_time()
            changes = conn.status_changes()
            await changes.receive()
            await server.kill_host(silent_for=2.0)
            assert await conn.slow(30.0) == 30.0, "it is delivered again"
            await anyio.sleep(INTERVAL)
            assert conn.connection_id == first
            assert [(await changes.receive()).status for _ in range(2)] == [
                Status.CONNECTING,
                Status.CONNECTED,
            ]
            tasks.cancel_scope.cancel()
        (gap,) = listener.gaps
        assert gap.attempts == 0 and gap.since <= last < gap.until
        listener.check()


async def test_a_death_is_a_loss_that_wakes_the_actor() -> None:
    async with (
        ActorServer({"ticker": Ticker}) as server,
        server.client() as client,
        client.ticker.get_or_create("k").connect() as conn,
    ):
        changes = conn.status_changes()
        await changes.receive()
        await server.kill_host()
        with anyio.fail_after(LONGEST):
            lost = await changes.receive()
            assert lost.status is Status.DISCONNECTED
            assert "has died" in str(lost.error)
            assert (await changes.receive()).status is Status.CONNECTING
            assert (await changes.receive()).status is Status.CONNECTED
        assert server.actor("ticker", "k").context.connections


async def test_a_silent_host_answers_nothing() -> None:
    """The next one is asked again."""
    async with (
        ActorServer({"ticker": Ticker}) as server,
        server.client() as client,
        client.ticker.get_or_create("k").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(partial(server.kill_host, silent_for=2))
        await anyio.wait_all_tasks_blocked()
        assert await conn.ping() == "pong"
        assert anyio.current_time() > 2
        assert len(server.log.of(ActionCalled)) == 2


async def test_a_host_that_stays_away() -> None:
    """The gateway closes the connection when a call waits, and the connection waits for a host."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        async with (
            handle.connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            tasks.start_soon(call, conn, 1.0)
            await anyio.sleep(3)
            await server.kill_host(downtime=300.0)
            assert conn.status is not Status.CONNECTED
            await anyio.sleep(LONGEST)
            tasks.cancel_scope.cancel()
        listener.check()


async def test_sleeping_actors_are_not_woken_and_give_no_gap() -> None:
    async with ActorServer({"sleeper": Sleeper}) as server, server.client() as client:
        asked = await count_requests(server, client)
        handle = client.sleeper.get_or_create("k")
        async with handle.connect() as conn, conn.events("e", gaps="mark") as stream:
            await anyio.sleep(5)
            assert Sleeper.starts == 1
            await conn.rest()
            await anyio.sleep(10 * INTERVAL)
            assert Sleeper.starts == 1 and len(asked) >= 9
            for _ in range(3):
                assert await conn.ping() == "pong"
                await conn.rest()
                await anyio.sleep(1.5 * INTERVAL)
            assert Sleeper.starts == 4
            assert stream.gaps == 0 and conn.status is Status.CONNECTED
        server._host.unnoticed -= 1


async def test_a_sleep_that_no_check_saw_is_a_gap() -> None:
    async with ActorServer({"sleeper": Sleeper}) as server, server.client() as client:
        await count_requests(server, client)
        handle = client.sleeper.get_or_create("k")
        async with handle.connect() as conn, conn.events("e", gaps="mark") as stream:
            await anyio.sleep(5)
            await conn.rest()
            await anyio.sleep(1)
            assert await conn.ping() == "pong"
            await anyio.sleep(INTERVAL + 5)
            assert stream.gaps == 1 and conn.status is Status.CONNECTED
        server._host.unnoticed -= 1


class Session:
    """A socket of a connection, as the checks see it."""

    last_message = 0.0

    def __init__(self, actor_id: str, tasks: anyio.abc.TaskGroup, *, is_slow: bool) -> None:
        self.actor_id = actor_id
        self.checks = 0
        self._is_slow = is_slow
        self._tasks = tasks

    def start(self, task: Any) -> None:
        self._tasks.start_soon(task)

    def notify_of_calls(self, notify: Any) -> None:
        """Whoever is slow is so from the beginning."""

    def seconds_waiting(self, now: float) -> float | None:
        return 50.0 if self._is_slow else None

    def checked(self, actor: ActorInfo, last_message: float) -> None:
        assert actor.actor_id == self.actor_id
        self.checks += 1


@pytest.mark.parametrize("slow", [0, 10])
@pytest.mark.parametrize("actors", [300, 1])
async def test_what_three_hundred_connections_cost(slow: int, actors: int) -> None:
    """Ten requests in an interval; one or two more while calls wait for a long time."""
    asked: list[list[str]] = []

    async def ask(ids: list[str]) -> list[ActorInfo]:
        asked.append(ids)
        return [ActorInfo(actor_id=id, name="", key=()) for id in ids]

    checks = ActorChecks(ask, INTERVAL)
    async with anyio.create_task_group() as tasks:
        sessions = [
            Session(str(number % actors), tasks, is_slow=number < slow) for number in range(300)
        ]
        for session in sessions:
            checks.add(session)
            await anyio.sleep(0.01)
        await anyio.sleep(INTERVAL + 1)
        del asked[:]
        await anyio.sleep(3 * INTERVAL)
        least, most = (9, 12 if slow else 10) if actors > 1 else (1, 5 if slow else 1)
        assert 3 * least <= len(asked) <= 3 * most, len(asked)
        assert max(len(ids) for ids in asked) <= 32
        assert len({id for ids in asked for id in ids}) == actors
        assert all(session.checks >= 3 for session in sessions)
        for session in sessions:
            checks.remove(session)


async def test_connections_of_one_actor_are_asked_for_once() -> None:
    async with ActorServer({"sleeper": Sleeper}) as server, server.client() as client:
        asked = await count_requests(server, client)
        handle = client.sleeper.get_or_create("k")
        async with handle.connect() as one, handle.connect() as two:
            await anyio.sleep(3)
            assert one.actor_id == two.actor_id and asked == [[one.actor_id]]
        server._host.unnoticed -= 1


async def test_a_call_that_waits_is_looked_into_soon() -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        asked = await count_requests(server, client)
        async with client.ticker.get_or_create("k").connect() as conn:
            await anyio.sleep(11)
            assert len(asked) == 1
            for _ in range(50):
                await conn.ping()
            await anyio.sleep(2.4)
            assert len(asked) == 1, "answered calls ask for nothing"
            with anyio.move_on_after(4.9):
                await conn.slow(20.0)
            assert len(asked) == 1
            with anyio.move_on_after(7.6):
                await conn.slow(20.0)
            assert len(asked) == 2
        server._host.unnoticed -= 1


async def test_a_call_behind_a_subscription_is_looked_into_as_soon() -> None:
    """It is not the only one in flight when it leaves."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        asked = await count_requests(server, client)
        async with (
            client.ticker.get_or_create("k").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            await anyio.sleep(11)
            assert len(asked) == 1
            with server.network.to_server.hold():
                stream = conn.events("tick")
                tasks.start_soon(stream.subscribed)
                await anyio.sleep(0.1)
                tasks.start_soon(conn.slow, 20.0)
                await anyio.sleep(0.1)
            await anyio.sleep(7.6)
            assert len(asked) == 2
            tasks.cancel_scope.cancel()
            stream.close()
        server._host.unnoticed -= 1


@pytest.mark.parametrize(
    ("version", "given"),
    [
        ("2.3", {"actor_check_interval": None}),
        ("2.2", {}),
        ("2.2", {"metadata_lookup": False}),
        ("2.0", {"metadata_lookup": False}),
    ],
)
async def test_who_asks_for_nothing(version: str, given: Any) -> None:
    """A server that may have no engine may be asked, and that changes nothing."""
    async with (
        ActorServer({"ticker": Sleeper}, version=version) as server,
        server.client(**given) as client,
    ):
        asked = await count_requests(server, client)
        async with client.ticker.get_or_create("k").connect() as conn:
            await conn.ping()
            await anyio.sleep(5 * INTERVAL)
            assert conn.status is Status.CONNECTED
            if "metadata_lookup" not in given:
                assert not asked
        server._host.unnoticed -= 1


@pytest.mark.parametrize(
    "error", [ActorError("auth", "forbidden"), ConnectionLostError("lost"), ValueError("?")]
)
async def test_checks_that_fail(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """They end nothing, are logged once each time, and find the death once they succeed again."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        checks = client._core.checks
        ask, count = checks._ask_for, 0

        async def fail(ids: list[str]) -> Iterable[ActorInfo]:
            nonlocal count
            count += 1
            raise error

        async with (
            client.ticker.get_or_create("k").connect() as conn,
            conn.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            await anyio.sleep(4)
            for times in (1, 2):
                checks._ask_for = fail
                with caplog.at_level(logging.INFO):
                    await anyio.sleep(5 * INTERVAL)
                assert count >= 4 * times and conn.status is Status.CONNECTED
                told = [each for each in caplog.records if "cannot be checked" in each.message]
                assert len(told) == times
                if times == 1:
                    checks._ask_for = ask
                    await anyio.sleep(2 * INTERVAL)
            await server.kill_host(silent_for=1.0)
            await anyio.sleep(LONGEST)
            assert conn.status is Status.CONNECTED and not listener.gaps
            checks._ask_for = ask
            await anyio.sleep(LONGEST)
            tasks.cancel_scope.cancel()
        listener.check()
        assert len(listener.gaps) == 1


async def test_a_check_that_hangs_holds_up_nobody() -> None:
    """It ends with the connection that leads, and the next one asks anew."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        checks = client._core.checks
        ask, under_way, ended = checks._ask_for, 0, 0

        async def hang(ids: list[str]) -> Iterable[ActorInfo]:
            nonlocal under_way, ended
            under_way += 1
            assert under_way == 1, "one request at a time"
            try:
                await anyio.sleep_forever()
            finally:
                under_way -= 1
                ended += 1
            raise AssertionError

        handle = client.ticker.get_or_create("k")
        checks._ask_for = hang
        async with (
            handle.connect() as staying,
            staying.events("tick", gaps="mark") as stream,
            anyio.create_task_group() as tasks,
        ):
            listener = Listener(stream)
            tasks.start_soon(listener.listen)
            for way_out in ("leaves", "is cancelled", "is lost"):
                with anyio.CancelScope() as scope:
                    async with handle.connect() as conn:
                        checks._lead_by(checks_of(client, conn))
                        await anyio.sleep(4)
                        assert under_way == 1
                        if way_out == "is cancelled":
                            scope.cancel()
                        if way_out == "is lost":
                            server.drop_connections()
                            await anyio.sleep(1)
                        before = anyio.current_time()
                assert anyio.current_time() - before < 1
                await anyio.sleep(4)
                assert under_way == 1, "the next one leads"
            checks._ask_for = ask
            await server.kill_host(silent_for=1.0)
            server.drop_connections()
            await anyio.sleep(2 * LONGEST)
            tasks.cancel_scope.cancel()
        assert under_way == 0 and ended >= 3
        listener.check()


def checks_of(client: Client, conn: Connection) -> Any:
    """The newest session leads, and no other."""
    checks = client._core.checks
    if checks._scope is not None:
        checks._scope.cancel()
    assert conn._link._checked in checks._asked
    return conn._link._checked


async def test_the_task_that_checks_is_cancelled_by_somebody() -> None:
    """Whoever cancels it from outside, somebody leads."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        handle = client.ticker.get_or_create("k")
        checks = client._core.checks
        async with handle.connect(), handle.connect():
            for _ in range(3):
                leader, scope = checks._leader, checks._scope
                assert leader is not None and scope is not None
                scope.cancel()
                await anyio.sleep(0.1)
                assert checks._leader is not None and checks._leader is not leader
                assert checks._scope is not scope
        assert checks._leader is None and not checks._asked


@pytest.mark.parametrize("others", [0, 1])
async def test_a_cancelled_block_cleans_up_for_long(others: int) -> None:
    """No task can run in its background any more: another connection's block leads, or none."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        asked = await count_requests(server, client)
        handle = client.ticker.get_or_create("k")
        checks = client._core.checks
        leads: list[object] = []
        lead_by = checks._lead_by

        def counted(session: Any) -> None:
            leads.append(session)
            assert len(leads) < 10, "one after the other, without end"
            lead_by(session)

        checks._lead_by = counted  # type: ignore[method-assign]
        async with AsyncExitStack() as stack:
            for _ in range(others):
                await stack.enter_async_context(handle.connect())
            with anyio.CancelScope() as scope:
                async with handle.connect() as one, handle.connect() as two:
                    scope.cancel()
                    with anyio.CancelScope(shield=True):
                        assert await one.ping() == await two.ping() == "pong"
                        await anyio.sleep(2 * INTERVAL)
            assert (checks._leader is not None) == bool(others)
        assert bool(asked) == bool(others) and not checks._asked
        server._host.unnoticed -= 1


def calls_of_slow(server: ActorServer) -> list[ActionCalled]:
    return server.log.of(ActionCalled, where=lambda called: called.action == "slow")


async def seconds_of(act: Callable[..., Awaitable[Any]], *args: Any) -> float:
    began = anyio.current_time()
    await act(*args, retry_for=120.0)
    return anyio.current_time() - began


@pytest.mark.parametrize("after", [0.5, 4.0])
@pytest.mark.parametrize("known", ["key", "id"])
async def test_a_call_that_may_run_again_does_not_wait_for_the_gateway(
    after: float, known: str
) -> None:
    """The gateway keeps the request for 19 s, and the actor is up again long before."""
    async with (
        ActorServer({"ticker": Ticker}) as server,
        server.client(retry=Retry(initial=0.1, maximum=0.1)) as client,
    ):
        handle = client.ticker.get_or_create("k")
        if known == "id":
            handle = client.ticker.get_for_id(await handle.resolve())
        await handle.ping()
        took: list[float] = []

        async def measure() -> None:
            took.append(await seconds_of(handle.action, "slow", 30.0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(measure)
            await anyio.sleep(after)
            await server.kill_host()
            await anyio.sleep(5.9)
            assert len(calls_of_slow(server)) == 1, "the engine does not know yet"
        # Known after six seconds, seen by one of the next checks, and called again.
        assert took[0] < after + 6.0 + 9.0 + 30.0
        assert len(calls_of_slow(server)) == 2


async def test_a_call_that_wakes_a_dead_actor_is_given_up_only_if_it_stays_dead() -> None:
    starting = ActorInfo("a", "ticker", ("k",))
    dead = msgspec.structs.replace(starting, error={"envoy_connection_lost": {}})
    running = [
        msgspec.structs.replace(
            starting, connectable_since=dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        )
        for day in (1, 2)
    ]
    for records, is_given_up in (
        ([dead], False),
        ([dead, starting, running[0], running[0]], False),
        ([dead, dead], True),
        ([running[0], starting, running[0]], False),
        ([running[0], starting, running[1]], True),
        ([running[0], dead], True),
    ):
        async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
            request = _CheckedRequest(client._core, "a")

            async def see(request: _CheckedRequest, records: list[ActorInfo]) -> str:
                for record in records:
                    request.checked(record, 0.0)
                await anyio.sleep(0.1)
                return "answered"

            if is_given_up:
                with pytest.raises(ConnectionLostError, match="the host of actor a has died"):
                    await request.run(partial(see, request, records))
            else:
                assert await request.run(partial(see, request, records)) == "answered"


async def test_five_hundred_calls_whose_host_dies() -> None:
    """Of fifty actors; a few requests find out for all of them."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        began, asked = anyio.current_time(), await count_requests(server, client)
        first, second = (
            [
                ActorInfo(str(id), "ticker", (), connectable_since=dt.datetime(2026, 1, day))
                for id in range(50)
            ]
            for day in (1, 2)
        )
        took: list[float] = []

        async def find(ids: list[str]) -> list[ActorInfo]:
            asked.append(ids)
            found = first if anyio.current_time() < began + 10 else second
            return [info for info in found if info.actor_id in ids]

        async def call(id: str) -> None:
            with pytest.raises(ConnectionLostError, match=f"the host of actor {id} has died"):
                await _CheckedRequest(client._core, id).run(anyio.sleep_forever)
            took.append(anyio.current_time() - began)

        client._core.checks._ask_for = find
        async with anyio.create_task_group() as tasks:
            for number in range(500):
                tasks.start_soon(call, str(number % 50))
        assert min(took) > 10 and max(took) < 10 + 3 * INTERVAL / 5 + 5
        assert len(asked) <= 6 and all(len(set(ids)) == len(ids) <= 32 for ids in asked)
        assert not client._core.checks._asked and client._core.checks._leader is None
        server._host.unnoticed -= 1


@pytest.mark.parametrize("seconds", [4.0, 10.0])
async def test_calls_that_come_and_go_do_not_put_off_the_checks(seconds: float) -> None:
    """Whoever asks for all of them ends again and again."""
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        server._host.unnoticed += 1
        times: list[float] = []

        async def find(ids: list[str]) -> list[ActorInfo]:
            times.append(anyio.current_time())
            await anyio.sleep(0.01)
            return []

        async def call(id: str) -> None:
            await _CheckedRequest(client._core, id).run(partial(anyio.sleep, seconds))

        client._core.checks._ask_for = find
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(call, str(number % 32))
                await anyio.sleep(0.2)
            tasks.cancel_scope.cancel()
        assert max(later - one for one, later in pairwise(times)) < 3
        assert 5 <= len(times) <= 8
        server._host.unnoticed -= 1


@pytest.mark.parametrize("interval", [30.0, None])
async def test_a_slow_call_is_not_given_up(interval: float | None) -> None:
    """Neither when nothing happens, nor because its actor slept before."""
    async with (
        ActorServer({"sleeper": Sleeper, "ticker": Ticker}) as server,
        server.client(actor_check_interval=interval) as client,
    ):
        handle = client.sleeper.get_or_create("k")
        await handle.ping()
        await handle.rest()
        await anyio.sleep(100)
        assert await seconds_of(handle.action, "nap") == pytest.approx(50, abs=1)
        assert len(server.log.of(ActionCalled, where=lambda call: call.action == "nap")) == 1
        assert not client._core.checks._asked and client._core.checks._leader is None


async def test_quick_calls_cost_no_check() -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        asked = await count_requests(server, client)
        handle = client.ticker.get_or_create("k")
        async with handle.connect():
            for _ in range(40):
                assert await handle.action("slow", 2.4, retry_for=60.0) == 2.4
        assert len(asked) <= 4, "as many as the connection costs"


async def test_slow_calls_cost_few_checks() -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        asked = await count_requests(server, client)
        handle = client.ticker.get_or_create("k")
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(seconds_of, handle.action, "slow", 50.0)
        assert 0 < len(asked) <= 10
        assert not client._core.checks._asked and client._core.checks._leader is None


async def test_servers_without_a_gateway_are_not_asked() -> None:
    async with (
        ActorServer({"ticker": Ticker}, version="2.2") as server,
        server.client() as client,
    ):
        asked = await count_requests(server, client)
        await seconds_of(client.ticker.get_or_create("k").action, "slow", 50.0)
        assert not asked


async def test_a_request_that_has_ended_is_not_checked_any_more() -> None:
    async with ActorServer({"ticker": Ticker}) as server, server.client() as client:
        request = _CheckedRequest(client._core, "a")
        await request.run(partial(anyio.sleep, 1))
        assert not client._core.checks._asked and client._core.checks._leader is None


async def test_without_checks_a_call_waits_for_the_gateway() -> None:
    async with (
        ActorServer({"ticker": Ticker}) as server,
        server.client(actor_check_interval=None, retry=Retry(initial=0.1, maximum=0.1)) as client,
        anyio.create_task_group() as tasks,
    ):
        handle = client.ticker.get_or_create("k")
        await handle.ping()
        tasks.start_soon(seconds_of, handle.action, "slow", 5.0)
        await anyio.sleep(1)
        await server.kill_host()
        await anyio.sleep(17.5)
        assert len(calls_of_slow(server)) == 1
        await anyio.sleep(2)
        assert len(calls_of_slow(server)) == 2


async def test_the_record_says_what_becomes_of_an_actor() -> None:
    async with ActorServer({"sleeper": Sleeper}) as server, server.client() as client:
        handle = client.sleeper.get_or_create("k")
        management, id = Management(client), await handle.resolve()

        async def look() -> list[bool]:
            info = await management.get(id)
            assert info is not None
            found = (info.connectable_since, info.sleeping_since, info.error)
            return [value is not None for value in found]

        assert await look() == [False, False, False]
        await handle.ping()
        first = await management.get(id)
        assert await look() == [True, False, False]
        await server.kill_host()
        await anyio.sleep(5.9)
        assert await look() == [True, False, False], "the engine does not know"
        await anyio.sleep(0.2)
        assert await look() == [False, True, True]
        await handle.ping()
        assert await look() == [True, False, False]
        second = await management.get(id)
        assert first and second and first.connectable_since != second.connectable_since

        async def down() -> None:
            await server.kill_host(downtime=60.0)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(down)
            await anyio.sleep(7)
            with pytest.raises(ActorError, match='failed to start: "no_envoys"'):
                await handle.ping()
            tasks.cancel_scope.cancel()


async def test_an_actor_that_was_forgotten_never_starts_again() -> None:
    """A call that waits for its start, at a gateway that has been restarted with no actors."""
    made: list[Ticker] = []

    class Once(Ticker):
        async def run(self) -> None:
            made.append(self)
            await super().run()

    async with (
        ActorServer({"ticker": Once}) as server,
        server.client(retry=Retry(initial=0.1, maximum=0.1)) as client,
        client.ticker.get_or_create("k").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        assert await conn.action("ping") == "pong"
        await server.kill_host()
        tasks.start_soon(call, conn, 1.0)
        await anyio.sleep(1)
        await server.restart(keep_actors=False)
        await anyio.sleep(10)
        assert len(made) == 2 and made[1] is server.actor("ticker", "k")
        tasks.cancel_scope.cancel()


async def test_only_a_gateway_outlives_the_host() -> None:
    async with ActorServer({"ticker": Ticker}, version="2.2") as server:
        with pytest.raises(RuntimeError, match=r"restart\(\)"):
            await server.kill_host()
    with pytest.raises(ConfigError):
        Client(actor_check_interval=0)
