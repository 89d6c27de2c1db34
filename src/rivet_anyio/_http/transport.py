"""How the gateway's requests go out, whoever carries them: the seam above `Wire` and `Borrowed`."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Protocol

import msgspec

from .._errors import ProtocolError
from .._io.backend import ByteStream
from .._io.tasks import seconds_left

__all__ = [
    "MAX_REFUSAL",
    "HttpAnswer",
    "HttpTransport",
    "ObservedTransport",
    "OpenAnswer",
    "Timeouts",
    "Upgraded",
    "check_not_encoded",
    "encodings_of",
    "is_encoded",
    "is_page",
    "refusal_seconds",
    "retry_after",
    "too_long",
]

MAX_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that refuses an upgrade."""
_REFUSAL_SECONDS = 2.0
"""How long they are waited for: the status is known by then."""


class HttpAnswer:
    """A whole answer: status, headers and body.

    Attributes:
        status: The HTTP status.
        headers: The headers, looked up without regard to case.
        body: The body.
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


def _nothing() -> None:
    """Nobody counts this connection."""


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds that a request may take; None: no limit.

    Attributes:
        connect: Until there is a connection.
        read: Without a byte of the answer.
    """

    connect: float | None
    read: float | None


class OpenAnswer(Protocol):
    """An answer whose body is read piece by piece.

    Attributes:
        status: The HTTP status.
        reason: The reason phrase.
        version: ``"HTTP/1.1"``, say.
        headers: The headers, looked up without regard to case.
        raw_headers: The fields as they came.
    """

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]: ...

    async def read(self) -> bytes:
        """The next piece of the body as it was sent; none at the end.

        Raises:
            ConnectionLostError: the connection broke, or nothing came in time.
            ProtocolError: what came is not HTTP.
        """
        ...

    async def aclose(self) -> None:
        """Read no more of it. Cancellation: does not stop it."""
        ...


class Upgraded(msgspec.Struct, frozen=True):
    """What a server answered to a request for an upgrade.

    Attributes:
        status: 101, or the status of a refusal.
        version: ``"HTTP/1.1"``, say.
        headers: The headers, looked up without regard to case.
        stream: The upgraded connection, None for a refusal.
        body: The beginning of a refusal's body.
        ended: To be called once the upgraded connection was closed.
    """

    status: int
    version: str
    headers: Mapping[str, str]
    stream: ByteStream | None = None
    body: bytes = b""
    ended: Callable[[], None] = _nothing


class HttpTransport(Protocol):
    """Sends requests; its errors say what they prove.

    Each method raises:
        ConnectError: no byte of the request has left.
        ConnectionLostError: the request may have arrived.
        ProtocolError: the answer is not HTTP, or is longer than `max_message_size`.
        ConfigError: the request cannot be sent.
        ClosedError: the client's block was left.

    Attributes:
        failed_dials: How often no connection could be opened.
    """

    @property
    def failed_dials(self) -> int: ...

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        extra_seconds: float = 0.0,
        runs_actor: bool = False,
    ) -> HttpAnswer:
        """Send one request and read its answer.

        Args:
            method: The HTTP method.
            url: The absolute URL.
            headers: Its headers.
            content: Its body.
            extra_seconds: How much longer than usual the answer may take.
            runs_actor: Whether it waits for an actor: such requests wait behind each other where
                connections are scarce; others go first.

        Cancellation: the request may have arrived.
        """
        ...

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> OpenAnswer:
        """Send one request and read the head of its answer; the caller closes it.

        Args:
            method: The HTTP method.
            url: The absolute URL.
            headers: Its headers; names may come more than once.
            content: Its body; what its iteration raises comes out as it is.
            timeouts: None: the transport's own.

        Cancellation: the request may have arrived.
        """
        ...

    async def upgrade(
        self, url: str, *, headers: Mapping[str, str], has_secret: bool = False
    ) -> Upgraded:
        """Ask for an upgrade of the connection. (RFC 9110, section 7.8)

        Args:
            url: The absolute URL.
            headers: Its headers, ``Upgrade`` among them.
            has_secret: Whether no text may show the URL's path.

        Raises:
            ConnectError: there is no connection, or it broke: an upgrade runs nothing.

        Cancellation: safe.
        """
        ...

    def via(self, url: str) -> str:
        """`` through the proxy http://host:port`` for a text, where one leads to this server."""
        ...

    def lost(self, url: str) -> None:
        """A connection to this server broke: use none again that is as old."""
        ...

    def close(self) -> None:
        """End what is open, at once."""
        ...


class ObservedTransport:
    """What transports share that look at the requests of another one.

    Args:
        transport: The other one.
    """

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    @property
    def failed_dials(self) -> int:
        return self._transport.failed_dials

    def via(self, url: str) -> str:
        return self._transport.via(url)

    def lost(self, url: str) -> None:
        self._transport.lost(url)

    def close(self) -> None:
        self._transport.close()


def refusal_seconds() -> float:
    """How long to read the body of a refusal: the caller is to learn its status in time."""
    return min(_REFUSAL_SECONDS, seconds_left() / 2)


def encodings_of(headers: Mapping[str, str]) -> list[str]:
    """What was done to the body, in order: compression, say."""
    if "content-encoding" not in headers:
        return []
    names = [name.strip().lower() for name in headers["content-encoding"].split(",")]
    return [name for name in names if name not in ("", "identity")]


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether the body is compressed, say."""
    return bool(encodings_of(headers))


def check_not_encoded(status: int, headers: Mapping[str, str]) -> None:
    """Raise `ProtocolError` where the body is compressed, which nobody asked for."""
    if is_encoded(headers):
        raise ProtocolError(
            f"HTTP {status} with the content encoding {headers['content-encoding']!r}, "
            "which was not asked for"
        )


def is_page(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a refusal is a proxy's page, which is of no use if it cannot be read.

    RivetKit's own errors are labelled as ``application/...``, or short and not compressed.
    """
    return status >= 400 and not headers.get("content-type", "").startswith("application/")


def too_long(status: int, limit: int) -> ProtocolError:
    """The error for a body of more than `limit` bytes."""
    return ProtocolError(
        f"HTTP {status} with more than {limit} bytes: raise max_message_size to accept it"
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds until the time that ``Retry-After`` names, or None. (RFC 9110, section 10.2.3)

    A date is counted from the answer's own ``Date`` where it has one, so that clocks may differ.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii():
        return float(text) if len(text) < 9 else None
    at = _timestamp(text)
    if at is None:
        return None
    now = _timestamp(headers.get("date", ""))
    return max(0.0, at - (time.time() if now is None else now))


def _timestamp(date: str) -> float | None:
    """An HTTP-date as seconds since 1970, None for anything else."""
    from email.utils import parsedate_to_datetime

    try:
        parsed = parsedate_to_datetime(date)
        return parsed.replace(tzinfo=parsed.tzinfo or dt.UTC).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
