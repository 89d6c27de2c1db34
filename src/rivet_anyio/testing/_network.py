"""The network between clients and the server: how bytes get through, or do not."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import anyio
import anyio.abc
from anyio import CancelScope

from .._checks import check_instance, check_label, check_seconds, check_size
from .._errors import ConfigError, ConnectError
from .._io.waiting import Signal
from .._text import in_short
from ._arming import Armed, Moments, armed
from ._memory import MemoryStream, memory_pipe

__all__ = ["Direction", "Latency", "Network", "NetworkFault", "Wire"]

Latency = float | tuple[float, float]
"""Seconds, or the least and the most of them, to draw from."""

_RETRANSMISSION_SECONDS = 0.2
_MOST_RETRANSMISSION_SECONDS = 120.0
"""When TCP sends again what was lost, first and at most; the time doubles. (Linux)"""


class NetworkFault:
    """What `hold` and `partition` return: as a context manager it ends with the block."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._end = end

    def __enter__(self) -> NetworkFault:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()


class Direction:
    """Bytes on their way in one direction: `Network.to_server` or `Network.to_client`."""

    def __init__(self, path: str, name: str, note: Callable[[str], None]) -> None:
        self._path = path
        self._name = name
        self._note = note
        self._latency: Latency = 0.0
        self._loss = 0.0
        self._holds: list[Armed] = []
        self._partitions: list[Armed] = []
        self._over: list[Armed] = []
        self._cut_off: dict[Wire, None] = {}
        self._change = Signal()

    @property
    def latency(self) -> Latency:
        """Seconds that every write takes to arrive; or a pair, between which `random` chooses.

        What is written while bytes are on their way arrives after them, and takes its own time.
        Setting it raises `TypeError` or `ValueError` for anything but finite numbers of at least
        0, the smaller one first.
        """
        return self._latency

    @latency.setter
    def latency(self, seconds: Latency) -> None:
        pair = seconds if isinstance(seconds, tuple) and len(seconds) == 2 else (seconds, seconds)
        for each in pair:
            check_seconds("latency", each, zero=True)
        if pair[0] > pair[1]:
            raise ValueError(f"latency is the least and the most seconds, not {in_short(seconds)}")
        self._latency = seconds

    @property
    def loss(self) -> float:
        """How likely it is that a write is lost, from 0 to less than 1; `random` decides.

        TCP sends again what was lost: it arrives 0.2 s later, then 0.4 s, doubled up to 2 minutes.
        Setting it raises `TypeError` or `ValueError` for anything else.
        """
        return self._loss

    @loss.setter
    def loss(self, share: float) -> None:
        if isinstance(share, bool) or not isinstance(share, (int, float)):
            raise TypeError(f"loss is a number, not {in_short(share)}")
        if not 0 <= share < 1:
            raise ValueError(
                f"loss is at least 0 and less than 1, not {in_short(share)}: partition() "
                "loses everything"
            )
        self._loss = share

    def hold(self) -> NetworkFault:
        """Keep all bytes from here on, until `release` or the end of the block; none is lost."""
        return self._hold()

    def _hold(self, *, fault: Armed | None = None) -> NetworkFault:
        return self._begin("hold", self._holds, fault)

    def release(self) -> None:
        """Let all arrive at once that was kept."""
        self._end_all("hold", self._holds)

    def partition(self) -> NetworkFault:
        """Lose all bytes from here on, until `repair` or the end of the block.

        Neither end notices: a connection looks alive until somebody gives up waiting. Nobody
        answers new connections meanwhile. Connections that have lost bytes break at the end of the
        last partition on their way, in either direction.
        """
        return self._partition()

    def _partition(self, *, fault: Armed | None = None) -> NetworkFault:
        return self._begin("partition", self._partitions, fault)

    def repair(self) -> None:
        """Let bytes through again; connections that have lost some break."""
        self._end_all("partition", self._partitions)

    def _begin(self, what: str, faults: list[Armed], fault: Armed | None) -> NetworkFault:
        begun = fault or armed(f"{self._path}.{what}()")
        faults.append(begun)
        self._changed(f"{what} {self._name} begins")

        def end() -> None:
            if begun in faults:
                faults.remove(begun)
                self._ended([begun], what)

        return NetworkFault(end)

    def _end_all(self, what: str, faults: list[Armed]) -> None:
        if faults:
            ended = list(faults)
            faults.clear()
            self._ended(ended, what)

    def _ended(self, faults: list[Armed], what: str) -> None:
        self._over += faults
        self._changed(f"{what} {self._name} ends")
        cut_off, self._cut_off = self._cut_off, {}
        for wire in cut_off:
            wire.break_off()

    def _lose(self, wire: Wire) -> None:
        """A partition has lost bytes of this connection, or keeps its end from being seen."""
        self._cut_off[wire] = None
        _use(self._partitions)

    def _changed(self, text: str) -> None:
        self._note(text)
        self._change.set()
        self._change = Signal()

    def _clear(self) -> None:
        self.release()
        self.repair()
        self._over.clear()
        self._latency = self._loss = 0.0

    def _delay(self) -> float:
        """How long a write takes, drawn anew."""
        latency = self._latency
        delay = random.uniform(*latency) if isinstance(latency, tuple) else latency
        again = _RETRANSMISSION_SECONDS
        while self._loss and random.random() < self._loss:
            delay += again
            again = min(2 * again, _MOST_RETRANSMISSION_SECONDS)
        return delay

    def _longest(self) -> float:
        """Seconds within which bytes are sure to arrive."""
        if self._holds or self._partitions or self._loss:
            return math.inf
        return self._latency[1] if isinstance(self._latency, tuple) else self._latency

    def _unused(self) -> list[Armed]:
        return [
            fault for fault in (*self._over, *self._holds, *self._partitions) if fault.is_unused
        ]


