"""An answer ends where it says it ends. What comes behind it is the answer of nothing.

(RFC 9112, section 6.3; the other end may be an actor's own web handler.)
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from rivet_anyio import ActorError
from tests.peers.raw import Peer

from .wire import (
    ACTOR,
    GUARD,
    HANDSHAKES,
    KINDS,
    RIGHT,
    WHOLE,
    Request,
    ask,
    body_of,
    failures,
    good,
    in_chunks,
    prepare,
    refusal,
    refused,
    result_of,
    using,
    whole,
)

BEHIND = "bytes behind an answer are read as the answer to the next request"


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


def framed(framing: str, kind: str) -> bytes:
    """A good answer in another frame."""
    body = body_of(kind)
    return {
        "length": whole(body),
        "chunks": in_chunks(body),
        "trailers": in_chunks(body, after=b"X-Last: 1\r\n"),
        "error": refusal("user", "no", "400 Bad Request"),
    }[framing]


def behind(kind: str) -> bytes:
    """A whole answer that nobody asked for; a request of this kind would believe it."""
    return (
        refusal("user", "smuggled", "403 Forbidden") if kind in HANDSHAKES else good(kind, "evil")
    )


async def first_then_second(first: str, second: str, answer: bytes) -> None:
    """The second request goes over another connection than the first, and gets its own answer."""
    async with using(first) as (wire, client):
        wire.answer(first, answer)
        with anyio.fail_after(GUARD):
            try:
                result = await ask(client, first)
            except ActorError as error:
                result = error.code
            assert result == result_of(first) or "no" in result
            spoilt = wire.last(first).connection
            assert await ask(client, second) == result_of(second)
        assert wire.last(second).connection != spoilt


@pytest.mark.parametrize("first", WHOLE)
async def test_an_answer_behind_the_answer(first: str) -> None:
    await first_then_second(first, "action", good(first) + behind("action"))


@pytest.mark.parametrize("second", KINDS[1:])
async def test_whoever_comes_next(second: str) -> None:
    await first_then_second("fetch", second, good("fetch") + behind(second))


@pytest.mark.parametrize("framing", ("length", "chunks", "trailers", "error"))
@pytest.mark.parametrize("first", ["fetch", "action"])
async def test_each_framing(first: str, framing: str) -> None:
    await first_then_second(first, "find", framed(framing, first) + behind("find"))


@pytest.mark.parametrize(
    "extra", ("\r\n", "\n", "\r\n\r\n", " ", "\0", "HTTP/1.1 200 OK\r\n", "x" * 9)
)
async def test_any_byte_behind_the_answer(extra: str) -> None:
    """Blank space among them."""
    await first_then_second("fetch", "action", good("fetch") + extra.encode())


@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [
        pytest.param("HEAD", "200 OK", ("Content-Length: 5",), id="HEAD"),
        pytest.param("HEAD", "200 OK", ("Transfer-Encoding: chunked",), id="HEAD-chunked"),
        pytest.param("GET", "204 No Content", (), id="204"),
        pytest.param("GET", "204 No Content", ("Content-Length: 5",), id="204-length"),
        pytest.param("GET", "304 Not Modified", ("Content-Length: 5",), id="304"),
    ],
)
async def test_an_answer_that_has_no_body(
    method: str, status: str, fields: tuple[str, ...]
) -> None:
    """What looks like its body lies behind it. (RFC 9112, section 6.3, number 1)"""
    head = "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()
    async with using() as (wire, client):
        wire.answer("fetch", head + b"hello" + good("action", "evil"))
        actor = client.x.get_for_id(ACTOR)
        with anyio.fail_after(GUARD):
            response = await actor.fetch("fetch", method=method)
            assert response.status_code == int(status[:3]) and not response.content
            assert await ask(client, "action") == RIGHT
        assert wire.last("action").connection != wire.last("fetch").connection


async def test_an_answer_without_a_body_leaves_the_socket_as_it_was() -> None:
    """The control of the test above: nothing lies behind, so the socket is used again."""
    async with using() as (wire, client):
        actor = client.x.get_for_id(ACTOR)
        heads = (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        )
        for method, head in heads:
            wire.answer("fetch", head)
            with anyio.fail_after(GUARD):
                assert not (await actor.fetch("fetch", method=method)).content
        with anyio.fail_after(GUARD):
            assert await ask(client, "action") == RIGHT
        assert {each.connection for each in wire.requests} == {1}


@pytest.mark.parametrize("first", ["fetch", "action", "put"])
async def test_content_length_beside_transfer_encoding(first: str) -> None:
    """The answer is refused, or read in chunks; its socket is never used again. (RFC 9112, 6.1)"""
    async with using() as (wire, client):
        wire.answer(first, in_chunks(body_of(first), "Content-Length: 3"))
        with anyio.fail_after(GUARD):
            try:
                assert await ask(client, first) == result_of(first)
            except failures(first):
                pass
            spoilt = wire.last(first).connection
            assert await ask(client, "find") == result_of("find")
        assert wire.last("find").connection != spoilt


REFUSED: dict[str, Callable[[str], bytes]] = {
    "two lengths": lambda kind: whole(body_of(kind), "Content-Length: 3"),
    "two lengths in one field": lambda kind: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 5\r\n\r\n" + body_of(kind)
    ),
    "a negative length": lambda kind: b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    "a length with a sign": lambda kind: b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
    "a length of 26 digits": lambda kind: (
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 26 + b"\r\n\r\nabc"
    ),
    "an unknown encoding": lambda kind: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + body_of(kind)
    ),
    "a chunk without a size": lambda kind: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n"
    ),
    "a chunk with a negative size": lambda kind: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"
    ),
    "a chunk that is longer than its size": lambda kind: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n"
    ),
    "a folded field name": lambda kind: (
        b"HTTP/1.1 200 OK\r\n Content-Length: 3\r\n\r\n" + body_of(kind)
    ),
    "white space before a colon": lambda kind: (
        b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\n" + body_of(kind)
    ),
    "a status of two digits": lambda kind: b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2 in clear": lambda kind: b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no HTTP": lambda kind: b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a 101 that nobody asked for": lambda kind: (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    ),
}


@pytest.mark.parametrize(
    "kind",
    KINDS,
)
async def test_refused_rather_than_guessed(kind: str) -> None:
    """With one of the errors of this library, and the socket is ended at once."""
    async with using(kind) as (wire, client):
        for case, answer in REFUSED.items():
            if kind in HANDSHAKES and "101" in case:
                continue
            wire.stop(kind, answer(kind))
            with anyio.fail_after(GUARD):
                assert await refused(client, kind), case
                await wire.ends(wire.last(kind).connection)


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_an_answer_before_its_request(kind: str) -> None:
    """It came while the socket was idle, so it answers nothing."""
    async with using() as (wire, client):
        sent = anyio.Event()

        async def meeting(peer: Peer, request: Request) -> None:
            await peer.send(good("fetch"))
            await answered.wait()
            await peer.send(behind(kind))
            sent.set()
            await peer.silence()

        answered = anyio.Event()
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            assert await ask(client, "fetch") == RIGHT
            answered.set()
            await sent.wait()
            assert await ask(client, kind) == result_of(kind)
        assert wire.requests[-1].connection == 2
