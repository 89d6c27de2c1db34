"""One WebSocket connection to an actor, from the server's first message on.

The server speaks first: `Init`, or an error that refuses. Only then may the client say anything.
An actor that sends events from its ``onConnect`` hook sends them before `Init`: they are kept and
count as if they had come right after it. A later `Init` means that the actor was moved: what was
under way is lost.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from .._errors import ProtocolError
from .codec import Codec
from .messages import ActionResponse, Delivery, Event, Init, ServerError, ServerMessage
from .values import shown

__all__ = ["Session"]

_EARLY_EVENTS = 4096
_EARLY_BYTES = 64 * 1024 * 1024


class Session:
    """Reads a server's messages and holds it to their order.

    Attributes:
        codec: How messages are written; after `Init` it speaks the server's dialect.
        init: The last one; None until the first came.
        early: The messages of wanted events that came before the first `Init`, for `receive` to
            read once more after it.
    """

    def __init__(self, codec: Codec, actor_id: str | None = None) -> None:
        """
        Args:
            codec: Of the connection's encoding.
            actor_id: Whom the connection is to; None: anybody.
        """
        self.codec = codec
        self._actor_id = actor_id
        self.init: Init | None = None
        self.early: list[bytes | str] = []  # an empty deque takes ten times as much memory
        self._early_bytes = 0

    def receive(
        self, data: bytes | str, wanted: Container[str] = ()
    ) -> ServerMessage | Delivery | None:
        """Read one message; None for an event before `Init`, which is kept if it is wanted.

        Args:
            data: A whole WebSocket message.
            wanted: The names of events that somebody waits for: nearly all of those come as a
                `Delivery`, others and those whose arguments cannot be read as an `Event`.

        Raises:
            ProtocolError: when it is no message, or not one that may come now; when `Init` names
                another actor; and when more than 4096 events or 64 MiB came before it.
        """
        if self.init is not None:
            message = self.codec.read(data, wanted)
            if type(message) is not Init:
                return message
        else:
            message = self.codec.server_message(data)
        if isinstance(message, Init):
            if self._actor_id not in (None, message.actor_id):
                raise ProtocolError(
                    f"the server connected to actor {shown(message.actor_id)}, not to "
                    f"{shown(self._actor_id)}, which was asked for"
                )
            self.init = message
        elif isinstance(message, Event):
            if message.name in wanted:
                self._keep(data)
            return None
        elif not isinstance(message, ServerError):
            raise ProtocolError(f"the server sent {type(message).__name__} before Init")
        return message

    def events(
        self, messages: Sequence[bytes | str], wanted: Container[str]
    ) -> tuple[list[str], list[Any]]:
        """As `Codec.events`; none before `Init`."""
        return self.codec.events(messages, wanted) if self.init is not None else ([], [])

    def _keep(self, data: bytes | str) -> None:
        self._early_bytes += len(data)
        if len(self.early) >= _EARLY_EVENTS or self._early_bytes > _EARLY_BYTES:
            raise ProtocolError(
                f"the server sent more than {_EARLY_EVENTS} events or "
                f"{_EARLY_BYTES // 1024**2} MiB of them before Init"
            )
        self.early.append(data)

    def check_answer(self, message: ServerMessage | None, *, issued: int) -> None:
        """Refuse an answer to what was not asked.

        Args:
            message: From `receive`.
            issued: Action ids below this have been given out.

        Raises:
            ProtocolError: when it answers an action that was never sent.
        """
        if isinstance(message, ActionResponse):
            action_id: int | None = message.id
        else:
            action_id = message.action_id if isinstance(message, ServerError) else None
        if action_id is not None and action_id >= issued:
            raise ProtocolError(
                f"the server answered action {shown(action_id)}, which was never sent"
            )
