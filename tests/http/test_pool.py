"""The pool of sockets: every order of events by a Hypothesis machine, then both event loops.

The machine runs callers by hand, so that one can be cancelled at any point: in the queue, during
its dial, and between being served and running. It keeps its own account of who uses what.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rivet_anyio._errors import ClosedError, ConnectError
from rivet_anyio._http import pool as pool_module
from rivet_anyio._http.pool import Origin, Pool, Pooled
from rivet_anyio._io.backend import Waiter, current_backend
from rivet_anyio.testing import run_virtual

HERE = Origin("http", "127.0.0.1", 80)
THERE = Origin("https", "::1", 443)
IDLE_SECONDS = 3.0
INDEX = st.integers(0, 30)


def waiter() -> Waiter:
    return current_backend().waiter()


class Cancelled(BaseException):
    pass


class ScopeCancelled(BaseException):
    def __init__(self, scope: FakeScope) -> None:
        self.scope = scope


class NoDescriptor(ConnectError):
    out_of_descriptors = True


@dataclass(eq=False)
class FakeStream:
    """A socket that knows whether it may be used."""

    origin: Origin
    losses: int
    quiet: bool = True
    dropped: bool = False
    usable_until: float = math.inf
    writes_now: bool = True

    def drop(self) -> None:
        self.dropped = True

    def is_quiet(self) -> bool:
        return self.quiet and not self.dropped


class FakeSignal:
    def __init__(self) -> None:
        self._is_set = False
        self.waiting: Task | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        assert not self._is_set, "served twice"
        self._is_set = True

    def wait(self) -> Suspend:
        return Suspend(self)


class FakeScope:
    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def __enter__(self) -> FakeScope:
        return self

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> bool:
        return isinstance(exc, ScopeCancelled) and exc.scope is self


@dataclass(eq=False)
class FakeDial:
    origin: Origin
    scope: FakeScope
    losses: int
    outcome: FakeStream | Exception | None = None
    is_late: bool = False  # it connects although it was cancelled

    def is_set(self) -> bool:
        return self.outcome is not None or self.scope.is_cancelled


class Suspend:
    def __init__(self, on: FakeSignal | FakeDial) -> None:
        self._on = on

    def __await__(self) -> Generator[FakeSignal | FakeDial, None, None]:
        yield self._on


@dataclass(eq=False)
class Task:
    """A caller of `acquire`, run by hand."""

    number: int
    origin: Origin
    fresh: bool
    waits: bool
    run: Coroutine[FakeSignal | FakeDial, None, Pooled] = field(repr=False)
    on: FakeSignal | FakeDial | None = None
    pooled: Pooled | None = None
    error: BaseException | None = None
    is_ended: bool = False

    @property
    def kind(self) -> tuple[Origin, bool, bool]:
        return self.origin, self.fresh, self.waits

    @property
    def is_queued(self) -> bool:
        return isinstance(self.on, FakeSignal) and not self.on.is_set()

    @property
    def is_served(self) -> bool:
        return isinstance(self.on, FakeSignal) and self.on.is_set()

    def step(self, exc: BaseException | None = None) -> None:
        self.on = None
        try:
            self.on = self.run.send(None) if exc is None else self.run.throw(exc)
        except StopIteration as end:
            self.is_ended, self.pooled = True, end.value
        except (Cancelled, ConnectError, ClosedError) as error:
            self.is_ended, self.error = True, error


class PoolMachine(RuleBasedStateMachine):
    """Callers, dials, servers and the clock, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = contextlib.ExitStack()
        self._patches.enter_context(patch.object(pool_module, "move_on_after", self._scope))
        self.now = self.served_at = 100.0
        self.tasks: list[Task] = []
        self.numbers = 0
        self.users: dict[FakeStream, Task] = {}
        self.released: list[Pooled] = []
        self.detached: list[Pooled] = []
        self.streams: list[FakeStream] = []
        self.losses = {HERE: 0, THERE: 0}
        self.is_closed = False
        self.was_exceeded = False  # by callers that may
        self.last_scope = FakeScope()
        self.dial_order: list[int] = []

    @initialize(max_sockets=st.integers(1, 5), max_dials=st.integers(1, 5))
    def start(self, max_sockets: int, max_dials: int) -> None:
        self.max_sockets, self.max_dials = max_sockets, max_dials
        self.pool = Pool(
            self._dial,  # type: ignore[arg-type]
            lambda: self.now,
            FakeSignal,  # type: ignore[arg-type]
            max_sockets=max_sockets,
            max_dials=max_dials,
            idle_seconds=IDLE_SECONDS,
        )
        serve = self.pool._serve

        def noting() -> None:
            self.served_at = self.now
            serve()

        self.pool._serve = noting  # type: ignore[method-assign]
        pop_idle = self.pool._pop_idle

        def popping(origin: Origin, now: float, **options: bool) -> Pooled | None:
            pooled = pop_idle(origin, now, **options)
            if pooled is not None:
                assert isinstance(pooled.stream, FakeStream)
                assert self.now < pooled.stream.usable_until, "its server may have closed it"
            return pooled

        self.pool._pop_idle = popping  # type: ignore[method-assign]

    def _scope(self, _: float) -> FakeScope:
        self.last_scope = FakeScope()
        return self.last_scope

    async def _dial(self, origin: Origin) -> FakeStream:
        assert not self.is_closed
        dial = FakeDial(origin, self.last_scope, self.losses[origin])
        try:
            await Suspend(dial)
        except BaseException:
            stream = dial.outcome if isinstance(dial.outcome, FakeStream) else None
            if dial.is_late:
                return stream or self._new_stream(dial)
            if stream is not None:
                stream.drop()
            raise
        assert dial.outcome is not None
        if isinstance(dial.outcome, Exception):
            raise dial.outcome
        return dial.outcome

    def _new_stream(self, dial: FakeDial) -> FakeStream:
        stream = FakeStream(dial.origin, dial.losses)
        self.streams.append(stream)
        return stream

    # Bookkeeping around each step

    def _among(self, tasks: list[Task], index: int) -> Task:
        return tasks[index % len(tasks)]

    @contextlib.contextmanager
    def _watched(self) -> Generator[None]:
        """Whoever was served in this step arrived before all of its kind that were not."""
        queued = [task for task in self.tasks if task.is_queued]
        known = set(map(id, self.tasks))
        yield
        served = [task for task in queued if task.is_served]
        served += [t for t in self.tasks if id(t) not in known and not t.is_queued and not t.error]
        for task in served:
            for other in self.tasks:
                if other.is_queued and other.kind == task.kind and not self.is_closed:
                    assert task.number < other.number, "overtaken"

    def _ran(self, task: Task) -> None:
        """Look at what a task got."""
        if not task.is_ended:
            return
        if task.pooled is None:
            self.tasks.remove(task)
            return
        assert not self.is_closed
        stream = task.pooled.stream
        assert isinstance(stream, FakeStream)
        assert not stream.dropped
        assert stream.origin == task.origin == task.pooled.origin
        assert stream not in self.users, "used twice"
        if task.pooled.is_reused:
            assert not task.fresh
            assert stream.quiet, "stale"
            assert stream.losses == self.losses[task.origin], "from before the loss"
        self.users[stream] = task

    # The callers

    @precondition(lambda self: len(self.tasks) < 14)
    @rule(
        origin=st.sampled_from([HERE, HERE, THERE]),
        fresh=st.sampled_from([False, False, True]),
        waits=st.sampled_from([True, True, False]),
    )
    def acquire(self, origin: Origin, fresh: bool, waits: bool) -> None:
        run: Any = self.pool.acquire(
            origin, dial_seconds=10.0, fresh=fresh, waits_behind_others=waits
        )
        self.numbers += 1
        task = Task(self.numbers, origin, fresh, waits, run)
        self.was_exceeded |= not waits
        with self._watched():
            self.tasks.append(task)
            task.step()
        if self.is_closed:
            assert isinstance(task.error, ClosedError)
        self._ran(task)

    @precondition(lambda self: self.runnable)
    @rule(index=INDEX)
    def resume(self, index: int) -> None:
        task = self._among(self.runnable, index)
        on, exc = task.on, None
        if isinstance(on, FakeDial) and on.scope.is_cancelled:
            exc = ScopeCancelled(on.scope)
        with self._watched():
            task.step(exc)
        self._ran(task)

    @precondition(lambda self: self.suspended)
    @rule(index=INDEX, is_late=st.booleans())
    def cancel(self, index: int, is_late: bool) -> None:
        task = self._among(self.suspended, index)
        if isinstance(task.on, FakeDial):
            task.on.is_late = is_late
        with self._watched():
            task.step(Cancelled())
        self._ran(task)

    @precondition(lambda self: self.users)
    @rule(
        index=INDEX,
        reusable=st.sampled_from([True, True, True, False]),
        keep_alive=st.sampled_from([None, None, None, 1.0, 1.25, 2.0, 60.0]),
        twice=st.booleans(),
    )
    def release(self, index: int, reusable: bool, keep_alive: float | None, twice: bool) -> None:
        stream, task = list(self.users.items())[index % len(self.users)]
        assert task.pooled is not None
        del self.users[stream]
        self.tasks.remove(task)
        seconds = IDLE_SECONDS if keep_alive is None else min(IDLE_SECONDS, keep_alive - 1)
        stream.usable_until = self.now + seconds
        if not reusable or stream.losses != self.losses[stream.origin]:
            stream.usable_until = -math.inf
        with self._watched():
            self.pool.release(task.pooled, reusable=reusable, keep_alive=keep_alive)
        if not reusable:
            assert stream.dropped
        if twice:
            self.released.append(task.pooled)

    @precondition(lambda self: self.released)
    @rule(index=INDEX, reusable=st.booleans())
    def release_again(self, index: int, reusable: bool) -> None:
        before = self.pool.figures
        self.pool.release(self.released[index % len(self.released)], reusable=reusable)
        assert self.pool.figures == before

    @precondition(lambda self: self.users)
    @rule(index=INDEX)
    def detach(self, index: int) -> None:
        stream, task = list(self.users.items())[index % len(self.users)]
        assert task.pooled is not None
        del self.users[stream]
        self.tasks.remove(task)
        with self._watched():
            detached: object = self.pool.detach(task.pooled)
        assert detached is stream
        self.detached.append(task.pooled)

    @precondition(lambda self: self.detached)
    @rule(index=INDEX)
    def end_detached(self, index: int) -> None:
        pooled = self.detached.pop(index % len(self.detached))
        pooled.stream.drop()
        with self._watched():
            self.pool.ended(pooled)

    # The world

    @precondition(lambda self: self.hanging)
    @rule(
        index=INDEX, outcome=st.sampled_from(["ok", "ok", "ok", "refused", "descriptors", "late"])
    )
    def dial_ends(self, index: int, outcome: str) -> None:
        dial = self._among(self.hanging, index).on
        assert isinstance(dial, FakeDial)
        if outcome == "ok":
            dial.outcome = self._new_stream(dial)
        elif outcome == "refused":
            dial.outcome = ConnectError("refused")
        elif outcome == "descriptors":
            dial.outcome = NoDescriptor("no descriptor")
        else:
            dial.is_late = True
            dial.scope.cancel()

    @precondition(lambda self: self.hanging)
    @rule(index=INDEX)
    def dial_expires(self, index: int) -> None:
        dial = self._among(self.hanging, index).on
        assert isinstance(dial, FakeDial)
        dial.scope.cancel()

    @precondition(lambda self: self.streams)
    @rule(index=INDEX)
    def server_closes(self, index: int) -> None:
        live = [stream for stream in self.streams if not stream.dropped]
        if live:
            live[index % len(live)].quiet = False

    @rule(origin=st.sampled_from([HERE, THERE]))
    def lose(self, origin: Origin) -> None:
        self.losses[origin] += 1
        with self._watched():
            self.pool.lost(origin)

    @rule(seconds=st.sampled_from([0.1, 0.3, 0.9, 1.0, 2.0, 4.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def look(self) -> None:
        with self._watched():
            figures = self.pool.figures
        assert figures.waiting == sum(task.is_queued for task in self.tasks)
        for stream in self.idle:
            assert self.now < stream.usable_until + IDLE_SECONDS / 4

    @precondition(lambda self: len(self.streams) > 3)
    @rule(really=st.sampled_from([True, False, False]))
    def close(self, really: bool) -> None:
        if not really:
            return
        self.is_closed = True
        self.pool.close()
        for stream, task in self.users.items():
            assert stream.dropped
            self.tasks.remove(task)
        self.users.clear()

    # What always holds

    @property
    def runnable(self) -> list[Task]:
        return [task for task in self.tasks if task.on is not None and task.on.is_set()]

    @property
    def suspended(self) -> list[Task]:
        return [task for task in self.tasks if task.on is not None]

    @property
    def dialling(self) -> list[Task]:
        return [task for task in self.tasks if isinstance(task.on, FakeDial)]

    @property
    def hanging(self) -> list[Task]:
        return [task for task in self.dialling if task.on is not None and not task.on.is_set()]

    @property
    def idle(self) -> list[FakeStream]:
        return [pooled.stream for pile in self.pool._idle.values() for pooled in pile]  # type: ignore[misc]

    @invariant()
    def every_socket_is_in_one_place(self) -> None:
        if not hasattr(self, "pool"):
            return
        granted = [pooled.stream for pooled in self.pool._in_use]
        places = [*self.idle, *granted, *(pooled.stream for pooled in self.detached)]
        arriving = [task.on.outcome for task in self.dialling if isinstance(task.on, FakeDial)]
        live = [s for s in self.streams if not s.dropped and s not in arriving]
        assert sorted(map(id, places)) == sorted(map(id, live)), "a socket was lost"
        unknown = set(granted) - set(self.users)
        served = [task for task in self.tasks if task.is_served]
        assert len(unknown) <= len(served), "a socket is in use by nobody"
        for stream in self.users:
            assert not stream.dropped or self.is_closed
        if not self.is_closed:
            dials = len(self.dialling) + len(served) - len(unknown)
            assert self.pool._dialling == dials
            assert self.pool._open == len(live)

    @invariant()
    def the_bounds_hold(self) -> None:
        if not hasattr(self, "pool"):
            return
        assert self.pool._wanted == Counter(waiter.origin for waiter in self.pool._queue)
        assert 0 <= self.pool._dialling <= self.max_dials
        assert len([t for t in self.dialling if t.waits]) <= self.max_dials - self.max_dials // 4
        if not self.was_exceeded and not self.pool._detached:
            assert self.pool._open + self.pool._dialling <= self.max_sockets

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        if not hasattr(self, "pool"):
            return
        is_short = self.served_at < self.pool._short_until
        for task in self.tasks:
            if not task.is_queued:
                continue
            assert self.pool._in_use or self.pool._dialling, "nothing will end"
            for stream in self.idle:
                usable = stream.quiet and self.now < stream.usable_until
                assert task.fresh or stream.origin != task.origin or not usable
            if not task.waits:
                assert is_short or self.pool._dialling == self.max_dials
            elif not is_short:
                assert (
                    self.pool._dialling >= self.max_dials - self.max_dials // 4
                    or self.pool._open + self.pool._dialling >= self.max_sockets
                )

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for _ in range(1000):
                for task in list(self.hanging):
                    assert isinstance(task.on, FakeDial)
                    task.on.outcome = self._new_stream(task.on)
                if self.runnable:
                    self.resume(0)
                elif self.users:
                    self.release(0, True, None, False)
                elif not self.tasks:
                    break
            assert not self.tasks, "somebody waits for ever"
            self.every_socket_is_in_one_place()
            while self.detached:
                self.end_detached(0)
            self.pool.close()
            assert self.pool.figures == (0, 0, 0, 0)
            assert all(stream.dropped for stream in self.streams)
        self._patches.close()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    phases=[phase for phase in Phase if phase is not Phase.explain],  # it traces every line
    report_multiple_bugs=False,
)


# On both event loops


@dataclass(eq=False)
class Server:
    """Makes the sockets of a pool, and counts what happens to them."""

    dialling: int = 0
    most_dialling: int = 0
    streams: list[FakeStream] = field(default_factory=list)
    order: list[Origin] = field(default_factory=list)
    gate: anyio.Event = field(default_factory=anyio.Event)
    error: Exception | None = None
    spare: int = 1_000_000

    async def dial(self, origin: Origin) -> FakeStream:
        self.dialling += 1
        self.most_dialling = max(self.most_dialling, self.dialling)
        self.order.append(origin)
        try:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
            if len([stream for stream in self.streams if not stream.dropped]) >= self.spare:
                raise NoDescriptor("no descriptor")
            stream = FakeStream(origin, 0)
            self.streams.append(stream)
            return stream
        finally:
            self.dialling -= 1

    def pool(self, **options: Any) -> Pool:
        return Pool(self.dial, anyio.current_time, waiter, **options)  # type: ignore[arg-type]

    @property
    def live(self) -> list[FakeStream]:
        return [stream for stream in self.streams if not stream.dropped]


async def until(condition: Any) -> None:
    while not condition():
        await anyio.lowlevel.checkpoint()


async def test_a_socket_is_used_again_without_waiting() -> None:
    server = Server()
    server.gate.set()
    pool = server.pool()
    first = await pool.acquire(HERE, dial_seconds=10)
    assert not first.is_reused
    pool.release(first, reusable=True)
    second = await pool.acquire(HERE, dial_seconds=10)
    assert second.is_reused
    assert second.stream is first.stream
    pool.release(second, reusable=True)
    with pytest.raises(StopIteration) as end:  # no event loop is asked for anything
        pool.acquire(HERE, dial_seconds=10).send(None)
    third = end.value.value
    pool.release(third, reusable=True)
    fresh = await pool.acquire(HERE, dial_seconds=10, fresh=True)
    assert fresh.stream is not first.stream
    assert pool.figures == (2, 1, 0, 0)
    pool.close()
    assert server.live == []


async def test_the_newest_idle_socket_is_first() -> None:
    server = Server()
    server.gate.set()
    pool = server.pool()
    uses = [await pool.acquire(HERE, dial_seconds=10) for _ in range(3)]
    for use in uses:
        pool.release(use, reusable=True)
    assert (await pool.acquire(HERE, dial_seconds=10)).stream is uses[-1].stream


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_dials_are_bounded_and_their_seconds_count_from_their_beginning(backend: str) -> None:
    run_virtual(_dial_in_two_turns, backend=backend)


async def _dial_in_two_turns() -> None:
    server = Server()
    pool = server.pool()
    done: list[Pooled] = []
    failed: list[ConnectError] = []

    async def use(waits: bool) -> None:
        try:
            done.append(await pool.acquire(HERE, dial_seconds=0.2, waits_behind_others=waits))
        except ConnectError as exc:
            failed.append(exc)

    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(use, False)
        await anyio.sleep(0.1)
        assert (pool.figures.waiting, server.dialling) == (60 - 32, 32)
        # The first 32 are late. Those behind them have all their seconds before them.
        await anyio.sleep(0.2)
        assert (len(failed), server.dialling) == (32, 28)
        server.gate.set()
    assert (len(failed), len(done)) == (32, 28)
    assert server.most_dialling == 32
    assert str(failed[0]) == "cannot connect to 127.0.0.1:80: no connection in 0.2 s"
    assert pool.figures == (28, 0, 0, 0)


async def test_management_waits_behind_no_action() -> None:
    server = Server()
    pool = server.pool(max_sockets=40)
    async with anyio.create_task_group() as tasks:

        async def use(origin: Origin, waits: bool) -> None:
            await pool.acquire(origin, dial_seconds=60, waits_behind_others=waits)

        for _ in range(100):
            tasks.start_soon(use, HERE, True)
        await until(lambda: server.dialling == 24 and pool.figures.waiting == 76)
        for _ in range(8):
            tasks.start_soon(use, THERE, False)
        await until(lambda: server.dialling == 32)
        assert server.order.count(THERE) == 8
        tasks.start_soon(use, THERE, False)
        await until(lambda: pool.figures.waiting == 77)
        server.gate.set()
        await until(lambda: pool.figures.open == 40)
        # The last one overtook most of those that came long before it.
        assert server.order.count(THERE) == 9
        # And now that 40 are open:
        tasks.start_soon(use, THERE, False)
        await until(lambda: pool.figures.open == 41)
        assert pool.figures.waiting == 100 - 40 + 9
        tasks.cancel_scope.cancel()
    pool.close()
    assert server.live == []


async def test_a_lack_of_descriptors_waits_for_a_release() -> None:
    server = Server(spare=3)
    server.gate.set()
    pool = server.pool()
    done: list[int] = []

    async def use(number: int) -> None:
        pooled = await pool.acquire(HERE if number % 2 else THERE, dial_seconds=10)
        await anyio.lowlevel.checkpoint()
        done.append(number)
        pool.release(pooled, reusable=number % 3 != 0)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(use, number)
    assert sorted(done) == list(range(100))
    # Each failure is followed by a wait, not by the next one.
    assert len(server.order) < 400
    pool.close()
    assert server.live == []


async def test_a_lack_of_descriptors_is_an_error_when_nothing_will_end() -> None:
    server = Server(spare=0)
    server.gate.set()
    pool = server.pool()
    errors: list[ConnectError] = []

    async def use() -> None:
        with pytest.raises(ConnectError) as caught:
            await pool.acquire(HERE, dial_seconds=10)
        errors.append(caught.value)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(use)
    assert len(errors) == 50
    assert pool.figures == (0, 0, 0, 0)


async def test_a_websocket_connection_is_not_waited_for() -> None:
    server = Server()
    server.gate.set()
    pool = server.pool(max_sockets=1)
    upgraded = await pool.acquire(HERE, dial_seconds=10)
    pool.detach(upgraded)
    with anyio.fail_after(30):
        pool.release(await pool.acquire(HERE, dial_seconds=10), reusable=True)
    assert pool.figures == (2, 1, 0, 0)
    upgraded.stream.drop()
    pool.ended(upgraded)
    pool.ended(upgraded)
    assert pool.figures == (1, 1, 0, 0)


@pytest.mark.parametrize("what", ["socket", "dial"])
async def test_a_waiter_cancelled_in_the_tick_it_was_served_passes_on(what: str) -> None:
    server = Server()
    server.gate.set()
    pool = server.pool(max_sockets=1)
    used: list[int] = []
    scopes = [anyio.CancelScope(), anyio.CancelScope()]

    async def use(number: int) -> None:
        with scopes[number]:
            pooled = await pool.acquire(HERE, dial_seconds=10)
            try:
                await anyio.lowlevel.checkpoint()
                assert pooled.is_reused == (what == "socket")
                used.append(number)
            finally:
                pool.release(pooled, reusable=True)

    with anyio.fail_after(30):
        first = await pool.acquire(HERE, dial_seconds=10)
        async with anyio.create_task_group() as tasks:
            for number in (0, 1):
                tasks.start_soon(use, number)
                await until(lambda number=number: pool.figures.waiting == number + 1)
            pool.release(first, reusable=what == "socket")
            scopes[0].cancel()
    assert used == [1]
    assert pool.figures == (1, 1, 0, 0)


@pytest.mark.parametrize("what", ["socket", "dial"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_of_asyncio_cancelled_in_the_tick_it_was_served(what: str) -> None:
    # AnyIO does not cancel a task that is about to run; asyncio itself does.
    server = Server()
    server.gate.set()
    pool = server.pool(max_sockets=1)
    with anyio.fail_after(30):
        first = await pool.acquire(HERE, dial_seconds=10)
        tasks = []
        for number in (1, 2):
            tasks.append(asyncio.create_task(pool.acquire(HERE, dial_seconds=10)))
            await until(lambda number=number: pool.figures.waiting == number)
        pool.release(first, reusable=what == "socket")
        tasks[0].cancel()
        second = await tasks[1]
        assert tasks[0].cancelled()
        assert second.is_reused == (what == "socket")
        pool.release(second, reusable=True)
    assert pool.figures == (1, 1, 0, 0)


@pytest.mark.parametrize("what", ["closed", "lost"])
async def test_a_socket_that_breaks_after_it_was_granted_is_not_used(what: str) -> None:
    server = Server()
    server.gate.set()
    pool = server.pool(max_sockets=1)
    used: list[Pooled] = []

    async def use() -> None:
        used.append(await pool.acquire(HERE, dial_seconds=10))

    with anyio.fail_after(30):
        first = await pool.acquire(HERE, dial_seconds=10)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await until(lambda: pool.figures.waiting == 1)
            pool.release(first, reusable=True)
            if what == "lost":
                pool.lost(HERE)
            else:
                server.streams[0].quiet = False
    assert [pooled.is_reused for pooled in used] == [False]
    assert server.streams[0].dropped
    assert pool.figures == (1, 0, 0, 0)


async def test_whose_socket_broke_is_served_before_those_who_came_later() -> None:
    server = Server()
    server.gate.set()
    pool = server.pool(max_sockets=1)
    order: list[int] = []

    async def use(number: int) -> None:
        pooled = await pool.acquire(HERE, dial_seconds=10)
        order.append(number)
        pool.release(pooled, reusable=True)

    with anyio.fail_after(30):
        first = await pool.acquire(HERE, dial_seconds=10)
        async with anyio.create_task_group() as tasks:
            for number in (1, 2, 3):
                tasks.start_soon(use, number)
                await until(lambda number=number: pool.figures.waiting == number)
            pool.release(first, reusable=True)
            server.streams[0].quiet = False
    assert order == [1, 2, 3]


@pytest.mark.parametrize(
    ("keep_alive", "seconds"), [(None, 3.0), (60.0, 3.0), (2.5, 1.5), (1.0, 0.0), (0.0, 0.0)]
)
def test_how_long_a_socket_stays_idle(keep_alive: float | None, seconds: float) -> None:
    now = 0.0
    pool = Pool(Server().dial, lambda: now, waiter)  # type: ignore[arg-type]
    stream = FakeStream(HERE, 0)
    for idle in (seconds - 0.01, seconds):
        stream.dropped = False
        pooled = Pooled(stream, HERE, is_reused=False, epoch=0, until=math.inf)  # type: ignore[arg-type]
        pool._in_use[pooled] = None
        pool._open += 1
        pool.release(pooled, reusable=True, keep_alive=keep_alive)
        now += idle / 2
        pool.release(pooled, reusable=True)  # a second time, which changes nothing
        now += idle / 2
        found = pool.take_idle(HERE)
        assert (found is not None) == (0 < idle < seconds)
        if found is not None:
            pool.release(found, reusable=False)
        assert stream.dropped
        assert pool.figures == (0, 0, 0, 0)


async def test_nothing_of_before_a_loss_is_used_again() -> None:
    server = Server()
    server.gate.set()
    pool = server.pool()
    idle, busy = [await pool.acquire(HERE, dial_seconds=10) for _ in range(2)]
    elsewhere = await pool.acquire(THERE, dial_seconds=10)
    pool.release(idle, reusable=True)
    pool.release(elsewhere, reusable=True)
    pool.lost(HERE)
    assert [stream.dropped for stream in server.streams] == [True, False, False]
    pool.release(busy, reusable=True)
    assert [stream.dropped for stream in server.streams] == [True, True, False]
    pool.release(await pool.acquire(HERE, dial_seconds=10), reusable=True)
    assert pool.figures == (2, 2, 0, 0)


async def test_a_dial_that_began_before_a_loss_serves_one_request() -> None:
    server = Server()
    pool = server.pool()

    async def use() -> None:
        pool.release(await pool.acquire(HERE, dial_seconds=10), reusable=True)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await until(lambda: server.dialling == 1)
            pool.lost(HERE)
            server.gate.set()
    assert server.streams[0].dropped
    assert pool.figures == (0, 0, 0, 0)


async def test_close_ends_dials_and_waits() -> None:
    server = Server()
    pool = server.pool(max_dials=1)
    ended: list[str] = []

    async def use() -> None:
        with pytest.raises(ClosedError):
            await pool.acquire(HERE, dial_seconds=60)
        ended.append("closed")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(use)
            await until(lambda: pool.figures == (0, 0, 2, 1))
            pool.close()
    assert len(ended) == 3
    assert pool.figures == (0, 0, 0, 0)
    with pytest.raises(ClosedError):
        pool.take_idle(HERE)


async def test_the_default_limit_leaves_descriptors_to_others() -> None:
    resource = pytest.importorskip("resource")
    for soft, most in ((1000, 936), (50, 8), (resource.RLIM_INFINITY, math.inf)):
        with patch("resource.getrlimit", lambda _, soft=soft: (soft, soft)):
            assert Pool(Server().dial, anyio.current_time, waiter)._max_sockets == most  # type: ignore[arg-type]
    with patch.dict("sys.modules", {"resource": None}):
        assert Pool(Server().dial, anyio.current_time, waiter)._max_sockets == math.inf  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@given(seed=st.integers(0, 2**32), sockets=st.integers(1, 6), dials=st.integers(1, 6))
@settings(max_examples=40)
def test_random_schedules(backend: str, seed: int, sockets: int, dials: int) -> None:
    """Callers that come, work, fail and are cancelled in any tick, on a real event loop."""

    async def main() -> None:
        chance = random.Random(seed)
        users: set[FakeStream] = set()
        streams: list[FakeStream] = []

        async def pause(most: int) -> None:
            for _ in range(chance.randrange(most)):
                await anyio.lowlevel.checkpoint()

        async def dial(origin: Origin) -> FakeStream:
            await pause(6)
            if chance.random() < 0.2:
                raise chance.choice([ConnectError, NoDescriptor])("no")
            if chance.random() < 0.1:
                await anyio.sleep_forever()
            stream = FakeStream(origin, 0)
            streams.append(stream)
            return stream

        pool = Pool(
            dial,  # type: ignore[arg-type]
            anyio.current_time,
            waiter,
            max_sockets=sockets,
            max_dials=dials,
        )

        async def use() -> None:
            await pause(12)
            try:
                pooled = await pool.acquire(
                    chance.choice([HERE, HERE, THERE]),
                    dial_seconds=0.01,
                    fresh=chance.random() < 0.2,
                    waits_behind_others=chance.random() < 0.8,
                )
            except ConnectError:
                return
            stream = pooled.stream
            assert isinstance(stream, FakeStream)
            assert stream not in users and not stream.dropped
            users.add(stream)
            try:
                await pause(6)
            finally:
                users.discard(stream)
                pool.release(pooled, reusable=chance.random() < 0.8)

        async def cancelled() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                await pause(16)
                tasks.cancel_scope.cancel()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(chance.choice([use, use, cancelled]))
        figures = pool.figures
        assert (figures.waiting, figures.dialling) == (0, 0)
        assert figures.open == figures.idle == len([s for s in streams if not s.dropped])
        pool.close()
        assert all(stream.dropped for stream in streams)

    anyio.run(main, backend=backend)


class Steps:
    """Counts what a long queue costs: how often two waiters were compared, or one was judged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        kind = pool_module._Waiter
        less, judge = kind.__lt__, Pool._may_dial

        def compared(one: Any, other: Any) -> bool:
            self.count += 1
            return less(one, other)

        def same(one: Any, other: Any) -> bool:
            self.count += 1
            return one is other

        def judged(pool: Pool, *args: Any) -> bool:
            self.count += 1
            return judge(pool, *args)

        monkeypatch.setattr(kind, "__lt__", compared)
        monkeypatch.setattr(kind, "__eq__", same)
        monkeypatch.setattr(kind, "__hash__", object.__hash__)
        monkeypatch.setattr(Pool, "_may_dial", judged)


QUEUE = 500
STEPS = 20 * QUEUE


async def test_an_idle_socket_that_nobody_waits_for_costs_the_queue_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as that to an endpoint whose metadata led somewhere else."""
    steps = Steps(monkeypatch)
    server = Server()
    server.gate.set()
    pool = server.pool()
    pool.release(await pool.acquire(THERE, dial_seconds=10), reusable=True)

    async def use() -> None:
        used = await pool.acquire(HERE, dial_seconds=10)
        await anyio.lowlevel.checkpoint()
        pool.release(used, reusable=True)

    async with anyio.create_task_group() as tasks:
        for _ in range(QUEUE):
            tasks.start_soon(use)
    assert server.order.count(THERE) == 1
    pool.close()
    assert steps.count < STEPS


@pytest.mark.parametrize("origin", [HERE, THERE])
async def test_an_idle_socket_goes_to_whoever_waits_for_it(origin: Origin) -> None:
    """Also to one behind others who wait for a dial."""
    server = Server()
    pool = server.pool()
    given: list[Pooled] = []

    async def use(origin: Origin) -> None:
        given.append(await pool.acquire(origin, dial_seconds=60))

    async with anyio.create_task_group() as tasks:
        server.gate.set()
        await use(THERE)
        server.gate = anyio.Event()
        for _ in range(30):
            tasks.start_soon(use, HERE)
        await until(lambda: pool.figures.waiting == 6)
        tasks.start_soon(use, origin)
        await until(lambda: pool.figures.waiting == 7)
        pool.release(given[0], reusable=True)
        await anyio.wait_all_tasks_blocked()
        assert len(given) == (2 if origin is THERE else 1)
        tasks.cancel_scope.cancel()
    pool.close()


async def test_callers_who_leave_a_long_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    pool = Server().pool()
    scopes = [anyio.CancelScope() for _ in range(QUEUE)]

    async def use(scope: anyio.CancelScope) -> None:
        with scope:
            await pool.acquire(HERE, dial_seconds=60)

    async with anyio.create_task_group() as tasks:
        for scope in scopes:
            tasks.start_soon(use, scope)
        await until(lambda: pool.figures.waiting == QUEUE - 24)
        steps.count = 0
        for scope in reversed(scopes):
            scope.cancel()
    assert pool.figures == (0, 0, 0, 0)
    assert steps.count < STEPS
