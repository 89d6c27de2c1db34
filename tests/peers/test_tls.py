"""TLS: who is trusted, and what a certificate that fails means for a connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from threading import Thread
from typing import Any

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
                    ConnectError, match=r"certificate of https://127\.0\.0\.1:\d+ is not accepted"
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


def resumes(hello: bytes) -> bool:
    """Whether a ClientHello ends with the proof for a session. (RFC 8446, section 4.2.11)"""
    return hello[-35:-32] == b"\0\x21\x20" or hello[-51:-48] == b"\0\x31\x30"


@contextmanager
def accepting(talk: Callable[[socket.socket], None]) -> Generator[int]:
    """Let a thread talk to one connection after another; yields the port."""

    def run() -> None:
        while True:
            try:
                far, _ = listener.accept()
            except OSError:  # the block was left
                return
            with far:
                talk(far)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(far: ssl.SSLSocket) -> None:
    far.recv(65536)
    far.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


async def fetch_three_times(port: int, authority: trustme.CA, **options: Any) -> None:
    """Each over a connection of its own."""
    url, tls = f"https://127.0.0.1:{port}", client_side(authority)
    async with Client(url, ssl_context=tls, metadata_lookup=False, **options) as client:
        for _ in range(3):
            response = await client.x.get_for_id("a1").fetch("/")
            assert response.status_code == 200


async def test_a_server_that_closes_what_is_to_be_resumed(authority: trustme.CA) -> None:
    """No call fails for it: another handshake is made, without the session."""
    context = server_side(authority)
    seen: list[bool] = []

    def talk(far: socket.socket) -> None:
        seen.append(resumes(far.recv(65536, socket.MSG_PEEK)))
        if not seen[-1]:
            with context.wrap_socket(far, server_side=True) as encrypted:
                answer(encrypted)

    with accepting(talk) as port, anyio.fail_after(GUARD):
        await fetch_three_times(port, authority)
    assert seen == [False, True, False, True, False]


async def test_a_proxy_and_a_server_of_one_name(authority: trustme.CA) -> None:
    """Each has its own sessions."""
    seen: list[tuple[str, bool | None]] = []

    def serve(far: socket.socket) -> None:
        with of_server.wrap_socket(far, server_side=True) as encrypted:
            seen.append(("server", encrypted.session_reused))
            answer(encrypted)

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):  # the client goes when it has its answer
            while data := source.recv(65536):
                sink.sendall(data)

    def tunnel(far: socket.socket) -> None:
        with of_proxy.wrap_socket(far, server_side=True) as near:
            seen.append(("proxy", near.session_reused))
            near.recv(65536)
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as beyond:
                there = Thread(target=pass_on, args=(near, beyond))
                there.start()
                pass_on(beyond, near)
                with suppress(OSError):
                    near.shutdown(socket.SHUT_WR)
                there.join()

    of_server, of_proxy = server_side(authority), server_side(authority)
    with accepting(serve) as port, accepting(tunnel) as proxy_port, anyio.fail_after(GUARD):
        await fetch_three_times(port, authority, proxy=f"https://127.0.0.1:{proxy_port}")
    assert seen == [(who, again) for again in (False, True, True) for who in ("proxy", "server")]
