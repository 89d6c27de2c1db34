"""WebSocket framing behind a seam of two methods: bytes to frames and frames to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, TextMessage
from wsproto.events import Ping as WsPing
from wsproto.events import Pong as WsPong

from .._errors import ProtocolError

__all__ = ["Close", "Frame", "Framer", "FramingError", "Ping", "Pong", "WsprotoFramer"]


class Ping(NamedTuple):
    """A ping, with its payload."""

    payload: bytes


class Pong(NamedTuple):
    """A pong, with the payload of the ping it answers."""

    payload: bytes


class Close(NamedTuple):
    """A close frame: code (1005: it had none) and reason. (RFC 6455, section 5.5.1)"""

    code: int
    reason: str


Frame = str | bytes | Ping | Pong | Close
"""A whole text or binary message, or a control frame."""


class FramingError(ProtocolError):
    """The peer's bytes are no WebSocket frames; `close_code` says what to answer."""

    def __init__(self, message: str, close_code: int) -> None:
        super().__init__(message)
        self.close_code = close_code


class Framer(Protocol):
    """Turns bytes into frames and frames into bytes, for the client's side."""

    def receive(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete; raises `FramingError` where they are none."""
        ...

    def encode(self, frame: Frame) -> bytes:
        """The bytes of one frame, masked."""
        ...


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

    def receive(self, data: bytes) -> Iterator[Frame]:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, Message):
                whole = self._gather(event)
                if whole is not None:
                    yield whole
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
