"""Blocks that are left early close their connections like all others, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from rivet_anyio import Client, SourceGap, watch

from .raw import Peer, close, response, serving

GUARD = 60
DISPOSED = (1000).to_bytes(2, "big") + b"Disposed"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of feeds in virtual time say how long it really is."""
    monkeypatch.setattr("rivet_anyio._io.tasks._LEAVE_CANCELLED_SECONDS", 0.1)


class Silent:
    """A server that says Init and little more; it records the close frames it gets.

    Args:
        says_init: Whether it says Init.
        confirms: Whether it confirms a subscription.
        answers: Whether it answers a close frame.
    """

    def __init__(
        self, *, says_init: bool = True, confirms: bool = False, answers: bool = True
    ) -> None:
        self.asked = anyio.Event()
        self.left = anyio.Event()
        self.ended = anyio.Event()
        self.closes: list[bytes] = []
        self._says_init = says_init
        self._confirms = confirms
        self._answers = answers

    async def talk(self, peer: Peer) -> None:
        await (peer.open() if self._says_init else peer.upgrade())
        try:
            if self._confirms:
                await peer.frame()
                await peer.send(response((await peer.action())[0], None))
            while (frame := await peer.frame())[0] != 8:
                self.asked.set()
            self.closes.append(frame[1])
            self.left.set()
            if self._answers:
                await peer.send(close(1000))
            await peer.frame()
        finally:
            self.ended.set()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client, in whose block all connections must end in time."""
        with anyio.fail_after(GUARD):
            async with (
                serving(self.talk) as url,
                Client(
                    url, metadata_lookup=False, close_timeout=10 * GUARD, encoding="json"
                ) as client,
            ):
                yield client
                await self.ended.wait()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_source_that_is_removed_before_it_is_confirmed(answers: bool) -> None:
    server = Silent(answers=answers)
    async with server.client() as client, watch("tick") as feed:
        feed.add(client.room.get_for_id("a1"), key="a")
        await server.asked.wait()
        feed.remove("a")
        await server.ended.wait()
    assert server.closes == [DISPOSED]


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_feed_that_is_left_before_it_is_confirmed(cancels: bool) -> None:
    server = Silent()
    async with server.client() as client:
        with anyio.CancelScope() as scope:
            async with watch("tick") as feed:
                feed.add(client.room.get_for_id("a1"), key="a")
                await server.asked.wait()
                if cancels:
                    scope.cancel()
    assert server.closes == [DISPOSED]


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("kind", ["connection", "websocket"])
async def test_a_block_whose_task_asyncio_cancels(kind: str) -> None:
    """As in a scope that is cancelled, the closing handshake gets a second, and no more."""
    server = Silent(says_init=kind == "connection", answers=False)
    inside = anyio.Event()

    async def hold(client: Client) -> None:
        actor = client.room.get_for_id("a1")
        async with actor.connect() if kind == "connection" else actor.websocket():
            inside.set()
            await anyio.sleep_forever()

    async with server.client() as client:
        task = asyncio.ensure_future(hold(client))
        await inside.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() and task.cancelling() == 1
    assert server.closes in ([DISPOSED], [DISPOSED[:2]])


async def test_a_cancelled_feed_does_not_wait_for_what_was_removed() -> None:
    server = Silent(confirms=True, answers=False)
    async with server.client() as client:
        with anyio.CancelScope() as scope:
            async with watch("tick") as feed:
                feed.add(client.room.get_for_id("a1"), key="a")
                assert isinstance(await feed.receive(), SourceGap)
                feed.remove("a")
                await server.left.wait()
                scope.cancel()
    assert server.closes == [DISPOSED]


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("notices", [True, False])
async def test_a_connection_whose_block_is_cancelled(answers: bool, notices: bool) -> None:
    server = Silent(answers=answers)
    async with server.client() as client:
        with anyio.CancelScope() as scope:
            async with client.room.get_for_id("a1").connect():
                scope.cancel()
                if notices:
                    await anyio.sleep_forever()
    assert server.closes == [DISPOSED]


async def test_a_connection_whose_block_is_cancelled_while_it_closes() -> None:
    server = Silent(answers=False)
    async with server.client() as client:
        with anyio.move_on_after(0.1) as scope:
            async with client.room.get_for_id("a1").connect():
                pass
        assert scope.cancel_called
    assert server.closes == [DISPOSED]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_raw_websocket_whose_block_is_cancelled(answers: bool) -> None:
    server = Silent(says_init=False, answers=answers)
    async with server.client() as client:
        with anyio.CancelScope() as scope:
            async with client.room.get_for_id("a1").websocket() as ws:
                scope.cancel()
                await ws.receive()
    assert server.closes == [(1000).to_bytes(2, "big")]


async def test_an_action_in_a_shielded_scope_of_a_cancelled_block() -> None:
    async def talk(peer: Peer) -> None:
        await peer.open()
        await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False, encoding="json") as client,
        ):
            with anyio.CancelScope() as scope:
                async with client.room.get_for_id("a1").connect() as conn:
                    scope.cancel()
                    with anyio.CancelScope(shield=True):
                        assert await conn.action("last") == "last"


async def test_an_attempt_that_is_cancelled_ends_at_once() -> None:
    """Nothing is waited for: the server has not said Init."""
    server = Silent(says_init=False)
    async with server.client() as client:
        with anyio.move_on_after(0.1):
            async with client.room.get_for_id("a1").connect():
                pytest.fail("the body ran")
    assert server.closes == []
