"""Whatever goes wrong in a task of a connection, the connection comes back and no group leaves."""

from __future__ import annotations

import json
import os
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, Retry, RivetError, Status
from rivet_anyio._io.asyncio import AsyncioSocket
from rivet_anyio._io.asyncio_transport import TransportStream
from rivet_anyio._io.socket import unsent
from rivet_anyio._io.trio import TrioSocket
from tests.peers.raw import Peer, frame, response, serving

PATIENCE = 30


def test_a_closed_descriptor_holds_nothing_unsent() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    assert unsent(descriptor) == unsent(-1) == 0


async def talk(peer: Peer) -> None:
    """Answer pings and actions."""
    await peer.open()
    while heard := await peer.heard():
        opcode, payload = heard
        if opcode == 9:
            await peer.send(frame(10, payload))
        elif opcode == 1:
            request = json.loads(payload)["body"]["val"]
            await peer.send(response(request["id"], request["name"]))


class Broken:
    """Raises from a method of every socket, once it has been switched on."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.is_on = False
        self.raised = False

    def wrap(self, monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> None:
        original: Any = getattr(kind, name)
        if name == "unsent":

            def unsent_bytes(stream: Any) -> Any:
                self._raise()
                return original(stream)

            monkeypatch.setattr(kind, name, unsent_bytes)
            return
        if name == "write_now":

            def write_now(stream: Any, data: bytes) -> Any:
                self._raise()
                return original(stream, data)

            monkeypatch.setattr(kind, name, write_now)
            return
        if name == "write":
            at_once: Any = kind.write_now

            def nothing_now(stream: Any, data: bytes) -> Any:
                return 0 if self.is_on else at_once(stream, data)

            monkeypatch.setattr(kind, "write_now", nothing_now)

        async def call(stream: Any, *args: Any) -> Any:
            self._raise()
            result = await original(stream, *args)
            self._raise()
            return result

        monkeypatch.setattr(kind, name, call)

    def _raise(self) -> None:
        if self.is_on:
            self.is_on, self.raised = False, True
            raise self.error


@pytest.mark.parametrize("error", [ValueError("file descriptor -1"), RuntimeError("a fault")])
@pytest.mark.parametrize("where", ["unsent", "read", "write", "write_now"])
@pytest.mark.parametrize("over", ["connection", "raw WebSocket"])
async def test_what_a_socket_raises_stays_inside(
    over: str, where: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken(error)
    for kind in (AsyncioSocket, TransportStream, TrioSocket):
        broken.wrap(monkeypatch, kind, where)
    async with (
        serving(talk) as url,
        Client(
            url,
            metadata_lookup=False,
            encoding="json",
            retry=Retry(initial=0.01, maximum=0.05),
            ping_interval=0.05,
            ping_timeout=20,
        ) as client,
    ):
        with anyio.fail_after(PATIENCE):
            if over == "connection":
                async with client.thing.get_for_id("a1").connect() as conn:
                    changes = conn.status_changes()
                    broken.is_on = True
                    async for change in changes:
                        if change.status is Status.DISCONNECTED:
                            break
                    assert await conn.action("after") == "after"
            else:
                async with client.thing.get_for_id("a1").websocket() as ws:
                    await ws.receive()
                    broken.is_on = True
                    with pytest.raises(RivetError):
                        await ws.receive()
    assert broken.raised
