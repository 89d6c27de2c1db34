"""The model once more, with Hypothesis to choose every step.

The loop and the tasks that own the scopes live as long as a machine; each rule lets the loop run
until everybody waits. asyncio only: Trio's run cannot be stopped and continued from outside without
its guest mode, which waits for I/O in a thread.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rivet_anyio import Connection, EventStream, Retry, RivetError, Status
from rivet_anyio._gateway.backoffs import Backoffs
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import ActorServer, UserError
from rivet_anyio.testing._seeds import _ShuffledLoop
from tests.faults.accounting import Fate

from .invariants import (
    broken,
    buffers_stay_within_bounds,
    events_are_true,
    events_come_in_order_and_once,
    exits_are_in_time,
)
from .ledger import Ledger
from .model import Group, jitter, pushed
from .told import Consumer, Exit, Run, Visit

PICK = st.integers(0, 7)


@dataclass
class Held:
    """A connection that some task holds open until it is told to leave."""

    visit: Visit = field(default_factory=Visit)
    leave: anyio.Event = field(default_factory=anyio.Event)
    conn: Connection | None = None
    first: EventStream[Any] | None = None
    consumers: list[tuple[EventStream[Any], Consumer]] = field(default_factory=list)
    is_over: bool = False


class _Noting(Backoffs):
    """Notes when a connection has reached the server."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def reached(self) -> None:
        self._run.reached.append(anyio.current_time())
        super().reached()


