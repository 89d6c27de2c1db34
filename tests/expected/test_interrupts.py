"""Ctrl-C on asyncio, before every single step of the event loop.

asyncio's runner makes a cancellation of the main task from the first SIGINT. It comes at any
moment: while connections open, while calls are under way, while other tasks are cancelled.
"""

from __future__ import annotations

import json

import pytest

from .child import run

PROGRAM = """
import asyncio.events
import json
import signal
import sys
import threading
import time

import anyio

from rivet_anyio import Client
from tests.peers.raw import play_along, serving

doing = sys.argv[1]
left = 0
run_step = asyncio.events.Handle._run


def step(handle):
    global left
    if left and threading.current_thread() is threading.main_thread():
        left -= 1
        if not left:
            signal.raise_signal(signal.SIGINT)
    run_step(handle)


asyncio.events.Handle._run = step


async def serve(started, over):
    async with serving(play_along) as url:
        started.append(url)
        while not over.is_set():
            await anyio.sleep(0.01)


async def user(client):
    async with client.thing.get_for_id("a1").connect() as conn:

        async def listen():
            async for _ in conn.events("e"):
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for _ in range(2):
                await conn.action("x")
            tasks.cancel_scope.cancel()


async def main(url, at):
    global left
    async with Client(url, metadata_lookup=False, encoding="json", close_timeout=60) as client:
        async with anyio.create_task_group() as tasks:
            left = at
            if doing == "leaving":
                async with client.thing.get_for_id("a1").connect():
                    left = at
                return
            for _ in range(2):
                tasks.start_soon(user, client)


started, over = [], threading.Event()
server = threading.Thread(target=anyio.run, args=(serve, started, over))
server.start()
while not started:
    time.sleep(0.01)
at, slowest, interrupted, strange = 0, 0.0, 0, []
try:
    while True:
        at += 1
        began = time.monotonic()
        try:
            anyio.run(main, started[0], at)
        except KeyboardInterrupt:
            interrupted += 1
        except BaseException as exc:
            strange.append([at, repr(exc)])
        slowest = max(slowest, time.monotonic() - began)
        if left:  # there was no such step
            break
finally:
    left = 0
    over.set()
print(json.dumps({"interrupted": interrupted, "slowest": slowest, "strange": strange}))
"""

SECONDS = 150
"""For all runs together: each takes some milliseconds."""


@pytest.mark.parametrize(("doing", "least"), [("working", 50), ("leaving", 5)])
def test_an_interrupt_before_every_step_of_the_loop(doing: str, least: int) -> None:
    outcome = run(PROGRAM, doing, seconds=SECONDS)
    assert not outcome.hung, outcome.errors
    assert outcome.code == 0, outcome.errors
    result = json.loads(outcome.output)
    assert result["strange"] == []
    assert result["interrupted"] > least
    assert result["slowest"] < 20
