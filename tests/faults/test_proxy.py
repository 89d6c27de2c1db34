"""What the faults rest on: the proxy knows where frames end, and never repeats a byte."""

from __future__ import annotations

import random

import anyio
import pytest

from rivet_anyio import Client, ConnectionLostError, Status

from .proxy import Proxy
from .toxics import Bandwidth, Latency, LimitData, Slicer
from .upgrades import Frames

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x82, size]) + payload
    if size < 65536:
        return bytes([0x82, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x82, 127]) + size.to_bytes(8, "big") + payload


@pytest.mark.parametrize("longest", [1, 7, 300, 100_000])
def test_frames_end_where_they_end(longest: int) -> None:
    chance = random.Random(longest)
    ends, sent = {len(HEAD)}, HEAD
    for size in (0, 1, 125, 126, 127, 65535, 65536, 0, 0, 3):
        sent += _frame(bytes(chance.randrange(256) for _ in range(size)))
        ends.add(len(sent))
    frames, position, found = Frames(), 0, set[int]()
    while position < len(sent):
        piece = sent[position : position + chance.randint(1, longest)]
        while piece:
            taken = frames.step(piece)
            assert taken > 0
            position += taken
            piece = piece[taken:]
            if frames.at_boundary:
                found.add(position)
    assert found == ends
    assert frames.count == 10
    assert not frames.refused


def test_an_answer_that_is_no_101() -> None:
    frames = Frames()
    for byte in b"HTTP/1.1 404 Not Found\r\n\r\n":
        assert frames.step(bytes([byte])) == 1
    assert frames.refused


async def test_a_close_waits_for_the_end_of_a_frame(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            changes = conn.status_changes()
            answers: list[str] = []

            async def ask() -> None:
                answers.append(await conn.echo("x" * 10_000))

            with proxy.toxic(Bandwidth(5_000), on=("down",)):
                async with anyio.create_task_group() as tasks:
                    begun = proxy.downstream_bytes
                    tasks.start_soon(ask)
                    await proxy.until(lambda proxy: proxy.downstream_bytes > begun + 100)
                    assert answers == []
                    proxy.close_websockets(1001)
            assert answers == ["x" * 10_000]
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    assert isinstance(change.error, ConnectionLostError)
                    assert change.error.code == 1001
                    break


async def test_bytes_come_whole_through_every_toxic(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(50))
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            first = conn.connection_id
            with proxy.toxic(Slicer(7), Bandwidth(100_000), Latency(0.0, 0.001)):
                assert await conn.echo(text) == text
            assert conn.connection_id == first


async def test_a_limit_cuts_in_the_middle_of_a_frame(
    client: Client, proxy: Proxy, key: list[str]
) -> None:
    limit = LimitData(100)
    with anyio.fail_after(60):
        async with client.probe.get_or_create(key).connect() as conn:
            begun = proxy.downstream_bytes
            with proxy.toxic(limit, on=("down",)):
                with pytest.raises(ConnectionLostError):
                    await conn.echo("x" * 1000)
                assert limit.tripped
                assert proxy.downstream_bytes == begun + 100
            assert await conn.echo(1) == 1
