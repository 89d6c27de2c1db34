"""The raw WebSocket and the `ws` of npm, which RivetKit's servers are made with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import ActorWebSocket, Client, ConnectionLostError, ProtocolError

from ..peers.conftest import no_tasks_left
from ..servers._install import install
from ..servers._node import node
from .wire import Sent, binary, close, close_body, more, text

__all__ = ["no_tasks_left"]

GUARD = 60
"""Seconds after which a test has hung."""

SCRIPT = Path(__file__).with_name("ws_peer.mjs")
MIB = 1024 * 1024
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, MIB, 16 * MIB)


class Peer:
    """The server; its sockets are numbered, so that it can be asked how each of them ended."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._number = 0

    @asynccontextmanager
    async def websocket(self, task: str, limit: int = 20 * MIB) -> AsyncIterator[ActorWebSocket]:
        """A socket whose other end echoes, or obeys."""
        self._number += 1
        async with self._open(f"{task}?number={self._number}", limit) as socket:
            yield socket

    async def how_it_ended(self) -> tuple[int, str]:
        """The code and reason that `ws` saw at the end of the last socket."""
        async with self._open(f"ends?number={self._number}", 1000) as socket:
            code, reason = json.loads(await socket.receive())
        return code, reason

    @asynccontextmanager
    async def _open(self, path: str, limit: int) -> AsyncIterator[ActorWebSocket]:
        with anyio.fail_after(GUARD):
            async with (
                # Reading the certificate authorities would take longer than most tests.
                httpx.AsyncClient(verify=False) as http,
                Client(
                    self._url, http=http, metadata_lookup=False, max_message_size=limit
                ) as client,
                client.actor("a").get_for_id("x").websocket(path) as socket,
            ):
                yield socket


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with subprocess.Popen(
        [str(node()), str(SCRIPT), str(install("2.2.1"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield Peer(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.stdin.close()


async def tell(socket: ActorWebSocket, **order: Any) -> None:
    await socket.send(json.dumps(order))


@pytest.mark.parametrize("size", SIZES)
async def test_echo(peer: Peer, size: int) -> None:
    async with peer.websocket("echo") as socket:
        for message in ("x" * size, b"\xff" * size):
            await socket.send(message)
            assert await socket.receive() == message
    assert await peer.how_it_ended() == (1000, "")


async def test_echo_of_text_beyond_ascii(peer: Peer) -> None:
    async with peer.websocket("echo") as socket:
        for message in ("\x00", "\ufeffa", "ä€💻", "\uffff\U0010ffff", "€" * 21846):
            await socket.send(message)
            assert await socket.receive() == message
    assert await peer.how_it_ended() == (1000, "")


async def test_echoes_in_order(peer: Peer) -> None:
    messages = [f"{i} " * (i % 40) if i % 2 else bytes((i % 256,)) * i for i in range(500)]
    async with peer.websocket("echo") as socket, anyio.create_task_group() as tasks:

        async def send() -> None:
            for message in messages:
                await socket.send(message)

        tasks.start_soon(send)
        assert [await socket.receive() for _ in messages] == messages
    assert await peer.how_it_ended() == (1000, "")


@pytest.mark.parametrize("size", SIZES)
async def test_sizes_that_the_server_sends(peer: Peer, size: int) -> None:
    async with peer.websocket("obey") as socket:
        await tell(socket, size=size, binary=True)
        assert await socket.receive() == b"x" * size
        await tell(socket, size=size, binary=False)
        assert await socket.receive() == "x" * size
    assert await peer.how_it_ended() == (1000, "")


@pytest.mark.parametrize("pings", [False, True])
@pytest.mark.parametrize(
    "fragments",
    [["a", "b"], ["", ""], ["", "ä", ""], ["x" * 125, "y" * 126, "z" * 65536], ["."] * 300],
    ids=["two", "two empty ones", "the middle one", "of all lengths", "three hundred"],
)
async def test_fragments(peer: Peer, fragments: list[str], pings: bool) -> None:
    async with peer.websocket("obey") as socket:
        for is_binary in (False, True):
            await tell(socket, fragments=fragments, binary=is_binary, pings=pings)
            whole = "".join(fragments)
            message = await socket.receive()
            while isinstance(message, str) and message.startswith("pong "):
                message = await socket.receive()
            assert message == (whole.encode() if is_binary else whole)
    assert await peer.how_it_ended() == (1000, "")


@pytest.mark.parametrize("payload", [b"", b"p", b"\x00\xff", b"*" * 125])
async def test_pings(peer: Peer, payload: bytes) -> None:
    async with peer.websocket("obey") as socket:
        await tell(socket, pong=b"unasked".hex(), ping=payload.hex())
        assert await socket.receive() == f"pong {payload.hex()}"
    assert await peer.how_it_ended() == (1000, "")


@pytest.mark.parametrize("code", [1000, 3000, 3999, 4000, 4999])
@pytest.mark.parametrize("reason", ["", "enough", "€" * 41], ids=["none", "short", "longest"])
async def test_closes_of_the_client(peer: Peer, code: int, reason: str) -> None:
    async with peer.websocket("obey") as socket:
        await socket.aclose(code, reason)
    assert await peer.how_it_ended() == (code, reason)


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4999]
)
async def test_closes_of_the_server(peer: Peer, code: int) -> None:
    async with peer.websocket("obey") as socket:
        await tell(socket, close=[code, "warum nicht? ä€💻"])
        if code in (1000, 1001):
            with pytest.raises(anyio.EndOfStream):
                await socket.receive()
        else:
            with pytest.raises(ConnectionLostError) as caught:
                await socket.receive()
            assert (caught.value.code, caught.value.reason) == (code, "warum nicht? ä€💻")
        assert (socket.close_code, socket.close_reason) == (code, "warum nicht? ä€💻")
    assert (await peer.how_it_ended())[0] == code


async def test_a_close_without_a_code(peer: Peer) -> None:
    async with peer.websocket("obey") as socket:
        await tell(socket, close=[])
        with pytest.raises(anyio.EndOfStream):
            await socket.receive()
        assert (socket.close_code, socket.close_reason) == (None, "")
    assert await peer.how_it_ended() == (1000, "")


async def test_no_close_at_all(peer: Peer) -> None:
    async with peer.websocket("obey") as socket:
        await tell(socket, terminate=True)
        with pytest.raises(ConnectionLostError) as caught:
            await socket.receive()
        assert caught.value.code is None
    assert await peer.how_it_ended() == (1006, "")


@pytest.mark.parametrize(
    "frames, code",
    [
        ([binary(b"x" * 101)], 1009),
        ([Sent(1, b"x", rsv=4)], 1002),
        ([Sent(3)], 1002),
        ([Sent(1, b"x", mask=b"abcd")], 1002),
        ([more("x")], 1002),
        ([binary(b"x", fin=False), text("y")], 1002),
        ([Sent(9, b"*" * 126)], 1002),
        ([close(1005)], 1002),
        ([close_body(b"\x03")], 1002),
        ([text(b"\xff")], 1007),
        ([close_body(b"\x03\xe8\xff")], 1007),
    ],
    ids=lambda value: "" if isinstance(value, list) else None,
)
async def test_what_the_server_hears_of_its_violations(
    peer: Peer, frames: list[Sent], code: int
) -> None:
    async with peer.websocket("obey", limit=100) as socket:
        raw = text("before").wire + b"".join(frame.wire for frame in frames)
        await tell(socket, raw=raw.hex())
        assert await socket.receive() == "before"
        with pytest.raises(ProtocolError):
            await socket.receive()
    assert await peer.how_it_ended() == (code, "")
