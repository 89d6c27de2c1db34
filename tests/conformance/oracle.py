"""wsproto as a framer: what ours is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, TextMessage
from wsproto.events import Ping as WsPing
from wsproto.events import Pong as WsPong

from rivet_anyio._websocket.framing import Close, Frame, FramingError, Ping, Pong, Received

__all__ = ["WsprotoFramer"]


class WsprotoFramer:
    """wsproto, with messages put together and bounded.

    Args:
        max_message_size: The longest message accepted, in bytes (in characters for text).
    """

    def __init__(self, max_message_size: int) -> None:
        self._connection = Connection(ConnectionType.CLIENT)
        self._max_message_size = max_message_size
        self._parts: list[Any] = []
        self._size = 0

    def receive(self, data: bytes) -> Iterator[Received]:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, Message):
                whole = self._gather(event)
                if whole is not None:
                    yield [whole]
            elif isinstance(event, WsPing):
                yield Ping(bytes(event.payload))
            elif isinstance(event, WsPong):
                yield Pong(bytes(event.payload))
            elif isinstance(event, CloseConnection):
                if self._connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
                    # wsproto reports what it cannot parse as a close that nobody sent.
                    raise FramingError(f"malformed WebSocket frame: {event.reason}", event.code)
                yield Close(int(event.code), event.reason or "")
                return

    def encode(self, frame: Frame) -> bytes:
        if isinstance(frame, str):
            return self._connection.send(TextMessage(data=frame))
        if isinstance(frame, bytes):
            return self._connection.send(BytesMessage(data=frame))
        if isinstance(frame, Ping):
            return self._connection.send(WsPing(payload=frame.payload))
        if isinstance(frame, Pong):
            return self._connection.send(WsPong(payload=frame.payload))
        return self._connection.send(CloseConnection(code=frame.code, reason=frame.reason))

    def encode_in_pieces(self, message: str | bytes, size: int) -> Iterator[bytes]:
        yield self.encode(message)

    def _gather(self, event: Message[Any]) -> str | bytes | None:
        part: str | bytes = event.data
        self._size += len(part)
        if self._size > self._max_message_size:
            raise FramingError(
                f"a message of more than {self._max_message_size} bytes: "
                "raise max_message_size to accept it",
                1009,
            )
        if part:  # else a peer could have us keep nothings without end
            self._parts.append(part)
        if not event.message_finished:
            return None
        parts, self._parts, self._size = self._parts, [], 0
        return "".join(parts) if isinstance(part, str) else b"".join(parts)
