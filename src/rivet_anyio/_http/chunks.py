"""A body in chunks. (RFC 9112, section 7.1)"""

from __future__ import annotations

import re
from enum import Enum

from .headers import FORBIDDEN, MAX_FIELDS, MAX_HEAD

__all__ = ["MAX_EXTENSION", "MAX_OVERHEAD", "ChunkReader"]

MAX_EXTENSION = 1024
"""Bytes behind the size of one chunk."""
MAX_OVERHEAD = 16 * 1024
"""Bytes by which the lines of all chunks may exceed what their data allows."""

_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;[\t -~\x80-\xff]*)?)\r\n")
_LINE_BEGUN = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;[\t -~\x80-\xff]*)?\r?")
_MAX_LINE = 16 + MAX_EXTENSION
_TRAILERS = re.compile(rb"\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*\r\n")

_FRAMING = re.compile(rb"(?i)\r\n(content-length|transfer-encoding):")


class _Next(Enum):
    LINE = "the line of a chunk"
    DATA = "its data"
    DATA_END = "what ends its data"
    TRAILERS = "the trailers, and the blank line"


class ChunkReader:
    """Reads a body in chunks, whatever pieces it comes in.

    Attributes:
        error: What the server did, in one sentence, when this is not a body in chunks.
        is_done: Whether the body is complete.
    """

    __slots__ = ("_left", "_next", "_overhead", "_pending", "_searched", "error", "is_done")

    def __init__(self) -> None:
        self.error: str | None = None
        self.is_done = False
        self._next = _Next.LINE
        self._pending = b""
        self._left = 0
        self._overhead = 0
        self._searched = 0

    def read(self, data: bytes, body: list[bytes]) -> bool:
        """Read what came.

        Args:
            data: What came; not empty.
            body: Where to append what belongs to the body.

        Returns:
            Whether nothing came behind it.
        """
        data = self._pending + data
        self._pending = b""
        at = 0
        while at < len(data):
            if self._next is _Next.LINE:
                used = self._read_line(data, at)
            elif self._next is _Next.DATA:
                used = min(self._left, len(data) - at)
                body.append(data[at : at + used])
                self._left -= used
                if not self._left:
                    self._next = _Next.DATA_END
            elif self._next is _Next.DATA_END:
                used = self._read_data_end(data, at)
            else:
                used = self._read_trailers(data, at)
            at += used
            if self.is_done or self.error is not None:
                return at == len(data)
            if not used:
                self._pending = data[at:]
                break
        return True

    # Each says how many bytes it used: none if there are too few yet.

    def _read_line(self, data: bytes, at: int) -> int:
        line = _LINE.match(data, at, at + _MAX_LINE + 2)
        if line is None:
            stop = min(len(data), at + _MAX_LINE)
            if not _LINE_BEGUN.fullmatch(data, at, stop):
                self.error = "the server sent a chunk whose size cannot be read"
            elif len(data) > stop:
                self.error = "the server sent a chunk with an extension of more than 1 KiB"
            return 0
        used = line.end() - at
        size = int(line[1], 16)
        # As Go counts: 16 bytes are free, and as many more as two times the data.
        self._overhead = max(0, self._overhead + used + 2 - 16 - 2 * size)
        if line.end(2) - line.start(2) > MAX_EXTENSION:
            self.error = "the server sent a chunk with an extension of more than 1 KiB"
        elif self._overhead > MAX_OVERHEAD:
            self.error = "the server sent chunks that are mostly extensions"
        elif size:
            self._left = size
            self._next = _Next.DATA
        else:
            self._next = _Next.TRAILERS
            return used - 2
        return used

    def _read_data_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._next = _Next.LINE
            return 2
        if end != b"\r":
            self.error = "the server sent a chunk that is longer than its size"
        return 0

    def _read_trailers(self, data: bytes, at: int) -> int:
        """They begin with the end of the last chunk's line, to end as a head does."""
        begin = at + max(0, self._searched - 3)
        end = data.find(b"\r\n\r\n", begin)
        stop = len(data) if end < 0 else end + 4
        if bad := FORBIDDEN.search(data, begin, stop):
            self.error = f"the server sent trailers with the control character {bad[0]!r}"
        elif stop - at > MAX_HEAD:
            self.error = f"the server sent trailers of more than {MAX_HEAD} bytes"
        elif end < 0:
            self._searched = stop - at
        elif data.count(b"\r\n", at, stop) - 2 > MAX_FIELDS:
            self.error = f"the server sent more than {MAX_FIELDS} trailers"
        elif not _TRAILERS.fullmatch(data, at, stop):
            self.error = "the server sent a trailer that is not a field"
        elif found := _FRAMING.search(data, at, stop):
            # A proxy that moves trailers to the head would end this answer elsewhere.
            self.error = f"the server sent {found[1].decode()} in a trailer"
        else:
            self.is_done = True
            return stop - at
        return 0
