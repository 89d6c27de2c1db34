"""The WebSocket opening handshake over httpx, and the byte stream it leaves.

(RFC 6455, section 4.1. httpx hands over the connection as ``network_stream`` after a 101, so
proxies, TLS settings and limits are those of the client.)
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import anyio
import httpx
from anyio import CancelScope, move_on_after

from .._errors import ConnectError, ConnectionLostError, ProtocolError
from .._io.socket import broke, unsent
from .._io.stream import ByteStream
from .borrowed import SecretUrl, is_packed, retry_after, send_streaming, translated
from .takeover import detach, innermost

__all__ = ["UpgradeRefused", "UpgradedStream", "upgrade"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_REFUSAL = 64 * 1024
_DROP_SECONDS = 1.0


class UpgradeRefused(ConnectError):
    """The server answered the handshake with something else than 101.

    Attributes:
        body: The beginning of its answer.
        headers: Its headers.
    """

    def __init__(
        self, message: str, *, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        super().__init__(message, status=status, retry_after=retry_after(headers))
        self.headers = headers
        self.body = body


class UpgradedStream:
    """The bytes of an upgraded connection, as httpx gives them."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._stream: Any = response.extensions["network_stream"]
        self._receive: Callable[[int], Awaitable[bytes]] = self._receive_first
        self._send: Callable[[bytes], Awaitable[None]] = self._stream.write

    async def read(self, max_bytes: int) -> bytes:
        try:
            return await self._receive(max_bytes)
        except anyio.EndOfStream:
            return b""
        except Exception as exc:
            raise broke(exc) from exc

    async def write(self, data: bytes) -> None:
        try:
            await self._send(data)
        except Exception as exc:
            raise broke(exc) from exc

    async def _receive_first(self, max_bytes: int) -> bytes:
        """What came right after the 101 is httpcore's to give; the rest needs no httpcore."""
        self._receive, self._send = _methods(self._stream)
        data: bytes = await self._stream.read(max_bytes)
        return data

    writes_now = False

    def write_now(self, data: bytes) -> int:
        return 0

    def unsent(self) -> int:
        try:
            fd: int = self._stream.get_extra_info("socket").fileno()
        except AttributeError:
            return 0
        return unsent(fd)

    async def aclose(self) -> None:
        await _drop(self._response)


def _methods(
    stream: Any,
) -> tuple[Callable[[int], Awaitable[bytes]], Callable[[bytes], Awaitable[None]]]:
    """How to read from and write to a stream of httpcore's, past its wrappers where possible.

    They do nothing here but open a cancel scope for a timeout that is never set, which takes
    a third of the time of a small message there and back.
    """
    inner = innermost(stream)
    if isinstance(inner, anyio.abc.ByteStream):
        return inner.receive, inner.send
    if hasattr(inner, "receive_some"):  # Trio's own
        return inner.receive_some, inner.send_all
    return stream.read, stream.write


async def upgrade(
    client: httpx.AsyncClient,
    url: str,
    *,
    headers: Mapping[str, str],
    subprotocols: Sequence[str],
    has_secret: bool = False,
) -> ByteStream:
    """Open a WebSocket.

    Args:
        client: The httpx client to use; it must speak HTTP/1.1.
        url: An http(s) URL.
        headers: Additional headers.
        subprotocols: What to offer; the server must select the first.
        has_secret: Whether the URL's path must not be shown.

    Raises:
        ConnectError: when there is no connection, or (`UpgradeRefused`) an answer that is no 101.
        ProtocolError: when the 101 is none of a WebSocket server.
    """
    key = base64.b64encode(os.urandom(16)).decode()
    request_headers = {
        **headers,
        "Accept-Encoding": "identity",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": ", ".join(subprotocols),
    }
    with translated():
        request = client.build_request("GET", url, headers=request_headers)
        if has_secret:
            request.url = SecretUrl(request.url)
        try:
            response = await send_streaming(client, request)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout) as exc:
            # A handshake asks for nothing that could have run.
            raise ConnectError(f"the handshake broke: {exc!r}") from exc
    try:
        if response.status_code != 101:
            raise await _refusal(response)
        _check(response, key, subprotocols[0])
        detached = detach(response)
    except BaseException:
        await _drop(response)
        raise
    if detached is None:
        return cast(ByteStream, UpgradedStream(response))
    try:
        await _drop(response)
    except BaseException:
        await detached.aclose()
        raise
    return detached


async def _refusal(response: httpx.Response) -> UpgradeRefused:
    body = b""
    if not is_packed(response):
        try:
            with translated():
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > _MAX_REFUSAL:
                        break
        except ConnectionLostError:  # the status says enough
            pass
    status = response.status_code
    text = f"the server answered the WebSocket handshake with HTTP {status}"
    if 300 <= status < 400:
        # Its path may be the path that was asked for, with a token in it.
        place = re.match(r"https?://[^/?#@]+(?=[/?#]|$)", response.headers.get("location", ""))
        text += f", a redirect{f' to {place[0]}' if place else ''}, which is not followed"
    elif 200 <= status < 300:
        text += ": it, or a proxy before it, does not know WebSockets here"
    elif body:
        text += f": {body[:200]!r}"
    if response.http_version == "HTTP/2":
        text += " (HTTP/2 has no Upgrade: use an httpx client with http2=False)"
    return UpgradeRefused(text, status=status, headers=response.headers, body=body)


def _check(response: httpx.Response, key: str, subprotocol: str) -> None:
    accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
    headers = response.headers
    tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in tokens:
        raise ProtocolError("the server's 101 does not upgrade to a WebSocket")
    if headers.get("sec-websocket-accept") != accept:
        raise ProtocolError("the server's Sec-WebSocket-Accept does not answer our key")
    if headers.get("sec-websocket-protocol") != subprotocol:
        raise ProtocolError(
            f"the server selected the subprotocol {headers.get('sec-websocket-protocol')!r}, "
            f"not {subprotocol!r}"
        )
    if "sec-websocket-extensions" in headers:
        raise ProtocolError("the server selected WebSocket extensions that were not offered")


async def _drop(response: httpx.Response) -> None:
    with CancelScope(shield=True), move_on_after(_DROP_SECONDS):
        try:
            await response.aclose()
        except Exception:  # the connection is gone either way
            pass
