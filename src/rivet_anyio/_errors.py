"""Every error this library raises.

The class says what the caller may conclude: a `ConnectError` means that nothing was sent, a
`ConnectionLostError` that an action may have run, an `ActorError` that the server answered.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import anyio
import msgspec

from ._text import on_one_line

__all__ = [
    "ActorError",
    "ActorSpecifier",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "EventGapError",
    "EventOverflowError",
    "ProtocolError",
    "RivetError",
    "TransportError",
]

E = TypeVar("E", bound=BaseException)


class ActorSpecifier(msgspec.Struct, frozen=True):
    """Which actor instance an error came from (sent by RivetKit 2.3 and later).

    Attributes:
        id: The actor id.
        generation: Counts the starts of this actor.
        key: The serialized key, None where the server did not send it.
    """

    id: str
    generation: int
    key: str | None = None


class RivetError(Exception):
    """Base class of all errors of this library.

    In its `str` control characters are escaped, newlines too: a peer may have chosen parts of it.
    Attributes have what the peer sent, as it came.

    Attributes:
        retry_after: Seconds that the server or a proxy asked to wait before the next attempt, or
            None. (``Retry-After``: RFC 9110, section 10.2.3)
    """

    retry_after: float | None = None

    def __str__(self) -> str:
        return on_one_line(super().__str__())


class ActorError(RivetError):
    """The server answered with an error.

    Branch on `group` and `code`; HTTP status codes carry no meaning in this protocol.

    Attributes:
        group: Where the error comes from: ``"user"`` for errors raised by the actor's own code,
            ``"actor"``, ``"guard"``, ``"auth"``, ``"queue"`` and others for RivetKit's.
        code: The error's name within its group.
        message: Text for people.
        metadata: What the actor attached to the error, or None.
        actor: The actor instance the error came from, where the server says so.
        ray_id: The gateway's correlation id, where the server says so.
        retry_after: As of every `RivetError`.
    """

    def __init__(
        self,
        group: str,
        code: str,
        message: str = "",
        *,
        metadata: Any = None,
        actor: ActorSpecifier | None = None,
        ray_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(group, code, message)
        self.group = group
        self.code = code
        self.message = message
        self.metadata = metadata
        self.actor = actor
        self.ray_id = ray_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        text = f"{self.group}.{self.code}"
        if self.message:
            text += f": {self.message}"
        if self.ray_id:
            text += f" (ray {self.ray_id})"
        return on_one_line(text)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.group, self.code, self.message), self.__dict__


class TransportError(RivetError):
    """The network or the peer broke off."""


class ConnectError(TransportError):
    """Nothing ran: no connection could be made, or a request was refused before the actor.

    Attributes:
        status: The HTTP status of an answer that refused it, or None.
        retry_after: As of every `RivetError`.
    """

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ConnectionLostError(TransportError, anyio.BrokenResourceError):
    """The connection broke after bytes had left: what was asked for may have run.

    It is an `anyio.BrokenResourceError`, too, as AnyIO's streams raise it.

    Attributes:
        code: The WebSocket close code (RFC 6455, section 7.4) that the peer sent, or None when
            it went away without a close frame or the request went over plain HTTP.
        reason: The close reason, often empty.
        retry_after: As of every `RivetError`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class ProtocolError(RivetError):
    """The peer sent what the protocol does not allow."""


class ConfigError(RivetError, ValueError):
    """An endpoint, an option or an environment variable cannot be used as it is."""


class EventOverflowError(RivetError):
    """A consumer was too slow: its event buffer was full, in events or bytes.

    The stream (``overflow="raise"``) first delivers what it has, raises this, and has ended.
    """


class EventGapError(RivetError):
    """The connection was away: events may be missing here (``gaps="raise"``).

    Attributes:
        since: When the last message came before the loss, or when the stream was opened if that
            was later, in seconds of `anyio.current_time`.
        until: When it was back, in seconds of `anyio.current_time`.
        attempts: How many attempts the reconnect took.
    """

    def __init__(self, since: float, until: float, attempts: int) -> None:
        super().__init__(
            f"the connection was away for {until - since:.3f} s ({attempts} attempts): "
            "events sent meanwhile are lost"
        )
        self.since = since
        self.until = until
        self.attempts = attempts

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.since, self.until, self.attempts), self.__dict__


class ClosedError(RivetError, anyio.ClosedResourceError):
    """Used before its scope began or after it ended."""


def again(error: E) -> E:
    """A copy to raise in one more place, so that tracebacks and notes do not mix."""
    try:
        copied = copy.copy(error)
        copied.args = error.args  # an `__init__` of the user's may make others of these
    except Exception:  # an exception of the user's that cannot be copied
        return error
    copied.__cause__ = error.__cause__
    copied.__context__ = error.__context__
    copied.__suppress_context__ = error.__suppress_context__
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    return copied


def outside_block(what: str, *, entered: bool) -> ClosedError:
    """The error for something that was used before or after its ``async with`` block."""
    when = "after its block was left" if entered else "before 'async with' entered it"
    return ClosedError(f"{what} was used {when}")


for _name in __all__:  # tracebacks show the name that programs import
    globals()[_name].__module__ = __package__
