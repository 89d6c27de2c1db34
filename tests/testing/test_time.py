"""Virtual time, on both backends."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import trio

from rivet_anyio import ActorError, Gap, Retry, Status
from rivet_anyio._websocket.keepalive import Due, Keepalive
from rivet_anyio.testing import (
    Actor,
    ActorServer,
    Connected,
    DeadlockError,
    Disconnected,
    VirtualTimeLoop,
    _idle,
    _internals,
    _time,
    run_virtual,
    virtual_backend,
)
from rivet_anyio.testing._idle import next_moment

from .actors import ACTORS

BACKENDS = ["asyncio", "trio"]
REAL_SECONDS = 100
"""Far less than what passes in virtual time, far more than a slow machine needs."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def takes_no_time() -> Any:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < REAL_SECONDS


def test_sleeping_takes_no_time(backend: str) -> None:
    async def main(seconds: float) -> float:
        began = anyio.current_time()
        assert began == 0
        await anyio.sleep(seconds)
        return anyio.current_time() - began

    assert run_virtual(main, 7 * 24 * 3600, backend=backend) == 7 * 24 * 3600


def test_order_of_deadlines(backend: str) -> None:
    order: list[float] = []

    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)
        order.append(anyio.current_time())

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for seconds in (30, 10, 20.5, 10.25):
                tasks.start_soon(wait, seconds)
        with pytest.raises(TimeoutError):
            with anyio.fail_after(5):
                await anyio.sleep(5.5)
        order.append(anyio.current_time())

    run_virtual(main, backend=backend)
    assert order == [10, 10.25, 20.5, 30, 35]


def test_a_deadline_that_is_no_more_hides_no_other(backend: str) -> None:
    passed: list[float] = []
    scopes: list[anyio.CancelScope] = []

    async def wait(seconds: float) -> None:
        with anyio.CancelScope(deadline=seconds) as scope:
            scopes.append(scope)
            await anyio.sleep_forever()
        passed.append(anyio.current_time())

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            # In a heap, 9 stands behind 1, and before 5.
            for seconds in (1, 9, 5):
                tasks.start_soon(wait, seconds)
                await anyio.wait_all_tasks_blocked()
            scopes[0].deadline = math.inf
            await anyio.sleep(20)
            scopes[0].cancel()

    run_virtual(main, backend=backend)
    assert passed == [5, 9, 20]


def test_only_what_is_due_next_is_looked_at() -> None:
    """With many deadlines, a program would take the square of the time."""

    def timers() -> Iterator[tuple[float, Any]]:
        yield from [(3.0, None), (3.0, None), (3.5, None)]
        pytest.fail("the others were looked at")

    assert next_moment(timers()) == 3.0
    assert next_moment(iter(())) is None
    assert next_moment(iter([(math.inf, None)])) is None


