"""What the sockets of both event loops have in common: how much at a time, and what is unsent."""

from __future__ import annotations

import socket
import sys

from .._errors import ConnectionLostError

__all__ = ["FIRST_READ", "LONG_RUN", "broke", "knows_unsent", "next_read", "unsent", "write_now"]

FIRST_READ = 16 * 1024
_MAX_READ = 256 * 1024

LONG_RUN = 1024 * 1024
"""Bytes written without waiting, after which other tasks have their turn."""


def next_read(size: int, got: int) -> int:
    """How much to ask for after having got so much of `size`.

    Asking for much is slow where little comes, and copies less where much does.
    """
    if got == size:
        return min(size * 4, _MAX_READ)
    return size if got * 16 > size else FIRST_READ


def write_now(sock: socket.socket, data: bytes) -> int:
    """As `ByteStream.write_now`."""
    try:
        return sock.send(data)
    except OSError:
        return 0


def broke(exc: OSError) -> ConnectionLostError:
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
        except OSError:
            return 0
        return int.from_bytes(answer, sys.byteorder)

else:

    def unsent(fd: int) -> int:
        """As `ByteStream.unsent`, where nobody says."""
        return 0
