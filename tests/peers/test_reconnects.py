"""What a reconnect meets, and what the client makes of it."""

from __future__ import annotations

import math
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    Connection,
    ConnectionLostError,
    ProtocolError,
    Retry,
    Status,
    StatusChange,
    StatusStream,
)
from rivet_anyio.protocol.codec import Encoding

from .raw import INIT, Handler, Peer, close, frame, response, serving, text, upgrade_only

GUARD = 60


@dataclass
class Delays:
    """Stands for time: remembers every delay and lets it pass at once."""

    seconds: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.lowlevel.checkpoint()


def connection(client: Client) -> Connection:
    return client.actor("room").get_for_id("a1").connect()


@pytest.fixture(autouse=True)
def time_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was merely slow has not held."""
    monkeypatch.setattr("rivet_anyio._connection.link._HEALTHY_SECONDS", math.inf)


async def meet(
    handlers: list[Handler],
    *,
    initial: float = 0.25,
    maximum: float = 30.0,
    connect_timeout: float = 30.0,
) -> tuple[list[StatusChange], list[float]]:
    """Connect, be cut off, meet each handler in turn, and come back.

    Returns:
        The status changes from the first loss on, and the delays before each attempt.
    """
    delays = Delays()
    seen: list[StatusChange] = []
    over = anyio.Event()

    async def handler(peer: Peer) -> None:
        if peer.number == 1:
            await peer.open()
            await peer.action()
        elif peer.number - 2 < len(handlers):
            await handlers[peer.number - 2](peer)
        else:
            await peer.open()
            over.set()
            await peer.serve_actions()

    async def watch(changes: StatusStream) -> None:
        seen.extend([change async for change in changes])
        over.set()

    retry = Retry(initial=initial, maximum=maximum, random=lambda: 1.0, sleep=delays.sleep)
    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            Client(
                url,
                metadata_lookup=False,
                encoding="json",
                retry=retry,
                connect_timeout=connect_timeout,
            ) as client,
            anyio.create_task_group() as tasks,
            connection(client) as conn,
        ):
            tasks.start_soon(watch, conn.status_changes())
            with pytest.raises(ConnectionLostError):
                await conn.action("cut")
            await over.wait()
            if conn.status is not Status.CLOSED:
                await conn.wait_connected()
                assert await conn.action("back") == "back"
    assert seen.pop(0).status is Status.CONNECTED
    return seen, delays.seconds


def answering(status: str, headers: str = "", body: str = "") -> Handler:
    async def handler(peer: Peer) -> None:
        await peer.head()
        answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}"
        await peer.send(answer.encode())

    return handler


async def hang_up(peer: Peer) -> None:
    """Accept and close at once."""


async def wrong_key(peer: Peer) -> None:
    head = await peer.head()
    await peer.send(peer.switching(head, "Sec-WebSocket-Protocol: rivet\r\n", key="other"))


async def garbage(peer: Peer) -> None:
    await peer.open()
    await peer.send(b"\xff\xff\xff\xff")
    await peer.silence()


def closing(code: int, reason: str = "", *, init: bool = False) -> Handler:
    async def handler(peer: Peer) -> None:
        await peer.upgrade()
        if init:
            await peer.send(text(INIT))
        await peer.send(close(code, reason))
        await peer.frame()

    return handler


def bare(message: bytes) -> bytes:
    """A message of RivetKit 2.2 in bare encoding, as one frame."""
    return frame(2, b"\x03\x00" + message)


BARE_INIT = bare(b"\x00\x02a1\x02c1")


@pytest.mark.parametrize("name", ["wanted", "unwanted"])
@pytest.mark.parametrize("encoding", ["bare", "json"])
async def test_an_event_is_a_sign_of_health(encoding: Encoding, name: str) -> None:
    """The delays do not grow, although the server never answers anything."""
    delays = Delays()
    came_back = anyio.Event()

    async def handler(peer: Peer) -> None:
        await peer.upgrade()
        if encoding == "bare":
            length = bytes((len(name),))
            await peer.send(BARE_INIT + bare(b"\x03" + length + name.encode() + b"\x02\x81\x01"))
        else:
            await peer.send(text(INIT) + text({"tag": "Event", "val": {"name": name, "args": [1]}}))
        if peer.number == 5:
            came_back.set()
            await peer.silence()

    retry = Retry(initial=0.25, maximum=30.0, random=lambda: 1.0, sleep=delays.sleep)
    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            Client(url, metadata_lookup=False, encoding=encoding, retry=retry) as client,
            client.actor("room").get_for_id("a1").connect(close_timeout=0) as conn,
            aclosing(conn.events("wanted")),
        ):
            await came_back.wait()
    assert delays.seconds == [0.25] * 4


async def test_an_answer_is_a_sign_of_health() -> None:
    delays = Delays()

    async def handler(peer: Peer) -> None:
        await peer.open()
        if peer.number == 5:
            await peer.serve_actions()
        id, name = await peer.action()
        await peer.send(response(id, name))

    retry = Retry(initial=0.25, maximum=30.0, random=lambda: 1.0, sleep=delays.sleep)
    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            Client(url, metadata_lookup=False, encoding="json", retry=retry) as client,
            connection(client) as conn,
        ):
            changes = conn.status_changes()
            for number in range(4):
                assert await conn.action(f"call {number}") == f"call {number}"
                while (await changes.receive()).status is not Status.DISCONNECTED:
                    pass
            await conn.wait_connected()
    assert delays.seconds == [0.25] * 4


RETRIED: dict[str, tuple[Handler, type[Exception]]] = {
    "hang up": (hang_up, ConnectError),
    "502": (answering("502 Bad Gateway"), ConnectError),
    "503": (answering("503 Service Unavailable"), ConnectError),
    "504": (answering("504 Gateway Timeout"), ConnectError),
    "429": (answering("429 Too Many Requests"), ConnectError),
    "no HTTP": (lambda peer: peer.send(b"\x00\x01\x02"), ConnectError),
    "Init never comes": (upgrade_only, ConnectError),
    "wrong accept key": (wrong_key, ProtocolError),
    "garbage": (garbage, ProtocolError),
    "1000": (closing(1000), ConnectionLostError),
    "1001": (closing(1001, "going away"), ConnectionLostError),
    "1008": (closing(1008), ConnectionLostError),
    "1011": (closing(1011), ConnectionLostError),
    "1011 in words": (closing(1011, "Error in server websocket"), ConnectionLostError),
    "1012": (closing(1012), ConnectionLostError),
    "1013": (closing(1013), ConnectionLostError),
    "Init, then 1000": (closing(1000, init=True), ConnectionLostError),
    "Init, then 1011": (closing(1011, init=True), ConnectionLostError),
    "stopping": (closing(1011, "actor.stopping#r1"), ActorError),
    "stopping, by 2.0": (closing(1011, "stopping"), ActorError),
    "not ready": (closing(1011, "actor.starting#r1"), ActorError),
    "tunnel": (closing(1011, "ws.tunnel_closed"), ActorError),
}


@pytest.mark.parametrize("name", RETRIED)
async def test_retried(name: str) -> None:
    handler, error = RETRIED[name]
    # No longer than needed where an attempt takes all of it.
    patience = 1.5 if handler is upgrade_only else 30.0
    seen, delays = await meet([handler] * 3, connect_timeout=patience)
    lost = [change.error for change in seen if change.status is Status.DISCONNECTED]
    assert len(lost) == len(delays) == 4
    assert all(type(cause) is error for cause in lost[1:]), lost
    assert seen[-2].status is Status.CONNECTED
    assert (seen[-1].status, seen[-1].error) == (Status.CLOSED, None)


FINAL: dict[str, tuple[Handler, type[Exception], str]] = {
    "401": (answering("401 Unauthorized"), ConnectError, "401"),
    "403": (answering("403 Forbidden"), ConnectError, "403"),
    "404": (answering("404 Not Found"), ConnectError, "404"),
    "redirect": (
        answering("307 Temporary Redirect", "Location: http://127.0.0.1:1/\r\n"),
        ConnectError,
        "redirect",
    ),
    "refused": (closing(1011, "user.forbidden"), ActorError, "forbidden"),
    "refused, by 2.0": (closing(1011, "forbidden"), ActorError, "forbidden"),
    "refused later": (closing(1011, "user.banned", init=True), ActorError, "banned"),
    "destroyed": (closing(1011, "actor.not_found"), ActorError, "not_found"),
}


@pytest.mark.parametrize("name", FINAL)
async def test_final(name: str) -> None:
    handler, error, said = FINAL[name]
    seen, delays = await meet([handler])
    assert len(delays) == 1
    assert seen[-1].status is Status.CLOSED
    assert type(seen[-1].error) is error
    assert said in str(seen[-1].error)


async def test_delays_double_up_to_the_maximum() -> None:
    _, delays = await meet([hang_up] * 9, initial=0.25, maximum=30.0)
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


async def test_retry_after_is_honoured_up_to_the_maximum() -> None:
    asked = answering("503 Service Unavailable", "Retry-After: 7\r\n")
    too_long = answering("503 Service Unavailable", "Retry-After: 3600\r\n")
    odd = answering("503 Service Unavailable", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n")
    _, delays = await meet([asked, too_long, odd], initial=0.25, maximum=30.0)
    assert delays == [0.25, 7.0, 30.0, 2.0]


async def test_a_restarting_server_gets_some_time_more() -> None:
    _, delays = await meet([closing(1012), closing(1013), closing(1011)], initial=0.25)
    assert delays == [0.25, 1.5, 2.0, 2.0]


async def test_a_connection_that_never_held_does_not_start_over() -> None:
    """Init and a close at once, again and again, must not become a tight loop."""
    _, delays = await meet([closing(1000, init=True)] * 4, initial=0.25)
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_a_connection_that_held_does() -> None:
    async def event_then_close(peer: Peer) -> None:
        await peer.open()
        await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [1]}}) + frame(8, b""))
        await peer.frame()

    _, delays = await meet([hang_up, hang_up, event_then_close, hang_up], initial=0.25)
    assert delays == [0.25, 0.5, 1.0, 0.25, 0.5]


async def test_an_hour_away() -> None:
    attempts: Any = [hang_up] * 200
    seen, delays = await meet(attempts)
    assert sum(delays) > 3600
    assert sum(change.status is Status.DISCONNECTED for change in seen) <= 201
