"""Answers of HTTP 200 and of 101 that no Rivet server gives to what was asked."""

from __future__ import annotations

from typing import Any, Literal

import anyio
import pytest

from rivet_anyio import Client, ConnectError, ConnectionLostError, ProtocolError
from tests.http.wire import GUARD, HANDSHAKES, Request, ask, using, whole
from tests.peers.raw import INIT, Peer, response, text

OTHER = text({"tag": "Init", "val": {"actorId": "a2", "connectionId": "c1"}})


async def meet_another(peer: Peer, request: Request) -> None:
    await peer.send(peer.accept(request.head) + OTHER)
    opcode, _ = await peer.frame()
    assert opcode == 8  # no action went to it


@pytest.mark.parametrize("by", ["id", "key"])
async def test_a_connection_leads_to_the_actor_that_was_asked_for(by: str) -> None:
    with anyio.fail_after(GUARD):
        async with using("connect") as (wire, client):
            actor = client.x.get_for_id("a1") if by == "id" else client.x.get("k")
            wire.instead["connect"] = meet_another
            with pytest.raises(ProtocolError, match=r"connected to actor 'a2', not to 'a1'"):
                async with actor.connect() as conn:
                    await conn.action("go")


async def test_nor_does_a_later_one_lead_to_another() -> None:
    async def lose(peer: Peer, request: Request) -> None:
        await peer.send(peer.accept(request.head) + text(INIT))
        await peer.action()
        wire.instead["connect"] = meet_another
        raise anyio.EndOfStream

    with anyio.fail_after(GUARD):
        async with using("connect") as (wire, client):
            wire.instead["connect"] = lose
            async with client.x.get_for_id("a1").connect() as conn:
                with pytest.raises(ConnectionLostError):
                    await conn.action("go")
                assert await conn.action("again") == "again"
                assert conn.actor_id == "a1"


async def test_an_actor_that_becomes_another_one_on_the_way() -> None:
    async def talk(peer: Peer, request: Request) -> None:
        await peer.send(peer.accept(request.head) + text(INIT))
        id, _ = await peer.action()
        await peer.send(OTHER + response(id, "of another"))
        await peer.heard()

    with anyio.fail_after(GUARD):
        async with using("connect") as (wire, client):
            wire.instead["connect"] = talk
            async with client.x.get_for_id("a1").connect() as conn:
                with pytest.raises(ConnectionLostError):
                    await conn.action("go")


NO_OUTPUT: list[tuple[Literal["json", "cbor"], bytes]] = [
    ("json", b'{"status":"ok"}'),
    ("json", b'{"error":{"code":500}}'),
    ("json", b'{"Output":1}'),
    ("cbor", b"\xa1eerrorax"),
]


@pytest.mark.parametrize(("encoding", "body"), NO_OUTPUT)
async def test_an_answer_without_an_output(encoding: Any, body: bytes) -> None:
    """Real servers give one, or nothing at all: `{}` for undefined, by RivetKit up to 2.2."""
    with anyio.fail_after(GUARD):
        async with using("action", encoding=encoding) as (wire, client):
            wire.answer("action", whole(body))
            with pytest.raises(ProtocolError, match="without the action's output"):
                await client.x.get_for_id("a1").action("go")


async def test_the_answer_that_means_undefined() -> None:
    with anyio.fail_after(GUARD):
        async with using("action") as (wire, client):
            wire.answer("action", whole(b"{}"))
            assert await client.x.get_for_id("a1").action("go") is None


@pytest.mark.parametrize("body", [b"", b"<html>log in first</html>", b"{}", b'{"error":"no"}'])
@pytest.mark.parametrize("kind", ["send", "send_and_wait"])
async def test_a_message_is_stored_when_the_actor_says_so(kind: str, body: bytes) -> None:
    async def check(client: Client) -> None:
        with pytest.raises(ProtocolError, match="cannot be read"):
            await ask(client, kind)

    with anyio.fail_after(GUARD):
        async with using(kind) as (wire, client):
            wire.answer(kind, whole(body))
            await check(client)


async def drip(peer: Peer) -> None:
    while True:
        await peer.send(b"x")
        await anyio.sleep(0.02)


@pytest.mark.parametrize("is_pressed", [False, True])
@pytest.mark.parametrize("length", ["Content-Length: 100000\r\n", ""])
@pytest.mark.parametrize("then", [drip, Peer.silence])
@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_a_refusal_whose_body_does_not_end(
    kind: str,
    then: Any,
    length: str,
    is_pressed: bool,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The status is known, and says that another attempt has no point. It is told in time."""
    if not is_pressed:
        monkeypatch.setattr("rivet_anyio._http.transport._REFUSAL_SECONDS", 0.1)

    async def refuse(peer: Peer, request: Request) -> None:
        await peer.send(f"HTTP/1.1 403 Forbidden\r\n{length}\r\nno".encode())
        await then(peer)

    with anyio.fail_after(GUARD):
        options: dict[str, Any] = {"connect_timeout": 1.0} if is_pressed else {}
        async with using(kind, **options) as (wire, client):
            wire.instead[kind] = refuse
            with pytest.raises(ConnectError, match="HTTP 403: b'no") as caught:
                await ask(client, kind)
            assert caught.value.status == 403
            await wire.ends(wire.last(kind).connection)


@pytest.mark.parametrize("status", ["304 Not Modified", "305 Use Proxy"])
async def test_not_every_3xx_is_a_redirect(status: str) -> None:
    with anyio.fail_after(GUARD):
        async with using("action") as (wire, client):
            wire.answer("action", whole(b"", status=status))
            with pytest.raises(ProtocolError, match=f"HTTP {status[:3]} without a readable error"):
                await ask(client, "action")
            wire.answer("websocket", whole(b"", status=status))
            with pytest.raises(ConnectError) as caught:
                await ask(client, "websocket")
            assert "redirect" not in str(caught.value)
