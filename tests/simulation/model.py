"""Several programs at once that call, listen, cancel and leave, while everything goes wrong."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio

from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    ClosedError,
    ConnectError,
    Connection,
    ConnectionLostError,
    EventGapError,
    EventStream,
    Gap,
    ProtocolError,
    Retry,
    RivetError,
    Status,
    StatusStream,
    TransportError,
    Versions,
    live,
)
from rivet_anyio._connection.events import Gaps, Overflow
from rivet_anyio._connection.state import Call as PendingCall
from rivet_anyio.testing import ActorServer, Network
from tests.faults.accounting import Call, Fate, lost_id
from tests.scopes.injection import live_tasks

from .faults import Weather
from .ledger import Digest, Ledger, add
from .told import Consumer, Exit, Mirror, Run, Visit

__all__ = ["Group", "jitter", "play", "pushed"]

_CLOSE_SECONDS = 3.0
"""Less than the server's own patience, which would end a goodbye as well."""
_CANCELLED_SECONDS = 1.0
_LONG = 40_000
"""Bytes of which a few are more than waits to be written before callers have to wait."""
_BACK_SECONDS = 3600.0
"""More than a pending Retry-After, a connect, a keepalive and a slow action together."""

_LENGTHS = ((5.0, 0.2), (60.0, 2.0), (900.0, 24.0), (7200.0, 168.0))
"""Seconds between faults, and hours: from ten busy minutes to a quiet week."""
_PAUSES = (0.0, 0.01, 0.3, 5.0, 60.0, 600.0, 7200.0)
_POLICIES: tuple[Overflow, ...] = ("raise", "drop_oldest", "drop_newest", "block")
_GAPS: tuple[Gaps, ...] = ("ignore", "raise", "mark")


async def play(seed: int, *, hours: float | None = None) -> Run:
    """One run: drawn from the seed, as long as that says, and for so many hours at most."""
    chance = random.Random(seed)
    run = Run(seed)
    before = len(live_tasks())
    version = chance.choice(("2.0", "2.2", "2.3"))
    every, length = chance.choice(_LENGTHS)
    seconds = 3600 * (length if hours is None else min(hours, length))
    async with ActorServer(
        {"ledger": partial(Ledger, run.store)}, version=version, unused_faults="ignore"
    ) as server:
        weather = Weather(server, _part(chance), every, run.counts)
        group = Group(run, scale=weather.every)
        group.network = server.network if chance.random() < 0.5 else None
        async with anyio.create_task_group() as tasks:
            for index in range(chance.randrange(1, 4)):
                tasks.start_soon(group.visit, _client(server, chance, every), _part(chance), index)
            tasks.start_soon(group.post, _client(server, chance, every), _part(chance))
            with anyio.move_on_after(seconds):
                await weather.blow()
            weather.calm()
            with anyio.fail_after(_BACK_SECONDS):
                await group.end()
        await anyio.sleep(10)  # for goodbyes on their way
    run.in_order = weather.in_order
    run.is_prompt = weather.is_prompt and not run.counts["stalled exits"]
    run.seconds = anyio.current_time()
    await anyio.wait_all_tasks_blocked()
    run.tasks_left = len(live_tasks()) - before
    run.trace += [(record.at, repr(record)) for record in server.log]
    return run


def _part(chance: random.Random) -> random.Random:
    """Chance of its own, so that who comes first does not change what others draw."""
    return random.Random(chance.getrandbits(64))


def _client(server: ActorServer, chance: random.Random, every: float) -> Client:
    """A client that asks for signs of life the more seldom, the quieter it is."""
    return server.client(
        encoding=chance.choice(("bare", "cbor", "json")),
        close_timeout=_CLOSE_SECONDS,
        ping_interval=max(20.0, every / chance.choice((3.0, 60.0))),
        retry=Retry(maximum=chance.choice((5.0, 30.0, 300.0)), random=partial(jitter, chance)),
    )


def jitter(chance: random.Random) -> float:
    """Never less than half, so that there is a shortest delay, too."""
    return chance.uniform(0.5, 1.0)


