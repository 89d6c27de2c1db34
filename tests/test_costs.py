"""What must not grow: work per event, per message, per call. Counted, or with much room to err."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from rivet_anyio import Client
from rivet_anyio._connection.events import EventBuffer, Overflow
from rivet_anyio._websocket.frames import RFC6455Framer
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio.protocol import encodings
from rivet_anyio.protocol.values import revive_arguments

from .peers.raw import Peer, frame, serving, text


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's."""
    count = 0

    def see(_frame: object, kind: str, _argument: object) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    # Finalizers of what other tests left are no part of the work.
    gc.collect()
    gc.disable()
    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def buffer(size: int, overflow: Overflow) -> EventBuffer:
    return EventBuffer(
        "e",
        since=0.0,
        buffer_size=size,
        buffer_bytes=1 << 40,
        overflow=overflow,
        gaps="ignore",
        unsubscribe=lambda buffer: None,
        abandon=lambda buffer: None,
    )


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "block"])
def test_an_event_costs_the_same_in_a_full_buffer(overflow: Overflow) -> None:
    def cost(size: int) -> int:
        filled = buffer(size, overflow)
        for i in range(size + 1):  # one too many: the first that is dropped is logged
            filled.push((i, 10))

        def work() -> None:
            for i in range(100):
                filled.push((i, 10))
            for _ in range(100):
                filled.pop()

        return calls(work)

    assert cost(10_000) == cost(100)


class Item:
    """Something that waits, and counts how often it is compared."""

    size = 1
    compared = 0

    def take(self) -> bytes:
        return b""

    def take_back(self) -> None:
        pass

    def sent(self) -> None:
        """Nothing waits for it."""

    def fail(self, error: Exception) -> None:
        raise AssertionError("it can be written") from error

    def __eq__(self, other: object) -> bool:
        Item.compared += 1
        return self is other

    def __hash__(self) -> int:
        return id(self)


def test_taking_calls_back_looks_at_no_others() -> None:
    outbox = Outbox()
    items = [Item() for _ in range(2000)]
    for item in items:
        outbox.put(item)
    Item.compared = 0
    for item in reversed(items):
        assert outbox.discard(item)
    assert Item.compared < 4 * len(items)
    assert not outbox.items


@pytest.mark.parametrize("opcode", [1, 2])
@pytest.mark.parametrize("fragment", [64, 4096, 1 << 30], ids=["tiny", "small", "none"])
def test_a_message_costs_as_much_as_it_is_long(opcode: int, fragment: int) -> None:
    def seconds(size: int) -> float:
        parts = [b"x" * min(fragment, size)] * max(1, size // fragment)
        data = b"".join(
            frame(0 if i else opcode, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)
        )
        pieces = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        framer = RFC6455Framer(1 << 30)
        began = time.process_time()
        got = [len(whole) for piece in pieces for whole in framer.receive(piece)]
        assert got == [size]
        return time.process_time() - began

    small = min(seconds(1 << 18) for _ in range(5))
    # 16 times as long: 256 times as much work, if something were copied again and again.
    assert seconds(1 << 22) < 100 * max(small, 0.0005)


async def test_an_event_is_read_once_for_all_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []

    def counting(tree: Any, form: Any) -> Any:
        read.append(tree)
        return revive_arguments(tree, form)

    async def talk(peer: Peer) -> None:
        await peer.open()
        await peer.frame()
        await peer.send(text({"tag": "Event", "val": {"name": "e", "args": [["once"]]}}))
        await peer.serve_actions()

    async with (
        serving(talk) as url,
        Client(url, encoding="json", metadata_lookup=False) as client,
        client.probe.get_for_id("a1").connect() as conn,
    ):
        monkeypatch.setattr(encodings, "revive_arguments", counting)
        streams = [conn.events("e") for _ in range(64)]
        for stream in streams:
            assert await stream.receive() == ["once"]
    assert len(read) == 1
