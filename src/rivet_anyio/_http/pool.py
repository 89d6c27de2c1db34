"""Which socket carries which request.

The bookkeeping is synchronous; a caller waits only for its place in the queue and for its own dial.
These are the rules:

1. A socket is in one place: idle, in use by one request, detached after an upgrade, or dropped.
   Each use has its own `Pooled`, so that a second release of the same one does nothing.
2. Every step that frees a socket, a dial or capacity serves the queue before it returns. So at any
   time, whoever is in the queue can be given nothing, and a newcomer overtakes nobody.
3. The queue is in order of arrival. Requests that do not wait behind others (management,
   ``/metadata``, handshakes) come first, do not count against the limit of sockets, and have a
   quarter of the dials for themselves.
4. What was granted to a waiter is its own from that step on. If it is cancelled before it runs, it
   passes the socket or the dial on.
5. Whoever was granted a dial makes it in its own task: no task outlives its caller. The seconds of
   a dial count from there. A socket that comes too late is dropped.
6. The limit of sockets and a lack of descriptors hold a dial back only while a request or another
   dial is under way, which will end. Nobody waits for a WebSocket connection to end.
7. The newest idle socket is used first. One that is too old, or has anything to read, is dropped.
   There is no task for that: it happens when the pool is used.
8. After a loss, no socket from before it is used again for that origin.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import NamedTuple

from anyio import CancelScope, move_on_after

from .._errors import ClosedError, ConnectError
from .._io.backend import ReusableStream, Waiter
from .._io.tasks import forbid_interrupts
from .._observe import PoolFigures

__all__ = ["Origin", "Pool", "PoolFigures", "Pooled", "address"]

_SPARE_DESCRIPTORS = 64
_FEWEST_SOCKETS = 8
_SHORTAGE_SECONDS = 1.0


class Origin(NamedTuple):
    """Where requests go. (RFC 6454, section 4)"""

    scheme: str
    host: str
    port: int


class Pooled:
    """One use of a socket.

    Attributes:
        stream: The socket.
        origin: What it is connected to.
        is_reused: Whether it was idle before, so that the server may have closed it meanwhile.
    """

    __slots__ = ("epoch", "is_reused", "origin", "stream", "until")

    def __init__(
        self, stream: ReusableStream, origin: Origin, *, is_reused: bool, epoch: int, until: float
    ) -> None:
        self.stream = stream
        self.origin = origin
        self.is_reused = is_reused
        self.epoch = epoch  # how many losses its origin had when it was dialled
        self.until = until  # when it becomes too old to be used, if it is idle


class _Waiter:
    """A request in the queue: it is granted a socket or a dial, or neither if the pool closes."""

    __slots__ = ("dials", "fresh", "origin", "place", "pooled", "wakes")

    def __init__(self, origin: Origin, place: tuple[bool, int], fresh: bool) -> None:
        self.origin = origin
        self.place = place  # whether it waits behind others; its number
        self.fresh = fresh
        self.pooled: Pooled | None = None
        self.dials = False
        self.wakes: Waiter | None = None  # once it really waits

    def __lt__(self, other: _Waiter) -> bool:
        return self.place < other.place

    def wake(self) -> None:
        if self.wakes is not None:
            self.wakes.set()


class Pool:
    """The sockets of one client, by origin."""

    def __init__(
        self,
        dial: Callable[[Origin], Awaitable[ReusableStream]],
        time: Callable[[], float],
        waiter: Callable[[], Waiter],
        *,
        max_sockets: int | None = None,
        max_dials: int = 32,
        idle_seconds: float = 3.0,
        name_of: Callable[[Origin], str] | None = None,
    ) -> None:
        """
        Args:
            dial: Connects to an origin. If it raises, it has closed what it opened. An error with
                a true attribute ``out_of_descriptors`` is not the peer's fault.
            time: The clock, in seconds.
            waiter: Makes what a request in the queue waits for.
            max_sockets: How many sockets may be open. None: as many as the process may have
                descriptors, less 64.
            max_dials: How many dials may be under way at once.
            idle_seconds: How long an idle socket may be used again.
            name_of: What an error calls an origin; its address by default.
        """
        self._dial = dial
        self._time = time
        self._max_sockets = _descriptor_limit() if max_sockets is None else max_sockets
        self._max_dials = max_dials
        self._idle_seconds = idle_seconds
        self._waiter = waiter
        self._name_of = name_of or (lambda origin: address(origin.host, origin.port))
        self._idle: dict[Origin, list[Pooled]] = {}  # no list is empty
        self._in_use: dict[Pooled, None] = {}
        self._detached: set[Pooled] = set()
        self._open = 0
        self._queue: list[_Waiter] = []  # sorted
        self._wanted: Counter[Origin] = Counter()  # how many are in the queue for it
        self._numbers = count()
        self._dialling = 0
        self._dials: dict[CancelScope, None] = {}
        self._epochs: dict[Origin, int] = {}
        self._reap_at = -math.inf
        # For so long not more sockets than so many, because there was no descriptor for another.
        self._short_until = -math.inf
        self._short_of = 0
        self._is_closed = False
        # Ctrl-C loses no socket and no place in the queue.
        forbid_interrupts(Pool.take_idle, Pool.acquire, Pool.release, Pool.close)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def figures(self) -> PoolFigures:
        """See `PoolFigures`."""
        self._reap()
        self._serve()
        return self.count()

    def count(self) -> PoolFigures:
        """As `figures`, but sockets that are too old still count. Any thread may call it."""
        idle = sum(map(len, tuple(self._idle.values())))
        return PoolFigures(self._open, idle, len(self._queue), self._dialling)

    def take_idle(self, origin: Origin) -> Pooled | None:
        """An idle socket, or None where there is none. `acquire` begins with this."""
        if self._is_closed:
            raise _closed()
        before = self._open
        pooled = self._pop_idle(origin, self._reap())
        if self._open != before:
            self._serve()
        return pooled

    async def acquire(
        self,
        origin: Origin,
        *,
        dial_seconds: float,
        fresh: bool = False,
        waits_behind_others: bool = True,
    ) -> Pooled:
        """A socket for one request, which the caller releases or detaches.

        It does not wait where an idle socket is at hand. Cancellation: whatever was granted is
        passed on, and a dial ends.

        Args:
            origin: Where the request goes.
            dial_seconds: How long a dial may take, from when it begins.
            fresh: Take no socket that was used before.
            waits_behind_others: False: wait for dials that are of the same kind, and for nothing
                else.

        Raises:
            ConnectError: the dial failed, or took too long.
            ClosedError: the pool is closed.
        """
        if not fresh:
            pooled = self.take_idle(origin)
            if pooled is not None:
                return pooled
        place = (waits_behind_others, next(self._numbers))
        while True:
            pooled = await self._wait(_Waiter(origin, place, fresh))
            if pooled is None:
                pooled = await self._connect(origin, dial_seconds)
                if pooled is not None:
                    return pooled
            elif self._is_current(pooled) and pooled.stream.is_quiet():
                return pooled
            elif pooled in self._in_use:
                # It broke after it was granted. Nobody is served before this one waits again.
                del self._in_use[pooled]
                self._drop(pooled)

    def release(self, pooled: Pooled, *, reusable: bool, keep_alive: float | None = None) -> None:
        """End one use of a socket.

        Args:
            pooled: As `acquire` gave it. One that was released before is ignored.
            reusable: Whether another request may use the socket.
            keep_alive: The seconds that the server keeps it open, where it says so.
        """
        if pooled not in self._in_use:  # released before, or dropped when the pool was closed
            return
        seconds = self._idle_seconds
        if keep_alive is not None:
            # A second less, so that the server's end does not cross a request on its way.
            seconds = min(seconds, keep_alive - 1)
        now = self._reap()
        pooled.until = now + seconds
        self._give_back(pooled, now, reusable=reusable)

    def detach(self, pooled: Pooled) -> ReusableStream:
        """Take an upgraded socket out of the pool; it counts as open until `ended`."""
        if pooled in self._in_use:
            del self._in_use[pooled]
            self._detached.add(pooled)
            self._serve()
        return pooled.stream

    def ended(self, pooled: Pooled) -> None:
        """Count a detached socket no more, because its owner closed it."""
        if pooled in self._detached:
            self._detached.discard(pooled)
            self._open -= 1
            self._serve()

    def lost(self, origin: Origin) -> None:
        """A socket of this origin broke: use none from before that again."""
        self._epochs[origin] = self._epochs.get(origin, 0) + 1
        for pooled in self._idle.pop(origin, ()):
            self._drop(pooled)
        self._serve()

    def close(self) -> None:
        """Drop all sockets but those detached, end all dials, and give out nothing any more."""
        if self._is_closed:
            return
        self._is_closed = True
        idle = [pooled for pile in self._idle.values() for pooled in pile]
        queue, dials = self._queue[:], list(self._dials)
        for pooled in (*idle, *self._in_use):
            self._drop(pooled)
        self._idle.clear()
        self._in_use.clear()
        self._queue.clear()
        self._wanted.clear()
        for waiter in queue:
            waiter.wake()
        for scope in dials:
            scope.cancel()

    # What waits

    async def _wait(self, waiter: _Waiter) -> Pooled | None:
        """The socket that the waiter was granted; None for a dial."""
        try:
            if self._is_closed:
                raise _closed()
            if not self._queue or self._queue[-1] < waiter:  # as most come
                self._queue.append(waiter)
            else:
                insort(self._queue, waiter)
            self._wanted[waiter.origin] += 1
            self._serve()
            if waiter.pooled is None and not waiter.dials:
                waiter.wakes = self._waiter()
                await waiter.wakes.wait()
            if self._is_closed:
                raise _closed()
        except BaseException:
            self._leave(waiter)
            raise
        return waiter.pooled

    async def _connect(self, origin: Origin, seconds: float) -> Pooled | None:
        """A new socket, by a dial that was granted; None where no descriptor was left for it."""
        epoch = self._epochs.get(origin, 0)
        stream: ReusableStream | None = None
        scope = None
        is_short = False
        try:
            with move_on_after(seconds) as scope:
                self._dials[scope] = None
                stream = await self._dial(origin)
            if self._is_closed:
                raise _closed()
            if stream is None:
                raise ConnectError(
                    f"cannot connect to {self._name_of(origin)}: no connection in {seconds:g} s"
                )
        except BaseException as exc:
            if stream is not None:
                stream.drop()
            is_short = getattr(exc, "out_of_descriptors", False) and not self._is_closed
            if is_short and (self._in_use or self._idle or self._dialling > 1):
                self._short_until = self._time() + _SHORTAGE_SECONDS
                self._short_of = self._open + self._dialling - 1
                return None
            is_short = False
            raise
        else:
            pooled = Pooled(stream, origin, is_reused=False, epoch=epoch, until=math.inf)
            self._in_use[pooled] = None
            self._open += 1
            return pooled
        finally:
            if scope is not None:
                self._dials.pop(scope, None)
            self._dialling -= 1
            if not is_short:  # else the caller waits again first, at its old place
                self._serve()

    # What does not

    def _serve(self) -> None:
        """Grant what is free to those who wait, the first of them first."""
        if not self._queue:
            return
        index = 0
        now = self._time()
        while index < len(self._queue):
            waiter = self._queue[index]
            # Whether it is quiet is asked when the waiter runs, a while after this.
            pooled = None if waiter.fresh else self._pop_idle(waiter.origin, now, is_asked=False)
            if pooled is not None or self._may_dial(waiter, now):
                self._take_out(index)
                if pooled is None:
                    self._dialling += 1
                    waiter.dials = True
                waiter.pooled = pooled
                waiter.wake()
            elif any(self._wanted[origin] for origin in self._idle):
                index += 1
            else:  # so there is nothing for those behind it, either
                return

    def _take_out(self, index: int) -> None:
        waiter = self._queue.pop(index)
        self._wanted[waiter.origin] -= 1
        if not self._wanted[waiter.origin]:
            del self._wanted[waiter.origin]

    def _may_dial(self, waiter: _Waiter, now: float) -> bool:
        """Whether one more dial may begin; it drops idle sockets where these stand in the way."""
        waits_behind_others, _ = waiter.place
        max_dials, max_sockets = self._max_dials, math.inf
        if waits_behind_others:
            max_dials, max_sockets = max_dials - max_dials // 4, self._max_sockets
        if self._dialling >= max_dials:
            return False
        if now < self._short_until:
            max_sockets = min(max_sockets, self._short_of)
        while self._open + self._dialling >= max_sockets:
            if not self._idle:
                return not self._in_use and not self._dialling
            pile = min(self._idle.values(), key=lambda pile: pile[0].until)
            self._drop(pile.pop(0))
            if not pile:
                self._idle = {origin: pile for origin, pile in self._idle.items() if pile}
        return True

    def _leave(self, waiter: _Waiter) -> None:
        """Pass on what was granted, because the waiter does not take it."""
        if waiter.pooled is not None:
            self._give_back(waiter.pooled, self._reap(), reusable=True)
        elif waiter.dials:
            self._dialling -= 1
        else:
            index = bisect_left(self._queue, waiter)
            if index < len(self._queue) and self._queue[index] is waiter:
                self._take_out(index)
        self._serve()

    def _give_back(self, pooled: Pooled, now: float, *, reusable: bool) -> None:
        if pooled not in self._in_use:  # dropped when the pool was closed
            return
        del self._in_use[pooled]
        if reusable and self._is_current(pooled) and pooled.until > now:
            self._idle.setdefault(pooled.origin, []).append(pooled)
        else:
            self._drop(pooled)
        self._serve()

    def _is_current(self, pooled: Pooled) -> bool:
        return pooled.epoch == self._epochs.get(pooled.origin, 0)

    def _pop_idle(self, origin: Origin, now: float, *, is_asked: bool = True) -> Pooled | None:
        """The newest idle socket that can be used; those newer that cannot are dropped.

        Args:
            origin: What it is connected to.
            now: The time.
            is_asked: Whether the system is asked if the server has closed it.
        """
        pile = self._idle.get(origin)
        if pile is None:
            return None
        found = None
        while pile and found is None:
            newest = pile.pop()
            if newest.until > now and not (is_asked and not newest.stream.is_quiet()):
                found = newest
            else:
                self._drop(newest)
        if not pile:
            del self._idle[origin]
        if found is None:
            return None
        pooled = Pooled(found.stream, origin, is_reused=True, epoch=found.epoch, until=found.until)
        self._in_use[pooled] = None
        return pooled

    def _reap(self) -> float:
        """Drop what has been idle for too long, now and then; return the time."""
        now = self._time()
        if now >= self._reap_at:
            self._reap_at = now + self._idle_seconds / 4
            for pooled in [p for pile in self._idle.values() for p in pile if p.until <= now]:
                pile = self._idle[pooled.origin]
                pile.remove(pooled)
                if not pile:
                    del self._idle[pooled.origin]
                self._drop(pooled)
        return now

    def _drop(self, pooled: Pooled) -> None:
        pooled.stream.drop()
        self._open -= 1


def address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _closed() -> ClosedError:
    return ClosedError("the client was closed")


def _descriptor_limit() -> float:
    """The process's limit of descriptors, less some for everything else it opens."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return math.inf
    return max(soft - _SPARE_DESCRIPTORS, _FEWEST_SOCKETS)
