"""Queues: what came back, and what must be checked before."""

from __future__ import annotations

from .._checks import check_seconds
from .._errors import ActorError
from .server import Server

__all__ = ["check_queues", "queue_timeout"]


_LONGEST_TIMEOUT = 2_147_483
"""Node.js takes a longer timer for one of 1 ms, so that RivetKit 2.2 times out at once."""


def queue_timeout(timeout: float | None) -> int | None:
    """Seconds as the whole milliseconds that servers take."""
    check_seconds("timeout", timeout, zero=True, most=_LONGEST_TIMEOUT, none=True)
    return None if timeout is None else round(timeout * 1000)


def check_queues(server: Server) -> None:
    """Raise where the server is known to have no queues: it would answer something else."""
    version = server.version
    if version is not None and not version.has_queues:
        raise ActorError(
            "feature",
            "unsupported",
            f"this server runs RivetKit {version.text}: queues came with 2.1",
        )
