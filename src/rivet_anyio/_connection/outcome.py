"""How an attempt to connect ended, and what that means: another one, when, or none."""

from __future__ import annotations

import msgspec

from .._errors import ActorError, ClosedError, ConfigError, ConnectError, RivetError, TransportError
from .._gateway.errors import is_not_trusted, refuses_for_good
from .._retry import Retry, heeded
from .._websocket.framing import Close
from ..protocol.closes import ERROR_CLOSE, RESTARTING, close_as_error, code_error
from ..protocol.verdicts import Opening, is_refusal

__all__ = ["Ended", "cause_of", "delay_after", "is_final"]

_RESTART_SECONDS = 1.0


class Ended(msgspec.Struct, frozen=True):
    """How an attempt ended.

    Attributes:
        cause: Why.
        opened: Whether the server had said Init.
        last_message: When the last message came, where it had.
        by_user: Whether the user's own `get_params` or function for the token failed.
        refused: Whether the server sent an error in place of Init.
        opening: What an error that came in place of Init means.
        explained: Whether the management API gave a reason that lasts why the actor does not start.
        healthy: Whether the actor sent something or the connection lasted, so that backoff
            starts over.
        close_code: The code of the peer's close frame, if there was one.
    """

    cause: BaseException
    opened: bool
    last_message: float = 0.0
    by_user: bool = False
    refused: bool = False
    opening: Opening = Opening.OTHER
    explained: bool = False
    healthy: bool = False
    close_code: int | None = None

    @property
    def is_unreached(self) -> bool:
        """Whether the server was not reached: what answers may be a proxy, or its old place."""
        is_unreached = isinstance(self.cause, TransportError) or self.opening is Opening.AWAY
        return is_unreached and not self.opened and not self.by_user

    @property
    def is_away(self) -> bool:
        """Whether the server was not reached, and did not say how long to wait."""
        return self.is_unreached and self.retry_after is None

    @property
    def retry_after(self) -> float | None:
        """Seconds that an answer in place of the connection asked to wait, or None."""
        return self.cause.retry_after if isinstance(self.cause, RivetError) else None


def cause_of(end: Close | BaseException, *, opened: bool) -> BaseException:
    """The error that the end of a socket stands for."""
    if not isinstance(end, Close):
        return end
    error = close_as_error(end.code, end.reason)
    if not opened and end.code == ERROR_CLOSE and isinstance(error, TransportError):
        return code_error(end.reason) or error
    return error


def is_final(ended: Ended, *, has_been_open: bool, creates: bool, waits: bool) -> bool:
    """Whether another attempt has no point: the actor refused, or nothing was ever there.

    Args:
        ended: How the last attempt ended.
        has_been_open: Whether any attempt has led to an open connection.
        creates: Whether an actor that is gone is created anew.
        waits: Whether a server that is away before the first open connection is waited for.
    """
    cause = ended.cause
    if ended.by_user:
        return not has_been_open
    if isinstance(cause, (ClosedError, ConfigError, TypeError)):
        return True
    may_be_away = has_been_open or waits
    if isinstance(cause, ActorError):
        if ended.opened:
            return is_refusal(cause)
        if ended.opening is Opening.STALE:
            return not creates
        if ended.opening is Opening.NOT_READY:
            return ended.explained and not may_be_away
        if ended.opening is Opening.AWAY:
            return not may_be_away
        if ended.opening is not Opening.OTHER:
            return True
        return ended.refused or is_refusal(cause) or not has_been_open
    if not may_be_away or (not has_been_open and is_not_trusted(cause)):
        return True
    return isinstance(cause, ConnectError) and refuses_for_good(cause)


def delay_after(ended: Ended, failures: int, retry: Retry) -> float:
    """Seconds until the next attempt, after so many in a row that led to no healthy connection."""
    delay = heeded(retry.delay(failures), ended.retry_after, retry)
    if ended.close_code in RESTARTING:
        delay += min(_RESTART_SECONDS, retry.maximum) * retry.random()
    return delay
