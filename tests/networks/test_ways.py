"""Every way to a server carries everything: calls, connections, reconnects and raw WebSockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import trustme

from examples.http2 import Http2ForCalls
from rivet_anyio import Client, Gap, Retry
from tests.servers import Server

from .peers import HttpProxy, Peer, SocksProxy, TlsFront, UnixFront, running

GUARD = 60
SOON = Retry(initial=0.01, maximum=0.1)
UNLIMITED = httpx.Limits(max_connections=None)


@dataclass(frozen=True)
class Way:
    """How a client gets to the server, and the peer whose connections break when they break."""

    endpoint: str
    http: Callable[[], httpx.AsyncClient]
    cut: Peer


async def everything_works(way: Way, key: list[str]) -> None:
    with anyio.fail_after(GUARD):
        async with (
            way.http() as http,
            Client(way.endpoint, http=http, metadata_lookup=False, retry=SOON) as client,
        ):
            counter = client.counter.get_or_create(key)
            assert await counter.increment(5) == 5

            async with counter.connect() as conn:
                counts = conn.events("newCount", gaps="mark")
                assert await conn.increment(1) == 6
                assert await counts.receive() == 6
                await anyio.to_thread.run_sync(way.cut.cut)
                assert isinstance(await counts.receive(), Gap)
                assert await conn.increment(1) == 7
                assert await counts.receive() == 7

            web = client.web.get_or_create(key)
            response = await web.fetch("upload", method="POST", content=b"x" * 20_000)
            assert response.json() == {"bytes": 20_000}
            async with web.websocket("chat?room=1") as ws:
                assert await ws.receive() == '{"hello":"/chat?room=1"}'
                await ws.send(b"\x00" * 100_000)
                assert await ws.receive() == b"\x00" * 100_000


async def test_a_plain_proxy(server: Server, key: list[str]) -> None:
    proxy = HttpProxy(credentials="ann:secret")
    with running(proxy):
        way = Way(
            server.endpoint, lambda: httpx.AsyncClient(proxy=proxy.url, limits=UNLIMITED), proxy
        )
        await everything_works(way, key)
    assert all(server.endpoint in first for first in proxy.requested)
    assert proxy.requested


async def test_a_connect_proxy(
    server: Server, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, key: list[str]
) -> None:
    proxy, front = HttpProxy(credentials="ann:secret"), TlsFront(server_tls, server.port)
    with running(proxy, front):
        way = Way(
            front.url,
            lambda: httpx.AsyncClient(proxy=proxy.url, verify=client_tls, limits=UNLIMITED),
            proxy,
        )
        await everything_works(way, key)
    assert {first.split()[0] for first in proxy.requested} == {"CONNECT"}
    # The first connection, the one after the cut, the raw WebSocket, and calls between them.
    assert front.accepted == proxy.accepted >= 3


async def test_a_socks_proxy(server: Server, key: list[str]) -> None:
    proxy = SocksProxy()
    with running(proxy):
        way = Way(
            server.endpoint, lambda: httpx.AsyncClient(proxy=proxy.url, limits=UNLIMITED), proxy
        )
        await everything_works(way, key)
    assert set(proxy.requested) == {("127.0.0.1", server.port)}


async def test_a_client_certificate(
    server: Server,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    key: list[str],
) -> None:
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    authority.issue_cert("ann@example.org").configure_cert(client_tls)
    front = TlsFront(server_tls, server.port)
    with running(front):
        way = Way(front.url, lambda: httpx.AsyncClient(verify=client_tls, limits=UNLIMITED), front)
        await everything_works(way, key)
    assert front.accepted >= 3


async def test_a_unix_socket(server: Server, socket_path: Path, key: list[str]) -> None:
    front = UnixFront(socket_path, server.port)
    with running(front):
        way = Way(
            "http://rivet.invalid",
            lambda: httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=front.path, limits=UNLIMITED)
            ),
            front,
        )
        await everything_works(way, key)
    assert front.accepted >= 3


async def test_http2_for_calls(
    server: Server, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, key: list[str]
) -> None:
    front = TlsFront(server_tls, server.port, http2=True)
    with running(front):
        way = Way(
            front.url,
            lambda: httpx.AsyncClient(transport=Http2ForCalls(client_tls)),
            front,
        )
        await everything_works(way, key)
    assert any("/action/increment" in request for request in front.http2_requests)
    assert any("/request/upload" in request for request in front.http2_requests)
    assert not any("/connect" in request for request in front.http2_requests)
