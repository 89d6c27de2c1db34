"""Servers that confirm subscriptions late, never, or by any answer."""

from __future__ import annotations

import json
from contextlib import aclosing

import anyio
import pytest

from rivet_anyio import Client, ConnectionLostError, Gap, ProtocolError, Retry, Status

from .raw import Peer, response, serving, text

SECONDS = 60
RETRY = Retry(initial=0.01, maximum=0.02)


async def bodies(peer: Peer, count: int) -> list[dict[str, object]]:
    """The next messages."""
    found: list[dict[str, object]] = []
    while len(found) < count:
        opcode, payload = await peer.frame()
        if opcode == 1:
            found.append(json.loads(payload)["body"])
    return found


async def test_a_server_that_does_not_confirm_loses_its_socket() -> None:
    tags: list[object] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        if peer.number == 1:
            await bodies(peer, 1)
            return
        if peer.number == 2:
            while heard := await peer.heard():
                if heard[0] == 1:
                    tags.append(json.loads(heard[1])["body"]["tag"])
            return
        await peer.serve_actions()

    async with (
        serving(talk) as url,
        Client(
            url, metadata_lookup=False, encoding="json", retry=RETRY, connect_timeout=0.5
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        changes = conn.status_changes()
        stream = conn.events("e", gaps="mark")
        with anyio.fail_after(SECONDS):
            while (await changes.receive()).status is not Status.DISCONNECTED:
                pass
            assert await conn.action("waits") == "waits"
            gap = await stream.receive()
        assert isinstance(gap, Gap)
        assert gap.attempts == 2 and gap.until - gap.since > 0.5
        assert tags == ["SubscriptionRequest", "ActionRequest"]
        errors = [changes.receive_nowait().error for _ in range(4)]
        assert any(
            isinstance(error, ConnectionLostError) and "did not confirm" in str(error)
            for error in errors
        )
        assert conn.status is Status.CONNECTED


@pytest.mark.parametrize("waits_first", [True, False])
async def test_any_answer_confirms(waits_first: bool) -> None:
    """No message asks where a call that came after the subscription was answered."""
    names: list[object] = []

    async def talk(peer: Peer) -> None:
        await peer.open()
        while True:
            (body,) = await bodies(peer, 1)
            value = body["val"]
            assert isinstance(value, dict)
            names.append(value.get("name", body["tag"]))
            if body["tag"] == "ActionRequest" and value["name"] in ("before", "after"):
                await peer.send(response(value["id"], 1))
                if value["name"] == "after":
                    await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [1]}}))

    async with (
        serving(talk) as url,
        Client(
            url, metadata_lookup=False, encoding="json", retry=RETRY, close_timeout=0.1
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(SECONDS):
            await conn.action("before")
            stream = conn.events("e")
            if waits_first:
                tasks.start_soon(stream.subscribed)
                await anyio.wait_all_tasks_blocked()
            await conn.action("after")
            await stream.subscribed()
            assert await stream.receive() == 1
    assert len(names) == (4 if waits_first else 3)


async def test_a_first_confirmation_takes_as_long_as_actions_run() -> None:
    """As on RivetKit 2.1 and 2.2, which confirm behind them: no timeout may end the connection."""
    go_on = anyio.Event()

    async def talk(peer: Peer) -> None:
        await peer.open()
        id, name = await peer.action()
        await bodies(peer, 1)  # the subscription
        await go_on.wait()
        await peer.send(response(id, name))
        await peer.serve_actions()

    async with (
        serving(talk) as url,
        Client(
            url, metadata_lookup=False, encoding="json", retry=RETRY, connect_timeout=0.1
        ) as client,
        client.thing.get_for_id("a1").connect() as conn,
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(SECONDS):
            tasks.start_soon(conn.action, "slow")
            await anyio.wait_all_tasks_blocked()
            stream = conn.events("e", gaps="raise")
            with pytest.raises(TimeoutError), anyio.fail_after(0.3):
                await stream.subscribed()
            assert conn.status is Status.CONNECTED
            go_on.set()
            await stream.subscribed()
            with pytest.raises(TimeoutError), anyio.fail_after(0):
                async with conn.events("other"):
                    pytest.fail("the body ran")
            await stream.aclose()
            assert conn.status is Status.CONNECTED


async def test_each_stream_raises_an_error_of_its_own() -> None:
    """One event that cannot be read goes to all streams of its name."""
    event = {"tag": "Event", "val": {"name": "e", "args": [["$BigInt", "x"]]}}

    async def talk(peer: Peer) -> None:
        await peer.open()
        await bodies(peer, 1)
        await peer.send(text(event))
        await peer.serve_actions()

    async with (
        serving(talk) as url,
        Client(url, metadata_lookup=False, encoding="json") as client,
        client.thing.get_for_id("a1").connect() as conn,
    ):
        raised: list[ProtocolError] = []
        async with aclosing(conn.events("e")) as one, aclosing(conn.events("e")) as two:
            for stream in (one, two):
                with anyio.fail_after(SECONDS), pytest.raises(ProtocolError) as caught:
                    await stream.receive()
                raised.append(caught.value)
        assert raised[0] is not raised[1]
