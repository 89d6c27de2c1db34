"""A call waits, is under way, or is settled: what cannot be written takes no other call with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import anyio
import pytest
from websockets.sync.server import ServerConnection

from rivet_anyio import Client, Connection, Retry
from rivet_anyio.protocol.json_codec import JsonCodec
from tests.peers.gateway import init, message, requests, running

PATIENCE = 10
INNOCENT = ["one", "two", "three"]


class Changing(Mapping[str, int]):
    """An argument that can be written until it is broken."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __getitem__(self, key: str) -> int:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        if self.error is not None:
            raise self.error
        return iter(["a"])


class Peer:
    """Ends its first WebSocket when it is told to, and answers the calls of all others."""

    def __init__(self) -> None:
        self.lose = threading.Event()
        self.connections = 0

    def talk(self, socket: ServerConnection) -> None:
        self.connections += 1
        socket.send(init(f"c{self.connections}"))
        if self.connections == 1:
            self.lose.wait(PATIENCE)
            socket.close(1012)
        for request in requests(socket):
            if "name" in request:
                socket.send(message("ActionResponse", id=request["id"], output=request["name"]))
                if request["name"] == "fire":
                    socket.send(message("Event", name="healthy", args=["an event"]))


class Pause:
    """Lets nobody try again until it is over."""

    def __init__(self) -> None:
        self.began = anyio.Event()
        self.over = anyio.Event()
        self.retry = Retry(initial=0.01, maximum=0.02, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.began.set()
        await self.over.wait()
        await anyio.sleep(seconds)


async def call(outcomes: dict[str, Any], conn: Connection, name: str, *args: Any) -> None:
    try:
        outcomes[name] = await conn.action(name, *args)
    except Exception as error:
        outcomes[name] = error


@pytest.mark.parametrize("place", [0, 1, 3], ids=["first", "between", "last"])
@pytest.mark.parametrize(
    "error", [LookupError("changed"), ValueError("changed"), TypeError("changed")], ids=type
)
async def test_an_argument_that_cannot_be_written_again(error: Exception, place: int) -> None:
    """The server is back in a version that takes other bytes, so calls are written anew."""
    peer, pause = Peer(), Pause()
    outcomes: dict[str, Any] = {}
    names = [*INNOCENT[:place], "changing", *INNOCENT[place:]]
    argument = Changing()
    with running(peer.talk, version="2.2.1") as gateway:
        async with (
            Client(gateway.url, encoding="json", retry=pause.retry) as client,
            client.thing.get_for_id("a1").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            gateway.version = "2.3.19"
            peer.lose.set()
            await pause.began.wait()
            for name in names:
                arguments = [argument] if name == "changing" else []
                tasks.start_soon(partial(call, outcomes, conn, name, *arguments))
                await anyio.wait_all_tasks_blocked()
            argument.error = error
            pause.over.set()
            with anyio.move_on_after(PATIENCE):
                while len(outcomes) < len(names):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    _check_innocent(outcomes)
    assert type(outcomes["changing"]) is type(error)
    assert peer.connections == 2


def _check_innocent(outcomes: dict[str, Any]) -> None:
    assert {name: outcomes.get(name) for name in INNOCENT} == {name: name for name in INNOCENT}


def refuse_subscription(monkeypatch: pytest.MonkeyPatch, refused: str, error: Exception) -> None:
    """Let nobody write a subscription to this event."""
    write = JsonCodec.subscription_message

    def subscription_message(codec: JsonCodec, name: str, subscribe: bool) -> str:
        if name == refused:
            raise error
        return write(codec, name, subscribe)

    monkeypatch.setattr(JsonCodec, "subscription_message", subscription_message)


@pytest.mark.parametrize("error", [LookupError("no"), TypeError("no"), ValueError("no")], ids=type)
async def test_calls_survive_a_subscription_that_cannot_be_written(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They run at the latest when its stream has been closed."""
    peer, pause = Peer(), Pause()
    outcomes: dict[str, Any] = {}
    refuse_subscription(monkeypatch, "refused", error)
    with running(peer.talk) as gateway:
        async with (
            Client(
                gateway.url, encoding="json", metadata_lookup=False, retry=pause.retry
            ) as client,
            client.thing.get_for_id("a1").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            peer.lose.set()
            await pause.began.wait()
            stream = None
            try:
                stream = conn.events("refused")
            except type(error):
                pass  # as good: it fails where it was asked for
            for name in INNOCENT:
                tasks.start_soon(call, outcomes, conn, name)
                await anyio.wait_all_tasks_blocked()
            pause.over.set()
            while peer.connections < 3 and not outcomes:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            if stream is not None:
                stream.close()
            with anyio.move_on_after(PATIENCE):
                while len(outcomes) < len(INNOCENT):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    _check_innocent(outcomes)


@pytest.mark.parametrize("when", ["connected", "away"])
async def test_a_subscription_that_cannot_be_written_ends_its_own_stream(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, pause = Peer(), Pause()
    outcomes: dict[str, Any] = {}
    refuse_subscription(monkeypatch, "refused", LookupError("no"))
    with running(peer.talk) as gateway:
        async with (
            Client(
                gateway.url, encoding="json", metadata_lookup=False, retry=pause.retry
            ) as client,
            client.thing.get_for_id("a1").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            raised: Exception | None = None
            event = None
            peer.lose.set()
            await pause.began.wait()
            if when == "connected":
                pause.over.set()
                await conn.wait_connected()
            healthy = conn.events("healthy")
            try:
                stream = conn.events("refused")
            except Exception as error:
                raised = error
            for name in [*INNOCENT, "fire"]:
                tasks.start_soon(call, outcomes, conn, name)
                await anyio.wait_all_tasks_blocked()
            pause.over.set()
            with anyio.move_on_after(10):
                while len(outcomes) <= len(INNOCENT) and peer.connections < 5:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                if peer.connections == 2:
                    event = await healthy.receive()
                    if raised is None:
                        try:
                            await stream.receive()
                        except Exception as error:
                            raised = error
            tasks.cancel_scope.cancel()
    assert peer.connections == 2, "the connection was lost"
    assert event == "an event"
    _check_innocent(outcomes)
    assert isinstance(raised, LookupError)
