"""Waiting, reading and writing with the means of asyncio."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from anyio.lowlevel import checkpoint

from .internals import ScopeCheck, asyncio_checkpoint_if_cancelled
from .socket import FIRST_READ, WritableSocket, broke, next_read

__all__ = ["AsyncioBackend", "AsyncioSocket"]


class AsyncioBackend:
    """See `Backend`."""

    __slots__ = ("_loop", "time")

    checkpoint_if_cancelled = staticmethod(asyncio_checkpoint_if_cancelled())

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time

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


class AsyncioWaiter:
    """See `Waiter`."""

    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future = loop.create_future()

    def set(self) -> None:
        _wake(self._future)

    def wait(self) -> Awaitable[None]:
        return checkpoint() if self._future.done() else self._future


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
        "_reader",
        "_size",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, data: bytes) -> None:
        super().__init__(sock)
        self._loop = loop
        self._fd = sock.fileno()
        self._data = data
        self._size = FIRST_READ
        self._reader: asyncio.Future[None] | None = None
        self._error: OSError | None = None
        self._is_at_end = False
        self._is_watched = False
        self._watch()

    async def read(self, max_bytes: int) -> bytes:
        if self._data:
            await checkpoint()
        elif not self._is_at_end:
            if not self._is_watched:
                self._watch()
            self._reader = self._loop.create_future()
            await self._reader
        data, self._data = self._data, b""
        if len(data) > max_bytes:
            data, self._data = data[:max_bytes], data[max_bytes:]
        if not data and self._error is not None:
            raise broke(self._error) from self._error
        return data

    async def aclose(self) -> None:
        self._unwatch()
        self._is_at_end = True
        self._end()

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
            self._size = next_read(self._size, len(self._data))
        else:
            self._is_at_end = True
            self._unwatch()
        if self._reader is not None:
            _wake(self._reader)

    async def _room(self) -> None:
        room = self._loop.create_future()
        self._loop.add_writer(self._fd, _wake, room)
        try:
            await room
        finally:
            self._loop.remove_writer(self._fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
