"""A forked child has all sockets of its parent; the server hears of an end all the same."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

import anyio
import pytest

from rivet_anyio import Client
from tests.peers.raw import Peer

from .wire import (
    ACTOR,
    GUARD,
    RIGHT,
    Request,
    Wire,
    ask,
    prepare,
    using,
)

CLOSED_ONLY = "sockets of requests are closed, not shut down"
SOON = 1.0
"""Seconds until an expected failure gives up; more where it is expected no more."""


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


class Children:
    """Forked processes that do nothing but live."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def fork(self) -> None:
        with warnings.catch_warnings():
            # Python 3.12 warns where threads run; this child runs nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            signal.alarm(300)
            while True:
                signal.pause()
        self._pids.append(pid)

    def end(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.end()


async def test_a_connection_ends(children: Children) -> None:
    async with using() as (wire, client):
        with anyio.fail_after(GUARD):
            async with client.x.get_for_id(ACTOR).connect():
                children.fork()
            await wire.ends(wire.last("connect").connection)


async def test_a_raw_websocket_ends(children: Children) -> None:
    async with using() as (wire, client):
        with anyio.fail_after(GUARD):
            async with client.x.get_for_id(ACTOR).websocket():
                children.fork()
            await wire.ends(wire.last("websocket").connection)


async def test_a_connection_ends_whose_server_does_not_answer_the_close(
    children: Children,
) -> None:
    async def meeting(peer: Peer, request: Request) -> None:
        await peer.send(peer.accept(request.head))
        await peer.silence()

    async with using() as (wire, client):
        wire.instead["websocket"] = meeting
        with anyio.fail_after(GUARD):
            with anyio.move_on_after(GUARD) as scope:
                async with client.x.get_for_id(ACTOR).websocket():
                    children.fork()
                    scope.cancel()
            await wire.ends(1)


async def test_all_connections_of_a_client_end(children: Children) -> None:
    """Those that wait for the next request among them."""
    wire = Wire()
    async with using(wire=wire) as (_, client):
        with anyio.fail_after(GUARD):
            assert await ask(client, "fetch") == RIGHT
            async with Client(wire.url, encoding="json", metadata_lookup=False) as other:
                assert await ask(other, "action") == RIGHT
                children.fork()
            with anyio.fail_after(SOON):
                await wire.ends(wire.last("action").connection)


@pytest.mark.parametrize("kind", ["action", "connect"])
async def test_a_request_that_is_cancelled_ends_its_connection(
    children: Children, kind: str
) -> None:
    async with using() as (wire, client):
        asked = anyio.Event()

        async def meeting(peer: Peer, request: Request) -> None:
            asked.set()
            await peer.silence()

        wire.instead[kind] = meeting
        with anyio.fail_after(GUARD):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client, kind)
                await asked.wait()
                children.fork()
                tasks.cancel_scope.cancel()
            with anyio.fail_after(SOON):
                await wire.ends(wire.last(kind).connection)
