"""Pings without an end of waiting for their answers, in a process that may be killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import pytest

from rivet_anyio import Client

from .raw import Peer, frame, response, serving

SECONDS = 60
PINGS = 3
PING = 9


async def silent_until_pinged(peer: Peer, pinged: anyio.Event) -> None:
    """Answer no ping; answer messages."""
    pings = 0
    while heard := await peer.heard():
        opcode, payload = heard
        pings += opcode == PING
        if pings == PINGS:
            pinged.set()
        if opcode == 1 and payload == b"hello":
            await peer.send(frame(1, payload))
        elif opcode == 1:
            await peer.send(response(json.loads(payload)["body"]["val"]["id"], "answered"))


async def ping_for_ever(kind: str) -> None:
    """A client with `ping_timeout=None`, before a peer that answers no ping."""
    pinged = anyio.Event()

    async def talk(peer: Peer) -> None:
        await (peer.open() if kind == "connection" else peer.upgrade())
        await silent_until_pinged(peer, pinged)

    async with (
        serving(talk) as url,
        Client(
            url, encoding="json", metadata_lookup=False, ping_interval=0.05, ping_timeout=None
        ) as client,
    ):
        handle = client.actor("probe").get_for_id("a1")
        if kind == "connection":
            async with handle.connect() as conn:
                await pinged.wait()
                assert await conn.action("anything") == "answered"
        else:
            async with handle.websocket() as ws:
                await pinged.wait()
                await ws.send("hello")
                assert await ws.receive() == "hello"
    print("alive")


@pytest.mark.parametrize("kind", ["connection", "websocket"])
async def test_no_ping_timeout(kind: str, anyio_backend_name: str) -> None:
    call = f"anyio.run(pings.ping_for_ever, {kind!r}, backend={anyio_backend_name!r})"
    program = f"import anyio, tests.peers.test_pings as pings; {call}"
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False
        )
    assert (done.returncode, done.stdout) == (0, b"alive\n"), done.stderr.decode()
