"""WebSocket framing behind a seam of two methods: bytes to frames and frames to bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from .._errors import ProtocolError

__all__ = ["TOO_BIG", "Close", "Frame", "Framer", "FramingError", "Ping", "Pong", "Received"]

TOO_BIG = 1009
"""The close code for a message that is too long. (RFC 6455, section 7.4.1)"""


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

Received = list[str | bytes] | Ping | Pong | Close
"""Some messages that came together, at least one, or a control frame."""


class FramingError(ProtocolError):
    """The peer's bytes are no WebSocket frames; `close_code` says what to answer."""

    def __init__(self, message: str, close_code: int) -> None:
        super().__init__(message)
        self.close_code = close_code


class Framer(Protocol):
    """Converts between bytes and frames, for the client's side."""

    def receive(self, data: bytes) -> Iterator[Received]:
        """What these bytes complete; raises `FramingError` where they are no frames."""
        ...

    def encode(self, frame: Frame) -> bytes:
        """The bytes of one frame, masked."""
        ...

    def encode_in_pieces(self, message: str | bytes, size: int) -> Iterator[bytes]:
        """The bytes of one long message's frame, about `size` of them at a time."""
        ...
