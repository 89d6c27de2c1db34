"""The network between clients and the server: how bytes get through, or do not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio
import anyio.abc
from anyio import CancelScope

from .._checks import check_seconds, check_size
from .._errors import ConnectError
from .._io.waiting import Signal
from ._memory import MemoryStream, memory_pipe

__all__ = ["Network", "Wire"]


class Network:
    """How bytes travel between clients and an `ActorServer`; everything may change at any time."""

    def __init__(self, serve: Callable[[Wire], None]) -> None:
        self._latency = 0.0
        self._chunk_size: int | None = None
        self._serve = serve
        self._wires: dict[Wire, None] = {}  # in order: faults are to be the same every time
        self._refusals = 0
        self._outages = 0
        self._stalls = 0
        self._flow = Signal()

    @property
    def latency(self) -> float:
        """Seconds that every write of the server takes to arrive.

        Setting it raises `TypeError` or `ValueError` for anything but a finite number of at
        least 0.
        """
        return self._latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        check_seconds("latency", seconds, zero=True)
        self._latency = seconds

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
        self._refusals += times
        self._end(lambda wire: wire.is_idle)

    def cut(self) -> None:
        """Break every connection off, without a word."""
        self._end(lambda wire: True)

    @contextmanager
    def outage(self) -> Generator[None]:
        """Inside this block the server cannot be reached: all connections break, none is made."""
        self._outages += 1
        self.cut()
        try:
            yield
        finally:
            self._outages -= 1

    @contextmanager
    def stalled(self) -> Generator[None]:
        """Inside this block no byte of the server arrives, and none is lost.

        Requests do arrive. At the end, what was stalled comes at once, frames put together.
        """
        self._stalls += 1
        try:
            yield
        finally:
            self._stalls -= 1
            if not self._stalls:
                self._flow.set()
                self._flow = Signal()

    def _dial(self) -> MemoryStream:
        """A new connection in memory: the client's end."""
        if not self._admits():
            raise ConnectError("connection refused")
        ours, theirs = memory_pipe()
        self._serve(Wire(ours, self))
        return theirs

    def _admits(self) -> bool:
        """Whether a new connection is let in; a refusal that was asked for is used up."""
        if self._outages:
            return False
        if self._refusals:
            self._refusals -= 1
            return False
        return True

    async def _flowing(self) -> None:
        """Wait while the network is stalled."""
        while self._stalls:
            await self._flow.wait()

    def _add(self, wire: Wire) -> None:
        """A connection has begun."""
        self._wires[wire] = None

    def _remove(self, wire: Wire) -> None:
        """A connection is over."""
        self._wires.pop(wire, None)

    def _end(self, which: Callable[[Wire], bool]) -> None:
        for wire in tuple(self._wires):
            if which(wire):
                wire.drop()


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
        self._scope = CancelScope()

    @property
    def is_peer_there(self) -> bool:
        """Whether the client is known to be there: in memory that is known at once."""
        return isinstance(self._stream, MemoryStream) and not self._stream.is_peer_gone

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
        try:
            return await self._stream.receive(65536)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return b""

    async def send(self, data: bytes) -> None:
        """Send all of these bytes.

        Raises:
            anyio.BrokenResourceError: when the client is gone.
        """
        network = self._network
        await network._flowing()
        if network.latency > 0:
            await anyio.sleep(network.latency)
            await network._flowing()
        size = network.chunk_size or len(data) or 1
        for start in range(0, len(data), size):
            await self._stream.send(data[start : start + size])

    def drop(self) -> None:
        """Break off at once: in memory the client sees it before anything else runs."""
        self.is_dropped = True
        if isinstance(self._stream, MemoryStream):
            self._stream.close()
        self._scope.cancel()
