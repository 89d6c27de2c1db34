"""`wait_for_server`: what counts as a server that is away, and what raises at once."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any

import anyio
import pytest
import trustme

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    Connection,
    Retry,
)
from rivet_anyio._connection.outcome import Ended, is_final
from rivet_anyio.protocol.verdicts import Opening

from .gateway import running
from .raw import Peer, serving
from .test_websockets import echo

GUARD = 60
SOON = Retry(initial=0.001, maximum=0.01)


def waiting(client: Client) -> Connection:
    return client.actor("room").get_or_create("k").connect(wait_for_server=True)


def answer(status: int, body: Any, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    head = "\r\n".join(
        [
            f"HTTP/1.1 {status} X",
            "content-type: application/json",
            f"content-length: {len(content)}",
            "connection: close",
            *headers,
        ]
    )
    return head.encode() + b"\r\n\r\n" + content


def refused(status: int, group: str, code: str) -> bytes:
    error = {"group": group, "code": code, "message": "", "metadata": None}
    return answer(status, error, "x-rivet-ray-id: ray1")


NOWHERE = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
FOUND = answer(200, {"actor": {"actor_id": "a1", "name": "room", "key": "k"}, "created": True})


async def meet(*first: bytes) -> list[BaseException]:
    """Enter a connection whose first requests for the actor's id are answered like this.

    Returns:
        The error of each attempt that failed; that which entering raised, alone.
    """

    async def handler(peer: Peer) -> None:
        if peer.number <= len(first):
            await peer.head()
            await peer.send(first[peer.number - 1])
        elif peer.number == len(first) + 1:
            await peer.head()
            await peer.send(FOUND)
        else:
            await peer.open()
            await peer.serve_actions()

    with anyio.fail_after(GUARD):
        async with (
            serving(handler) as url,
            Client(url, metadata_lookup=False, encoding="json", retry=SOON) as client,
        ):
            conn = waiting(client)
            changes = conn.status_changes()
            try:
                async with conn:
                    pass
            except ActorError as final:
                return [final]
            return [change.error async for change in changes if change.error is not None]
    raise AssertionError("the block of the server was left early")


@pytest.mark.parametrize(
    ("status", "group", "code"),
    [
        (400, "namespace", "not_found"),
        (400, "actor", "no_runner_config_configured"),
        (500, "core", "internal_error"),
        (503, "guard", "actor_ready_timeout"),
    ],
)
async def test_an_engine_that_has_just_started(status: int, group: str, code: str) -> None:
    errors = await meet(*[refused(status, group, code)] * 12)
    assert len(errors) == 12
    assert all(isinstance(e, ActorError) and (e.group, e.code) == (group, code) for e in errors)


async def test_a_proxy_in_front_of_nobody() -> None:
    errors = await meet(
        *[b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"] * 3
    )
    assert [type(error) for error in errors] == [ConnectError] * 3


@pytest.mark.parametrize(
    ("status", "group", "code"),
    [(403, "auth", "forbidden"), (400, "actor", "input_too_large"), (401, "api", "unauthorized")],
)
async def test_a_refusal_raises_at_once(status: int, group: str, code: str) -> None:
    (error,) = await meet(refused(status, group, code))
    assert isinstance(error, ActorError)
    assert (error.group, error.code) == (group, code)


async def test_metadata_is_asked_for_before_every_attempt() -> None:
    """A proxy may answer 404 for a server that comes later, in whatever version."""
    asked: list[str] = []

    async def handler(peer: Peer) -> None:
        asked.append((await peer.head()).split(" ", 2)[1].partition("?")[0])
        if asked.count("/metadata") <= 2:
            await peer.send(NOWHERE)
        else:
            await peer.send(refused(403, "auth", "forbidden"))

    with anyio.fail_after(GUARD):
        async with serving(handler) as url, Client(url, encoding="json", retry=SOON) as client:
            with pytest.raises(ActorError, match="forbidden"):
                async with waiting(client):
                    pytest.fail("the body ran")
    assert asked == ["/metadata", "/actors", "/metadata", "/actors", "/metadata"]


@pytest.mark.parametrize("waits", [True, False])
async def test_an_actor_that_cannot_start_for_a_known_reason(waits: bool) -> None:
    ended = Ended(
        ActorError("guard", "actor_runner_failed"),
        opened=False,
        opening=Opening.NOT_READY,
        explained=True,
    )
    assert is_final(ended, has_been_open=False, creates=True, waits=waits) is not waits
    assert not is_final(ended, has_been_open=True, creates=True, waits=waits)


async def test_a_name_that_cannot_be_resolved_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Not known")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with anyio.move_on_after(GUARD) as guard:
        async with (
            Client("http://nowhere.invalid:1", retry=SOON) as client,
            anyio.create_task_group() as tasks,
        ):
            conn = waiting(client)
            changes = conn.status_changes()

            async def enter() -> None:
                async with conn:
                    pytest.fail("the body ran")

            tasks.start_soon(enter)
            failures = 0
            async for change in changes:
                failures += "cannot be resolved" in str(change.error)
                if failures == 5:
                    break
            tasks.cancel_scope.cancel()
    assert not guard.cancelled_caught


async def test_a_certificate_that_is_not_accepted_raises_at_once() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with running(echo, tls=context) as gateway, anyio.fail_after(GUARD):
        async with Client(gateway.url) as client:
            with pytest.raises(ConnectError, match=r"certificate .* is not accepted"):
                async with waiting(client):
                    pytest.fail("the body ran")
