"""Frames as a server sends them, right or wrong, and a reader of the client's. (RFC 6455, 5.2)

Written out by hand: what is checked here must not depend on what wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "Said",
    "Sent",
    "Width",
    "binary",
    "close",
    "close_body",
    "more",
    "ping",
    "pong",
    "said",
    "text",
]

Width = Literal[7, 16, 64]
"""The bits of a length field."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One frame of a server's.

    Attributes:
        opcode: 0 to 15.
        payload: The bytes behind the header.
        fin: Whether it is the last of its message.
        rsv: The reserved bits, as a number from 0 to 7: RSV1 is 4.
        mask: The masking key, None for a frame that is not masked.
        length: The length that the header tells, None for that of the payload.
        width: The bits of the length field, None for the fewest that do.
    """

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = None
    length: int | None = None
    width: Width | None = None

    @property
    def wire(self) -> bytes:
        """The bytes themselves."""
        first = bytes((self.fin << 7 | self.rsv << 4 | self.opcode,))
        if self.mask is None:
            return first + self._length() + self.payload
        masked = bytes(byte ^ self.mask[i % 4] for i, byte in enumerate(self.payload))
        return first + self._length() + self.mask + masked

    @property
    def is_plain(self) -> bool:
        """Whether header and payload agree, and nothing in them is special."""
        return self.rsv == 0 and self.mask is None and self.length is None and self.width is None

    def _length(self) -> bytes:
        length = len(self.payload) if self.length is None else self.length
        width = self.width or (7 if length < 126 else 16 if length < 65536 else 64)
        flag = 0x80 if self.mask is not None else 0
        if width == 7:
            return bytes((flag | length,))
        number = 126 if width == 16 else 127
        return bytes((flag | number,)) + length.to_bytes(width // 8, "big")


def text(data: str | bytes, *, fin: bool = True) -> Sent:
    """A text message, or its first fragment."""
    return Sent(1, data.encode() if isinstance(data, str) else data, fin)


def binary(data: bytes, *, fin: bool = True) -> Sent:
    """A binary message, or its first fragment."""
    return Sent(2, data, fin)


def more(data: str | bytes, *, fin: bool = False) -> Sent:
    """A further fragment."""
    return Sent(0, data.encode() if isinstance(data, str) else data, fin)


def ping(payload: bytes = b"") -> Sent:
    return Sent(9, payload)


def pong(payload: bytes = b"") -> Sent:
    return Sent(10, payload)


def close(code: int, reason: str = "") -> Sent:
    return Sent(8, code.to_bytes(2, "big") + reason.encode())


def close_body(body: bytes) -> Sent:
    """A close frame with whatever in it."""
    return Sent(8, body)


class Said(NamedTuple):
    """One frame of the client's."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == 8
        return int.from_bytes(self.payload[:2], "big")


def said(data: bytes) -> tuple[list[Said], bytes]:
    """The client's whole frames, and what is left over.

    Every one must be masked, unfragmented, without reserved bits, and of a length told in the
    fewest bytes.
    """
    frames: list[Said] = []
    at = 0
    while len(data) - at >= 2:
        assert data[at] & 0xF0 == 0x80, "a frame that is no whole message, or with reserved bits"
        assert data[at + 1] & 0x80, "a client's frames are masked"
        length, start = data[at + 1] & 0x7F, at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(data) < start + width:
                break
            length, start = int.from_bytes(data[start : start + width], "big"), start + width
            assert length >= (126 if width == 2 else 65536)
        end = start + 4 + length
        if len(data) < end:
            break
        frames.append(
            Said(data[at] & 15, _unmasked(data[start : start + 4], data[start + 4 : end]))
        )
        at = end
    return frames, data[at:]


def _unmasked(mask: bytes, payload: bytes) -> bytes:
    if not payload:
        return b""
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(
        len(payload), "big"
    )
