"""Connections that are refused in place of Init: who refused, and is there another attempt?

Up to 2.2 an actor's hook refuses by a close frame whose reason can be any error's, on 2.0 its code
alone. From 2.3 on it refuses by a message; the gateway closes with a ray id in the reason.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    ConnectionLostError,
    Retry,
    RivetError,
    Status,
)

from .raw import INIT, Peer, close, serving, text

GUARD = 60
LONGEST = 2000


class RivetPeer:
    """Serves ``/metadata`` and ``/actors``, and refuses the first connections.

    Attributes:
        opened: How many handshakes there were.
        destroyed: Whether the management API says that the actor is gone.
        cuts: How many of the connections it accepts end with their first action.
        last_words: What it says then.
        lookups: How often the management API was asked.
        reason: Why the actor does not start, as the management API says it.
        busy: What answers the next request below a path.
    """

    def __init__(self, version: str, refusals: list[bytes]) -> None:
        self.version = version
        self.opened = 0
        self.destroyed = False
        self.cuts = 0
        self.last_words = b""
        self.lookups = 0
        self.reason: Any = None
        self.busy: dict[str, bytes] = {}
        self._refusals = refusals

    async def talk(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            await peer.body(head)
            request = head.split(" ", 2)
            refusal = self.busy.pop("/" + request[1][1:].partition("?")[0].partition("/")[0], None)
            if refusal is not None:
                await peer.send(refusal)
                return
            if request[1].startswith("/metadata"):
                await self._answer(peer, {"runtime": "rivetkit", "version": self.version})
            elif request[1].startswith("/actors"):
                self.lookups += 1
                actor = {"actor_id": "a1", "name": "c", "key": "k", "error": self.reason}
                body: Any = {"actor": actor}
                if request[0] == "GET":
                    body = {"actors": [] if self.destroyed else [actor]}
                await self._answer(peer, body)
            elif request[0] == "POST":
                output = {"output": request[1].rpartition("/")[2]}
                await self._answer(peer, output, "Connection: close\r\n")
                return
            else:
                break
        self.opened += 1
        accepted = peer.accept(head)
        refusal = self._refusals.pop(0) if self._refusals else b""
        if refusal.startswith(b"HTTP/"):
            await peer.send(refusal)
            return
        if refusal:
            await peer.send(accepted + refusal)
            await peer.silence()
        await peer.send(accepted + text(INIT))
        if self.cuts:
            self.cuts -= 1
            await peer.action()
            await peer.send(self.last_words)
            return
        await peer.serve_actions()

    async def _answer(self, peer: Peer, body: Any, headers: str = "") -> None:
        content = json.dumps(body).encode()
        label = "Content-Type: application/json\r\n"
        head = f"HTTP/1.1 200 OK\r\n{label}{headers}Content-Length:"
        await peer.send(f"{head} {len(content)}\r\n\r\n".encode() + content)


class Delays:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await anyio.lowlevel.checkpoint()


def retry_with(delays: Delays) -> Retry:
    return Retry(initial=0.25, maximum=30, random=lambda: 1.0, sleep=delays.sleep)


@asynccontextmanager
async def using(server: RivetPeer) -> AsyncGenerator[tuple[Client, Delays]]:
    """A client of this server, and how long it waits."""
    delays = Delays()
    with anyio.fail_after(GUARD):
        async with (
            serving(server.talk) as url,
            Client(
                url, encoding="json", retry=retry_with(delays), max_message_size=LONGEST
            ) as client,
        ):
            yield client, delays


def in_message(group: str, code: str) -> bytes:
    body = {"group": group, "code": code, "message": "no", "actionId": None}
    return text({"tag": "Error", "val": body}) + close(1011, f"{group}.{code}")


async def test_an_id_that_led_nowhere_is_asked_for_anew_after_a_refusal() -> None:
    server = RivetPeer("2.3.19", [close(1011, "actor.not_found#ray1")])
    async with using(server) as (client, _):
        handle = client.c.get("k")
        with pytest.raises(ActorError, match="not_found"):
            async with handle.connect():
                pytest.fail("the body ran")
        assert server.lookups == 1
        await handle.resolve()
        assert server.lookups == 2


async def test_an_id_that_led_nowhere_is_asked_for_anew_after_a_loss() -> None:
    """By calls over HTTP as well, which may not wait for the next attempt to connect."""
    server = RivetPeer("2.3.19", [])
    server.cuts, server.last_words = 1, close(1011, "actor.not_found#ray1")
    late = Retry(initial=3600, maximum=3600, random=lambda: 1.0)
    with anyio.fail_after(GUARD):
        async with serving(server.talk) as url, Client(url, encoding="json", retry=late) as client:
            handle = client.c.get_or_create("k")
            async with handle.connect() as conn:
                changes = conn.status_changes()
                await changes.receive()
                with pytest.raises(ConnectionLostError):
                    await conn.action("cut")
                assert (await changes.receive()).status is Status.DISCONNECTED
                assert server.lookups == 1
                await handle.resolve()
                assert server.lookups == 2


REFUSED = {
    "2.0 not_found": ("2.0.33", close(1011, "not_found")),
    "2.1 guard": ("2.1.3", close(1011, "guard.actor_ready_timeout")),
    "2.1 not_found": ("2.1.3", close(1011, "actor.not_found")),
    "2.2 guard": ("2.2.1", close(1011, "guard.rate_limit")),
    "2.2 envoy": ("2.2.1", close(1011, "envoy.actor_not_found")),
    "2.2 pegboard": ("2.2.1", close(1011, "pegboard.anything")),
    "2.2 starting": ("2.2.1", close(1011, "actor.starting")),
    "2.2 restarting": ("2.2.1", close(1011, "actor.restarting")),
    "2.2 not_found": ("2.2.1", close(1011, "actor.not_found")),
    "2.2 destroyed": ("2.2.1", close(1011, "actor.destroyed_while_waiting_for_ready")),
    "2.2 in a message": ("2.2.1", in_message("guard", "actor_ready_timeout")),
    "2.3 guard in a message": ("2.3.19", in_message("guard", "actor_ready_timeout")),
    "2.3 not_found in a message": ("2.3.19", in_message("actor", "not_found")),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_actor_that_refuses_in_the_words_of_a_gateway_is_asked_once(name: str) -> None:
    version, refusal = REFUSED[name]
    server = RivetPeer(version, [refusal] * 20)
    async with using(server) as (client, delays):
        with pytest.raises(ActorError):
            async with client.c.get_or_create("k").connect():
                pytest.fail("the body ran")
    assert server.opened == 1 and not delays.seconds


@pytest.mark.parametrize("name", REFUSED)
async def test_such_a_refusal_is_final_on_a_reconnect(name: str) -> None:
    version, refusal = REFUSED[name]
    server = RivetPeer(version, [b"", *[refusal] * 20])
    server.cuts = 1
    async with using(server) as (client, _), client.c.get_or_create("k").connect() as conn:
        with pytest.raises(ConnectionLostError):
            await conn.action("cut")
        with pytest.raises(ActorError):
            await conn.action("back")
        assert conn.status is Status.CLOSED
    assert server.opened == 2


async def test_a_refusal_is_told_soon() -> None:
    """Also if the server leaves the connection open, and says Init after all."""
    refusal = in_message("user", "no").partition(close(1011, "user.no"))[0]
    server = RivetPeer("2.3.19", [refusal, refusal + text(INIT)])
    async with using(server) as (client, _):
        for _ in range(2):
            with pytest.raises(ActorError, match="no"):
                async with client.c.get_or_create("k").connect(connect_timeout=10 * GUARD):
                    pytest.fail("the body ran")
    assert server.opened == 2


TRANSIENT = {
    "2.1 stopping": ("2.1.3", close(1011, "actor.stopping")),
    "2.2 stopping": ("2.2.1", close(1011, "actor.stopping")),
    "2.2 masked": ("2.2.1", close(1011, "rivetkit.internal_error")),
    "an engine of 2.2": ("2.2.1", close(1011, "guard.actor_ready_timeout#ray1")),
    "2.3 guard": ("2.3.19", close(1011, "guard.actor_ready_timeout#ray1")),
    "2.3 starting": ("2.3.19", close(1011, "actor.starting")),
    "2.3 stopping in a message": ("2.3.19", in_message("actor", "stopping")),
    "2.3 gone": ("2.3.19", close(1011, "actor.not_found#ray1")),
}


@pytest.mark.parametrize("name", TRANSIENT)
async def test_what_passes_is_tried_again_on_a_reconnect(name: str) -> None:
    version, refusal = TRANSIENT[name]
    server = RivetPeer(version, [b"", refusal, refusal])
    server.cuts = 1
    async with using(server) as (client, _), client.c.get_or_create("k").connect() as conn:
        with pytest.raises(ConnectionLostError):
            await conn.action("cut")
        assert await conn.action("back") == "back"
    assert server.opened == 4


NOT_STARTED = close(1011, "guard.actor_ready_timeout#ray1")
HOST_LOST = {"envoy_connection_lost": {"envoy_key": "e"}}
CRASHED = {"crashed": {"message": "no state"}}


@pytest.mark.parametrize(
    ("reason", "refusals", "opened"),
    [(HOST_LOST, 3, 4), (HOST_LOST, 20, 10), (CRASHED, 1, 1), ("no_envoys", 1, 1)],
    ids=["lost host", "lost host, for ever", "crashed", "no_envoys"],
)
async def test_a_first_connection_waits_only_while_the_reason_may_pass(
    reason: Any, refusals: int, opened: int
) -> None:
    server = RivetPeer("2.3.19", [NOT_STARTED] * refusals)
    server.reason = reason
    async with using(server) as (client, delays):
        conn = client.c.get_or_create("k").connect()
        changes = conn.status_changes()
        if opened > refusals:
            async with conn:
                assert await conn.action("back") == "back"
        else:
            what = "lost its host" if reason is HOST_LOST else "failed to start"
            with pytest.raises(ActorError, match=f"actor a1 {what}: "):
                async with conn:
                    pytest.fail("the body ran")
        failures = [change.error async for change in changes if change.error is not None]
    assert server.opened == opened and len(delays.seconds) == opened - 1
    assert all("actor a1 " in str(error) for error in failures)


async def test_an_actor_that_is_gone_is_created_anew() -> None:
    """2.2 says that the actor is not there, and the management API says so as well."""
    server = RivetPeer("2.2.1", [close(1011, "actor.not_found")])
    server.destroyed = True
    async with using(server) as (client, _), client.c.get_or_create("k").connect() as conn:
        assert await conn.action("back") == "back"
    assert server.opened == 2


# Retry-After


def http(status: str, headers: str, body: str, label: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {label}\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


SLOW_DOWN = '{"group":"guard","code":"rate_limit","message":"slow down"}'
BROKEN = '{"group":"core","code":"internal_error","message":"broken"}'
DATE = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


@pytest.mark.parametrize(
    "headers, waited, body",
    [
        ("Retry-After: 7\r\n", 7.0, SLOW_DOWN),
        ("Retry-After: 7\r\n", 7.0, BROKEN),
        ("Retry-After: 7\r\n", 7.0, "slow down"),
        ("Retry-After: 3600\r\n", 30.0, SLOW_DOWN),
        (DATE + "Retry-After: Thu, 01 Jan 2026 00:00:09 GMT\r\n", 9.0, BROKEN),
        (DATE + "Retry-After: Thursday, 01-Jan-26 00:00:09 GMT\r\n", 9.0, SLOW_DOWN),
        (DATE + "Retry-After: Fri, 02 Jan 2026 00:00:00 GMT\r\n", 30.0, "slow down"),
        ("Retry-After: Fri, 31 Dec 2199 00:00:00 GMT\r\n", 30.0, BROKEN),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0.25, SLOW_DOWN),
        ("Retry-After: 99999999999\r\n", 0.25, "slow down"),
        ("Retry-After: soon\r\n", 0.25, BROKEN),
        ("", 0.25, SLOW_DOWN),
        ("", 0.25, "slow down"),
    ],
)
async def test_retry_after_of_a_refused_handshake(headers: str, waited: float, body: str) -> None:
    server = RivetPeer("2.3.19", [b"", http("503 Away", headers, body)])
    server.cuts = 1
    async with using(server) as (client, delays), client.c.get_for_id("a1").connect() as conn:
        with pytest.raises(ConnectionLostError):
            await conn.action("cut")
        assert await conn.action("back") == "back"
    # The first delay comes after the loss; the next doubles its bound.
    first, second = delays.seconds
    assert first == 0.25 and second == max(waited, 0.5)


async def test_retry_after_of_the_first_handshake() -> None:
    refusal = http("429 Too Many Requests", "Retry-After: 7\r\n", SLOW_DOWN)
    server = RivetPeer("2.3.19", [refusal])
    async with using(server) as (client, delays), client.c.get_for_id("a1").connect() as conn:
        assert await conn.action("back") == "back"
    assert delays.seconds == [7.0]


@pytest.mark.parametrize("path", ["/gateway", "/actors"])
@pytest.mark.parametrize(
    "status", [307, 400, 401, 403, 404, 407, 408, 413, 425, 429, 431, 500, 502, 503, 504]
)
@pytest.mark.parametrize("body", [BROKEN, "slow down"])
async def test_retry_after_of_a_refused_call(path: str, status: int, body: str) -> None:
    """RFC 9110 has it with 413, 503 and redirects, and RFC 6585 with 429; no status forbids it."""
    server = RivetPeer("2.3.19", [])
    async with using(server) as (client, _):
        handle = client.c.get_or_create("k")
        await handle.resolve()
        server.busy[path] = http(f"{status} Why", "Retry-After: 7\r\n", body)
        with pytest.raises(RivetError) as caught:
            await (handle.action("x") if path == "/gateway" else client.c.create("other"))
        assert caught.value.retry_after == 7


def text_page(status: int) -> bytes:
    return http(f"{status} Later", "Retry-After: 7\r\n", "later", label="text/html")


def readable(status: int) -> bytes:
    return http(f"{status} Later", "Retry-After: 7\r\nX-Rivet-Ray-Id: r\r\n", SLOW_DOWN)


def encoded_page(status: int) -> bytes:
    """A page that is compressed, although nobody asked for that."""
    return http(f"{status} Later", "Retry-After: 7\r\nContent-Encoding: br\r\n", "?", "text/html")


def long_page(status: int) -> bytes:
    """A page of more than `max_message_size`."""
    return http(f"{status} Later", "Retry-After: 7\r\n", "later" * LONGEST, label="text/html")


LATER = {
    **{f"{status} by a proxy": text_page(status) for status in (408, 425, 429, 500, 502, 503, 504)},
    **{f"{status} by a proxy, encoded": encoded_page(status) for status in (429, 502)},
    **{f"{status} by a proxy, long": long_page(status) for status in (429, 502)},
    "429 by the gateway": readable(429),
    "503 by the gateway": readable(503),
}


@pytest.mark.parametrize("refusal", LATER.values(), ids=LATER)
@pytest.mark.parametrize("path", ["/metadata", "/actors", "/gateway"])
async def test_each_request_of_a_reconnect_is_asked_later(path: str, refusal: bytes) -> None:
    server = RivetPeer("2.3.19", [])
    server.cuts = 1
    async with using(server) as (client, delays), client.c.get_or_create("k").connect() as conn:
        server.busy = {path: refusal}
        with pytest.raises(ConnectionLostError):
            await conn.action("cut")
        assert await conn.action("back") == "back"
    assert delays.seconds == [0.25, 7.0] and not server.busy


@pytest.mark.parametrize("refusal", LATER.values(), ids=LATER)
@pytest.mark.parametrize("path", ["/metadata", "/actors", "/gateway"])
async def test_each_request_of_the_first_attempt_is_asked_later(path: str, refusal: bytes) -> None:
    server = RivetPeer("2.3.19", [])
    server.busy = {path: refusal}
    async with (
        using(server) as (client, delays),
        client.c.get_or_create("k").connect(wait_for_server=True) as conn,
    ):
        assert await conn.action("here") == "here"
    assert delays.seconds == [7.0] and not server.busy


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("refusal", LATER.values(), ids=LATER)
@pytest.mark.parametrize("path", ["/metadata", "/actors", "/gateway"])
async def test_each_request_of_a_repeated_call_is_asked_later(path: str, refusal: bytes) -> None:
    server = RivetPeer("2.3.19", [])
    server.busy = {path: refusal}
    async with using(server) as (client, delays):
        room = client.c.get_or_create("k")
        assert await room.action("here", retry_for=30.0) == "here"
    assert delays.seconds == [7.0] and not server.busy


@pytest.mark.parametrize("page", [text_page, encoded_page, long_page])
@pytest.mark.parametrize("status", [401, 403, 407])
@pytest.mark.parametrize("path", ["/actors", "/gateway"])
async def test_a_proxy_that_wants_credentials_is_not_asked_again(
    path: str, status: int, page: Callable[[int], bytes]
) -> None:
    server = RivetPeer("2.3.19", [])
    server.busy = {path: page(status)}
    async with using(server) as (client, delays):
        room = client.c.get_or_create("k")
        with pytest.raises(ConnectError) as called:
            await room.action("here", retry_for=30.0)
        server.busy = {path: page(status)}
        with pytest.raises(ConnectError) as connected:
            async with room.connect(wait_for_server=True):
                pytest.fail("it was let in")
    assert called.value.status == connected.value.status == status
    assert delays.seconds == []


async def test_a_repeated_call_waits_for_what_any_call_waits_for() -> None:
    body = '{"group":"actor","code":"not_found","message":"gone"}'
    server = RivetPeer("2.3.19", [])
    gone = http("404 Gone", "X-Rivet-Ray-Id: r\r\n", body)
    async with using(server) as (client, delays):
        for seconds in (None, 30.0):
            server.busy = {"/actors": gone}
            room = client.c.get_or_create("k")
            assert await room.action("here", retry_for=seconds) == "here"
    assert len(delays.seconds) == 2
