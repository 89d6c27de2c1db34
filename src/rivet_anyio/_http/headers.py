"""The head of an answer, and its fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

__all__ = ["FORBIDDEN", "MAX_FIELDS", "MAX_HEAD", "Head", "Headers"]

MAX_HEAD = 32 * 1024
"""Bytes of a head, from the first of its status line to the last of its blank line."""
MAX_FIELDS = 100
"""Fields of a head."""

# Any control character but tab, if it is not the LF behind a CR, nor a CR before LF or the end.
FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f](?<!\r\n)(?!(?<=\r)(?:\n|\Z))")
"""What no head has: half of a CRLF, or a control character."""


class Headers(Mapping[str, str]):
    """Read-only; looked up without regard to case, in the order in which the server sent them.

    Several fields of one name are joined by ``", "``. (RFC 9110, section 5.3)
    """

    __slots__ = ("_block", "_lower", "_raw", "_values")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """
        Args:
            raw: Names in lower case, and values.
        """
        self._block = self._lower = b""
        self._raw: list[tuple[bytes, bytes]] | None = raw
        self._values: dict[str, str] | None = None

    @classmethod
    def from_block(cls, block: bytes, lower: bytes) -> Headers:
        """Of fields that were checked, to be taken apart when somebody asks for one.

        Args:
            block: ``\\r\\n``, and ``name: value\\r\\n`` for each.
            lower: The same in lower case.
        """
        headers = cls.__new__(cls)
        headers._block = block
        headers._lower = lower
        headers._raw = headers._values = None
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, and values."""
        if self._raw is None:
            fields = [field.partition(b": ") for field in self._block[2:-2].split(b"\r\n")]
            self._raw = [(name.lower(), value) for name, _, value in fields]
        return self._raw

    def __getitem__(self, name: str) -> str:
        return self._by_name()[name.lower()]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if self._lower:
            # Most are asked for a field that is not there, and need not be taken apart.
            return b"\r\n%b: " % name.lower().encode() in self._lower
        return name.lower() in self._by_name()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name())

    def __len__(self) -> int:
        return len(self._by_name())

    def _by_name(self) -> dict[str, str]:
        values = self._values
        if values is None:
            values = self._values = {}
            for key, value in self.raw:
                text, new = key.decode("ascii"), value.decode("latin-1")
                values[text] = f"{values[text]}, {new}" if text in values else new
        return values

    def __repr__(self) -> str:
        # Without the values, which may be secrets.
        return f"<Headers {', '.join(self)}>"


class Head(msgspec.Struct, frozen=True):
    """The head of an answer.

    Attributes:
        status: From 100 to 999.
        reason: The reason phrase, often empty.
        headers: The fields.
        version: The version of HTTP.
    """

    status: int
    reason: str
    headers: Headers
    version: Literal["1.0", "1.1"] = "1.1"
