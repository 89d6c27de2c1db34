"""Streams by asyncio's transports, for its loops that cannot watch sockets (Windows' default)."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from anyio.lowlevel import checkpoint

from .socket import broke, dropped, shut_down, unsent

__all__ = ["TransportStream"]

_MAX_BUFFERED = 256 * 1024
"""Bytes that are taken from the system before somebody reads them, and at once for it."""


class TransportStream(asyncio.Protocol):
    """See `ReusableStream`."""

    writes_now = True

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._data = bytearray()
        self._is_at_end = False
        self._is_paused = False  # reading
        self._is_lost = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @classmethod
    async def over(cls, sock: socket.socket) -> TransportStream:
        """That of a connected socket, which it closes at the end, also when this is cancelled."""
        stream = cls(sock)
        try:
            await stream._loop.create_connection(lambda: stream, sock=sock)
        except BaseException:
            stream.drop()
            sock.close()
            raise
        return stream

    async def read(self, max_bytes: int) -> bytes:
        if self._data or self._is_at_end:
            await checkpoint()
        else:
            self._reader = self._loop.create_future()
            await self._reader
        return self._take(max_bytes)

    def read_now(self, max_bytes: int) -> bytes | None:
        return self._take(max_bytes) if self._data or self._is_at_end else None

    def _take(self, max_bytes: int) -> bytes:
        data = bytes(self._data[:max_bytes])
        del self._data[:max_bytes]
        if self._is_paused and len(self._data) < _MAX_BUFFERED:
            self._is_paused = False
            self._transport.resume_reading()
        if not data:
            self._check()
        return data

    def unread(self, data: bytes) -> None:
        self._data[:0] = data

    def is_quiet(self) -> bool:
        return not self._data and not self._is_at_end

    async def write(self, data: bytes) -> None:
        await checkpoint()
        self._check()
        self._transport.write(data)
        if self._transport.get_write_buffer_size():
            self._writer = self._loop.create_future()
            await self._writer
            self._check()

    def write_now(self, data: bytes) -> int:
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            return 0
        data = data[:_MAX_BUFFERED]
        self._transport.write(data)
        return len(data)

    def unsent(self) -> int:
        waiting: int = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        return waiting + (unsent(sock.fileno()) if sock is not None else 0)

    async def aclose(self) -> None:
        self.drop()

    def drop(self) -> None:
        self._data.clear()
        self._lose(None)
        self._error = None
        if self._transport is not None and not self._loop.is_closed():
            if hasattr(os, "fork"):  # Windows' loop does it itself, and must be the first
                shut_down(self._socket)
            self._transport.abort()

    def _lose(self, error: Exception | None) -> None:
        """End both directions; no error stands for `drop`."""
        if not self._is_lost:
            self._is_lost = self._is_at_end = True
            self._error = error
            self._wake(self._reader)
            self._wake(self._writer)

    def _check(self) -> None:
        if self._is_lost:
            if self._error is None:
                raise dropped()
            raise broke(self._error) from self._error

    def _wake(self, waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done() and not self._loop.is_closed():
            waiter.set_result(None)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(0)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) >= _MAX_BUFFERED:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake(self._reader)

    def eof_received(self) -> bool:
        self._is_at_end = True
        self._wake(self._reader)
        return True  # the other direction stays open

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)

    def resume_writing(self) -> None:
        self._wake(self._writer)
