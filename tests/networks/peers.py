"""What stands between clients and servers: proxies, TLS, Unix sockets.

Each runs in a thread and an event loop of its own, so the task tree and the cancellations of a test
never touch it, and all that it lets pass ends at a real server on 127.0.0.1.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSAttribute, TLSListener

from .http2 import serve_http2

__all__ = ["HttpProxy", "Peer", "SocksProxy", "TlsFront", "UnixFront", "running"]

_CHUNK = 64 * 1024
_FAILURES = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    anyio.IncompleteRead,
    OSError,
)


class Peer:
    """Accepts connections and hands each to `_serve`.

    Attributes:
        port: Where it listens on 127.0.0.1.
        accepted: How many connections came.
    """

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self._portal: BlockingPortal | None = None
        self._open: dict[anyio.CancelScope, anyio.Event] = {}

    def cut(self) -> None:
        """End every connection."""
        assert self._portal is not None
        self._portal.call(self._cut)

    async def _cut(self) -> None:
        # Only those: whoever reconnects at once stays.
        ending = dict(self._open)
        for scope in ending:
            scope.cancel()
        for ended in ending.values():
            await ended.wait()

    async def _listen(self) -> Listener[Any]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)
        return listener

    async def _serve(self, client: ByteStream) -> None:
        raise NotImplementedError

    async def _handle(self, client: ByteStream) -> None:
        self.accepted += 1
        with anyio.CancelScope() as scope:
            ended = self._open[scope] = anyio.Event()
            try:
                async with client:
                    await self._serve(client)
            except _FAILURES:
                pass
            finally:
                del self._open[scope]
                ended.set()

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with await self._listen() as listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._handle)
            yield
            tasks.cancel_scope.cancel()


@contextmanager
def running(*peers: Peer) -> Iterator[None]:
    """Let these peers run as long as the block lasts."""
    with start_blocking_portal() as portal, ExitStack() as standing:
        for peer in peers:
            peer._portal = portal
            standing.enter_context(portal.wrap_async_context_manager(peer._running()))
        yield


class HttpProxy(Peer):
    """A plain proxy for ``http://``, and a CONNECT proxy for ``https://``.

    Args:
        credentials: ``user:password`` that it asks for.
        refuses: A status it answers instead of connecting anywhere.
        upgrades: Whether it lets ``Upgrade`` pass; older proxies take it out.

    Attributes:
        requested: The first line of every request.
    """

    def __init__(
        self,
        *,
        credentials: str | None = None,
        refuses: int | None = None,
        upgrades: bool = True,
    ) -> None:
        super().__init__()
        self.requested: list[str] = []
        self._credentials = credentials
        self.refuses = refuses
        self._upgrades = upgrades

    @property
    def url(self) -> str:
        user = f"{self._credentials}@" if self._credentials else ""
        return f"http://{user}127.0.0.1:{self.port}"

    async def _serve(self, client: ByteStream) -> None:
        buffered = BufferedByteReceiveStream(client)
        head = await buffered.receive_until(b"\r\n\r\n", _CHUNK)
        first, *fields = head.decode("latin-1").split("\r\n")
        self.requested.append(first)
        method, target, _ = first.split()
        if not self._knows(fields):
            await client.send(_answer(407, "Proxy Authentication Required"))
        elif self.refuses is not None:
            await client.send(_answer(self.refuses, "Refused"))
        elif method == "CONNECT":
            host, _, port = target.rpartition(":")
            async with await anyio.connect_tcp(host, int(port)) as server:
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _splice(client, server)
        else:
            url = urlsplit(target)
            head = self._rewritten(
                method, url.path + ("?" + url.query if url.query else ""), fields
            )
            async with await anyio.connect_tcp(url.hostname or "", url.port or 80) as server:
                await server.send(head + buffered.buffer)
                await _splice(client, server)

    def _knows(self, fields: list[str]) -> bool:
        if self._credentials is None:
            return True
        secret = base64.b64encode(self._credentials.encode()).decode()
        return f"proxy-authorization: basic {secret}".lower() in (f.lower() for f in fields)

    def _rewritten(self, method: str, path: str, fields: list[str]) -> bytes:
        """The head for the server, which ends the connection after its answer or upgrades it."""
        upgrades = self._upgrades and any(f.lower().startswith("upgrade:") for f in fields)
        dropped = ["proxy-", *([] if upgrades else ["connection:", "upgrade:", "sec-websocket-"])]
        kept = [f for f in fields if not f.lower().startswith(tuple(dropped))]
        closing = [] if upgrades else ["Connection: close"]
        return "\r\n".join([f"{method} {path} HTTP/1.1", *closing, *kept, "", ""]).encode("latin-1")


class SocksProxy(Peer):
    """A SOCKS5 proxy without authentication. (RFC 1928)

    Attributes:
        requested: The host and port of every connection it made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requested: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        return f"socks5://127.0.0.1:{self.port}"

    async def _serve(self, client: ByteStream) -> None:
        buffered = BufferedByteReceiveStream(client)
        _, methods = await buffered.receive_exactly(2)
        await buffered.receive_exactly(methods)
        await client.send(b"\x05\x00")
        *_, kind = await buffered.receive_exactly(4)
        if kind == 1:
            host = str(IPv4Address(await buffered.receive_exactly(4)))
        else:
            (length,) = await buffered.receive_exactly(1)
            host = (await buffered.receive_exactly(length)).decode()
        port = int.from_bytes(await buffered.receive_exactly(2), "big")
        self.requested.append((host, port))
        async with await anyio.connect_tcp(host, port) as server:
            await client.send(b"\x05\x00\x00\x01" + bytes(6))
            await _splice(client, server)


