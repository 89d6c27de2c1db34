"""A server that writes for the terminal and the log of whoever reads its errors."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest

from rivet_anyio import ActorError, ConnectionLostError, RivetError
from tests.http.wire import GUARD, KINDS, Request, ask, using, whole
from tests.peers.raw import INIT, Peer, close, response, text

EVIL = "\x1b[2J\r\nCRITICAL: forged\x07\x7f\x9b31m\u2028\u202e\u2066"
ESCAPED = r"\x1b[2J\r\nCRITICAL: forged\x07\x7f\x9b31m\u2028\u202e\u2066"  # as Python writes them


def error_body(**fields: Any) -> dict[str, Any]:
    return {"group": f"g{EVIL}", "code": f"c{EVIL}", "message": f"m{EVIL}", **fields}


def check_logged(caplog: pytest.LogCaptureFixture) -> None:
    for record in caplog.records:
        if record.name == "rivet_anyio":
            assert record.getMessage().isprintable(), record.getMessage()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_the_server(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rivet_anyio")
    fields = (f"X-Rivet-Ray-ID: r{chr(0x9B)}",)
    body = json.dumps(error_body(metadata=[EVIL])).encode()
    with anyio.fail_after(GUARD):
        async with using(kind) as (wire, client):
            wire.answer(kind, whole(body, *fields, status="400 No").decode().encode("latin-1"))
            if kind in ("fetch", "stream"):
                assert await ask(client, kind) == body.decode()  # the actor's own answer
                return
            if kind == "metadata":
                await ask(client, kind)  # goes on without
                return
            with pytest.raises(RivetError) as caught:
                await ask(client, kind)
    error = caught.value
    assert str(error).isprintable() and ESCAPED in str(error), str(error)
    if isinstance(error, ActorError):
        assert error.message == f"m{EVIL}" and error.metadata == [EVIL]
        assert error.ray_id == "r\x9b"
    check_logged(caplog)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"fetch", "stream", "metadata"}))
@pytest.mark.parametrize(
    "answer",
    [
        "HTTP/1.1 307 \x9b31m\r\nLocation: http://\x9b/\x9b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 \x9b31m\r\nContent-Length: 8\r\n\r\n\x1b\x9b\r\nnot \n",
        "HTTP/1.1 400 \x9b\r\nX-Rivet-Error: a\x9b.b\x9b\r\nContent-Length: 3\r\n\r\n\x1b\r\n",
        "HTTP/1.1 200 \x9b\r\nContent-Encoding: \x9b\r\nContent-Length: 3\r\n\r\n\x1b\r\n",
        "HTTP/1.1 200 \x9b\r\nContent-Length: 3\r\n\r\n\x1b\r\n",
        "\x9b\x1b[2J\r\n\r\n",
    ],
    ids=["redirect", "failure", "header", "encoding", "result", "no HTTP"],
)
async def test_an_answer_that_is_none(
    kind: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rivet_anyio")
    with anyio.fail_after(GUARD):
        async with using(kind) as (wire, client):
            wire.answer(kind, answer.encode("latin-1"))
            with pytest.raises(RivetError) as caught:
                await ask(client, kind)
    found: BaseException | None = caught.value
    while isinstance(found, RivetError):
        assert str(found).isprintable(), str(found)
        found = found.__cause__
    check_logged(caplog)


def meeting(data: bytes) -> Any:
    async def talk(peer: Peer, request: Request) -> None:
        await peer.send(peer.accept(request.head) + data)
        await peer.silence()

    return talk


REFUSAL = text({"tag": "Error", "val": error_body(actionId=None)})
EVIL_INIT = {**INIT, "val": {"actorId": f"a1{EVIL}", "connectionId": EVIL}}


@pytest.mark.parametrize(
    "data",
    [
        close(1011, f"g.c#{EVIL}"),
        close(1011, f"not_found{EVIL}"),
        close(4000, EVIL),
        REFUSAL + close(1011),
        text({"tag": EVIL, "val": {}}),
        text(EVIL_INIT) + REFUSAL + close(1011, f"group.code#{EVIL}"),
        text(INIT) + REFUSAL + close(4000, EVIL),
        text(INIT) + response(EVIL, 0),
        text(INIT) + response(2**70, EVIL),
    ],
    ids=[
        "error in a reason", "code in a reason", "reason", "refusal", "tag",
        "error and loss", "reason of a loss", "id that is none", "action never sent",
    ],
)  # fmt: skip
async def test_what_comes_on_a_connection(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rivet_anyio")
    retry: Any = None
    with anyio.fail_after(GUARD):
        async with using("connect") as (wire, client):
            wire.instead["connect"] = meeting(data)
            try:
                async with client.x.get_for_id("a1").connect(retry=retry) as conn:
                    await conn.action("never")
            except RivetError as error:
                assert str(error).isprintable(), str(error)
    check_logged(caplog)


async def test_the_reason_is_kept_as_it_came() -> None:
    with anyio.fail_after(GUARD):
        async with using("websocket") as (wire, client):
            wire.instead["websocket"] = meeting(close(4000, EVIL))
            async with client.x.get_for_id("a1").websocket() as socket:
                with pytest.raises(ConnectionLostError) as caught:
                    await socket.receive()
    assert caught.value.reason == EVIL
    assert str(caught.value).endswith(ESCAPED)
