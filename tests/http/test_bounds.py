"""An answer is bounded in all its parts: 32 KiB of head, 100 fields, 16 answers before the last.

Every answer here ends well, so whoever sets no bounds takes it and fails the test at once.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable

import anyio
import pytest

from rivet_anyio import ProtocolError
from tests.peers.raw import Peer

from .wire import (
    ACTOR,
    GUARD,
    KINDS,
    WHOLE,
    Request,
    ask,
    body_of,
    failures,
    prepare,
    refused,
    result_of,
    using,
    whole,
)

KIB, MIB = 1024, 1024 * 1024
UNBOUNDED = "nothing bounds this part of an answer"


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


def with_fields(fields: bytes) -> Callable[[bytes], bytes]:
    """Put more fields into the head of an answer."""
    return lambda answer: answer.replace(b"\r\n", b"\r\n" + fields, 1)


def behind(before: bytes) -> Callable[[bytes], bytes]:
    """Put something before an answer."""
    return lambda answer: before + answer


HEADS: dict[str, Callable[[bytes], bytes]] = {
    "one long field": with_fields(b"X-A: " + b"b" * 48 * KIB + b"\r\n"),
    "many fields": with_fields(b"X-A: b\r\n" * 1000),
    "many answers before it": behind(
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" * 500
    ),
    "long hints": behind(
        b"HTTP/1.1 103 Early Hints\r\nLink: " + b"b" * 48 * KIB + b"\r\n\r\n",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", HEADS)
async def test_a_head_is_bounded(case: str, kind: str) -> None:
    async with using(kind) as (wire, client):
        wire.change(kind, HEADS[case])
        with anyio.fail_after(GUARD):
            await refused(client, kind)
            await wire.ends(wire.last(kind).connection)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_head_of_1_mib(kind: str) -> None:
    async with using(kind) as (wire, client):
        wire.change(kind, with_fields(b"X-A: " + b"b" * MIB + b"\r\n"))
        with anyio.fail_after(GUARD):
            await refused(client, kind)
            await wire.ends(wire.last(kind).connection)


@pytest.mark.parametrize("kind", KINDS)
async def test_heads_within_the_bounds(kind: str) -> None:
    """The control of the tests above: these are big, and taken."""
    heads = (
        with_fields(b"X-A: " + b"b" * 16 * KIB + b"\r\n"),
        with_fields(b"X-A: b\r\n" * 80),
        behind(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 8),
    )
    async with using(kind) as (wire, client):
        for head in heads:
            wire.change(kind, head)
            with anyio.fail_after(GUARD):
                assert await ask(client, kind) == result_of(kind)


def chunked(body: bytes, *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """An answer whose chunks are one byte each."""
    chunks = b"".join(b"1%b\r\n%c\r\n" % (extension, byte) for byte in body)
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head + chunks + b"0\r\n" + trailers + b"\r\n"


FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "a long extension": lambda body: chunked(body, extension=b";a=" + b"b" * 48 * KIB),
    "a long trailer": lambda body: chunked(body, trailers=b"X-A: " + b"b" * 48 * KIB + b"\r\n"),
    "many trailers": lambda body: chunked(body, trailers=b"X-A: b\r\n" * 1000),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("case", FRAMES)
async def test_what_stands_around_a_chunk_is_bounded(case: str, kind: str) -> None:
    async with using(kind) as (wire, client):
        wire.answer(kind, FRAMES[case](body_of(kind)))
        with anyio.fail_after(GUARD):
            await refused(client, kind)


@pytest.mark.parametrize("kind", WHOLE[:-1])
async def test_chunk_extensions_count(kind: str) -> None:
    """A body of 1,000 bytes that takes ten times `max_message_size` on the wire."""
    async with using(kind, max_message_size=MIB) as (wire, client):
        body = body_of(kind).ljust(1000)
        wire.answer(kind, chunked(body, extension=b";a=" + b"b" * 10 * KIB))
        with anyio.fail_after(GUARD):
            await refused(client, kind)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("fetch", "200 OK"),
        ("fetch", "503 Busy"),
        ("stream", "503 Busy"),
        ("stream", "200 OK"),
    ],
)
async def test_a_body_in_endless_chunks(kind: str, status: str) -> None:
    """The client stops reading. The length that the head names is that of a short error."""
    sent = 0

    async def meeting(peer: Peer, request: Request) -> None:
        nonlocal sent
        await peer.send(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"10000\r\n" + b"a" * 64 * KIB + b"\r\n"
        while sent < 48 * MIB:
            await peer.send(chunk)
            sent += len(chunk)
        await peer.send(b"0\r\n\r\n")

    async with using(kind, max_message_size=MIB) as (wire, client):
        wire.instead[kind] = meeting
        with anyio.fail_after(GUARD):
            if kind == "fetch":
                await refused(client, kind)
            else:
                try:
                    async with client.x.get_for_id(ACTOR).stream("stream"):
                        pass
                except failures(kind):
                    pass
    # What the kernel has taken for either side is some MiB.
    assert sent < 24 * MIB


BODY = b"x" * 4 * MIB
LONG: dict[str, bytes] = {
    "length": whole(BODY),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "error": whole(BODY, status="500 Internal Server Error"),
    "gzip": whole(gzip.compress(BODY), "Content-Encoding: gzip"),
    "deflate": whole(zlib.compress(BODY), "Content-Encoding: deflate"),
}


@pytest.mark.parametrize("frame", LONG)
async def test_fetch_is_bounded(frame: str) -> None:
    """By `max_message_size`, whatever the frame; compressed, it is refused or counted unpacked."""
    async with using(max_message_size=MIB) as (wire, client):
        wire.answer("fetch", LONG[frame])
        with anyio.fail_after(GUARD):
            assert isinstance(await refused(client, "fetch"), ProtocolError)


async def test_the_longest_fetch() -> None:
    """The control of the test above."""
    async with using(max_message_size=len(BODY)) as (wire, client):
        for frame in ("length", "chunks", "error"):
            wire.answer("fetch", LONG[frame])
            with anyio.fail_after(GUARD):
                assert await ask(client, "fetch") == BODY.decode()


@pytest.mark.parametrize(
    "kind",
    KINDS[1:],
)
async def test_nothing_asks_for_compression(kind: str) -> None:
    async with using() as (wire, client):
        with anyio.fail_after(GUARD):
            await ask(client, kind)
        asked = re.findall(r"(?im)^accept-encoding: *(.*?)\r?$", wire.last(kind).head)
    assert asked in ([], ["identity"])


async def test_compression_that_was_asked_for_is_bounded() -> None:
    """0.3 MB of it became 300 MB."""
    bomb = gzip.compress(bytes(32 * MIB))
    assert len(bomb) < 64 * KIB
    async with using(max_message_size=MIB) as (wire, client):
        actor = client.x.get_for_id(ACTOR)
        wire.answer("fetch", whole(gzip.compress(b"short"), "Content-Encoding: gzip"))
        with anyio.fail_after(GUARD):
            response = await actor.fetch("fetch", headers={"Accept-Encoding": "gzip"})
        assert response.content == b"short"
        wire.answer("fetch", whole(bomb, "Content-Encoding: gzip"))
        with anyio.fail_after(GUARD):
            try:
                response = await actor.fetch("fetch", headers={"Accept-Encoding": "gzip"})
            except ProtocolError:
                return
    raise AssertionError(f"{len(response.content)} bytes were accepted")


async def test_compression_of_what_is_compressed() -> None:
    """269 bytes became 2 GiB in memory before they were counted."""
    bomb = gzip.compress(gzip.compress(gzip.compress(bytes(32 * MIB))))
    async with using(max_message_size=MIB) as (wire, client):
        actor = client.x.get_for_id(ACTOR)
        field = "Content-Encoding: gzip, identity, GZIP\r\nContent-Encoding: gzip"
        wire.answer("fetch", whole(bomb, field))
        with anyio.fail_after(GUARD):
            with pytest.raises(
                ProtocolError, match="several content encodings, 'gzip, gzip, gzip'"
            ):
                await actor.fetch("fetch", headers={"Accept-Encoding": "gzip"})
            for way in ("aiter_bytes", "aiter_text", "aiter_lines"):
                wire.answer("stream", whole(bomb, field))
                async with actor.stream("stream") as response:
                    with pytest.raises(ProtocolError, match="several content encodings"):
                        async for _ in getattr(response, way)():
                            raise AssertionError("it was decoded")
                wire.answer("stream", whole(bomb, field))
                async with actor.stream("stream") as response:
                    assert b"".join([piece async for piece in response.aiter_raw()]) == bomb
