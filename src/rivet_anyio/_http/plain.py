"""The plainest answer, read in one step.

What `read_plain` takes, h11 would read in the same way; the tests hold it to that. Whatever has
any oddity is left to h11, which takes twenty times as long.
"""

from __future__ import annotations

import re

from .headers import MAX_FIELDS, MAX_HEAD, Head, Headers

__all__ = ["read_plain"]

_HEAD = re.compile(
    rb"HTTP/1\.1 (?!204|304)(101|[2-5][0-9][0-9]) ([ -~]*+)"
    rb"((?:\r\n[!#$%%&'*+.^_`|~0-9A-Za-z-]++: [!-~][ -~]*+(?<! )){1,%d}+\r\n)\r\n" % MAX_FIELDS
)
_MEANINGFUL = re.compile(rb"\r\n(content-length|transfer-encoding|connection): ([^\r]*)")
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding): ")
_LENGTH = re.compile(rb"[0-9]{1,16}")


def read_plain(data: bytes) -> tuple[Head, int | None, int] | None:
    """Read the head of the answer to a request of any method but HEAD and CONNECT.

    Args:
        data: What came first.

    Returns:
        The head, the length of the body, and the place in `data` where the body begins. None
        unless all of the head is there and is plain: HTTP/1.1, a final status, one Content-Length,
        no Transfer-Encoding, no Connection but keep-alive, nothing but visible ASCII. Or a 101 with
        neither Content-Length nor Transfer-Encoding; its length is None.
    """
    found = _HEAD.match(data, 0, MAX_HEAD)
    if found is None:
        return None
    status, reason, block = found.groups()
    lower = block.lower()
    headers = Headers.from_block(block, lower)
    if status == b"101":
        if _FRAMING.search(lower):
            return None
        return Head(101, reason.decode("ascii"), headers), None, found.end()
    length = b""
    for name, value in _MEANINGFUL.findall(lower):
        if name == b"content-length" and not length and _LENGTH.fullmatch(value):
            length = value
        elif name != b"connection" or value != b"keep-alive":
            return None
    if not length:
        return None
    return Head(int(status), reason.decode("ascii"), headers), int(length), found.end()