class Group:
    """All programs of one run.

    Args:
        run: Where they write down what they saw.
        scale: Seconds that a visit lasts, about.

    Attributes:
        network: What falls silent at some goodbyes; None: at none.
    """

    def __init__(self, run: Run, *, scale: float) -> None:
        self._run = run
        self._scale = scale
        self._next = 0
        self._floor = 0
        self.network: Network | None = None
        self._stopping = anyio.Event()
        self._busy = 0
        self._idle = anyio.Event()

    async def end(self) -> None:
        """Let all come to their end, after one more action that returned to each of them."""
        self._stopping.set()
        while self._busy:
            self._idle = anyio.Event()
            await self._idle.wait()

    def note(self, who: object, what: object) -> None:
        """Write into the trace."""
        self._run.trace.append((anyio.current_time(), f"{who}: {what}"))

    # A program with connections, one after another

    async def visit(self, client: Client, chance: random.Random, index: int) -> None:
        self._begin()
        try:
            async with client:
                handle = client.ledger.get_or_create()
                is_last = False
                while not is_last:
                    is_last = self._stopping.is_set()
                    done = await self._stay(handle, chance, index, is_last=is_last)
                    is_last = is_last and done
                    await anyio.sleep(0 if done else 1)
        finally:
            self._end()

    async def _stay(
        self, handle: ActorHandle, chance: random.Random, index: int, *, is_last: bool
    ) -> bool:
        """One connection; whether it was used as long as that was wanted."""
        seconds = chance.expovariate(1 / (10 * self._scale))
        way_out = chance.choice(("end", "raise", "cancel"))
        visit = Visit()
        finished = False
        left_at = 0.0
        silence = ExitStack()
        async with anyio.create_task_group() as listeners:
            try:
                with silence, anyio.CancelScope() as scope:
                    async with handle.connect() as conn:
                        try:
                            await self._use(
                                conn,
                                visit,
                                listeners,
                                chance,
                                index,
                                seconds=0.0 if is_last else seconds,
                                is_last=is_last,
                            )
                            finished = conn.status is not Status.CLOSED
                            if self.network is not None and chance.random() < 0.1:
                                self._run.counts["stalled exits"] += 1
                                silence.enter_context(self.network.stalled())
                            if way_out == "raise":
                                raise _Enough
                            if way_out == "cancel":
                                scope.cancel()
                                await anyio.lowlevel.checkpoint()
                        finally:
                            left_at = anyio.current_time()
            except _Enough:
                pass
            except (TransportError, ProtocolError, ActorError) as refusal:
                self.note(index, _told(refusal))
                self._run.counts["refused"] += 1
            if visit.opened_at or visit.history.calls:
                allowed = _CANCELLED_SECONDS if way_out == "cancel" else _CLOSE_SECONDS
                visit.exit = Exit(allowed, anyio.current_time() - left_at)
                self.note(index, f"left by {way_out}")
        return finished

    async def _use(
        self,
        conn: Connection,
        visit: Visit,
        listeners: anyio.abc.TaskGroup,
        chance: random.Random,
        index: int,
        *,
        seconds: float,
        is_last: bool,
    ) -> None:
        stream = self.follow(conn, visit, listeners, index)
        await self._live(conn, visit, stream, listeners, chance, index, seconds)
        if not _is_closed(conn) and (is_last or chance.random() < 0.5):
            while not _is_closed(conn):
                await self.call(conn, visit)
                if visit.history.calls[-1].fate is Fate.RETURNED:
                    if is_last:
                        await self.catch_up(visit)
                    break
                await anyio.sleep(1)
        if _is_closed(conn):
            await self.use_late(conn, visit)

    def follow(
        self, conn: Connection, visit: Visit, listeners: anyio.abc.TaskGroup, index: int
    ) -> EventStream[Any]:
        """Begin to write down what a connection tells; its first stream, which misses nothing."""
        visit.opened_at = anyio.current_time()
        visit.longest_delay = conn._link.retry.maximum
        self._run.visits.append(visit)
        self.note(index, f"connected as {conn.connection_id}")
        stream = conn.events("appended", gaps="mark", buffer_size=1_000_000)
        listeners.start_soon(self._listen, visit, stream, conn.status_changes(), index)
        chance = random.Random(f"{self._run.seed} {len(self._run.visits)}")
        listeners.start_soon(self._mirror, conn, visit, chance, index)
        return stream

    async def use_late(self, conn: Connection, visit: Visit) -> None:
        """Use a connection that has failed for good."""
        late: list[Callable[[], Awaitable[object]]] = [
            conn.wait_connected,
            partial(conn.action, "log"),
            partial(conn.next_event, "appended"),
        ]
        for use in late:
            try:
                await use()
            except RivetError as error:
                visit.history.endings.append(error)

    async def _live(
        self,
        conn: Connection,
        visit: Visit,
        stream: EventStream[Any],
        listeners: anyio.abc.TaskGroup,
        chance: random.Random,
        index: int,
        seconds: float,
    ) -> None:
        """Call and listen for so long, or until all shall end or the connection has failed."""
        slots = anyio.Semaphore(chance.randrange(1, 5))
        with anyio.move_on_after(seconds):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._stop_with, tasks.cancel_scope, conn)
                while True:
                    if chance.random() < 0.1:
                        consumer = partial(self._consume, conn, visit, stream, _part(chance), index)
                        listeners.start_soon(consumer)
                    await slots.acquire()
                    tasks.start_soon(self._call_in_slot, conn, visit, _part(chance), slots)
                    await anyio.sleep(self._pause(chance))

    async def _stop_with(self, scope: anyio.CancelScope, conn: Connection) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stopping_then, tasks.cancel_scope)
            async for change in conn.status_changes():
                if change.status is Status.CLOSED:
                    break
            tasks.cancel_scope.cancel()
        scope.cancel()

    async def _stopping_then(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()

    def _pause(self, chance: random.Random) -> float:
        """From nothing to ten minutes, and rather long where visits are long."""
        longest = chance.choice([pause for pause in _PAUSES if pause <= self._scale])
        return longest * chance.random()

    async def _call_in_slot(
        self,
        conn: Connection,
        visit: Visit,
        chance: random.Random,
        slots: anyio.Semaphore,
    ) -> None:
        patience = chance.choice((0.0, 0.01, 2.0, 50.0)) if chance.random() < 0.3 else None
        seconds = chance.choice((0.1, 5.0, 61.0)) if chance.random() < 0.05 else 0.0
        try:
            size = _LONG if chance.random() < 0.1 else 0
            await self.call(conn, visit, seconds=seconds, patience=patience, size=size)
        finally:
            slots.release()

    async def call(
        self,
        conn: Connection,
        visit: Visit,
        *,
        seconds: float = 0.0,
        patience: float | None = None,
        size: int = 0,
    ) -> None:
        """As `_call`, over a connection, whose streams have its event when it returns."""
        before = [(one, _heard(one)) for one in visit.consumers if one.ended_at == 0]
        visit.pending += 1
        try:
            call = await self._call(conn, visit.history.calls, seconds, patience, size)
        finally:
            visit.pending -= 1
            _look_for_leftovers(conn, visit)
        if call.fate is Fate.RETURNED and conn.status is Status.CONNECTED:
            for one, (events, gaps) in before:
                has_ended = one.ended_at or one.stream is None or one.stream._buffer.ended
                if not has_ended and _heard(one) == (events, gaps):
                    visit.deaf.append(f"{one.name!r} of {one.opened_at} did not get {call}")

    async def _call(
        self,
        at: Connection | ActorHandle,
        calls: list[Call],
        seconds: float,
        patience: float | None,
        size: int = 0,
    ) -> Call:
        """One action, slow by so many seconds and with so many bytes, and what became of it.

        It is cancelled from outside, or after `patience`.
        """
        conn = at if isinstance(at, Connection) else None
        call = Call(self._next, self._floor)
        self._next += 1
        calls.append(call)
        lost = None
        if conn is not None and conn.status is not Status.CONNECTED:
            call.called_away, lost = True, lost_id(conn)
        try:
            with anyio.move_on_after(patience):
                call.seq = await at.action("append", call.number, seconds, "-" * size)
                call.fate = Fate.RETURNED
                self._floor = max(self._floor, call.seq or 0)
        except ConnectionLostError as error:
            call.fate, call.error = Fate.LOST, error
        except (ConnectError, ClosedError) as error:
            call.fate, call.error = Fate.NOT_RUN, error
        except ActorError as error:
            refused = error.group in ("auth", "user")
            call.fate, call.error = Fate.NOT_RUN if refused else Fate.FAILED, error
        finally:
            if call.fate is Fate.PENDING:
                still_away = conn is not None and lost is not None and lost == lost_id(conn)
                call.fate = Fate.CANCELLED_WAITING if still_away else Fate.CANCELLED
            self._run.counts[call.fate.value] += 1
            self.note(call.number, f"{call.fate.value} {call.seq} {_told(call.error)}")
        return call

    # Listening

    async def _listen(
        self, visit: Visit, stream: EventStream[Any], changes: StatusStream, index: int
    ) -> None:
        history = visit.history
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, visit, changes, index)
            try:
                async for item in stream:
                    history.items.append(item)
                    for mirror in visit.mirrors:
                        mirror.look()
                    self.note(index, item)
                    self._run.counts["gaps told" if isinstance(item, Gap) else "events"] += 1
            except RivetError as error:
                history.endings.append(error)
            history.gap_count = stream.gaps
            history.dropped = stream.dropped
        history.ended = True

    async def _watch(self, visit: Visit, changes: StatusStream, index: int) -> None:
        async for change in changes:
            visit.history.changes.append(change)
            visit.states.append((anyio.current_time(), change))
            for mirror in visit.mirrors:
                mirror.look()
            self.note(index, f"{change.status} {_told(change.error)}")

    async def _mirror(
        self, conn: Connection, visit: Visit, chance: random.Random, index: int
    ) -> None:
        """Keep a copy of the log, by the one way or the other, and read it at some pace."""
        seconds = chance.choice((None, 0.0, 0.3, 30.0))
        pace = chance.choice((0.0, 0.0, 1.0, 300.0))
        mirror = Mirror("atomic" if seconds is None else f"versions, {seconds} s")
        visit.mirrors.append(mirror)
        versions = Versions[Digest](lambda digest: digest[0], lambda event: event[1])
        try:
            async with live(
                conn,
                partial(conn.action, "digest", seconds or 0.0, type=Digest),
                {"appended": add},
                versions=None if seconds is None else versions,
                atomic_snapshot=seconds is None,
            ) as mirror.state:
                async for digest in mirror.state:
                    mirror.shown.append(digest)
                    self._run.counts["live states"] += 1
                    await anyio.sleep(pace)
        except RivetError as error:
            self.note(index, _told(error))
        if mirror.state is not None:
            mirror.refreshed = mirror.state.refreshed
            self._run.counts["refreshed"] += mirror.refreshed
        self.note(index, f"live state, {mirror.name}: {mirror.shown[-1:]} {mirror.refreshed}")

    async def catch_up(self, visit: Visit) -> None:
        """Let live states have everything until the answer to the last call."""
        seq = visit.history.calls[-1].seq
        assert seq is not None
        for mirror in visit.mirrors:
            mirror.is_behind = True
            with anyio.move_on_after(_BACK_SECONDS):
                while mirror.state is None:  # noqa: ASYNC110
                    await anyio.sleep(1)
                try:
                    async for digest in mirror.state:
                        if digest[0] >= seq:
                            mirror.is_behind = False
                            break
                except RivetError:
                    mirror.is_behind = False

    async def _consume(
        self,
        conn: Connection,
        visit: Visit,
        first: EventStream[Any],
        chance: random.Random,
        index: int,
    ) -> None:
        consumer = Consumer(
            name=chance.choice(("appended", "ticked")),
            overflow=chance.choice(_POLICIES),
            gaps=chance.choice(_GAPS),
            size=chance.choice((1, 3, 100)),
            begin=pushed(visit, first),
            first_call=len(visit.history.calls),
            opened_at=anyio.current_time(),
        )
        try:
            stream = conn.events(
                consumer.name,
                buffer_size=consumer.size,
                overflow=consumer.overflow,
                gaps=consumer.gaps,
            )
        except RivetError:
            return  # The connection ended before this began.
        consumer.stream = stream
        visit.consumers.append(consumer)
        pace = chance.choice((0.0, 0.0, 0.1, 3.0, 20.0))
        with anyio.move_on_after(chance.choice((None, 1.0, 100.0, 3600.0))):
            try:
                while True:
                    await self.take(stream, consumer)
                    if pace:
                        await anyio.sleep(pace * chance.random())
            except anyio.EndOfStream:
                pass
            except RivetError as error:
                consumer.ended_by = error
        self.finish(consumer, visit, stream, first)
        self.note(index, f"{consumer.name} {consumer.overflow} {consumer.items}")

    def finish(
        self,
        consumer: Consumer,
        visit: Visit,
        stream: EventStream[Any],
        first: EventStream[Any],
    ) -> None:
        """Close a stream and write down how it ended."""
        consumer.last_call = len(visit.history.calls)
        consumer.end = pushed(visit, first)
        consumer.ended_at = anyio.current_time()
        consumer.left, consumer.unread = stream._buffer.event_count, stream.buffered
        consumer.dropped, consumer.gap_count = stream.dropped, stream.gaps
        stream.close()
        self._run.counts["consumers"] += 1
        self._run.counts["dropped"] += consumer.dropped

    async def take(self, stream: EventStream[Any], consumer: Consumer) -> None:
        """Take one item, or write down its gap."""
        consumer.most = max(consumer.most, stream.buffered)
        try:
            item = await stream.receive()
        except EventGapError as error:
            item = Gap(error.since, error.until, error.attempts)
        consumer.items.append(item)

    # A program that calls over HTTP

    async def post(self, client: Client, chance: random.Random) -> None:
        self._begin()
        try:
            async with client:
                handle = client.ledger.get_or_create()
                while not self._stopping.is_set():
                    patience: float | None = chance.choice((0.0, 0.01, 2.0, 50.0))
                    if chance.random() < 0.7:
                        patience = None
                    await self._call(handle, self._run.posted, 0.0, patience)
                    with anyio.move_on_after(10 * self._pause(chance)):
                        await self._stopping.wait()
                    await anyio.sleep(0.01)
        finally:
            self._end()

    def _begin(self) -> None:
        self._busy += 1

    def _end(self) -> None:
        self._busy -= 1
        self._idle.set()


class _Enough(Exception):
    """The body of a block has had enough."""


def pushed(visit: Visit, first: EventStream[Any]) -> int:
    """How many events the connection's first stream was given until now."""
    taken = sum(not isinstance(item, Gap) for item in visit.history.items)
    return taken + first._buffer.event_count


def _heard(consumer: Consumer) -> tuple[int, int]:
    """How many events and how many gaps a stream was given until now."""
    assert consumer.stream is not None
    taken = sum(not isinstance(item, Gap) for item in consumer.items)
    buffer = consumer.stream._buffer
    return taken + buffer.event_count + buffer.dropped, buffer.gap_count


def _look_for_leftovers(conn: Connection, visit: Visit) -> None:
    """Nothing is kept but the calls that somebody waits for; each live state has one at most."""
    state = conn._link.state
    items = (*state.in_flight.values(), *state.outbox.items)
    kept = sum(isinstance(item, PendingCall) for item in items) + len(state.outbox.waiters)
    if kept > visit.pending + len(visit.mirrors):
        visit.kept.append(f"{kept} calls are kept, {visit.pending} are waited for")


def _is_closed(conn: Connection) -> bool:
    return conn.status is Status.CLOSED


def _told(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}"
