"""The plainest answer, read in one step.

What `read_plain` takes, h11 reads in the same way; the tests hold it to that. What has any oddity
is left to h11: it costs several times as much.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .headers import Headers

__all__ = ["MAX_FIELDS", "MAX_HEAD", "PlainHead", "read_plain"]

MAX_HEAD = 32 * 1024
"""Bytes of a head, from the first of its status line to the last of the blank line."""
MAX_FIELDS = 100

_HEAD = re.compile(
    rb"HTTP/1\.1 (?!204|304)([2-5][0-9][0-9]) ([ -~]*+)\r\n"
    rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++: [!-~][ -~]*+(?<! )\r\n){1,100}+\r\n"
)
_LENGTH = re.compile(rb"\r\ncontent-length: (0|[1-9][0-9]{0,15})\r\n")


class PlainHead(NamedTuple):
    """What a plain answer begins with.

    Attributes:
        status: From 200 to 599, and none that has no body.
        reason: The reason phrase.
        headers: The fields.
        length: How long the body is.
        end: Where it begins.
    """

    status: int
    reason: str
    headers: Headers
    length: int
    end: int


def read_plain(data: bytes) -> PlainHead | None:
    """Read the head of an answer to any method but HEAD and CONNECT.

    Args:
        data: What came first.

    Returns:
        The head, or None unless all of it is there and it is plain: HTTP/1.1, a final status, one
        Content-Length, no Transfer-Encoding, no Connection but keep-alive, visible ASCII.
    """
    head = _HEAD.match(data, 0, MAX_HEAD)
    if head is None:
        return None
    end = head.end()
    block = data[head.end(2) : end - 2]
    lower = block.lower()
    length = _LENGTH.search(lower)
    if (
        length is None
        or lower.count(b"\r\ncontent-length:") != 1
        or b"\r\ntransfer-encoding:" in lower
        or lower.count(b"\r\nconnection:") != lower.count(b"\r\nconnection: keep-alive\r\n")
    ):
        return None
    status, reason = head.groups()
    return PlainHead(
        int(status), reason.decode("ascii"), Headers.from_block(block), int(length[1]), end
    )
