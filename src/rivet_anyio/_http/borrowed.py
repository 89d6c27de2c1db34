"""Requests over an `httpx.AsyncClient` or `httpx2.AsyncClient` of the user's.

Its limits, proxies, TLS settings and cookies are its owner's. This is the only module that knows
what either library calls its errors.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import AsyncIterable, AsyncIterator, Generator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope, move_on_after

from .._errors import (
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
)
from .._io.socket import broke, unsent
from .transport import (
    MAX_REFUSAL,
    HttpAnswer,
    Timeouts,
    Upgraded,
    check_not_encoded,
    is_encoded,
    is_page,
    refusal_seconds,
    too_long,
)

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = ["Borrowed", "is_http_client"]

_CLOSE_SECONDS = 1.0


def is_http_client(given: object) -> bool:
    """Whether this is an asynchronous client of httpx or httpx2."""
    modules = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return any(module is not None and isinstance(given, module.AsyncClient) for module in modules)


class Borrowed:
    """See `HttpTransport`.

    Args:
        client: The client to use.
        max_body_size: The longest whole answer accepted, in bytes.
        timeouts: For requests that do not say otherwise, unless the client has timeouts of its
            owner's.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | httpx2.AsyncClient,
        *,
        max_body_size: int,
        timeouts: Timeouts,
    ) -> None:
        self._client: Any = client
        self._httpx = _module_of(client)
        self._max_body_size = max_body_size
        self.failed_dials = 0
        own = client.timeout
        if own == self._httpx.Timeout(5.0):  # httpx's default
            own = self._httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None)
        self._timeout = own

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
        timeout = self._timeout
        if extra_seconds and timeout.read is not None:
            timeout = self._httpx.Timeout(
                connect=timeout.connect,
                read=timeout.read + extra_seconds,
                write=timeout.write,
                pool=timeout.pool,
            )
        # A few compressed bytes can become gigabytes, so what comes is taken only as it is.
        headers = {**headers, "Accept-Encoding": "identity"}
        response = await self._send(method, url, headers, content, timeout)
        try:
            try:
                body = await self._read(response)
            except ProtocolError:
                if not is_page(response.status_code, response.headers):
                    raise
                body = b""
        finally:
            await _drop(response)
        return HttpAnswer(response.status_code, response.headers, body)

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> BorrowedAnswer:
        timeout = self._timeout
        if timeouts is not None:
            timeout = self._httpx.Timeout(timeouts.read, connect=timeouts.connect, pool=None)
        if "accept-encoding" not in {name.lower() for name, _ in headers}:
            headers = [*headers, ("Accept-Encoding", "identity")]
        return BorrowedAnswer(self, await self._send(method, url, headers, content, timeout))

    async def upgrade(
        self, url: str, *, headers: Mapping[str, str], has_secret: bool = False
    ) -> Upgraded:
        headers = {**headers, "Accept-Encoding": "identity"}
        try:
            response = await self._send("GET", url, headers, None, self._timeout, has_secret)
        except ConnectionLostError as exc:
            raise ConnectError(f"the handshake broke: {exc}") from exc
        version = response.http_version
        if response.status_code == 101:
            stream = UpgradedStream(response)
            return Upgraded(101, version, response.headers, stream)
        try:
            body = await self._read_beginning(response)
        finally:
            await _drop(response)
        return Upgraded(response.status_code, version, response.headers, body=body)

    def via(self, url: str) -> str:
        """Its proxies are its owner's."""
        return ""

    def lost(self, url: str) -> None:
        """Its pool does as it likes."""

    def close(self) -> None:
        """It is its owner's to close."""

    async def _send(
        self,
        method: str,
        url: str,
        headers: Any,
        content: Any,
        timeout: Any,
        has_secret: bool = False,
    ) -> httpx.Response:
        with self.translated():
            request = self._client.build_request(
                method, url, headers=headers, content=content, timeout=timeout
            )
            if isinstance(content, bytes):
                request.stream = _body(self._httpx, content)
            if has_secret:
                request.url = _secret(self._httpx, request.url)
            response: httpx.Response = await self._client.send(
                request, stream=True, follow_redirects=False
            )
            return response

    async def _read(self, response: httpx.Response) -> bytes:
        check_not_encoded(response.status_code, response.headers)
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._max_body_size:
            raise too_long(response.status_code, self._max_body_size)
        parts: list[bytes] = []
        size = 0
        with self.translated():
            async for part in _pieces(response):
                size += len(part)
                if size > self._max_body_size:
                    raise too_long(response.status_code, self._max_body_size)
                parts.append(part)
        return b"".join(parts)

    async def _read_beginning(self, response: httpx.Response) -> bytes:
        body = b""
        if not is_encoded(response.headers):
            try:
                with self.translated(), move_on_after(refusal_seconds()):
                    async for part in _pieces(response):
                        body += part
                        if len(body) > MAX_REFUSAL:
                            break
            except ConnectionLostError:  # the status says enough
                pass
        return body

    @contextmanager
    def translated(self) -> Generator[None]:
        """Raise the library's errors as ours: has anything left, or not?"""
        httpx = self._httpx
        try:
            yield
        except httpx.PoolTimeout as exc:
            raise ConnectError(
                "the HTTP client's connection pool is full: every WebSocket holds one of its "
                "connections, so give it httpx.Limits(max_connections=None) or a higher number"
            ) from exc
        except httpx.ProxyError as exc:
            raise ConnectError(
                f"cannot connect to {_origin(exc)}: the proxy of the HTTP client refused: "
                f"{_text(exc)}"
            ) from exc
        except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
            self.failed_dials += 1
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


