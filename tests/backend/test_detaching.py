"""Taking sockets over from httpx: nothing is lost on the way, and the pool is free again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import Client
from rivet_anyio._http import takeover as _detach
from rivet_anyio._http.upgrade import UpgradedStream, upgrade
from rivet_anyio._io.stream import ByteStream
from tests.peers.raw import Peer, play_along, serving

SECONDS = 30


def is_detached(stream: ByteStream) -> bool:
    return not isinstance(stream, UpgradedStream)


@asynccontextmanager
async def upgraded(url: str, http: httpx.AsyncClient) -> AsyncIterator[ByteStream]:
    stream = await upgrade(http, url, headers={}, subprotocols=["rivet"])
    with anyio.fail_after(SECONDS):
        async with aclosing(stream):
            yield stream


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("size", [1, 1000, 60_000, 1_000_000])
async def test_what_comes_right_after_the_answer(size: int, together: bool) -> None:
    """In one piece with it, or so soon that it is read before anybody asks."""

    async def talk(peer: Peer) -> None:
        answer, data = peer.accept(await peer.head()), pattern(size)
        for part in (answer + data,) if together else (answer, data):
            await peer.send(part)
        await peer.silence()

    async with serving(talk) as url, httpx.AsyncClient() as http, upgraded(url, http) as stream:
        assert is_detached(stream)
        got = b""
        while len(got) < size:
            got += await stream.read(65536)
        assert got == pattern(size)


async def test_an_answer_and_the_end() -> None:
    async def talk(peer: Peer) -> None:
        await peer.send(peer.accept(await peer.head()) + b"bye")
        await peer.stream.send_eof()
        await peer.silence()

    async with serving(talk) as url, httpx.AsyncClient() as http, upgraded(url, http) as stream:
        assert await stream.read(10) == b"bye"
        assert await stream.read(10) == b""


async def test_many_sockets_through_a_pool_of_one() -> None:
    """Over plain TCP no place in the pool is taken for longer than the handshake."""

    limits = httpx.Limits(max_connections=1)
    timeout = httpx.Timeout(SECONDS, pool=1)
    async with (
        serving(play_along) as url,
        httpx.AsyncClient(limits=limits, timeout=timeout) as http,
        Client(url, encoding="json", metadata_lookup=False, http=http) as client,
        AsyncExitStack() as stack,
    ):
        handle = client.probe.get_for_id("a1")
        conns = [await stack.enter_async_context(handle.connect()) for _ in range(5)]
        for conn in conns:
            assert await conn.action("here") == "here"


@pytest.mark.parametrize("what", ["_leading_data", "ssl_object", "watching"])
async def test_where_it_is_not_possible(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection works as well, through all of httpx's layers."""
    if what == "_leading_data":

        def unknown(stream: Any) -> Any:
            raise AttributeError(what)

        monkeypatch.setattr(_detach, "_read_before", unknown)
    elif what == "watching":

        class Blind:
            def stream(self, sock: Any, data: bytes) -> Any:
                raise NotImplementedError

        monkeypatch.setattr(_detach, "current_backend", Blind)
    else:
        from httpcore._backends.anyio import AnyIOStream
        from httpcore._backends.trio import TrioStream

        class Encrypted:
            def selected_alpn_protocol(self) -> None: ...

        for kind in (AnyIOStream, TrioStream):
            monkeypatch.setattr(kind, "get_extra_info", lambda self, name: Encrypted())

    async with (
        serving(play_along) as url,
        Client(url, encoding="json", metadata_lookup=False) as client,
        client.probe.get_for_id("a1").connect() as conn,
    ):
        assert isinstance(conn._link.socket and conn._link.socket._stream, UpgradedStream)
        assert await conn.action("here") == "here"
