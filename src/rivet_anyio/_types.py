"""Small types that several parts share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, Literal

import msgspec

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

__all__ = ["NOT_GIVEN", "CrashPolicy", "GetParams", "GetToken", "QueueResult"]

_NOTHING: Any = None


class QueueResult(msgspec.Struct, Generic[R_co], frozen=True):
    """What became of a queue message.

    Attributes:
        status: ``"completed"``, ``"timedOut"``, or what a newer server says.
        response: What the actor completed the message with, or None.
    """

    status: str
    response: R_co = _NOTHING


CrashPolicy = Literal["restart", "sleep", "destroy"]
"""What becomes of an actor whose host fails."""

GetParams = Callable[[], Awaitable[Any]]
"""Returns connection params; awaited before every request and every attempt to connect."""


GetToken = Callable[[], Awaitable[str]]
"""Returns the token of now; awaited before every attempt of a request or a handshake."""


class _NotGiven:
    """Stands for an argument that was not given, where None is a value."""

    def __repr__(self) -> str:
        return "<not given>"


NOT_GIVEN: Any = _NotGiven()