class TlsFront(Peer):
    """Takes TLS off in front of a server.

    Args:
        context: The certificate, and who is let in.
        target_port: Where the server listens on 127.0.0.1.
        http2: Whether it offers HTTP/2, as many load balancers do.

    Attributes:
        http2_requests: The method and path of every request that came over HTTP/2.
    """

    def __init__(self, context: ssl.SSLContext, target_port: int, *, http2: bool = False) -> None:
        super().__init__()
        self._context = context
        self._target_port = target_port
        self.http2_requests: list[str] = []
        if http2:
            context.set_alpn_protocols(["h2", "http/1.1"])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def _listen(self) -> Listener[Any]:
        return TLSListener(await super()._listen(), self._context, standard_compatible=False)

    async def _serve(self, client: ByteStream) -> None:
        if client.extra(TLSAttribute.alpn_protocol, None) == "h2":
            target = f"http://127.0.0.1:{self._target_port}"
            await serve_http2(client, target, self.http2_requests)
            return
        async with await anyio.connect_tcp("127.0.0.1", self._target_port) as server:
            await _splice(client, server)


class UnixFront(Peer):
    """Forwards a Unix socket to a server."""

    def __init__(self, path: Path, target_port: int) -> None:
        super().__init__()
        self.path = str(path)
        self._target_port = target_port

    async def _listen(self) -> Listener[Any]:
        return await anyio.create_unix_listener(self.path)

    async def _serve(self, client: ByteStream) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self._target_port) as server:
            await _splice(client, server)


def _answer(status: int, phrase: str) -> bytes:
    return f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


async def _splice(one: ByteStream, other: ByteStream) -> None:
    """Forward both ways until either side has ended."""
    async with anyio.create_task_group() as tasks:

        async def forward(source: ByteStream, sink: ByteStream) -> None:
            try:
                while True:
                    await sink.send(await source.receive(_CHUNK))
            except _FAILURES:
                tasks.cancel_scope.cancel()

        tasks.start_soon(forward, one, other)
        tasks.start_soon(forward, other, one)
