"""Queues: what came back, and what must be checked before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from ._core import Server
from ._errors import ActorError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

__all__ = ["QueueResult", "check_queues", "queue_timeout"]


_NOTHING: Any = None


@dataclass(frozen=True, slots=True)
class QueueResult(Generic[R_co]):
    """What became of a queue message.

    Attributes:
        status: ``"completed"``, ``"timedOut"``, or what a newer server says.
        response: What the actor completed the message with, or None.
    """

    status: str
    response: R_co = _NOTHING


def queue_timeout(timeout: float | None) -> int | None:
    """Seconds as the whole milliseconds that servers take."""
    if timeout is None:
        return None
    if not math.isfinite(timeout) or timeout < 0:
        raise ValueError(f"timeout is a number of seconds of at least 0, not {timeout!r}")
    return round(timeout * 1000)


def check_queues(server: Server) -> None:
    """Raise where the server is known to have no queues: it would answer something else."""
    version = server.version
    if version is not None and not version.has_queues:
        raise ActorError(
            "feature",
            "unsupported",
            f"this server runs RivetKit {version.text}: queues came with 2.1",
        )