@pytest.mark.parametrize("latency", [0.0, (0.01, 0.5)])
def test_connections_that_rest_are_not_looked_at_again_and_again(
    backend: str, latency: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = 0

    def resting(coroutine: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return is_resting(coroutine)

    is_resting = _idle._resting
    monkeypatch.setattr(_idle, "_resting", resting)

    async def main(count: int) -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:
            server.network.latency = latency

            async def stay(number: int) -> None:
                async with client.probe.get_or_create().connect() as conn:
                    for _ in range(3):
                        await anyio.sleep(30 + 10 * number / count)
                        await conn.echo(number)

            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(stay, number)

    def cost(count: int) -> int:
        nonlocal looked_at
        looked_at = 0
        run_virtual(main, count, backend=backend)
        return looked_at

    assert cost(100) < 6 * cost(25)


def test_a_ping_that_is_due_when_something_else_is(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order the event loop has them: no ping is sent."""
    found: list[float | Due] = []

    def check(keepalive: Keepalive, now: float, **when: Any) -> float | Due:
        found.append(original(keepalive, now, **when))
        return found[-1]

    original = Keepalive.check
    monkeypatch.setattr(Keepalive, "check", check)

    async def main() -> None:
        async with (
            ActorServer(ACTORS) as server,
            server.client(ping_interval=10) as client,
            client.probe.get_or_create().connect() as conn,
        ):
            await conn.echo(1)
            for _ in range(5):
                await anyio.sleep(10)

    run_virtual(main, backend=backend)
    assert found and Due.PING not in found


def test_an_hour_of_reconnecting(backend: str) -> None:
    async def main() -> None:
        retry = Retry(random=lambda: 1.0)
        async with ActorServer(ACTORS) as server, server.client(retry=retry) as client:
            handle = client.counter.get_or_create()
            async with handle.connect() as conn:
                counts = conn.events("newCount", gaps="mark")
                await conn.increment()
                assert await counts.receive() == 1
                changes = conn.status_changes()
                with server.network.outage():
                    await anyio.sleep(3600)
                await conn.wait_connected()
                assert await conn.increment() == 2
                gap = await counts.receive()
                assert isinstance(gap, Gap)
                assert 3600 < gap.until - gap.since <= 3630 and gap.attempts > 100
                assert await counts.receive() == 2
                assert (await changes.receive()).status is Status.CONNECTED
            assert len(server.log.of(Connected)) == 2

    run_virtual(main, backend=backend)


def test_ten_failed_reconnects_at_once(backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:

            async def stay(n: int) -> None:
                async with client.probe.get_or_create(str(n)).connect() as conn:
                    assert await conn.echo(n) == n
                    there.append(n)
                    if len(there) == 10:
                        all_there.set()
                    await gone.wait()
                    await conn.wait_connected()
                    assert await conn.echo(n) == n

            there: list[int] = []
            all_there, gone = anyio.Event(), anyio.Event()
            async with anyio.create_task_group() as tasks:
                for n in range(10):
                    tasks.start_soon(stay, n)
                await all_there.wait()
                server.network.refuse(100)
                assert server.drop_connections() == 10
                await server.wait_for(Connected, count=20, within=3600)
                gone.set()
            assert server.connections == ()

    run_virtual(main, backend=backend)


def test_keepalive_notices_silence(backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                changes = conn.status_changes()
                await changes.receive()
                began = anyio.current_time()
                with server.network.stalled():
                    change = await changes.receive()
                assert change.status is Status.DISCONNECTED
                assert 35 < anyio.current_time() - began < 45
                await conn.wait_connected()
                assert await conn.echo("back") == "back"

    run_virtual(main, backend=backend)


@pytest.mark.parametrize("rest", [0, 1000])
def test_silence_is_noticed_as_soon_after_a_rest(backend: str, rest: float) -> None:
    """As if all pings of the rest had been sent, and none of after."""

    async def main() -> None:
        async with (
            ActorServer(ACTORS) as server,
            server.client(ping_interval=20, ping_timeout=10) as client,
            client.probe.get_or_create().connect() as conn,
        ):
            changes = conn.status_changes()
            await changes.receive()
            await anyio.sleep(rest)
            with server.network.stalled():
                assert (await changes.receive()).status is Status.DISCONNECTED
            assert anyio.current_time() == rest + 30
            await conn.wait_connected()

    run_virtual(main, backend=backend)


def test_silence_of_one_server_of_two(backend: str) -> None:
    """The other would answer pings."""

    async def main() -> None:
        async with (
            ActorServer(ACTORS),
            ActorServer(ACTORS) as server,
            ActorServer(ACTORS),
            server.client() as client,
            client.probe.get_or_create().connect() as conn,
        ):
            changes = conn.status_changes()
            await changes.receive()
            with server.network.stalled():
                assert (await changes.receive()).status is Status.DISCONNECTED
            await conn.wait_connected()

    run_virtual(main, backend=backend)


def test_an_idle_hour(backend: str) -> None:
    """Pings are answered."""

    async def main() -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await anyio.sleep(3600)
                assert await conn.echo("still the same") == "still the same"
                assert len(server.log.of(Connected)) == 1

    run_virtual(main, backend=backend)


def test_what_waits_for_ever_is_told(backend: str) -> None:
    ended: list[str] = []

    async def main() -> None:
        try:
            await anyio.Event().wait()
        finally:
            ended.append("finally")

    with pytest.raises(DeadlockError, match="for ever"):
        run_virtual(main, backend=backend)
    assert ended == ["finally"]

    with pytest.raises(DeadlockError):
        run_virtual(anyio.sleep_forever, backend=backend)

    async def without_keepalive() -> None:
        async with ActorServer(ACTORS) as server, server.client(ping_interval=None) as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await conn.next_event("never")

    with pytest.raises(DeadlockError):
        run_virtual(without_keepalive, backend=backend)


def waits_for_what_never_comes(version: str) -> Any:
    async def main() -> None:
        async with (
            ActorServer(ACTORS, version=version) as server,
            server.client() as client,
            client.probe.get_or_create().connect() as conn,
        ):
            await conn.next_event("never")  # here

    return main


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
def test_keepalive_is_no_progress(backend: str, version: str) -> None:
    with pytest.raises(DeadlockError) as caught:
        run_virtual(waits_for_what_never_comes(version), backend=backend)
    said = str(caught.value)
    assert f"the program in waits_for_what_never_comes.<locals>.main ({__file__}:" in said
    assert 'await conn.next_event("never")  # here' in said
    assert "tasks of the client, the server and the event loop" in said


def test_a_deadlock_in_a_loop_of_ones_own() -> None:
    """It is raised where the program waits, as pytest-asyncio runs it, and the loop goes on."""
    caught: list[str] = []

    async def main() -> str:
        try:
            await asyncio.Event().wait()
        except DeadlockError as error:
            caught.append(str(error))
        await asyncio.sleep(1)
        return "done"

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main()) == "done"
        assert "main" in caught[0]
        assert runner.run(asyncio.sleep(1, "again")) == "again"


def test_deadlocks_that_a_program_survives(backend: str) -> None:
    """Each is the first one since something happened: only the program hears of it."""
    told: list[str] = []

    async def rest() -> None:
        try:
            await anyio.Event().wait()
        except DeadlockError:
            told.append("another task")
            raise

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rest)
            for _ in range(10):
                try:
                    await anyio.Event().wait()
                except DeadlockError:
                    told.append("the program")
                await anyio.sleep(1)
            tasks.cancel_scope.cancel()

    _, options = virtual_backend(backend)
    if backend == "trio":
        trio.run(main, **options)
    else:
        with asyncio.Runner(**options) as runner:
            runner.run(main())
    assert told == ["the program"] * 10


class HidesTimers:
    """A loop of a Python that keeps its deadlines elsewhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.time = loop.time


def test_a_sleep_for_ever_where_deadlines_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is known by what the loop is told alone, which waits no longer than a day."""

    def hidden(loop: Any, timeout: float | None) -> Any:
        return original(HidesTimers(loop), timeout)  # type: ignore[arg-type]

    original = _internals.asyncio_timers
    monkeypatch.setattr(_time, "asyncio_timers", hidden)
    monkeypatch.setattr(_internals, "warn_once", lambda *what: None)
    assert run_virtual(asyncio.sleep, 10**6, "done", limit=10**7) == "done"
    with pytest.raises(DeadlockError):
        run_virtual(asyncio.sleep, math.inf, limit=10**7)


def test_every_task_is_named(backend: str) -> None:
    class Stuck(Actor):
        async def wait(self) -> None:
            await self._forever()

        async def run(self) -> None:
            await anyio.Event().wait()  # in run

        async def _forever(self) -> None:
            await anyio.Event().wait()  # in an action

    async def main() -> None:
        async def other() -> None:
            async for _ in conn.events("never"):  # in the other task
                pass

        async with ActorServer({"stuck": Stuck}) as server, server.client() as client:
            stuck = client.stuck.get_or_create()
            async with stuck.connect() as conn, anyio.create_task_group() as tasks:
                tasks.start_soon(other)
                # The caller is told after a minute, but the action never ends, as the rest.
                with pytest.raises(ActorError):
                    await conn.wait()

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main, backend=backend)
    said = str(caught.value)
    places = ("# in run", "# in an action", "# in the other task", "async with stuck.connect()")
    for where in places:
        assert where in said


def test_a_deadlock_in_the_clean_up(backend: str) -> None:
    reached: list[str] = []

    async def main() -> None:
        try:
            await anyio.Event().wait()
        finally:
            reached.append("clean-up")
            with anyio.CancelScope(shield=True):
                await anyio.Event().wait()

    with pytest.raises(DeadlockError):
        run_virtual(main, backend=backend)
    assert reached == ["clean-up"]


def test_a_deadlock_whose_clean_up_fails(backend: str) -> None:
    async def main() -> None:
        try:
            await anyio.Event().wait()
        finally:
            raise ZeroDivisionError

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main, backend=backend)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_stall_is_no_deadlock(backend: str) -> None:
    """Keepalive notices it, and the connection comes back."""

    async def main() -> int:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await conn.echo(1)
                await anyio.sleep(1000)
                with server.network.stalled():
                    await conn.status_changes().receive()
                    await server.wait_for(Disconnected, within=100)
                await conn.wait_connected()
                return len(server.log.of(Connected))

    assert run_virtual(main, backend=backend) == 2


def test_a_slow_network_is_pinged(backend: str) -> None:
    """Its answers come too late."""

    async def main() -> None:
        async with (
            ActorServer(ACTORS, leaks=False) as server,
            server.client(ping_interval=10, ping_timeout=5) as client,
        ):
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await conn.echo(1)
                server.network.latency = 20
                changes = conn.status_changes()
                await changes.receive()
                began = anyio.current_time()
                assert (await changes.receive()).status is Status.DISCONNECTED
                assert anyio.current_time() - began <= 15
                server.network.latency = 0

    run_virtual(main, backend=backend)


def test_the_limit(backend: str) -> None:
    async def main(seconds: float) -> str:
        await anyio.sleep(seconds)  # for too long
        return "done"

    assert run_virtual(main, 50, backend=backend, limit=50.5) == "done"
    with pytest.raises(TimeoutError, match="not at an end after 50 s") as caught:
        run_virtual(main, 51, backend=backend, limit=50)
    assert "# for too long" in str(caught.value)

    async def retry_for_ever() -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                with server.network.outage():
                    await conn.next_event("never")

    with pytest.raises(TimeoutError, match="next_event"):
        run_virtual(retry_for_ever, backend=backend, limit=3600)
    with pytest.raises(DeadlockError):
        run_virtual(waits_for_what_never_comes("2.3"), backend=backend, limit=3600)


def test_fifty_idle_connections(backend: str) -> None:
    """Weeks of them take no longer than hours: no ping is sent."""

    async def main() -> None:
        async with (
            ActorServer(ACTORS) as server,
            server.client() as client,
            anyio.create_task_group() as tasks,
        ):

            async def stay(n: int) -> None:
                async with client.probe.get_or_create(str(n)).connect() as conn:
                    await anyio.sleep(7 * 24 * 3600)
                    assert await conn.echo(n) == n

            for n in range(50):
                tasks.start_soon(stay, n)
            await anyio.sleep(3600)
            assert len(server.connections) == 50
            steps.append(len(server.log))

    steps: list[int] = []
    run_virtual(main, backend=backend)
    assert steps == [100]


def test_a_deadline_is_no_deadlock(backend: str) -> None:
    async def main() -> float:
        with anyio.move_on_after(1000):
            await anyio.Event().wait()
        return anyio.current_time()

    assert run_virtual(main, backend=backend) == 1000


def test_waiting_until_all_wait_is_no_deadlock(backend: str) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.Event().wait)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    run_virtual(main, backend=backend)


def test_results_and_errors_come_out(backend: str) -> None:
    async def main(result: object) -> object:
        await anyio.sleep(1)
        if isinstance(result, Exception):
            raise result
        return result

    assert run_virtual(main, 5, backend=backend) == 5
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError) as caught:
        run_virtual(main, error, backend=backend)
    assert caught.value is error
    with pytest.raises(ValueError, match="backend is"):
        run_virtual(main, 5, backend="curio")
    with pytest.raises(ValueError, match="backend is"):
        virtual_backend("uvloop")


def test_the_same_run_twice_takes_the_same_time(backend: str) -> None:
    async def main() -> list[float]:
        retry = Retry(random=lambda: 0.5)
        async with ActorServer(ACTORS) as server, server.client(retry=retry) as client:
            server.network.latency = 0.125
            probe = client.probe.get_or_create()
            async with probe.connect() as conn:
                await conn.slow(1500, None)
                server.drop_connections()
                await server.wait_for(Connected, count=2)
                await conn.echo("back")
            return [record.at for record in server.log]

    first = run_virtual(main, backend=backend)
    assert first == run_virtual(main, backend=backend)
    assert first[0] == 0.125, "after the answer to /metadata"


def test_ports_need_real_time(backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS) as server:
            with pytest.raises(RuntimeError, match=r"a port has to be waited for in real time"):
                async with server.listen():
                    pass

    run_virtual(main, backend=backend)


def test_the_asyncio_loop_refuses_what_it_cannot_do() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        with pytest.raises(RuntimeError, match="a thread has to be waited for"):
            await asyncio.to_thread(time.sleep, 0)
        with pytest.raises(RuntimeError, match="a socket"):
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", 9)
        with pytest.raises(RuntimeError, match="a socket"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        with socket.socket() as plain, pytest.raises(RuntimeError, match="a socket"):
            plain.setblocking(False)
            await loop.sock_connect(plain, ("127.0.0.1", 9))

    run_virtual(main, backend="asyncio")


def test_actors_time_out_in_virtual_time(backend: str) -> None:
    class Slow(Actor):
        async def forever(self) -> None:
            await anyio.sleep_forever()

    async def main() -> None:
        for version, said in (("2.0", "action.timed_out"), ("2.3", "actor.action_timed_out")):
            server = ActorServer({"slow": Slow}, version=version)
            async with server, server.client() as client:
                began = anyio.current_time()
                with pytest.raises(ActorError, match=said):
                    await client.slow.get_or_create().forever()
                assert anyio.current_time() - began == 60

    run_virtual(main, backend=backend)
