"""How many sockets a client has, and how many requests wait for one."""

from __future__ import annotations

from typing import Any

import anyio

from rivet_anyio import Client
from tests.http.wire import ACTOR, GUARD, Request, ask, using
from tests.peers.raw import Peer

from .recording import Recording


def states(recording: Recording) -> dict[str, float]:
    return {
        attributes["rivet.socket.state"]: value
        for attributes, value in recording.values("rivet.client.sockets")
    }


async def test_the_figures_of_all_clients() -> None:
    """They are added up for each endpoint, as long as the clients' blocks last."""
    recording = Recording()
    assert states(recording) == {}
    options: dict[str, Any] = {"observer": recording.observer, "max_connections": 1}
    asked, answered = anyio.Event(), anyio.Event()

    async def wait(peer: Peer, request: Request) -> None:
        asked.set()
        await answered.wait()
        await wire._answer(peer, request, lambda answer: answer)

    async with using(**options) as (wire, client):
        async with Client(
            wire.url, encoding="json", metadata_lookup=False, observer=recording.observer
        ) as other:
            with anyio.fail_after(GUARD):
                async with other.x.get_for_id(ACTOR).connect():
                    assert states(recording) == {"open": 1, "idle": 0, "waiting": 0, "dialling": 0}
                    await ask(client, "action")
                    assert states(recording) == {"open": 2, "idle": 1, "waiting": 0, "dialling": 0}
                    wire.instead["action"] = wait
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(ask, client, "action")
                        await asked.wait()
                        tasks.start_soon(ask, client, "action")
                        await anyio.wait_all_tasks_blocked()
                        expected = {"open": 2, "idle": 0, "waiting": 1, "dialling": 0}
                        assert states(recording) == expected
                        answered.set()
        assert states(recording)["open"] == 1
    assert states(recording) == {}
