"""A connection that came back keeps nothing of what it met before."""

from __future__ import annotations

import gc
import logging
import types
import weakref
from collections import Counter
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, Connection, Retry, Status
from rivet_anyio._websocket.connection import WebSocketConnection
from tests.peers.raw import INIT, Peer, close, serving, text

PATIENCE = 30
CONNECTIONS = 10
FAILURES = 3
"""Attempts of each connection that are refused."""


class Unavailable:
    """Cuts each first WebSocket off, refuses some attempts, and takes those after them."""

    def __init__(self, failures: int, refusal: str) -> None:
        self.is_open = True
        self.cut = anyio.Event()
        self.refused = 0
        self._failures = failures
        self._refusal = refusal

    async def talk(self, peer: Peer) -> None:
        head = await peer.head()
        if self.cut.is_set() and self.refused < self._failures * CONNECTIONS:
            self.refused += 1
            if self._refusal == "status":
                await peer.send(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n")
            elif self._refusal == "close":
                await peer.send(peer.accept(head) + close(1012, "restarting"))
            return
        await peer.send(peer.accept(head))
        await peer.send(text(INIT))
        if not self.cut.is_set():
            await self.cut.wait()
            return
        await peer.serve_actions()


def alive() -> Counter[str]:
    """How many errors, tracebacks and sockets there are, by their types."""
    gc.collect()
    kinds = (BaseException, types.TracebackType, WebSocketConnection)
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, kinds))


async def reconnected(conn: Connection) -> None:
    async for change in conn.status_changes():
        if change.status is Status.DISCONNECTED:
            break
    await conn.wait_connected()
    await conn.action("any")


@pytest.mark.parametrize("failures", [0, 1, FAILURES])
@pytest.mark.parametrize("refusal", ["status", "close", "nothing"])
async def test_nothing_of_failed_attempts_is_alive(
    failures: int, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rivet_anyio")  # a handler that keeps records keeps no error
    server = Unavailable(failures, refusal)
    retry = Retry(initial=0.01, maximum=0.02)
    async with (
        serving(server.talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=retry) as client,
        anyio.create_task_group() as tasks,
    ):
        opened: list[Connection] = []
        over = anyio.Event()

        async def keep(task_status: Any) -> None:
            async with client.thing.get_for_id("a1").connect() as conn:
                opened.append(conn)
                task_status.started()
                await over.wait()

        with anyio.fail_after(PATIENCE):
            for _ in range(CONNECTIONS):
                await tasks.start(lambda *, task_status: keep(task_status))
            before = alive()
            async with anyio.create_task_group() as all_back:
                for conn in opened:
                    all_back.start_soon(reconnected, conn)
                await anyio.wait_all_tasks_blocked()
                server.cut.set()
        kept = alive() - before
        over.set()
    # One or two may be those of a task that has just ended.
    assert sum(kept.values()) < CONNECTIONS, kept


@pytest.mark.parametrize("anyio_backend", ["trio"])  # asyncio keeps its cancellations until later
async def test_a_socket_that_ended_is_gone_without_a_collection(anyio_backend: str) -> None:
    server = Unavailable(0, "nothing")
    retry = Retry(initial=0.01, maximum=0.02)
    async with (
        serving(server.talk) as url,
        Client(url, metadata_lookup=False, encoding="json", retry=retry) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        first = weakref.ref(conn._link.socket)
        assert first() is not None
        gc.disable()
        try:
            with anyio.fail_after(PATIENCE):
                server.cut.set()
                await reconnected(conn)
            assert first() is None
        finally:
            gc.enable()
