"""What becomes of calls in the odd moments of a connection, before a peer that plays along."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from rivet_anyio import Client, ClosedError, ConnectionLostError, Retry, Status
from rivet_anyio._websocket.outbox import HIGH_WATER

from .raw import INIT, Peer, frame, play_along, response, serving, text, upgrade_only

SECONDS = 60
SOON = Retry(initial=0.01, maximum=0.02)


@pytest.mark.usefixtures("way")
async def test_a_call_in_a_cancelled_scope_is_never_sent() -> None:
    names: list[str] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        while heard := await peer.heard():
            call = json.loads(heard[1])["body"]["val"]
            names.append(call["name"])
            await peer.send(response(call["id"], None))

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, encoding="json", metadata_lookup=False) as client,
            client.probe.get_for_id("a1").connect() as conn,
        ):
            for _ in range(20):
                await conn.action("called")
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await conn.action("cancelled")
                assert scope.cancelled_caught
            await conn.action("called")
    assert names == ["called"] * 21


@pytest.mark.usefixtures("way")
async def test_a_call_on_a_connection_that_just_ended_waits_for_the_next() -> None:
    connections = 0
    leave = anyio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.open()
        if connections == 1:
            await leave.wait()
        else:
            await peer.serve_actions()

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, encoding="json", metadata_lookup=False, retry=SOON) as client,
            client.probe.get_for_id("a1").connect() as conn,
        ):
            pump = conn._link.socket
            assert pump is not None
            leave.set()
            while pump.end is None:
                await checkpoint()
            assert await conn.action("late") == "late"
    assert connections == 2


async def test_a_call_before_the_connection_is_open() -> None:
    go_on = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await go_on.wait()
        await peer.send(text(INIT))
        await peer.serve_actions()

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, encoding="json", metadata_lookup=False) as client,
            anyio.create_task_group() as tasks,
        ):
            conn = client.probe.get_for_id("a1").connect()
            answers: list[Any] = []

            async def call() -> None:
                answers.append(await conn.action("early"))
                done.set()

            done = anyio.Event()
            entered = anyio.Event()

            async def enter() -> None:
                async with conn:
                    entered.set()
                    await done.wait()

            tasks.start_soon(enter)
            while not conn._link.state.is_open:
                await checkpoint()
            tasks.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert not entered.is_set()
            go_on.set()
    assert answers == ["early"]


async def test_a_stopped_actor_is_left_when_the_last_call_was_given_up() -> None:
    connections = 0

    async def talk(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        await peer.open()
        if connections == 2:
            return await peer.serve_actions()
        ids: dict[str, Any] = {}
        while len(ids) < 2:
            number, name = await peer.action()
            ids[name] = number
        stopping = {"group": "actor", "code": "stopping", "message": "m", "actionId": ids["a"]}
        await peer.send(text({"tag": "Error", "val": stopping}))
        await peer.silence()

    async def refused() -> None:
        with pytest.raises(Exception, match="m"):
            await conn.action("a")
        is_refused.set()

    is_refused = anyio.Event()
    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, encoding="json", metadata_lookup=False, retry=SOON) as client,
            client.probe.get_for_id("a1").connect() as conn,
        ):
            changes = conn.status_changes()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(refused)
                with anyio.CancelScope() as scope:

                    async def give_up() -> None:
                        await is_refused.wait()
                        scope.cancel()

                    tasks.start_soon(give_up)
                    await conn.action("b")
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    break
            assert await conn.action("c") == "c"


async def test_messages_leave_in_the_order_of_the_calls() -> None:
    """Also where tasks wait for room: one that comes when there is some does not go first."""
    read_on = anyio.Event()
    seen: list[bytes] = []
    called: list[bytes] = []

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await read_on.wait()
        while heard := await peer.heard():
            seen.append(heard[1][:1])

    async def send(label: bytes) -> None:
        called.append(label)
        await ws.send(label * 40_000)

    async def send_when_there_is_room(label: bytes) -> None:
        while ws._outbox._bytes >= HIGH_WATER:
            await checkpoint()
        await send(label)

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False) as client,
            client.probe.get_for_id("a1").websocket() as ws,
            anyio.create_task_group() as tasks,
        ):
            while ws._outbox._bytes < HIGH_WATER:
                tasks.start_soon(send, b"f")
                await anyio.wait_all_tasks_blocked()
            for number in range(10):
                tasks.start_soon(send, b"%d" % number)
                await anyio.wait_all_tasks_blocked()
            for label in (b"x", b"y", b"z"):
                tasks.start_soon(send_when_there_is_room, label)
            read_on.set()
    assert seen == called


async def test_senders_that_wait_for_room_when_the_peer_dies() -> None:
    leave = anyio.Event()
    lost: list[int] = []

    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        await leave.wait()

    async def send(number: int) -> None:
        with pytest.raises(ConnectionLostError):
            while True:
                await ws.send(bytes(60_000))
        lost.append(number)

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False) as client,
            client.probe.get_for_id("a1").websocket() as ws,
            anyio.create_task_group() as tasks,
        ):
            for number in range(10):
                tasks.start_soon(send, number)
            await anyio.wait_all_tasks_blocked()
            assert len(ws._outbox._waiters) > 5
            leave.set()
    assert sorted(lost) == list(range(10))


@pytest.mark.parametrize("busy", [False, True])
async def test_text_that_has_no_utf8(busy: bool) -> None:
    async def talk(peer: Peer) -> None:
        await peer.upgrade()
        while True:
            opcode, payload = await peer.frame()
            await peer.send(frame(opcode, payload))
            if opcode == 8:
                return

    with anyio.fail_after(SECONDS):
        async with (
            serving(talk) as url,
            Client(url, metadata_lookup=False) as client,
            client.probe.get_for_id("a1").websocket() as ws,
            anyio.create_task_group() as tasks,
        ):
            if busy:
                tasks.start_soon(ws.send, "before")
            with pytest.raises(ValueError, match="a WebSocket message has a lone surrogate"):
                await ws.send("x\ud800")
            assert not ws._unsettled or busy
            await ws.send("häppy")
            while await ws.receive() != "häppy":
                pass


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_websocket_whose_task_is_cancelled_does_not_cancel_the_body() -> None:
    with anyio.fail_after(SECONDS):
        async with (
            serving(upgrade_only) as url,
            Client(url, metadata_lookup=False, close_timeout=0.1) as client,
            client.probe.get_for_id("a1").websocket() as ws,
        ):
            await anyio.wait_all_tasks_blocked()
            (task,) = (t for t in asyncio.all_tasks() if "ActorWebSocket" in t.get_name())
            task.cancel()
            with pytest.raises(ConnectionLostError, match="cancelled"):
                await ws.receive()


@pytest.mark.usefixtures("way")
async def test_a_client_that_is_left_first_ends_what_is_open() -> None:
    """Nesting in the wrong order: the connection fails, at once and for good."""

    with anyio.fail_after(SECONDS):
        async with serving(play_along) as url:
            client = Client(
                url, encoding="json", metadata_lookup=False, retry=SOON, ping_interval=None
            )
            await client.__aenter__()
            handle = client.probe.get_for_id("a1")
            async with handle.connect() as conn, handle.websocket() as ws:
                assert await ws.receive()
                await client.__aexit__(None, None, None)
                with pytest.raises(ConnectionLostError):
                    await ws.receive()
                with pytest.raises(ClosedError, match="the Client was used after"):
                    await conn.action("late")
                assert conn.status is Status.CLOSED
