"""Heads of answers that are not plain, read by h11."""

from __future__ import annotations

import re
from typing import Literal

from .headers import FORBIDDEN, MAX_FIELDS, MAX_HEAD, Head, Headers

__all__ = ["HeadReader"]

_PREFIX = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [^\r]*)?\r\n")
_FOLDED = re.compile(rb"\r\n[ \t]")
_FRAMING = re.compile(rb"(?i)\r\n(content-length|transfer-encoding):([^\r]*)")
_DIGITS = re.compile(rb"[0-9]{1,16}")


class HeadReader:
    """Reads the interim answers to one request, and the head of the final one.

    Attributes:
        error: What the server did, in one sentence, when what it sent is no head or is refused.
    """

    __slots__ = ("_h11", "_pending", "error")

    def __init__(self, method: str) -> None:
        import h11  # slow to import, and most answers are read without it

        self.error: str | None = None
        self._pending = b""
        # h11 need not know more of the request than its method, and that a 101 may come.
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        fields = [("Host", ""), ("Upgrade", "any")]
        self._h11.send(h11.Request(method=method, target="/", headers=fields))
        self._h11.send(h11.EndOfMessage())

    @property
    def is_started(self) -> bool:
        """Whether the beginning of a head is here and its end is not."""
        return bool(self._pending)

    def read(self, data: bytes) -> tuple[Head, bytes] | None:
        """The next head, and what came behind it; None while its end is missing, or it is refused.

        Args:
            data: What came; not empty.
        """
        searched = max(0, len(self._pending) - 3)
        data = self._pending + data
        end = data.find(b"\r\n\r\n", searched)
        text = data if end < 0 else data[: end + 4]
        self.error = _beginning(text, searched)
        if self.error is not None:
            self._pending = b""
            return None
        if end < 0:
            self._pending = data
            return None
        self._pending = b""
        self.error = _framing(text)
        if self.error is not None:
            return None
        head = self._parse(text)
        return None if head is None else (head, data[end + 4 :])

    def _parse(self, text: bytes) -> Head | None:
        import h11

        try:
            self._h11.receive_data(text)
            event = self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            # What follows the colon is what the server sent: it may be an echo of a secret.
            self.error = f"the server sent a head that h11 refuses: {str(exc).partition(':')[0]}"
            return None
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        version: Literal["1.0", "1.1"] = "1.0" if event.http_version == b"1.0" else "1.1"
        headers = Headers(list(event.headers))
        return Head(event.status_code, event.reason.decode("latin-1"), headers, version)


def _beginning(text: bytes, searched: int) -> str | None:
    """Why this is not a head, nor the beginning of one."""
    if not text.startswith(_PREFIX) and not _PREFIX.startswith(text):
        return f"the server answered with something else than HTTP/1.1: {text[:16]!r}"
    if len(text) > MAX_HEAD:
        return f"the server sent a head of more than {MAX_HEAD} bytes"
    if bad := FORBIDDEN.search(text, searched):
        return f"the server sent a head with the control character {bad[0]!r}"
    return None


def _framing(text: bytes) -> str | None:
    """Why a whole head is refused that h11 would take, or read in one of several ways."""
    if not _STATUS_LINE.match(text):
        return "the server sent a status line that is not one of HTTP/1.0 or 1.1"
    if text.count(b"\r\n") - 2 > MAX_FIELDS:
        return f"the server sent a head of more than {MAX_FIELDS} fields"
    if _FOLDED.search(text):
        return "the server sent a field that goes on in the next line"
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in _FRAMING.findall(text):
        (lengths if name.lower() == b"content-length" else codings).append(value.strip(b" \t"))
    if len(lengths) > 1:
        return "the server sent Content-Length twice"
    if lengths and codings:
        return "the server sent both Content-Length and Transfer-Encoding"
    if lengths and not _DIGITS.fullmatch(lengths[0]):
        return "the server sent a Content-Length that is not a number of bytes"
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        return "the server sent a Transfer-Encoding that is not exactly 'chunked'"
    if codings and text.startswith(b"HTTP/1.0"):
        return "the server sent Transfer-Encoding in HTTP/1.0"
    if (lengths or codings) and text[9:10] == b"1":
        return "the server sent an interim (1xx) answer with Content-Length or Transfer-Encoding"
    return None
