"""TLS: who is trusted, and what a certificate that fails means for a connection."""

from __future__ import annotations

import ssl
from contextlib import ExitStack

import anyio
import httpx
import pytest
import trustme
from websockets.sync.server import ServerConnection

from rivet_anyio import Client, ConnectError, ConnectionLostError, Retry, Status
from tests.servers._ports import reserve_port

from .gateway import init, message, requests, running
from .test_websockets import connect, echo

GUARD = 60
SOON = Retry(initial=0.001, maximum=0.01)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def trusting(authority: trustme.CA) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(verify=client_side(authority), limits=limits)


async def test_certificates_are_verified_by_default(authority: trustme.CA) -> None:
    with running(echo, tls=server_side(authority)) as gateway:
        with anyio.fail_after(GUARD):
            async with Client(gateway.url, encoding="json") as one:
                with pytest.raises(
                    ConnectError, match=r"certificate of 127\.0\.0\.1 is not accepted"
                ):
                    async with connect(one):
                        pytest.fail("the body ran")
    assert gateway.requested == []


async def test_a_connection_over_tls(authority: trustme.CA) -> None:
    large = "x" * 1024 * 1024
    with running(echo, tls=server_side(authority)) as gateway:
        with anyio.fail_after(GUARD):
            async with (
                trusting(authority) as http,
                Client(gateway.url, encoding="json", http=http) as one,
                connect(one) as conn,
            ):
                assert await conn.action("echo", large) == [large]
    assert gateway.closes == [(1000, "Disposed")]


def echo_until_told(socket: ServerConnection) -> None:
    socket.send(init())
    for asked in requests(socket):
        if asked.get("name") == "leave":
            return
        if "name" in asked:
            socket.send(message("ActionResponse", id=asked["id"], output=asked["args"]))


async def test_a_certificate_that_fails_on_a_reconnect_is_retried(authority: trustme.CA) -> None:
    """An expired certificate is replaced sooner or later."""
    with ExitStack() as everything, ExitStack() as standing, anyio.fail_after(GUARD):
        port = everything.enter_context(reserve_port()).number
        first = standing.enter_context(
            running(echo_until_told, port=port, tls=server_side(authority))
        )
        async with (
            trusting(authority) as http,
            Client(first.url, encoding="json", http=http, retry=SOON, connect_timeout=20) as one,
            connect(one) as conn,
        ):
            changes = conn.status_changes()
            with pytest.raises(ConnectionLostError):
                await conn.action("leave")
            await anyio.to_thread.run_sync(standing.close)
            with running(echo, port=port, tls=server_side(trustme.CA())):
                seen = 0
                while seen < 3:
                    change = await changes.receive()
                    seen += "CERTIFICATE_VERIFY_FAILED" in str(change.error)
                assert conn.status is not Status.CLOSED
            standing.enter_context(running(echo, port=port, tls=server_side(authority)))
            assert await conn.action("echo", 1) == [1]
