"""Waiting, reading and writing with the means of asyncio."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable

from anyio.lowlevel import checkpoint

from .alarm import Alarm, AlarmDeadline
from .internals import ScopeCheck, asyncio_checkpoint_if_cancelled
from .socket import FIRST_READ, Droppable, WritableSocket, broke, dropped, next_read

__all__ = ["AsyncioBackend", "AsyncioSocket"]


class AsyncioBackend:
    """See `Backend`."""

    __slots__ = ("_alarm", "_loop", "time")

    checkpoint_if_cancelled = staticmethod(asyncio_checkpoint_if_cancelled())

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self._alarm: Alarm | None = None

    def runs_here(self) -> bool:
        return asyncio._get_running_loop() is self._loop

    def cancellation_check(self) -> Callable[[], Awaitable[None] | None]:
        if ScopeCheck.is_possible():
            return ScopeCheck(self._loop).run
        return self.checkpoint_if_cancelled

    def waiter(self) -> AsyncioWaiter:
        return AsyncioWaiter(self._loop)

    def stream(self, sock: socket.socket, data: bytes) -> AsyncioSocket:
        return AsyncioSocket(self._loop, sock, data)

    def deadline(self, at: float, stream: Droppable) -> AlarmDeadline:
        if self._alarm is None:
            self._alarm = Alarm(self._loop.call_at, self.time)
        return AlarmDeadline(self._alarm, at, stream)


class AsyncioWaiter:
    """See `Waiter`."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future = loop.create_future()

    def set(self) -> None:
        _wake(self._future)

    def wait(self) -> Awaitable[None]:
        return checkpoint() if self._future.done() else self._future

    async def wait_until(self, at: float) -> None:
        timer = None if at == math.inf else self._loop.call_at(at, self.set)
        try:
            await self.wait()
        finally:
            if timer is not None:
                timer.cancel()


class AsyncioSocket(WritableSocket):
    """A socket that the loop watches as long as somebody takes what comes.

    To watch it anew for each read would be two system calls more.
    """

    __slots__ = (
        "_data",
        "_error",
        "_fd",
        "_is_at_end",
        "_is_watched",
        "_loop",
        "_must_look",
        "_reader",
        "_size",
        "_writer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, data: bytes) -> None:
        super().__init__(sock)
        self._loop = loop
        self._fd = sock.fileno()
        self._data = data
        self._size = FIRST_READ
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self._is_at_end = False
        self._is_watched = False
        # After a reset uvloop calls only once, though there may be bytes before it.
        self._must_look = type(loop).__module__.startswith("uvloop")
        self._watch()

    async def read(self, max_bytes: int) -> bytes:
        if self._must_look and not self._data and not self._is_at_end:
            self._readable()
        if self._data:
            await checkpoint()
        elif not self._is_at_end:
            if not self._is_watched:
                self._watch()
            self._reader = self._loop.create_future()
            await self._reader
        return self._take(max_bytes)

    def read_now(self, max_bytes: int) -> bytes | None:
        if not self._data and not self._is_at_end:
            self._readable()
            if not self._data and not self._is_at_end:
                return None
        return self._take(max_bytes)

    def _take(self, max_bytes: int) -> bytes:
        data, self._data = self._data, b""
        if len(data) > max_bytes:
            data, self._data = data[:max_bytes], data[max_bytes:]
        if not data:
            if self._fd < 0:
                raise dropped()
            if self._error is not None:
                raise broke(self._error) from self._error
        return data

    def unread(self, data: bytes) -> None:
        self._data = data + self._data

    def is_quiet(self) -> bool:
        return not self._data and not self._is_at_end and self._is_silent()

    def drop(self) -> None:
        fd = self._fd
        if fd < 0:
            return
        is_running = not self._loop.is_closed()
        if is_running:
            self._unwatch()
            if self._writer is not None:
                self._loop.remove_writer(fd)
        self._fd = -1
        self._is_at_end = True
        self._data = b""
        self._end()
        for waiter in (self._reader, self._writer):
            if waiter is not None and is_running:
                _wake(waiter)

    def _watch(self) -> None:
        self._loop.add_reader(self._fd, self._readable)
        self._is_watched = True

    def _unwatch(self) -> None:
        if self._is_watched:
            self._loop.remove_reader(self._fd)
            self._is_watched = False

    def _readable(self) -> None:
        if self._data:
            # What came before was not taken: the rest waits in the kernel, and so does the peer.
            self._unwatch()
            return
        try:
            self._data = self._socket.recv(self._size)
        except BlockingIOError:
            return
        except OSError as exc:
            self._error = exc
        if self._data:
            if self._size != FIRST_READ or len(self._data) == FIRST_READ:
                self._size = next_read(self._size, len(self._data))
        else:
            self._is_at_end = True
            self._unwatch()
        if self._reader is not None:
            _wake(self._reader)

    async def _wait_writable(self) -> None:
        writer = self._writer = self._loop.create_future()
        self._loop.add_writer(self._fd, _wake, writer)
        try:
            await writer
        finally:
            self._writer = None
            if self._fd >= 0:
                self._loop.remove_writer(self._fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
