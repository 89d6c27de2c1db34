"""Ports on 127.0.0.1 that nobody else takes."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

# Below what operating systems hand out to outgoing connections, so nobody takes one by accident.
_RANGE = range(20_000, 32_000)

# A server has a port and those above it, because the engine of 2.3 listens on its port and on two
# more at these distances.
_SPAN = 16
_OFFSETS = (0, 1, 10)


class Port:
    """A port that is ours until it is closed, whether somebody listens on it or not.

    Between the choice of a port and the moment in which a server listens there, and again while a
    server is stopped, anybody may take it. All who choose here leave alone what others hold, in
    this process and in others; what a process held is free when it has ended.

    Attributes:
        number: The port. Those of an engine above it are ours as well.
    """

    def __init__(self, number: int, lock: int | None = None) -> None:
        self.number = number
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def reserve_port() -> Port:
    """A port whose neighbours that an engine needs are free as well."""
    for _ in range(1000):
        number = random.choice(_RANGE[::_SPAN])
        lock = _lock(number)
        if lock is None:
            continue
        if all(_is_free(number + offset) for offset in _OFFSETS):
            return Port(number, lock)
        os.close(lock)
    raise RuntimeError("no free ports")


def _lock(number: int) -> int | None:
    """A descriptor that holds the lock of this port, unless somebody else's does."""
    directory = Path(tempfile.gettempdir()) / f"rivet-anyio-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(directory / str(number), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: connections that linger from an earlier one are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
