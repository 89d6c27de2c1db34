"""A program that calls and listens, whatever happens, and writes down what it was told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from rivet_anyio import (
    ActorError,
    ActorHandle,
    ClosedError,
    ConnectError,
    Connection,
    ConnectionLostError,
    EventStream,
    Gap,
    ProtocolError,
    RivetError,
    Status,
    StatusStream,
    TransportError,
)

from .accounting import Call, Fate, History, lost_id

__all__ = ["Workload"]

_REOPEN_SECONDS = 0.02


class Workload:
    """Appends numbers to a ``ledger`` over a connection and listens to what is appended.

    It opens a new connection whenever one has failed for good.

    Args:
        handle: The ledger.
        chance: Where its decisions come from.
        pause: Seconds between two calls, on average.
        in_flight: How many calls may wait at a time.
        cancelled: The share of calls that are cancelled after a moment.
    """

    def __init__(
        self,
        handle: ActorHandle,
        chance: random.Random,
        *,
        pause: float = 0.005,
        in_flight: int = 4,
        cancelled: float = 0.15,
    ) -> None:
        self.histories: list[History] = []
        self.refusals: list[BaseException] = []
        self._handle = handle
        self._chance = chance
        self._pause = pause
        self._in_flight = in_flight
        self._cancelled = cancelled
        self._next = 0
        self._last_returned = -1
        self._floor = 0
        self._returned = anyio.Event()
        self._stopping = False
        self._flushed = False

    def stop(self) -> None:
        """Let `run` come to its end: call no more, wait for what is under way."""
        self._stopping = True

    async def progress(self) -> None:
        """Wait until an action that is called from now on has returned."""
        target = self._next
        while self._last_returned < target:
            await self._returned.wait()

    async def run(self) -> None:
        """Work until `stop`; the last thing is an action that returned."""
        while not self._flushed:
            async with anyio.create_task_group() as listeners:
                try:
                    async with self._handle.connect() as conn:
                        await self._use(conn, listeners)
                except (TransportError, ProtocolError, ActorError) as refusal:
                    self.refusals.append(refusal)
                    await anyio.sleep(_REOPEN_SECONDS)

    def report(self) -> Counter[str]:
        """How much of what there was."""
        counts = Counter(call.fate.value for history in self.histories for call in history.calls)
        for history in self.histories:
            counts["connections"] += 1
            counts["gaps"] += history.gap_count
            told = sum(isinstance(item, Gap) for item in history.items)
            counts["gaps told"] += told
            counts["events"] += len(history.items) - told
            counts["attempts"] += sum(c.status is Status.CONNECTING for c in history.changes)
            counts["returned after a wait"] += sum(
                call.called_away and call.fate is Fate.RETURNED for call in history.calls
            )
        counts["refused"] = len(self.refusals)
        return counts

    async def _use(self, conn: Connection, listeners: anyio.abc.TaskGroup) -> None:
        history = History()
        self.histories.append(history)
        stream = conn.events("appended", gaps="mark", buffer_size=100_000)
        listeners.start_soon(self._listen, history, stream, conn.status_changes())
        slots = anyio.Semaphore(self._in_flight)
        async with anyio.create_task_group() as calls:
            while not self._stopping and conn.status is not Status.CLOSED:
                await slots.acquire()
                calls.start_soon(self._call_in_slot, conn, history, slots)
                await anyio.sleep(self._pause * 2 * self._chance.random())
        while self._stopping and conn.status is not Status.CLOSED and not self._flushed:
            await self._call(conn, history, None)
            self._flushed = history.calls[-1].fate is Fate.RETURNED
        if not self._flushed:
            late: list[Callable[[], Awaitable[object]]] = [
                conn.wait_connected,
                partial(conn.action, "log"),
                partial(conn.next_event, "appended"),
            ]
            for use in late:
                try:
                    await use()
                except RivetError as error:
                    history.endings.append(error)

    async def _listen(
        self, history: History, stream: EventStream[Any], changes: StatusStream
    ) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, history, changes)
            try:
                async for item in stream:
                    history.items.append(item)
            except RivetError as error:
                history.endings.append(error)
            history.gap_count = stream.gaps
            history.dropped = stream.dropped
        history.ended = True

    async def _watch(self, history: History, changes: StatusStream) -> None:
        async for change in changes:
            history.changes.append(change)

    async def _call_in_slot(
        self, conn: Connection, history: History, slots: anyio.Semaphore
    ) -> None:
        with_patience = self._chance.random() >= self._cancelled
        seconds = None if with_patience else self._chance.random() ** 2 * 0.05
        try:
            await self._call(conn, history, seconds)
        finally:
            slots.release()

    async def _call(self, conn: Connection, history: History, seconds: float | None) -> None:
        call = Call(self._next, self._floor)
        self._next += 1
        history.calls.append(call)
        call.called_away = conn.status is not Status.CONNECTED
        lost = lost_id(conn)
        with anyio.move_on_after(seconds):
            try:
                call.seq = await conn.append(call.number)
                call.fate = Fate.RETURNED
                self._floor = max(self._floor, call.seq or 0)
                self._last_returned = max(self._last_returned, call.number)
                self._returned.set()
                self._returned = anyio.Event()
            except ConnectionLostError as error:
                call.fate, call.error = Fate.LOST, error
            except (ConnectError, ClosedError) as error:
                call.fate, call.error = Fate.NOT_RUN, error
            except ActorError as error:
                # No action of the ledger raises these: they refused the connection.
                refused = error.group in ("auth", "user")
                call.fate, call.error = Fate.NOT_RUN if refused else Fate.FAILED, error
            except anyio.get_cancelled_exc_class():
                # Every opened connection has an id of its own, and nothing leaves before that.
                still_away = lost is not None and lost == lost_id(conn)
                call.fate = Fate.CANCELLED_WAITING if still_away else Fate.CANCELLED
                raise
