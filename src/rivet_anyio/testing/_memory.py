"""A network without sockets: byte streams in memory, for clients of ours and for httpx."""

from __future__ import annotations

import ssl
import typing
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

import anyio
import anyio.abc
import httpcore
import httpx

from .._errors import ConnectError, ConnectionLostError
from .._io.waiting import Signal

__all__ = ["ClientStream", "MemoryConnector", "MemoryStream", "MemoryTransport", "memory_pipe"]

_HIGH_WATER = 64 * 1024


class _Half:
    """Bytes on their way in one direction; one `put` is one `get`, cut where that is shorter."""

    def __init__(self) -> None:
        self.ended = False
        self.abandoned = False
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._changed = Signal()

    @property
    def is_readable(self) -> bool:
        return bool(self._chunks) or self.ended

    async def put(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        while self._size >= _HIGH_WATER and not (self.abandoned or self.ended):
            await self._changed.wait()
        if self.abandoned:
            raise anyio.BrokenResourceError
        if self.ended:
            raise anyio.ClosedResourceError
        if data:
            self._chunks.append(data)
            self._size += len(data)
            self._notify()

    def put_now(self, data: bytes) -> int:
        """Take what there is capacity for, and say how much that was."""
        if self.abandoned or self.ended:
            return 0
        chunk = data[: max(0, _HIGH_WATER - self._size)]
        if chunk:
            self._chunks.append(chunk)
            self._size += len(chunk)
            self._notify()
        return len(chunk)

    async def get(self, max_bytes: int) -> bytes:
        await anyio.lowlevel.checkpoint()
        while (chunk := self.get_now(max_bytes)) is None:
            await self._changed.wait()
        if not chunk:
            raise anyio.EndOfStream
        return chunk

    def get_now(self, max_bytes: int) -> bytes | None:
        """What `get` would return at once, nothing at the end, None where it would wait."""
        if not self._chunks:
            if self.abandoned:
                raise anyio.ClosedResourceError
            return b"" if self.ended else None
        chunk = self._chunks.popleft()
        if len(chunk) > max_bytes:
            self._chunks.appendleft(chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        self._size -= len(chunk)
        self._notify()
        return chunk

    def end(self) -> None:
        self.ended = True
        self._notify()

    def abandon(self) -> None:
        self.abandoned = True
        self._chunks.clear()
        self._size = 0
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = Signal()


class MemoryStream(anyio.abc.ByteStream):
    """One end of a pipe; see `memory_pipe`."""

    def __init__(self, incoming: _Half, outgoing: _Half) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    @property
    def is_readable(self) -> bool:
        """Whether `receive` would return at once."""
        return self._incoming.is_readable

    @property
    def is_peer_gone(self) -> bool:
        """Whether the other end was closed."""
        return self._outgoing.abandoned

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self._incoming.get(max_bytes)

    def receive_now(self, max_bytes: int) -> bytes | None:
        """What has come; nothing at the end, None where `receive` would wait."""
        return self._incoming.get_now(max_bytes)

    async def send(self, item: bytes) -> None:
        await self._outgoing.put(bytes(item))

    def send_now(self, data: bytes) -> int:
        """Send what there is capacity for, and say how much that was; 0 when nobody receives."""
        return self._outgoing.put_now(data)

    async def send_eof(self) -> None:
        self._outgoing.end()

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """What `aclose` does; nothing in it waits."""
        self._outgoing.end()
        self._incoming.abandon()


class ClientStream:
    """The client's end of a pipe, as a `ByteStream` of the client's own."""

    writes_now = True

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream
        self._unread = b""

    async def read(self, max_bytes: int) -> bytes:
        if self._unread:
            await anyio.lowlevel.checkpoint()
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        try:
            return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise ConnectionLostError("the connection broke: it is closed") from exc

    def read_now(self, max_bytes: int) -> bytes | None:
        if self._unread:
            data, self._unread = self._unread[:max_bytes], self._unread[max_bytes:]
            return data
        try:
            return self._stream.receive_now(max_bytes)
        except anyio.ClosedResourceError as exc:
            raise ConnectionLostError("the connection broke: it is closed") from exc

    async def write(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise ConnectionLostError("the connection broke: it is closed") from exc

    def write_now(self, data: bytes) -> int:
        return self._stream.send_now(data)

    def unread(self, data: bytes) -> None:
        self._unread = data + self._unread

    def unsent(self) -> int:
        return 0

    def is_quiet(self) -> bool:
        stream = self._stream
        return not (self._unread or stream.is_readable or stream.is_peer_gone)

    def drop(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        self._stream.close()


class MemoryConnector:
    """See `Connector`: whatever the name, it leads to the server in memory.

    Args:
        dial: Returns the client's end of a new connection, or raises `ConnectError`.
    """

    def __init__(self, dial: Callable[[], Awaitable[MemoryStream]]) -> None:
        self._dial = dial

    async def connect(self, host: str, port: int) -> ClientStream:
        await anyio.lowlevel.checkpoint()
        return ClientStream(await self._dial())


def memory_pipe() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of a connection, 64 KiB wide in each direction."""
    one, other = _Half(), _Half()
    return MemoryStream(one, other), MemoryStream(other, one)


class _NetworkStream(httpcore.AsyncNetworkStream):
    """A memory stream as httpcore uses streams."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with anyio.fail_after(timeout):
                return await self._stream.receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except TimeoutError as exc:
            raise httpcore.ReadTimeout("no answer in time") from exc
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpcore.ReadError("the connection is closed") from exc

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            with anyio.fail_after(timeout):
                await self._stream.send(buffer)
        except TimeoutError as exc:
            raise httpcore.WriteTimeout("no capacity in time") from exc
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpcore.WriteError("the connection is closed") from exc

    async def aclose(self) -> None:
        self._stream.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("the server in memory speaks http://, not https://")

    def get_extra_info(self, info: str) -> typing.Any:
        return self._stream.is_readable if info == "is_readable" else None


class _NetworkBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, dial: Callable[[], Awaitable[MemoryStream]]) -> None:
        self._dial = dial

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        await anyio.lowlevel.checkpoint()
        try:
            with anyio.fail_after(timeout):
                return _NetworkStream(await self._dial())
        except TimeoutError as exc:
            raise httpcore.ConnectTimeout("nobody answers") from exc
        except ConnectError as exc:
            raise httpcore.ConnectError(str(exc)) from exc

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[typing.Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("there are no sockets in memory")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class MemoryTransport(httpx.AsyncBaseTransport):
    """httpx over streams that `dial` makes: real HTTP/1.1 bytes, a pool, no sockets.

    Args:
        dial: Returns the client's end of a new connection, or raises `ConnectError`.
    """

    def __init__(self, dial: Callable[[], Awaitable[MemoryStream]]) -> None:
        # No expiry: httpcore would measure it on the wall clock.
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=None,
            max_keepalive_connections=None,
            keepalive_expiry=None,
            network_backend=_NetworkBackend(dial),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        core_request = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            response = await self._pool.handle_async_request(core_request)
        except Exception as exc:
            raise _as_httpx(exc) from exc
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_ResponseStream(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _ResponseStream(httpx.AsyncByteStream):
    def __init__(self, stream: typing.Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except Exception as exc:
            raise _as_httpx(exc) from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


def _as_httpx(exc: Exception) -> Exception:
    """httpx's exception of the same name, or the exception itself."""
    known = getattr(httpx, type(exc).__name__, None)
    if type(exc).__module__.startswith("httpcore") and known is not None:
        return typing.cast("Exception", known(str(exc)))
    return exc
