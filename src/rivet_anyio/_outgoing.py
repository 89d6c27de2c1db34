"""What a connection sends: action calls and subscriptions, encoded when they leave.

They wait in the outbox across reconnects, and the server that is back may be one of another
version, which takes other bytes.
"""

from __future__ import annotations

from typing import Any, Protocol

from ._backend import Backend
from ._errors import ConnectionLostError
from .protocol.encodings import Codec
from .protocol.messages import Raw

__all__ = ["OutgoingCall", "OutgoingSubscription", "lost_call"]


class Writer(Protocol):
    """The connection, as what it sends sees it."""

    in_flight: dict[int, OutgoingCall]
    """Calls that were written and are not answered, by their ids."""

    @property
    def backend(self) -> Backend:
        """The event loop."""
        ...

    @property
    def codec(self) -> Codec:
        """What writes messages now."""
        ...


class OutgoingCall:
    """An action on its way: waiting to be written, written, or settled."""

    __slots__ = (
        "_args",
        "_connection",
        "_dialect",
        "_payload",
        "error",
        "id",
        "name",
        "output",
        "settled",
        "size",
        "written",
    )

    def __init__(self, connection: Writer, id: int, name: str, args: tuple[Any, ...]) -> None:
        self.id = id
        self.name = name
        self.written = False
        self.settled = connection.backend.waiter()
        self.error: BaseException | None = None
        self.output: Raw | None = None
        self._connection = connection
        self._args = args
        codec = connection.codec
        self._dialect = codec.dialect
        self._payload = codec.action_message(id, name, args)
        self.size = len(self._payload)

    def take(self) -> str | bytes | None:
        codec = self._connection.codec
        if codec.dialect is not self._dialect:
            try:
                self._payload = codec.action_message(self.id, self.name, self._args)
            except TypeError as exc:
                self.fail(exc)
                return None
        self.written = True
        self._connection.in_flight[self.id] = self
        return self._payload

    def sent(self) -> None:
        """Nobody waits for that: an action waits for its answer."""

    def succeed(self, output: Raw) -> None:
        self.output = output
        self.settled.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.settled.set()


class OutgoingSubscription:
    """A wish to hear of an event, or not to any more, on its way."""

    size = 64

    def __init__(self, connection: Writer, name: str, subscribe: bool) -> None:
        self._connection = connection
        self._name = name
        self._subscribe = subscribe

    def take(self) -> str | bytes | None:
        return self._connection.codec.subscription_message(self._name, self._subscribe)

    def sent(self) -> None:
        """Nobody waits for that."""


def lost_call(call: OutgoingCall, cause: BaseException | None) -> ConnectionLostError:
    """What a call raises that was written, and whose answer will not come."""
    code = cause.code if isinstance(cause, ConnectionLostError) else None
    reason = cause.reason if isinstance(cause, ConnectionLostError) else ""
    why = f": {cause}" if cause is not None else ""
    lost = ConnectionLostError(
        f"the connection was lost while action {call.name!r} was under way, "
        f"so it may have run{why}",
        code=code,
        reason=reason,
    )
    lost.__cause__ = cause
    return lost