class BorrowedAnswer:
    """See `OpenAnswer`."""

    def __init__(self, transport: Borrowed, response: httpx.Response) -> None:
        self._transport = transport
        self._response = response
        self._pieces = _pieces(response)

    @property
    def status(self) -> int:
        return self._response.status_code

    @property
    def reason(self) -> str:
        return self._response.reason_phrase

    @property
    def version(self) -> str:
        return self._response.http_version

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = self._response.headers.raw
        return headers

    async def read(self) -> bytes:
        with self._transport.translated():
            async for piece in self._pieces:
                if piece:
                    return piece
        return b""

    async def aclose(self) -> None:
        with CancelScope(shield=True), move_on_after(_CLOSE_SECONDS):
            pieces: Any = self._pieces
            try:
                await pieces.aclose()
            except Exception:  # the connection is gone either way
                pass
        await _drop(self._response)


class UpgradedStream:
    """The bytes of an upgraded connection. (httpx: the extension ``network_stream``.)"""

    writes_now = False

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._stream: Any = response.extensions["network_stream"]

    async def read(self, max_bytes: int) -> bytes:
        try:
            data = await self._stream.read(max_bytes)
        except anyio.EndOfStream:
            return b""
        except Exception as exc:
            raise broke(exc) from exc
        return bytes(data)

    def read_now(self, max_bytes: int) -> bytes | None:
        return None

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except Exception as exc:
            raise broke(exc) from exc

    def write_now(self, data: bytes) -> int:
        return 0

    def unsent(self) -> int:
        sock = self._stream.get_extra_info("socket")
        return 0 if sock is None else unsent(sock.fileno())

    def is_quiet(self) -> bool:
        return True

    def drop(self) -> None:
        sock = self._stream.get_extra_info("socket")
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended already
                pass

    async def aclose(self) -> None:
        await _drop(self._response)


def _pieces(response: Any) -> AsyncIterator[bytes]:
    """The body as it was sent; a transport of the user's may have read it already."""
    pieces: AsyncIterator[bytes]
    pieces = response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()
    return pieces


async def _drop(response: httpx.Response) -> None:
    with CancelScope(shield=True), move_on_after(_CLOSE_SECONDS):
        try:
            await response.aclose()
        except Exception:  # the connection is gone either way
            pass


def _module_of(client: object) -> Any:
    """The library that a client is of."""
    for name in ("httpx", "httpx2"):
        module: ModuleType | None = sys.modules.get(name)
        if module is not None and isinstance(client, module.AsyncClient):
            return module
    raise TypeError(f"this is no httpx.AsyncClient: {client!r}")


class _Once(AsyncIterator[bytes]):
    """These bytes, as one piece."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, None
        return data


def _body(httpx: Any, data: bytes) -> Any:
    """A request's bytes, without the async generator that httpx would leave to the collector."""
    return type("Body", (httpx.AsyncByteStream,), {"__aiter__": lambda _: _Once(data)})()


def _secret(httpx: Any, url: Any) -> Any:
    """A URL whose text hides its path, which holds a token: httpx logs the URL of every request."""

    def shown(url: Any) -> str:
        return f"{url.scheme}://{url.netloc.decode()}/***"

    members = {"__str__": shown, "__repr__": lambda url: f"SecretUrl({shown(url)!r})"}
    return type("SecretUrl", (httpx.URL,), members)(url)


def _origin(exc: Any) -> str:
    """Where a request was to go, without its path: that may hold a token."""
    try:
        url = exc.request.url
    except RuntimeError:  # no request was attached
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
