"""A stream that stops the reader costs nothing while it does."""

from __future__ import annotations

import json

import pytest

from .child import run

PROGRAM = """
import json
import sys
import time

import anyio

from rivet_anyio import Client, Retry, Status
from tests.peers.raw import Peer, close, response, serving, text

backend, how = sys.argv[1:]
QUIET = 2.0


async def talk(peer):
    if how.startswith("socket"):
        await peer.upgrade()
    else:
        await peer.open()
        if how != "stopped" or peer.number > 1:
            await peer.frame()  # the subscription
    if peer.number > 1 and not how.startswith("socket"):
        await peer.send(response(*await peer.action()))  # which confirms it
    if peer.number == 1 and how == "stopped":
        ids = []
        while len(ids) < 2:
            opcode, payload = await peer.frame()
            body = json.loads(payload)["body"]
            if body["tag"] == "ActionRequest":
                ids.append(body["val"]["id"])
        said = {"group": "actor", "code": "stopping", "message": "s", "actionId": ids[0]}
        await peer.send(text({"tag": "Error", "val": said}))
    for number in range(1000 if how.startswith("socket") else 5):
        await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [number]}}))
    if peer.number == 1 and how == "closed":
        await peer.send(close(1012))
    await peer.serve_actions()


async def cpu_share():
    cpu, real = time.process_time(), time.perf_counter()
    await anyio.sleep(QUIET)
    return (time.process_time() - cpu) / (time.perf_counter() - real)


async def call(conn, name):
    try:
        await conn.action(name)
    except Exception:
        pass


async def connection(client):
    async with client.c.get_for_id("a1").connect() as conn, anyio.create_task_group() as tasks:
        stream = conn.events("e", buffer_size=1, overflow="block")
        if how == "stopped":
            tasks.start_soon(call, conn, "first")
            async with anyio.create_task_group() as second:
                second.start_soon(call, conn, "second")
                while not stream.buffered:
                    await anyio.sleep(0.01)
                await anyio.sleep(0.2)
                second.cancel_scope.cancel()
        while not stream.buffered or (how == "stopped" and conn.status is Status.CONNECTED):
            await anyio.sleep(0.001)
            if how == "stopped" and stream.gaps:
                break
        await anyio.sleep(0.5)
        share = await cpu_share()
        got = [await stream.receive() for _ in range(3)]
        tasks.cancel_scope.cancel()
    return share, got


async def socket(client):
    async with client.c.get_for_id("a1").websocket() as ws:
        await anyio.sleep(0.5)
        if how == "socket closing":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.aclose)
                share = await cpu_share()
        else:
            share = await cpu_share()
    return share, []


async def main():
    retry = Retry(initial=0.01, maximum=0.01)
    async with (
        serving(talk) as url,
        Client(
            url, metadata_lookup=False, encoding="json", close_timeout=1, retry=retry
        ) as client,
    ):
        share, got = await (socket if how.startswith("socket") else connection)(client)
    print(json.dumps({"share": share, "got": got}))


anyio.run(main, backend=backend)
"""

BUSY = 0.1
"""A share of one CPU that a program which waits stays far below, on a busy machine, too."""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["open", "stopped", "closed", "socket open", "socket closing"])
def test_waiting_for_a_slow_consumer_is_no_work(backend: str, how: str) -> None:
    outcome = run(PROGRAM, backend, how)
    assert not outcome.hung and outcome.code == 0, outcome.errors
    result = json.loads(outcome.output)
    assert result["share"] < BUSY