async def _travel(directions: Iterable[Direction], wire: Wire) -> bool:
    """Take the time that some bytes take; whether they arrive."""
    is_delayed = False
    while True:
        partitioned = next((each for each in directions if each._partitions), None)
        if partitioned is not None:
            partitioned._lose(wire)
            return False
        holding = next((each for each in directions if each._holds), None)
        if holding is not None:
            _use(holding._holds)
            await holding._change.wait()
        elif not is_delayed:
            is_delayed = True
            delay = sum(each._delay() for each in directions)
            if delay > 0:
                await anyio.sleep(delay)
        else:
            return True


def _use(faults: list[Armed]) -> None:
    for fault in faults:
        fault.left = 0


class Network:
    """How bytes travel between clients and an `ActorServer`; everything may change at any time.

    `ActorServer.network` is that of all clients. ``server.client(network=Network())`` gives a
    client one of its own: what goes wrong there goes wrong for nobody else, and what goes wrong
    in the server's network goes wrong there, too.

    Args:
        name: Its name in timelines.

    Attributes:
        to_server: The bytes of clients.
        to_client: The bytes of the server.
    """

    def __init__(self, name: str = "network") -> None:
        check_instance("name", name, str, none=False)
        check_label("name", name)
        self._name = name
        self._chunk_size: int | None = None
        self._serve: Callable[[Wire], None] | None = None
        self._parent: Network | None = None
        self._wires: dict[Wire, None] = {}  # in order: faults are to be the same every time
        self._refusals: list[Armed] = []
        self._outages: list[Armed] = []
        self._over: list[Armed] = []
        self._cuts = Moments()
        self._timeline: Callable[[str, str], None] | None = None
        self.to_server = Direction(f"{name}.to_server", "to the server", self._note)
        self.to_client = Direction(f"{name}.to_client", "to the client", self._note)

    def __repr__(self) -> str:
        return f"<Network {self._name!r}>"

    @property
    def latency(self) -> Latency:
        """Seconds that every write of the server takes to arrive: `to_client`'s latency."""
        return self.to_client.latency

    @latency.setter
    def latency(self, seconds: Latency) -> None:
        self.to_client.latency = seconds

    @property
    def chunk_size(self) -> int | None:
        """Deliver the server's bytes in pieces of this size, across all borders of frames.

        None: as they were written. Sockets may put pieces together again. Setting it raises
        `TypeError` or `ValueError` for anything but None and a whole number of at least 1.
        """
        return self._chunk_size

    @chunk_size.setter
    def chunk_size(self, size: int | None) -> None:
        check_size("chunk_size", size, none=True)
        self._chunk_size = size

    def refuse(self, times: int = 1) -> None:
        """Refuse the next connections, as a port does where nobody listens.

        Kept connections that are idle are closed, so that the next request needs a new one.

        Raises:
            TypeError, ValueError: `times` is not a whole number of at least 1.
        """
        check_size("times", times)
        self._refuse(times)

    def _refuse(self, times: int, *, is_optional: bool = False) -> None:
        self._note(f"refuses the next {times} connections")
        what = f"{self._name}.refuse({times})"
        self._refusals.append(armed(what, times, is_optional=is_optional))
        self._end(lambda wire: wire.is_idle)

    def cut(self) -> None:
        """Break every connection off, without a word. If there is none, it is an unused fault."""
        self._cuts.note(f"{self._name}.cut()", has_effect=bool(self._wires))
        self._cut()

    def _cut(self) -> None:
        self._note("all connections break")
        self._end(lambda wire: True)

    def outage(self) -> AbstractContextManager[None]:
        """Inside this block the server cannot be reached: all connections break, none is made."""
        return self._outage(is_optional=False)

    @contextmanager
    def _outage(self, *, is_optional: bool) -> Generator[None]:
        fault = armed(f"{self._name}.outage()", is_optional=is_optional)
        self._note("outage begins")
        self._outages.append(fault)
        if self._wires:
            fault.left = 0
        self._cut()
        try:
            yield
        finally:
            self._outages.remove(fault)
            self._over.append(fault)
            self._note("outage ends")

    @contextmanager
    def stalled(self) -> Generator[None]:
        """Inside this block no byte of the server arrives, and none is lost.

        Requests do arrive. At the end, what was stalled comes at once, frames put together.
        """
        with self.to_client.hold():
            yield

    def hold(self) -> NetworkFault:
        """Keep all bytes of both directions; see `Direction.hold`."""
        fault = armed(f"{self._name}.hold()")
        return _both(self.to_server._hold(fault=fault), self.to_client._hold(fault=fault))

    def release(self) -> None:
        """Let all arrive at once that was kept."""
        self.to_server.release()
        self.to_client.release()

    def partition(self) -> NetworkFault:
        """Lose all bytes of both directions; see `Direction.partition`."""
        fault = armed(f"{self._name}.partition()")
        return _both(self.to_server._partition(fault=fault), self.to_client._partition(fault=fault))

    def repair(self) -> None:
        """Let bytes through again; connections that have lost some break."""
        self.to_server.repair()
        self.to_client.repair()

    def clear(self) -> None:
        """Let nothing go wrong any more: no refusal, latency, loss, hold or partition is left."""
        self._refusals.clear()
        self._over.clear()
        self._cuts.clear()
        self._chunk_size = None
        for direction in (self.to_server, self.to_client):
            direction._clear()

    def _bind(
        self,
        serve: Callable[[Wire], None],
        timeline: Callable[[str, str], None],
        parent: Network | None,
    ) -> None:
        """Lead to a server.

        Raises:
            ConfigError: it leads to one already.
        """
        if self._serve is not None:
            raise ConfigError(f"{self!r} belongs to another server: make a Network for each")
        self._serve = serve
        self._timeline = timeline
        self._parent = parent

    def _note(self, text: str) -> None:
        if self._timeline is not None:
            self._timeline(self._name, text)

    @property
    def _all(self) -> tuple[Network, ...]:
        """What bytes pass through: this one, and the server's."""
        return (self,) if self._parent is None else (self, self._parent)

    async def _dial(self) -> MemoryStream:
        """A new connection in memory: the client's end.

        Raises:
            ConnectError: it is refused.
        """
        if not await self._admits():
            raise ConnectError("connection refused")
        assert self._serve is not None
        ours, theirs = memory_pipe()
        self._serve(Wire(ours, self))
        return theirs

    async def _admits(self) -> bool:
        """Whether a new connection is let in; a refusal that was asked for is used up."""
        for network in self._all:
            if network._outages:
                _use(network._outages)
                return False
            if network._refusals:
                refusal = network._refusals[0]
                refusal.left -= 1
                if not refusal.left:
                    network._refusals.remove(refusal)
                return False
        directions = [*self._way_to_server(), *self._way_to_client()]
        while closed := next((each for each in directions if each._partitions), None):
            _use(closed._partitions)
            await closed._change.wait()
        return True

    def _way_to_server(self) -> list[Direction]:
        return [network.to_server for network in self._all]

    def _way_to_client(self) -> list[Direction]:
        return [network.to_client for network in self._all]

    def _answers_within(self, seconds: float) -> bool:
        """Whether what a client sends is sure to be answered in so little time."""
        ways = (*self._way_to_server(), *self._way_to_client())
        return sum(each._longest() for each in ways) < seconds

    @property
    def _unused(self) -> list[str]:
        """What never happened, a text each."""
        own = [fault for fault in (*self._over, *self._outages, *self._refusals) if fault.is_unused]
        ways = (*self.to_server._unused(), *self.to_client._unused())
        return [str(fault) for fault in (*own, *self._cuts.unused, *ways)]

    def _add(self, wire: Wire) -> None:
        """A connection has begun."""
        for network in self._all:
            network._wires[wire] = None

    def _remove(self, wire: Wire) -> None:
        """A connection is over."""
        for network in self._all:
            network._wires.pop(wire, None)

    def _end(self, which: Callable[[Wire], bool]) -> None:
        for wire in tuple(self._wires):
            if which(wire):
                wire.drop()


