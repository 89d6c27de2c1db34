"""The primitives of BARE, and the version prefix that RivetKit puts before every value.

Only what the protocol uses: uint (LEB128), u64, bool, str, data, optional. Decoding is strict:
minimal integers, valid UTF-8, no trailing bytes. (BARE, draft-devault-bare; vbare's two-byte
little-endian prefix.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .._errors import ProtocolError

__all__ = ["NEWEST_VERSION", "Reader", "boolean", "data", "optional", "text", "u64", "uint"]

T = TypeVar("T")

NEWEST_VERSION = 4
"""The newest protocol version this client reads; RivetKit 2.3 writes it."""


def uint(value: int) -> bytes:
    """An unsigned integer of any width up to 64 bits."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def u64(value: int) -> bytes:
    """An unsigned integer in eight bytes."""
    return value.to_bytes(8, "little")


def boolean(value: bool) -> bytes:
    """One byte, 0 or 1."""
    return b"\x01" if value else b"\x00"


def data(value: bytes) -> bytes:
    """Bytes with their length before them."""
    return uint(len(value)) + value


def text(value: str) -> bytes:
    """A string: UTF-8 with its length in bytes before it."""
    return data(value.encode())


def optional(value: bytes | None) -> bytes:
    """Something already encoded, or its absence."""
    return b"\x00" if value is None else b"\x01" + value


class Reader:
    """Reads one versioned BARE value; `end` must find it used up.

    Attributes:
        version: The protocol version from the prefix.

    Raises:
        ProtocolError: from every method, when the bytes are not what was asked for.
    """

    __slots__ = ("_data", "_position", "version")

    def __init__(self, data: bytes) -> None:
        if len(data) < 2:
            raise ProtocolError(f"a BARE message has at least a version prefix: {data!r}")
        self.version = int.from_bytes(data[:2], "little")
        if not 1 <= self.version <= NEWEST_VERSION:
            raise ProtocolError(
                f"protocol version {self.version} is not one of 1 to {NEWEST_VERSION}: "
                f"{data[:40]!r}"
            )
        self._data = data
        self._position = 2

    def uint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise self._error("an integer of more than 64 bits")
        if byte == 0 and shift:
            raise self._error("an integer that is not minimal")
        if value >> 64:
            raise self._error("an integer of more than 64 bits")
        return value

    def u64(self) -> int:
        return int.from_bytes(bytes(self._byte() for _ in range(8)), "little")

    def boolean(self) -> bool:
        byte = self._byte()
        if byte > 1:
            raise self._error(f"the boolean {byte}")
        return byte == 1

    def data(self) -> bytes:
        length = self.uint()
        start = self._position
        end = start + length
        if end > len(self._data):
            raise self._error(f"{length} bytes announced, {len(self._data) - start} there")
        self._position = end
        return self._data[start:end]

    def text(self) -> str:
        try:
            return self.data().decode()
        except UnicodeDecodeError as exc:
            raise self._error("a string that is not UTF-8") from exc

    def optional(self, read: Callable[[], T]) -> T | None:
        return read() if self.boolean() else None

    def end(self) -> None:
        rest = len(self._data) - self._position
        if rest:
            raise self._error(f"{rest} bytes left over")

    def unknown_tag(self, tag: int) -> ProtocolError:
        return self._error(f"the union tag {tag}")

    def _byte(self) -> int:
        position = self._position
        if position >= len(self._data):
            raise self._error("the end")
        self._position = position + 1
        return self._data[position]

    def _error(self, found: str) -> ProtocolError:
        return ProtocolError(
            f"malformed BARE: found {found} at byte {self._position} of {self._data[:200]!r}"
        )
