"""One WebSocket connection to an actor, from the server's first message on.

The server speaks first: `Init`, or an error that refuses. Only then may the client say anything.
A later `Init` means that the actor was moved: what was under way is lost.
"""

from __future__ import annotations

from .._errors import ProtocolError
from .encodings import Codec
from .messages import ActionResponse, Event, Init, ServerError, ServerMessage
from .values import shown

__all__ = ["Session"]


class Session:
    """Reads a server's messages and holds it to their order.

    Attributes:
        codec: How messages are written; after `Init` it speaks the server's dialect.
        init: The last one; None until the first came.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.init: Init | None = None

    def receive(self, data: bytes | str, *, issued: int) -> ServerMessage:
        """Read one message.

        Args:
            data: A whole WebSocket message.
            issued: Action ids below this have been given out.

        Raises:
            ProtocolError: when it is no message, or not one that may come now.
        """
        message = self.codec.server_message(data)
        if isinstance(message, Event) and self.init is not None:
            return message
        if isinstance(message, Init):
            self.init = message
            return message
        if self.init is None and not isinstance(message, ServerError):
            raise ProtocolError(f"the server sent {type(message).__name__} before Init")
        action_id = _answered(message)
        if action_id is not None and action_id >= issued:
            raise ProtocolError(
                f"the server answered action {shown(action_id)}, which was never sent"
            )
        return message


def _answered(message: ServerMessage) -> int | None:
    if isinstance(message, ActionResponse):
        return message.id
    return message.action_id if isinstance(message, ServerError) else None
