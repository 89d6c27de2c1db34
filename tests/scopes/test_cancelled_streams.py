"""A stream delivers nothing in a scope that is cancelled, however much it holds."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rivet_anyio import ActorError, Client, EventStream
from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.internals import ScopeCheck
from tests.peers.raw import Peer, serving, text

GUARD = 60
COUNT = 200


async def talk(peer: Peer) -> None:
    head = await peer.head()
    await peer.send(peer.accept(head))
    if "/websocket/" in head:
        await peer.send(b"\x81\x01x" * COUNT)
        while await peer.heard():
            pass
        return
    init = text({"tag": "Init", "val": {"actorId": "a1", "connectionId": "c1"}})
    event = text({"tag": "Event", "val": {"name": "e", "args": [1]}})
    await peer.send(init + event * COUNT)
    await peer.serve_actions()


@asynccontextmanager
async def full_stream(kind: str) -> AsyncIterator[Any]:
    """A stream that holds `COUNT` items, one of which was taken."""
    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json") as client,
    ):
        handle = client.room.get_for_id("a1")
        if kind == "websocket":
            async with handle.websocket() as ws:
                await ws.receive()
                yield ws
            return
        conn = handle.connect()
        stream = conn.events("e")
        async with conn:
            await conn.action("all are here")  # which confirms the subscription, too
            if kind == "statuses":
                statuses = conn.status_changes()
                for _ in range(COUNT):
                    conn._link.state.reported(ActorError("a", "b"))
                await statuses.receive()
                yield statuses
            else:
                await stream.receive()
                yield stream


async def by_receive(stream: Any) -> None:
    await stream.receive()


async def by_iteration(stream: Any) -> None:
    await stream.__anext__()


def itself() -> anyio.CancelScope:
    scope = anyio.CancelScope()
    scope.cancel()
    return scope


SCOPES: dict[str, Callable[[], anyio.CancelScope]] = {
    "cancelled": itself,
    "no time": lambda: anyio.move_on_after(0),
    "long over": lambda: anyio.CancelScope(deadline=-math.inf),
}


@pytest.mark.parametrize("take", [by_receive, by_iteration])
@pytest.mark.parametrize("kind", ["events", "statuses", "websocket"])
async def test_nothing_is_delivered_in_a_cancelled_scope(
    kind: str, take: Callable[[Any], Awaitable[None]]
) -> None:
    with anyio.fail_after(GUARD):
        async with full_stream(kind) as stream:
            taken = 0
            for _ in range(5):  # at different places between two checkpoints
                for make in SCOPES.values():
                    with make():
                        while True:
                            await take(stream)
                            taken += 1
                    with make(), anyio.CancelScope():
                        await take(stream)
                        taken += 1
                with anyio.CancelScope() as scope:
                    await take(stream)
                    scope.cancel()
                    await take(stream)
                    taken += 1
                with itself(), anyio.CancelScope(shield=True):
                    await take(stream)
            assert taken == 0
            # What was not delivered is still there.
            rest = 0
            with anyio.CancelScope() as scope:
                async for _ in stream:
                    rest += 1
                    if rest == COUNT - 1 - 5 * 2:
                        scope.cancel()
            assert rest == COUNT - 11


async def test_the_tasks_that_share_a_stream_each_have_their_scopes() -> None:
    got: dict[str, int] = {"cancelled": 0, "free": 0}

    async def cancelled(stream: EventStream[Any], scope: anyio.CancelScope) -> None:
        with scope:
            async for _ in stream:
                got["cancelled"] += 1
                if got["cancelled"] == 3:
                    scope.cancel()

    async def free(stream: EventStream[Any]) -> None:
        for _ in range(100):
            await stream.receive()
            got["free"] += 1

    with anyio.fail_after(GUARD):
        async with full_stream("events") as stream, anyio.create_task_group() as tasks:
            tasks.start_soon(free, stream)
            tasks.start_soon(cancelled, stream, anyio.CancelScope())
            tasks.start_soon(cancelled, stream, itself())
    assert got == {"cancelled": 3, "free": 100}


async def test_others_run_while_a_task_takes_what_is_there() -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            await anyio.lowlevel.checkpoint()
            others += 1

    with anyio.fail_after(GUARD):
        async with full_stream("events") as stream, anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            for _ in range(COUNT - 1):
                await stream.receive()
            tasks.cancel_scope.cancel()
    assert others >= 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_another_anyio_takes_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScopeCheck, "is_possible", lambda: False)
    check = current_backend().cancellation_check()
    assert getattr(check, "__self__", None).__class__ is not ScopeCheck
    with anyio.fail_after(GUARD):
        async with full_stream("events") as stream:
            with itself():
                await stream.receive()
                pytest.fail("delivered")


async def test_a_connection_that_ends_meanwhile_still_ends_the_stream() -> None:
    with anyio.fail_after(GUARD):
        async with full_stream("events") as stream:
            pass
        assert len([item async for item in stream]) == COUNT - 1
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
