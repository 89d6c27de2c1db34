"""Calls over connections that resume a TLS session, before servers that resume it or do not."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from rivet_anyio import Client, ConnectError
from rivet_anyio._io.backend import ReusableStream
from rivet_anyio._io.connect import Connector
from tests.backend.test_tls import Stopping
from tests.peers.raw import Peer

from .wire import GUARD, RIGHT, Wire, ask, prepare

Talk = Callable[[SocketStream], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """The server of `Wire` behind TLS.

    Attributes:
        url: Where it listens.
        instead: What the connections with these numbers meet instead of a handshake.
        resumed: Which connections resumed a session, by their numbers from 1 on.
        accepted: How many connections there were.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self._wire = Wire()
        self.url = ""
        self.instead: dict[int, Talk] = {}
        self.resumed: dict[int, bool] = {}
        self.accepted = 0

    async def handle(self, stream: SocketStream) -> None:
        self.accepted = number = self.accepted + 1
        try:
            async with stream:
                if number in self.instead:
                    await self.instead[number](stream)
                    return
                tls = await TLSStream.wrap(
                    stream, server_side=True, ssl_context=self._tls, standard_compatible=False
                )
                self.resumed[number] = bool(tls.extra(TLSAttribute.ssl_object).session_reused)
                peer: Any = tls
                await self._wire.handle(Peer(peer, number))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


@asynccontextmanager
async def using(authority: trustme.CA, **options: Any) -> AsyncGenerator[tuple[Server, Client]]:
    """A server, and a client that has used one connection to it, which has ended."""
    server = Server(authority)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(tls)
    options = {"encoding": "json", "metadata_lookup": False, "ssl_context": tls, **options}
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1000) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, server.handle)
        server.url = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        with anyio.fail_after(GUARD):
            async with Client(server.url, **options) as client:
                assert await ask(client, "action") == RIGHT
                forget_sockets(server, client)
                yield server, client
        tasks.cancel_scope.cancel()


def forget_sockets(server: Server, client: Client) -> None:
    """The next call makes a connection."""
    client._core.http.lost(server.url)


async def refuse(stream: SocketStream) -> None:
    """What a server does that cannot resume the session, and says so by an alert."""
    await stream.receive()
    await stream.send(b"\x15\x03\x03\x00\x02\x02\x50")


async def hang(stream: SocketStream) -> None:
    while True:
        await stream.receive()


async def test_a_server_that_refuses_to_resume(authority: trustme.CA) -> None:
    """The call makes a whole handshake on another connection, and notices nothing."""
    async with using(authority) as (server, client):
        server.instead[2] = refuse
        assert await ask(client, "action") == RIGHT
        forget_sockets(server, client)
        assert await ask(client, "action") == RIGHT
    assert server.resumed == {1: False, 3: False, 4: True}


async def test_a_server_that_refuses_every_handshake(authority: trustme.CA) -> None:
    """A second one is made once, and its error is that of the call."""
    async with using(authority) as (server, client):
        server.instead = dict.fromkeys((2, 3), refuse)
        with pytest.raises(ConnectError, match=r"handshake with .* failed: .*internal error"):
            await ask(client, "action")
        assert server.accepted == 3
        assert client._core.http.failed_dials == 1
        assert await ask(client, "action") == RIGHT
    assert server.resumed == {1: False, 4: False}


@pytest.mark.parametrize("refuses_first", [False, True])
async def test_a_server_that_hangs_when_it_is_to_resume(
    refuses_first: bool, authority: trustme.CA
) -> None:
    """`connect_timeout` bounds both handshakes together. The next call makes a whole one."""
    async with using(authority, connect_timeout=0.3) as (server, client):
        server.instead = {2: refuse, 3: hang} if refuses_first else {2: hang}
        before = anyio.current_time()
        with pytest.raises(ConnectError, match=r"no connection in 0\.3 s"):
            await ask(client, "action")
        assert anyio.current_time() < before + GUARD / 10
        assert server.accepted == 2 + refuses_first
        figures = client._core.http.pool.count()  # type: ignore[attr-defined]
        assert (figures.open, figures.dialling) == (0, 0)
        assert await ask(client, "action") == RIGHT
    assert server.resumed == {1: False, server.accepted: False}


async def test_many_at_once_resume_one_session(authority: trustme.CA) -> None:
    async with using(authority) as (server, client):
        server.instead[7] = refuse
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(ask, client, "action")
        assert server.accepted <= 52
    # Those whose handshake was under way when the session was forgotten resumed it still.
    assert sum(server.resumed.values()) > 10
    assert not server.resumed[1]


class StoppingConnector:
    """Makes one connection, which cancels a scope as `Stopping` does."""

    stream: Stopping

    def __init__(self, connector: Connector, scope: anyio.CancelScope, left: int) -> None:
        self._connector = connector
        self._scope = scope
        self._left = left

    async def connect(self, host: str, port: int) -> ReusableStream:
        below: Any = await self._connector.connect(host, port)
        self.stream = Stopping(below, self._scope, self._left)
        stream: Any = self.stream
        return stream  # type: ignore[no-any-return]


async def test_a_call_that_is_cancelled_in_the_handshake(authority: trustme.CA) -> None:
    """Nothing stays open, and the next call resumes a session or makes a whole handshake."""
    async with using(authority) as (server, client):
        http: Any = client._core.http
        connector = http._connector
        for step in itertools.count(1):
            with anyio.CancelScope() as scope:
                http._connector = stopping = StoppingConnector(connector, scope, step)
                await ask(client, "action")
            http._connector = connector
            if not scope.cancel_called:
                break
            # One that was cancelled when its handshake had ended is for the next request.
            is_whole = http.pool.count().idle == 1
            assert not scope.cancelled_caught or is_whole or stopping.stream.is_dropped
            assert http.pool.count().dialling == 0
            forget_sockets(server, client)
            assert http.pool.count().open == 0
            assert await ask(client, "action") == RIGHT
            forget_sockets(server, client)
        assert step > 4
    assert any(server.resumed.values())