def _both(one: NetworkFault, other: NetworkFault) -> NetworkFault:
    def end() -> None:
        one._end()
        other._end()

    return NetworkFault(end)


class Wire:
    """One connection to the server, the server's end.

    Attributes:
        is_idle: Whether it is a kept HTTP connection without a request on it.
        is_dropped: Whether this side broke it off.
    """

    def __init__(self, stream: anyio.abc.ByteStream, network: Network) -> None:
        self.is_idle = True
        self.is_dropped = False
        self._stream = stream
        self._network = network
        self._to_server = network._way_to_server()
        self._to_client = network._way_to_client()
        self._scope = CancelScope()

    @property
    def is_peer_there(self) -> bool:
        """Whether the client is known to be there: in memory that is known at once."""
        return isinstance(self._stream, MemoryStream) and not self._stream.is_peer_gone

    @property
    def is_peer_gone(self) -> bool:
        """Whether the client is known to be gone."""
        return isinstance(self._stream, MemoryStream) and self._stream.is_peer_gone

    async def run(self, serve: Callable[[Wire], Awaitable[None]]) -> None:
        """Serve this connection until it ends, then let go of it."""
        self._network._add(self)
        try:
            with self._scope:
                await serve(self)
        finally:
            self._network._remove(self)
            with CancelScope(shield=True):
                await anyio.aclose_forcefully(self._stream)

    async def receive(self) -> bytes:
        """Some bytes; none: the client is gone."""
        while True:
            try:
                data = await self._stream.receive(65536)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                data = b""
            if await _travel(self._to_server, self):
                return data
            if not data:
                # That the client is gone is lost, too; at the end of the partition this breaks.
                await anyio.sleep_forever()

    async def send(self, data: bytes) -> None:
        """Send all of these bytes.

        Raises:
            anyio.BrokenResourceError: when the client is gone.
        """
        if not await _travel(self._to_client, self):
            return
        sizes = [network.chunk_size for network in self._network._all if network.chunk_size]
        size = min(sizes, default=len(data) or 1)
        for start in range(0, len(data), size):
            await self._stream.send(data[start : start + size])

    def break_off(self) -> None:
        """Some of its bytes were lost: drop it, once no partition is on its way any more."""
        ways = (*self._to_server, *self._to_client)
        partitioned = next((each for each in ways if each._partitions), None)
        if partitioned is None:
            self.drop()
        else:
            partitioned._lose(self)

    def drop(self) -> None:
        """Break off at once: in memory the client sees it before anything else runs."""
        self.is_dropped = True
        if isinstance(self._stream, MemoryStream):
            self._stream.close()
        self._scope.cancel()
