"""A head has 10 seconds from its first byte to its end; so has whatever stands around a chunk.

The clocks of these tests are fast. Every answer here ends well after 60 of their seconds, so
whoever waits for it fails the test then.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from tests.peers.raw import INIT, Peer, text

from .wire import (
    HANDSHAKES,
    KINDS,
    RIGHT,
    Request,
    Wire,
    ask,
    body_of,
    good,
    in_chunks,
    prepare,
    refused,
    result_of,
    take_body,
    using,
)

RATE = 60.0
SLOW = 60
GUARD = 100 * RATE


class _Selector(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / RATE if timeout else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is fast."""

    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return time.monotonic() * RATE


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": FastLoop}
    return "trio", {"clock": MockClock(rate=RATE)}


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


Drip = Callable[[Peer, bytes], Awaitable[None]]


async def each_second(peer: Peer, piece: bytes) -> None:
    for _ in range(SLOW):
        await peer.send(piece)
        await anyio.sleep(1)


async def drip_the_status(peer: Peer, answer: bytes) -> None:
    line, _, rest = answer.partition(b"\r\n")
    await peer.send(line + b" ")
    await each_second(peer, b"x")
    await peer.send(b"\r\n" + rest)


async def drip_fields(peer: Peer, answer: bytes) -> None:
    line, _, rest = answer.partition(b"\r\n")
    await peer.send(line + b"\r\n")
    await each_second(peer, b"X-A: b\r\n")
    await peer.send(rest)


async def drip_early_answers(peer: Peer, answer: bytes) -> None:
    await each_second(peer, b"HTTP/1.1 102 Processing\r\n\r\n")
    await peer.send(answer)


HEADS: dict[str, Drip] = {
    "status": drip_the_status,
    "fields": drip_fields,
    "early answers": drip_early_answers,
}


def dripping(wire: Wire, kind: str, drip: Drip) -> None:
    """The next request of this kind meets its answer drop by drop."""

    async def meeting(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        if kind in HANDSHAKES:
            await drip(peer, peer.accept(request.head))
            await peer.send(text(INIT) if kind == "connect" else b"")
            await peer.serve_actions()
        else:
            await drip(peer, good(kind))

    wire.instead[kind] = meeting


@pytest.mark.parametrize("drip", HEADS)
async def test_a_head_that_drips(drip: str) -> None:
    """All kinds of requests at once: each has the time for itself."""
    accepted: list[str] = []

    async def one(kind: str) -> None:
        async with using(kind, connect_timeout=1000) as (wire, client):
            dripping(wire, kind, HEADS[drip])
            try:
                await refused(client, kind)
            except AssertionError:
                accepted.append(kind)

    with anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            for kind in KINDS:
                tasks.start_soon(one, kind)
    assert not accepted


@pytest.mark.parametrize("part", ["extension", "trailers"])
@pytest.mark.parametrize("kind", ["action", "fetch", "put"])
async def test_chunks_that_drip(kind: str, part: str) -> None:
    async def meeting(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        answer = in_chunks(body_of(kind))
        size_at = answer.index(b"\r\n\r\n") + 4
        at = answer.index(b"\r\n", size_at) if part == "extension" else len(answer) - 2
        await peer.send(answer[:at])
        if part == "extension":
            await peer.send(b";a=")
        await each_second(peer, b"b" if part == "extension" else b"X-A: b\r\n")
        await peer.send(answer[at:])

    async with using(kind, connect_timeout=1000) as (wire, client):
        wire.instead[kind] = meeting
        with anyio.fail_after(GUARD):
            await refused(client, kind)


async def test_what_may_be_slow() -> None:
    """The control of the tests above: the first byte of a head, and a body."""

    async def meeting(peer: Peer, request: Request) -> None:
        await take_body(peer, request.head)
        answer = good("fetch")
        await anyio.sleep(SLOW)
        at = answer.index(b"\r\n\r\n") + 4
        await peer.send(answer[:at])
        for byte in answer[at:]:
            await anyio.sleep(SLOW / len(RIGHT))
            await peer.send(bytes((byte,)))

    async with using(connect_timeout=1000) as (wire, client):
        wire.instead["fetch"] = meeting
        with anyio.fail_after(GUARD):
            assert await ask(client, "fetch") == result_of("fetch")
