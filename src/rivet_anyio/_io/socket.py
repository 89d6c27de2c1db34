"""What the sockets of both event loops have in common: writing, sizes, and what is unsent."""

from __future__ import annotations

import socket
import sys
from abc import ABC, abstractmethod

from anyio.lowlevel import checkpoint

from .._errors import ConnectionLostError

__all__ = ["FIRST_READ", "WritableSocket", "broke", "knows_unsent", "next_read", "unsent"]

FIRST_READ = 16 * 1024
_MAX_READ = 256 * 1024

_LONG_RUN = 1024 * 1024
"""Bytes written without waiting, after which other tasks have their turn."""


def next_read(size: int, got: int) -> int:
    """How much to ask for after having got so much of `size`.

    Asking for much is slow where little comes, and copies less where much does.
    """
    if got == size:
        return min(size * 4, _MAX_READ)
    return size if got * 16 > size else FIRST_READ


def broke(exc: Exception) -> ConnectionLostError:
    """What reading and writing raise."""
    return ConnectionLostError(f"the connection broke: {exc!r}")


knows_unsent = sys.platform == "linux"
"""Whether `unsent` knows."""

if sys.platform == "linux":
    import fcntl
    import termios

    def unsent(fd: int) -> int:
        """As `ByteStream.unsent`. (tcp(7): SIOCOUTQ, which is TIOCOUTQ)"""
        try:
            answer = fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):  # it is closed: a ValueError for -1
            return 0
        return int.from_bytes(answer, sys.byteorder)

else:

    def unsent(fd: int) -> int:
        """As `ByteStream.unsent`, where nobody says."""
        return 0


class WritableSocket(ABC):
    """The writing half of a `ByteStream`."""

    __slots__ = ("_in_a_row", "_socket")

    writes_now = True

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._in_a_row = 0  # bytes written without waiting

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        waited = False
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await self._room()
                waited = True
            except OSError as exc:
                raise broke(exc) from exc
        self._in_a_row = 0 if waited else self._in_a_row + len(data)
        if self._in_a_row >= _LONG_RUN:
            self._in_a_row = 0
            await checkpoint()

    def write_now(self, data: bytes) -> int:
        self._in_a_row += len(data)
        try:
            return self._socket.send(data)
        except OSError:
            return 0

    def unsent(self) -> int:
        return unsent(self._socket.fileno())

    def _end(self) -> None:
        """Close the socket, also for a forked process that has it, too."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has ended already
            pass
        self._socket.close()

    @abstractmethod
    async def _room(self) -> None:
        """Wait until the system takes more."""
