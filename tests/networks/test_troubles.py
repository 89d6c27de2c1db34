"""What a client says when the way to a server is closed; what it takes from the environment."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import trustme

from rivet_anyio import Client, ConnectError, ConnectionLostError, RivetError, Status
from tests.servers import Server

from .peers import HttpProxy, TlsFront, UnixFront, running
from .test_ways import GUARD, SOON


@asynccontextmanager
async def using(endpoint: str, http: httpx.AsyncClient) -> AsyncGenerator[Client]:
    async with http, Client(endpoint, http=http, metadata_lookup=False, retry=SOON) as client:
        yield client


async def every_error(client: Client) -> list[RivetError]:
    """What a call, a connection and a raw WebSocket raise."""
    counter = client.counter.get_or_create("never")
    errors: list[RivetError] = []
    with anyio.fail_after(GUARD):
        with pytest.raises(RivetError) as called:
            await counter.increment()
        errors.append(called.value)
        for opening in (counter.connect(), counter.websocket("chat")):
            with pytest.raises(RivetError) as opened:
                async with opening:
                    pytest.fail("the body ran")
            errors.append(opened.value)
    return errors


@pytest.mark.parametrize("status", [407, 502, 503, 504, 403])
async def test_a_proxy_that_refuses_connect(status: int) -> None:
    proxy = HttpProxy(refuses=status)
    with running(proxy):
        async with using("https://rivet.invalid", httpx.AsyncClient(proxy=proxy.url)) as client:
            for error in await every_error(client):
                assert type(error) is ConnectError
                assert "https://rivet.invalid" in str(error)
                assert str(status) in str(error)


@pytest.mark.parametrize("status", [407, 502, 503, 504])
async def test_a_plain_proxy_that_refuses(status: int) -> None:
    proxy = HttpProxy(refuses=status)
    with running(proxy):
        async with using("http://rivet.invalid", httpx.AsyncClient(proxy=proxy.url)) as client:
            for error in await every_error(client):
                assert type(error) is ConnectError
                assert "proxy" in str(error)
                assert str(status) in str(error)


@pytest.mark.parametrize(("status", "kind"), [(407, ConnectError), (502, ConnectionLostError)])
async def test_a_plain_proxy_that_fails_a_call(
    server: Server, key: list[str], status: int, kind: type[RivetError]
) -> None:
    """The actor is known already, so this is the call itself: was it passed on?"""
    proxy = HttpProxy()
    with running(proxy):
        async with using(server.endpoint, httpx.AsyncClient(proxy=proxy.url)) as client:
            counter = client.counter.get_or_create(key)
            await counter.resolve()
            proxy.refuses = status
            with anyio.fail_after(GUARD), pytest.raises(kind, match=f"proxy.*{status}"):
                await counter.increment()


async def test_a_proxy_that_refuses_for_a_while_is_tried_again(
    server: Server, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, key: list[str]
) -> None:
    proxy, front = HttpProxy(), TlsFront(server_tls, server.port)
    with running(proxy, front), anyio.fail_after(GUARD):
        http = httpx.AsyncClient(proxy=proxy.url, verify=client_tls)
        async with (
            using(front.url, http) as client,
            client.counter.get_or_create(key).connect() as conn,
        ):
            changes = conn.status_changes()
            proxy.refuses = 407
            await anyio.to_thread.run_sync(proxy.cut)
            refusals = 0
            while refusals < 3:
                refusals += "407" in str((await changes.receive()).error)
            assert conn.status is not Status.CLOSED
            proxy.refuses = None
            assert await conn.increment() == 1


async def test_a_proxy_without_upgrade_carries_calls_only(server: Server, key: list[str]) -> None:
    proxy = HttpProxy(upgrades=False)
    with running(proxy):
        async with using(server.endpoint, httpx.AsyncClient(proxy=proxy.url)) as client:
            counter = client.counter.get_or_create(key)
            with anyio.fail_after(GUARD):
                assert await counter.increment() == 1
                with pytest.raises(ConnectError, match="answered the WebSocket handshake with"):
                    async with counter.connect():
                        pytest.fail("the body ran")


async def test_http2_alone_carries_calls_only(
    server: Server, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, key: list[str]
) -> None:
    front = TlsFront(server_tls, server.port, http2=True)
    with running(front):
        async with using(front.url, httpx.AsyncClient(verify=client_tls, http2=True)) as client:
            counter = client.counter.get_or_create(key)
            with anyio.fail_after(GUARD):
                assert await counter.increment() == 1
                with pytest.raises(ConnectError, match="HTTP/2 has no Upgrade"):
                    async with counter.connect():
                        pytest.fail("the body ran")
    assert front.accepted == 1


async def test_http2_needs_tls(server: Server, key: list[str]) -> None:
    """Without TLS nothing negotiates HTTP/2, so that setting changes nothing."""
    async with using(server.endpoint, httpx.AsyncClient(http2=True)) as client:
        with anyio.fail_after(GUARD):
            async with client.counter.get_or_create(key).connect() as conn:
                assert await conn.increment() == 1


async def test_a_client_certificate_that_is_missing(
    server: Server, authority: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    front = TlsFront(server_tls, server.port)
    with running(front):
        async with using(front.url, httpx.AsyncClient(verify=client_tls)) as client:
            assert {type(error) for error in await every_error(client)} == {ConnectError}


async def test_a_unix_socket_that_is_missing(socket_path: Path) -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(socket_path))
    async with using("http://rivet.invalid", httpx.AsyncClient(transport=transport)) as client:
        for error in await every_error(client):
            assert type(error) is ConnectError
            assert "No such file" in str(error)


async def works(client: Client, key: list[str]) -> None:
    with anyio.fail_after(GUARD):
        counter = client.counter.get_or_create(key)
        assert await counter.increment() == 1
        async with counter.connect() as conn:
            assert await conn.increment() == 2


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_proxies_come_from_the_environment(
    server: Server, key: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = HttpProxy(credentials="ann:secret")
    with running(proxy):
        monkeypatch.setenv(name, proxy.url)
        async with Client(server.endpoint) as client:
            await works(client, key)
    assert any("/metadata" in first for first in proxy.requested)
    assert any("/connect" in first for first in proxy.requested)


async def test_no_proxy_is_heeded(
    server: Server, key: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = HttpProxy()
    with running(proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with Client(server.endpoint) as client:
            await works(client, key)
    assert proxy.accepted == 0


async def test_trust_env_false_is_heeded(
    server: Server, key: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = HttpProxy()
    with running(proxy):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with using(server.endpoint, httpx.AsyncClient(trust_env=False)) as client:
            await works(client, key)
    assert proxy.accepted == 0


async def test_https_proxy_and_certificates_come_from_the_environment(
    server: Server,
    server_tls: ssl.SSLContext,
    authority: trustme.CA,
    tmp_path: Path,
    key: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    proxy, front = HttpProxy(), TlsFront(server_tls, server.port)
    with running(proxy, front):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        async with Client(front.url, metadata_lookup=False) as client:
            await works(client, key)
    assert {first.split()[0] for first in proxy.requested} == {"CONNECT"}


async def test_metadata_may_lead_around_what_stands_before_the_server(
    server: Server, socket_path: Path, key: list[str]
) -> None:
    """A server that knows nothing of its front names itself."""
    front = UnixFront(socket_path, server.port)
    with running(front):
        transport = httpx.AsyncHTTPTransport(uds=front.path)
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://rivet.invalid", http=http) as client,
        ):
            counter = client.counter.get_or_create(key)
            assert (await counter.gateway_url()).startswith(server.endpoint)
