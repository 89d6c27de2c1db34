"""The port that ``dev`` listens on."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["port_errors"]


@contextmanager
def port_errors(host: str, port: int) -> Generator[None]:
    """Say which port it is that another program listens on.

    Raises:
        OSError: the block raised one.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            f"address already in use: another program listens on port {port} of {host}; "
            "--port takes another one"
        ) from exc
