"""Callers that write by themselves, to a peer that does not read: whole frames, in order."""

from __future__ import annotations

import json
import socket

import anyio
import pytest
from anyio.abc import SocketAttribute

from rivet_anyio import ActorWebSocket, Client, ConnectionLostError
from rivet_anyio._io.socket import knows_unsent

from .raw import Peer, frame, response, serving

SECONDS = 30


async def test_messages_that_fill_the_socket() -> None:
    """The one that does not fit is finished by the writer, though its caller was cancelled."""
    read_on = anyio.Event()
    seen: list[bytes] = []
    sent: list[bytes] = []

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await read_on.wait()
        while True:
            opcode, payload = await peer.frame()
            if opcode == 8:
                return
            seen.append(payload[:4])
            assert payload == payload[:4] * (len(payload) // 4)

    async def fill(ws: ActorWebSocket) -> None:
        number = 0
        while True:
            message = number.to_bytes(4, "big") * 10_000
            sent.append(message[:4])
            await ws.send(message)
            number += 1

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False, close_timeout=SECONDS) as client,
            client.probe.get_for_id("a1").websocket() as ws,
        ):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fill, ws)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            assert len(sent) > 2
            last = b"last"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.send, last)
                await anyio.wait_all_tasks_blocked()
                assert not seen
                read_on.set()
    # The cancelled one was under way: it is whole all the same.
    assert seen == [*sent, last]


async def test_a_lone_call_that_fits_in_part() -> None:
    """It is written, in part; the loss says that it may have run, and it is not sent again."""
    connections = 0

    async def talk(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.open()
        if connections == 1:
            await stalled.wait()
            return
        _, payload = await peer.frame()
        body = json.loads(payload)["body"]["val"]
        assert body["name"] == "second"
        await peer.send(response(body["id"], "done"))
        await peer.serve_actions()

    stalled = anyio.Event()
    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, encoding="json", metadata_lookup=False) as client,
            client.probe.get_for_id("a1").connect() as conn,
        ):

            async def first() -> None:
                with pytest.raises(ConnectionLostError, match="may have run"):
                    await conn.action("first", "x" * 16 * 1024 * 1024)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first)
                await anyio.wait_all_tasks_blocked()
                stalled.set()
            assert await conn.action("second") == "done"


@pytest.mark.usefixtures("way")
async def test_a_long_message_to_a_slow_peer() -> None:
    """The system takes it at once, and the peer takes longer for it than a ping may take."""
    if not knows_unsent:
        pytest.skip("this system does not say what is on its way")
    size = 4 * 1024 * 1024
    took = 0.0

    async def talk(peer: Peer) -> None:
        nonlocal took
        # Like a slow network: what is on its way waits on this side, not on the peer's.
        peer.stream.extra(SocketAttribute.raw_socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024
        )
        await peer.upgrade()
        began, got = anyio.current_time(), 0
        while got < size:
            got += len(await peer.stream.receive(16 * 1024))
            await anyio.sleep(0.02)
        took = anyio.current_time() - began
        await peer.send(frame(2, b"thanks"))
        await peer.silence()

    with anyio.fail_after(60):
        async with (
            serving(talk) as url,
            Client(
                url, metadata_lookup=False, ping_interval=0.2, ping_timeout=2.0, close_timeout=0.1
            ) as client,
            client.probe.get_for_id("a1").websocket() as ws,
        ):
            await ws.send(bytes(size))
            assert await ws.receive() == b"thanks"
    assert took > 4.0
