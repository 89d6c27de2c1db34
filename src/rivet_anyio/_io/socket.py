"""What the sockets of both event loops share: writing, sizes, and what is unsent."""

from __future__ import annotations

import socket
import sys
from abc import ABC, abstractmethod
from typing import Protocol

from anyio.lowlevel import checkpoint

from .._errors import ConnectionLostError

__all__ = [
    "FIRST_READ",
    "Droppable",
    "WritableSocket",
    "broke",
    "dropped",
    "knows_unsent",
    "next_read",
    "shut_down",
    "unsent",
]

FIRST_READ = 16 * 1024
_MAX_READ = 256 * 1024

_LONG_RUN = 1024 * 1024
"""Bytes written without waiting, after which other tasks run first."""


def next_read(size: int, got: int) -> int:
    """How much to ask for after having got so much of `size`.

    Asking for much is slow where little comes, and copies less where much does.
    """
    if got == size:
        return min(size * 4, _MAX_READ)
    return size if got * 16 > size else FIRST_READ


def broke(exc: Exception) -> ConnectionLostError:
    """What reading and writing raise."""
    why = str(exc) if isinstance(exc, OSError) and exc.errno else repr(exc)
    return ConnectionLostError(f"the connection broke: {why}")


def dropped() -> ConnectionLostError:
    """What reading and writing raise after `drop`."""
    return ConnectionLostError("the connection was dropped")


def shut_down(sock: socket.socket) -> None:
    """End the connection, also where a forked process has the socket, too."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended already
        pass


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


class Droppable(Protocol):
    """What a deadline needs of a stream."""

    def drop(self) -> None:
        """As `ByteStream.drop`."""
        ...


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
                await self._wait_writable()
                waited = True
            except OSError as exc:
                raise self._lost(exc) from exc
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

    async def aclose(self) -> None:
        self.drop()

    @abstractmethod
    def drop(self) -> None: ...

    def _is_silent(self) -> bool:
        """Whether the system has no byte, no end and no error for us."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def _lost(self, exc: Exception) -> ConnectionLostError:
        """What to raise for an error of the socket."""
        return dropped() if self._socket.fileno() < 0 else broke(exc)

    def _end(self) -> None:
        """Close the socket."""
        shut_down(self._socket)
        self._socket.close()

    @abstractmethod
    async def _wait_writable(self) -> None:
        """Return when the system takes more, or when the socket was dropped."""