class Machine(RuleBasedStateMachine):
    """Clients and a server, one step at a time."""

    @initialize(
        seed=st.integers(0, 2**32),
        version=st.sampled_from(("2.0", "2.2", "2.3")),
        encoding=st.sampled_from(("bare", "cbor", "json")),
    )
    def begin(self, seed: int, version: str, encoding: Encoding) -> None:
        self.loop = _ShuffledLoop(seed)
        self.run = Run(seed)
        self.held: list[Held] = []
        self.calls: list[anyio.CancelScope] = []
        self.away = ExitStack()
        self.is_away = False
        self.do(self._begin, random.Random(seed), version, encoding)
        for _ in range(2):
            self.connect()

    def do(self, step: Callable[..., Awaitable[object] | None], *args: Any) -> None:
        """Let the loop run a step, and then until everybody waits."""

        async def run() -> None:
            waits = step(*args)
            if waits is not None:
                await waits
            await anyio.wait_all_tasks_blocked()

        self.loop.run_until_complete(run())

    async def _begin(self, chance: random.Random, version: str, encoding: Encoding) -> None:
        self.group = Group(self.run, scale=60.0)
        self.begun, self.end = anyio.Event(), anyio.Event()
        self.owner = self.loop.create_task(self._own(chance, version, encoding))
        await self.begun.wait()

    async def _own(self, chance: random.Random, version: str, encoding: Encoding) -> None:
        """The one task that owns all scopes."""
        actors = {"ledger": partial(Ledger, self.run.store)}
        async with ActorServer(actors, version=version, unused_faults="ignore") as self.server:
            retry = Retry(random=partial(jitter, chance))
            async with (
                self.server.client(retry=retry, encoding=encoding, ping_interval=120) as client,
                anyio.create_task_group() as self.tasks,
            ):
                client._core.backoffs = _Noting(self.run)
                self.handle = client.ledger.get_or_create()
                self.begun.set()
                await self.end.wait()

    # What programs do

    @precondition(lambda self: len(self.held) < 4)
    @rule()
    def connect(self) -> None:
        self.do(self._connect)

    def _connect(self) -> None:
        held = Held()
        self.held.append(held)
        self.tasks.start_soon(self._hold, held, len(self.held))

    async def _hold(self, held: Held, index: int) -> None:
        left_at = 0.0
        try:
            async with self.handle.connect() as conn:
                held.first = self.group.follow(conn, held.visit, self.tasks, index)
                held.conn = conn
                await held.leave.wait()
                for stream, consumer in held.consumers:
                    self.group.finish(consumer, held.visit, stream, held.first)
                if conn.status is Status.CLOSED:
                    await self.group.use_late(conn, held.visit)
                left_at = anyio.current_time()
        except RivetError:
            self.run.counts["refused"] += 1
        else:
            held.visit.exit = Exit(5.0, anyio.current_time() - left_at)
        held.is_over = True

    def open(self, pick: int) -> Held | None:
        there = [held for held in self.held if held.conn and not held.leave.is_set()]
        return there[pick % len(there)] if there else None

    @rule(pick=PICK, seconds=st.sampled_from((0.0, 0.0, 0.5, 61.0)))
    def call(self, pick: int, seconds: float) -> None:
        held = self.open(pick)
        if held is not None:
            self.do(self._begin_calls, held, 1, seconds)

    @rule(pick=PICK, count=st.integers(2, 9))
    def call_many(self, pick: int, count: int) -> None:
        held = self.open(pick)
        if held is not None:
            self.do(self._begin_calls, held, count, 0.0)

    def _begin_calls(self, held: Held, count: int, seconds: float) -> None:
        for _ in range(count):
            self.calls.append(anyio.CancelScope())
            self.tasks.start_soon(self._call, held, seconds, self.calls[-1])

    async def _call(self, held: Held, seconds: float, scope: anyio.CancelScope) -> None:
        assert held.conn is not None
        with scope:
            try:
                await self.group.call(held.conn, held.visit, seconds=seconds)
            except RivetError as error:
                held.visit.history.calls[-1].error = error

    @precondition(lambda self: self.calls)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.do(self.calls.pop(pick % len(self.calls)).cancel)

    @rule(
        pick=PICK,
        name=st.sampled_from(("appended", "ticked")),
        overflow=st.sampled_from(("raise", "drop_oldest", "drop_newest", "block")),
        gaps=st.sampled_from(("ignore", "raise", "mark")),
        size=st.sampled_from((1, 3)),
    )
    def subscribe(self, pick: int, name: str, overflow: Any, gaps: Any, size: int) -> None:
        held = self.open(pick)
        if held is not None and len(held.consumers) < 4:
            self.do(self._subscribe, held, name, overflow, gaps, size)

    async def _subscribe(self, held: Held, name: str, overflow: Any, gaps: Any, size: int) -> None:
        assert held.conn is not None and held.first is not None
        begin, first_call = pushed(held.visit, held.first), len(held.visit.history.calls)
        try:
            stream = held.conn.events(name, overflow=overflow, gaps=gaps, buffer_size=size)
        except RivetError:
            return
        now = anyio.current_time()
        consumer = Consumer(name, overflow, gaps, size, begin, first_call, now, stream=stream)
        held.visit.consumers.append(consumer)
        held.consumers.append((stream, consumer))

    @rule(pick=PICK, count=st.integers(1, 4))
    def take(self, pick: int, count: int) -> None:
        held = self.open(pick)
        if held is not None and held.consumers:
            self.do(self._take, *held.consumers[pick % len(held.consumers)], count)

    async def _take(self, stream: EventStream[Any], consumer: Consumer, count: int) -> None:
        for _ in range(count):
            if not stream.buffered:
                return
            await self.group.take(stream, consumer)

    @rule(pick=PICK)
    def close_stream(self, pick: int) -> None:
        held = self.open(pick)
        if held is not None and held.consumers and held.first is not None:
            stream, consumer = held.consumers.pop(pick % len(held.consumers))
            self.do(self.group.finish, consumer, held.visit, stream, held.first)

    @rule(pick=PICK)
    def leave(self, pick: int) -> None:
        held = self.open(pick)
        if held is not None:
            self.do(held.leave.set)

    # What happens to them

    @rule(code=st.sampled_from((None, 1000, 1011, 1012)))
    def drop(self, code: int | None) -> None:
        self.do(self._drop, code)

    def _drop(self, code: int | None) -> None:
        self.server.drop_connections(code)

    @rule(data=st.sampled_from((b"\xff\xff", b"\x82\x01?", b"\x88\x00")))
    def send_nonsense(self, data: bytes) -> None:
        self.do(self._send_bytes, data)

    def _send_bytes(self, data: bytes) -> None:
        for connection in self.server.connections:
            connection.send_bytes(data)

    @rule()
    def lose_reply(self) -> None:
        self.server.faults.lose_reply("append")

    @rule(is_final=st.booleans())
    def refuse(self, is_final: bool) -> None:
        error = UserError(code="banned") if is_final else None
        self.server.faults.refuse_connects(error=error)
        self.do(self._drop, None)

    @precondition(lambda self: not self.is_away)
    @rule(silently=st.booleans())
    def go_away(self, silently: bool) -> None:
        self.is_away = True
        self.run.is_prompt &= not silently
        self.do(self._go_away, silently)

    def _go_away(self, silently: bool) -> None:
        network = self.server.network
        self.away.enter_context(network.stalled() if silently else network.outage())

    @precondition(lambda self: self.is_away)
    @rule()
    def come_back(self) -> None:
        self.is_away = False
        self.do(self.away.close)

    @rule(seconds=st.sampled_from((0.1, 3.0, 45.0, 3600.0)))
    def let_time_pass(self, seconds: float) -> None:
        self.do(anyio.sleep, seconds)

    # What holds

    @invariant()
    def all_is_well(self) -> None:
        if not hasattr(self, "loop"):
            return
        for holds in (events_come_in_order_and_once, events_are_true, buffers_stay_within_bounds):
            assert list(holds(self.run)) == []
        assert [n for n, count in Counter(self.run.store.numbers).items() if count > 1] == []
        for held in self.held:
            for call in held.visit.history.calls:
                if call.fate is Fate.RETURNED:
                    assert call.seq is not None
                    assert self.run.store.numbers[call.seq - 1] == call.number
        left = [held.visit for held in self.held if held.visit.exit is not None]
        assert list(exits_are_in_time(Run(0, visits=left))) == []

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.do(self._finish)
            self.loop.run_until_complete(self.owner)
            assert broken(self.run) == []
        finally:
            self.loop.close()

    async def _finish(self) -> None:
        self.away.close()
        self.server.faults.clear()
        await anyio.sleep(300)  # Everybody is back, or was refused.
        for held in self.held:
            assert held.is_over or held.conn is not None, "it never connected"
            if held.conn is not None and not held.leave.is_set():
                assert held.conn.status in (Status.CONNECTED, Status.CLOSED)
                for stream, consumer in held.consumers:
                    await self._take(stream, consumer, 1000)  # A full one may hold up answers.
                # What blocks would be full again before the answer.
                blocks = any(consumer.overflow == "block" for _, consumer in held.consumers)
                if held.conn.status is Status.CONNECTED and not blocks:
                    with anyio.fail_after(200):
                        await self._call(held, 0.0, anyio.CancelScope())
            held.leave.set()
        await anyio.sleep(10)
        self.end.set()


def test_machine() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate, Phase.shrink],  # explaining traces every line
            suppress_health_check=list(HealthCheck),
        ),
    )
