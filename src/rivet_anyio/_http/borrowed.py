"""Requests over the one httpx client, with its errors told apart by what they prove."""

from __future__ import annotations

import datetime as dt
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from .._errors import (
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
)
from .transport import HttpAnswer

__all__ = [
    "HttpTransport",
    "SecretUrl",
    "is_packed",
    "new_http_client",
    "retry_after",
    "send_streaming",
    "translated",
]

_IDLE_SECONDS = 3.0
"""Node.js drops connections after five idle seconds; a request must not meet that moment."""


def new_http_client(timeout: httpx.Timeout) -> httpx.AsyncClient:
    """The client that is used when the user brings none.

    A WebSocket over TLS holds a connection of the pool for its whole life, so their number is not
    limited. HTTP/2 stays off: it has no Upgrade. All actors have one origin, so a cookie that was
    kept would go from the actor that set it to all others.
    """
    return httpx.AsyncClient(
        timeout=timeout,
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=100, keepalive_expiry=_IDLE_SECONDS
        ),
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


class SecretUrl(httpx.URL):
    """A URL whose text hides its path, for requests that must carry a token there.

    httpx logs the URL of every request.
    """

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc.decode()}/***"

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"


class HttpTransport:
    """Sends requests and reads whole, bounded answers.

    Args:
        client: The httpx client to use.
        max_body_size: The longest answer accepted, in bytes.
        timeout: For requests that do not say otherwise; None leaves it to the client.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        max_body_size: int,
        timeout: httpx.Timeout | None,
    ) -> None:
        self.client = client
        self._max_body_size = max_body_size
        self._timeout: Any = httpx.USE_CLIENT_DEFAULT if timeout is None else timeout

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        extra_seconds: float = 0.0,
    ) -> HttpAnswer:
        """Send one request and read its answer.

        Args:
            method: The HTTP method.
            url: The absolute URL.
            headers: Its headers.
            content: Its body.
            extra_seconds: How much longer than usual the answer may take.

        Raises:
            ConnectError: when nothing was sent.
            ConnectionLostError: when the request may have arrived.
            ProtocolError: when the answer is no HTTP, or too long.
        """
        timeout = self._timeout
        if extra_seconds:
            usual = self.client.timeout
            timeout = httpx.Timeout(
                connect=usual.connect,
                read=None if usual.read is None else usual.read + extra_seconds,
                write=usual.write,
                pool=usual.pool,
            )
        # A few compressed bytes can become gigabytes, so what comes is taken only as it is.
        headers = {**headers, "Accept-Encoding": "identity"}
        response = await self.start(method, url, headers=headers, content=content, timeout=timeout)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        return HttpAnswer(response.status_code, response.headers, body)

    async def start(self, method: str, url: str, **options: Any) -> httpx.Response:
        """Send one request; the caller reads the body and closes the response.

        Options are those of `httpx.AsyncClient.build_request`. Raises as `request`.
        """
        with translated():
            request = self.client.build_request(
                method, url, **{"timeout": self._timeout, **options}
            )
            return await send_streaming(self.client, request)

    async def _read(self, response: httpx.Response) -> bytes:
        if is_packed(response):
            encoding = response.headers["content-encoding"]
            raise ProtocolError(
                f"HTTP {response.status_code} with the content encoding {encoding!r}, "
                "which was not asked for"
            )
        parts: list[bytes] = []
        size = 0
        with translated():
            async for part in response.aiter_bytes():
                size += len(part)
                if size > self._max_body_size:
                    raise ProtocolError(
                        f"HTTP {response.status_code} with more than {self._max_body_size} bytes: "
                        "raise max_message_size to accept it"
                    )
                parts.append(part)
        return b"".join(parts)


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
    try:
        parsed = parsedate_to_datetime(date)
        return parsed.replace(tzinfo=parsed.tzinfo or dt.UTC).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


class _Body(httpx.AsyncByteStream):
    """A request's bytes, without the async generator that httpx would leave to the collector."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._data)


class _Once(AsyncIterator[bytes]):
    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, None
        return data


def is_packed(response: httpx.Response) -> bool:
    """Whether reading the body would decompress it."""
    encoding: str = response.headers.get("content-encoding", "identity")
    return encoding != "identity"


async def send_streaming(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request, follow no redirect, and leave the response's body to be read."""
    if isinstance(request.stream, httpx.ByteStream):
        request.stream = _Body(request.content)
    return await client.send(request, stream=True, follow_redirects=False)


@contextmanager
def translated() -> Generator[None]:
    """Raise httpx's errors as ours: was anything sent, or not?"""
    try:
        yield
    except httpx.PoolTimeout as exc:
        raise ConnectError(
            "the HTTP client's connection pool is full: every WebSocket holds one of its "
            "connections, so give it httpx.Limits(max_connections=None) or a higher number"
        ) from exc
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as exc:
        raise ConnectError(f"cannot connect to {_origin(exc)}: {_text(exc)}") from exc
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as exc:
        raise ConfigError(f"the request cannot be sent: {_text(exc)}") from exc
    except httpx.DecodingError as exc:
        raise ProtocolError(f"the answer cannot be decoded: {_text(exc)}") from exc
    except httpx.TimeoutException as exc:
        raise ConnectionLostError(f"no answer in time: {_text(exc)}") from exc
    except httpx.HTTPError as exc:
        raise ConnectionLostError(f"the connection broke: {_text(exc)}") from exc
    except RivetError:
        raise
    except RuntimeError as exc:
        if "has been closed" in str(exc):
            raise ClosedError("the HTTP client has been closed") from exc
        raise


def _origin(exc: httpx.RequestError) -> str:
    """Where a request was to go, without its path: that may hold a token."""
    try:
        url = exc.request.url
    except RuntimeError:  # httpx: no request was attached
        return "the server"
    return f"{url.scheme}://{url.netloc.decode()}"


def _text(exc: BaseException) -> str:
    """What an exception says; better, what the system says below it; else what it is."""
    text, seen = "", exc
    while True:
        # What TLS and the resolver number is no errno.
        is_errno = not isinstance(seen, (ssl.SSLError, socket.gaierror))
        if is_errno and isinstance(seen, OSError) and seen.errno:
            return f"{type(exc).__name__}: [Errno {seen.errno}] {os.strerror(seen.errno)}"
        text = text or str(seen)
        inner = seen.exceptions[0] if isinstance(seen, BaseExceptionGroup) else None
        below = inner or seen.__cause__ or seen.__context__
        if below is None:
            return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
        seen = below
