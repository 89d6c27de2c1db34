"""The answer to an HTTP request."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HttpAnswer"]


class HttpAnswer:
    """A whole answer: status, headers and body.

    Attributes:
        status: The HTTP status.
        headers: The headers, looked up without regard to case.
        body: The decoded body.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300
