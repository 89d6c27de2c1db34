"""The pool of sockets: every order of events by a Hypothesis machine, then both event loops.

The machine runs callers by hand, so that one can be cancelled at any point: in the queue, during
its dial, and between being served and running. It keeps its own account of who uses what.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rivet_anyio._errors import ClosedError, ConnectError
from rivet_anyio._http import pool as pool_module
from rivet_anyio._http.pool import Origin, Pool, Pooled

HERE = Origin("http", "127.0.0.1", 80)
THERE = Origin("https", "::1", 443)
IDLE_SECONDS = 3.0
INDEX = st.integers(0, 30)


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
        self._patches.enter_context(patch.object(pool_module, "Signal", FakeSignal))
        self._patches.enter_context(patch.object(pool_module, "move_on_after", self._scope))
        self.now = 100.0
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
            max_sockets=max_sockets,
            max_dials=max_dials,
            idle_seconds=IDLE_SECONDS,
        )

    def _scope(self, _: float) -> FakeScope:
        self.last_scope = FakeScope()
        return self.last_scope

    async def _dial(self, origin: Origin) -> FakeStream:
        assert not self.is_closed
        dial = FakeDial(origin, self.last_scope, self.losses[origin])
        try:
            await Suspend(dial)
        except BaseException:
            if not dial.is_late:
                raise
            return self._new_stream(dial)
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
            if isinstance(task.on.outcome, FakeStream):
                task.on.outcome.drop()  # as a dial does that cannot give back what it opened
            task.on.is_late = is_late
        with self._watched():
            task.step(Cancelled())
        self._ran(task)

    @precondition(lambda self: self.users)
    @rule(
        index=INDEX,
        reusable=st.sampled_from([True, True, True, False]),
        keep_alive=st.sampled_from([None, None, None, 1.0, 2.0, 60.0]),
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
            assert self.pool.detach(task.pooled) is stream
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

    @rule(seconds=st.sampled_from([0.1, 0.9, 1.0, 2.0, 4.0]))
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
        assert 0 <= self.pool._dialling <= self.max_dials
        assert len([t for t in self.dialling if t.waits]) <= self.max_dials - self.max_dials // 4
        if not self.was_exceeded and not self.pool._detached:
            assert self.pool._open + self.pool._dialling <= self.max_sockets

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        if not hasattr(self, "pool"):
            return
        is_short = self.now < self.pool._short_until
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
TestPoolMachine.settings = settings(max_examples=300, stateful_step_count=60)
