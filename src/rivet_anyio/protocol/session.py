"""One WebSocket connection to an actor, from the server's first message on.

The server speaks first: `Init`, or an error that refuses. Only then may the client say anything.
A later `Init` means that the actor was moved: what was under way is lost.
"""

from __future__ import annotations

from collections.abc import Container

from .._errors import ProtocolError
from .encodings import Codec
from .messages import ActionResponse, Delivery, Init, ServerError, ServerMessage
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

    def receive(self, data: bytes | str, wanted: Container[str] = ()) -> ServerMessage | Delivery:
        """Read one message.

        Args:
            data: A whole WebSocket message.
            wanted: The names of events that somebody waits for: nearly all of those come as a
                `Delivery`, others and those whose arguments cannot be read as an `Event`.

        Raises:
            ProtocolError: when it is no message, or not one that may come now.
        """
        if self.init is not None:
            message = self.codec.read(data, wanted)
            if type(message) is not Init:
                return message
        else:
            message = self.codec.server_message(data)
        if isinstance(message, Init):
            self.init = message
        elif not isinstance(message, ServerError):
            raise ProtocolError(f"the server sent {type(message).__name__} before Init")
        return message

    def check_answer(self, message: ServerMessage, *, issued: int) -> None:
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
