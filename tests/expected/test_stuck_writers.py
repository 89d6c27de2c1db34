"""A peer that stops reading: its session still ends, and what waits for it is bounded."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from functools import partial
from typing import Any

import anyio
import pytest

from rivet_anyio import ActorError, Client, ConnectionLostError, Retry, Status
from tests.peers.raw import Peer, close, serving, text

PATIENCE = 20
"""Seconds in which a session that was given up must have ended."""

RETRY = Retry(initial=0.01, maximum=0.05)
LARGE = "x" * 30_000_000
"""More than the system takes from a writer whose peer reads nothing."""


def stopping(id: int) -> bytes:
    said = {"group": "actor", "code": "stopping", "message": "stopping", "actionId": id}
    return text({"tag": "Error", "val": said})


async def call(client_call: partial[Coroutine[Any, Any, Any]]) -> None:
    """Make a call whose outcome is of no interest."""
    try:
        await client_call()
    except (ActorError, ConnectionLostError):
        pass


@pytest.mark.parametrize("keepalive", [None, 0.5])
@pytest.mark.parametrize("why", ["stopped", "closed", "broken"])
async def test_a_session_ends_whose_writer_is_stuck(why: str, keepalive: float | None) -> None:
    stuck = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.open()
        if peer.number > 1:
            await peer.serve_actions()
            return
        id, _ = await peer.action()
        await stuck.wait()
        said = {"stopped": stopping(id), "closed": close(1012), "broken": b"\xff\xff"}
        await peer.send(said[why])
        await anyio.sleep_forever()

    async with (
        serving(talk) as url,
        Client(
            url,
            metadata_lookup=False,
            encoding="json",
            retry=RETRY,
            ping_interval=keepalive,
            ping_timeout=keepalive,
            close_timeout=0.1,
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        changes = conn.status_changes()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, partial(conn.action, "first"))
            await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as given_up:
                async with anyio.create_task_group() as large:
                    large.start_soon(call, partial(conn.action, "second", LARGE))
                    await anyio.wait_all_tasks_blocked()
                    stuck.set()
                    if why == "stopped":
                        while not conn._link.state._is_stopped:  # noqa: ASYNC110
                            await anyio.sleep(0.01)
                        given_up.cancel()  # the last call under way
        with anyio.fail_after(PATIENCE):
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    break
            assert await conn.action("third") == "third"


async def test_subscriptions_that_were_taken_back_do_not_wait() -> None:
    """Whoever opens and closes streams while nothing can be written leaves nothing behind."""
    read_on = anyio.Event()
    asked: list[dict[str, object]] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        await read_on.wait()
        while heard := await peer.heard():
            if heard[0] == 1:
                body = json.loads(heard[1])["body"]
                if body["tag"] == "SubscriptionRequest":
                    asked.append(body["val"])
                elif body["val"]["name"] == "last":
                    for name in ("kept", "new", "ended"):
                        await peer.send(text({"tag": "Event", "val": {"name": name, "args": [1]}}))

    async with (
        serving(talk) as url,
        Client(
            url, metadata_lookup=False, encoding="json", ping_interval=None, close_timeout=1
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(call, partial(conn.action, "large", LARGE))
        await anyio.wait_all_tasks_blocked()
        kept, ended = conn.events("kept"), conn.events("ended")
        for number in range(1000):
            for name in ("changing", f"another{number}"):
                conn.events(name).close()
        kept.close()
        kept = conn.events("kept")
        ended.close()
        new = conn.events("new")
        tasks.start_soon(call, partial(conn.action, "last"))
        await anyio.wait_all_tasks_blocked()
        read_on.set()
        with anyio.fail_after(PATIENCE):
            assert await kept.receive() == 1
            assert await new.receive() == 1
        tasks.cancel_scope.cancel()
    wanted = {str(request["eventName"]): request["subscribe"] for request in asked}
    assert wanted.get("kept") and wanted.get("new")
    assert not [
        name for name, is_wanted in wanted.items() if is_wanted and name not in ("kept", "new")
    ]
    assert len(asked) < 10, len(asked)
