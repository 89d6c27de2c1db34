"""What must not grow: work per event, per message, per call. Counted, or with much room to err."""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from rivet_anyio import Client
from rivet_anyio._connection.events import EventBuffer, EventStream, Overflow
from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.connect import _resolve
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio._websocket.rfc6455 import RFC6455Framer
from rivet_anyio.protocol import bare, cbor_codec, trees
from rivet_anyio.protocol.codec import Codec
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.values import dump_cbor, dump_json, revive_arguments

from .conformance.framers import frames_of
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
        got = [len(whole) for piece in pieces for whole in frames_of(framer, piece)]
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
        monkeypatch.setattr(trees, "revive_arguments", counting)
        streams = [conn.events("e") for _ in range(64)]
        for stream in streams:
            assert await stream.receive() == ["once"]
    assert len(read) == 1


class Loopback:
    """A byte stream whose peer says some bytes, and which notes each write."""

    writes_now = True

    def __init__(self, *reads: bytes) -> None:
        self.to_read = list(reads)
        self.written: list[bytes] = []
        self.awaited_writes = 0

    async def read(self, max_bytes: int) -> bytes:
        if not self.to_read:
            await anyio.sleep_forever()
        return self.to_read.pop(0)

    def read_now(self, max_bytes: int) -> bytes | None:
        return self.to_read.pop(0) if self.to_read else None

    def is_quiet(self) -> bool:
        return not self.to_read

    async def write(self, data: bytes) -> None:
        self.awaited_writes += 1
        self.written.append(data)

    def write_now(self, data: bytes) -> int:
        self.written.append(data)
        return len(data)

    def unsent(self) -> int:
        return 0

    def drop(self) -> None:
        """Nothing has to end."""

    async def aclose(self) -> None:
        """Nothing has to end."""


class ToBuffer:
    """A sink that hands each message to a buffer."""

    def __init__(self, buffer: EventBuffer) -> None:
        self.buffer = buffer

    def take(self, messages: list[str | bytes]) -> int:
        for data in messages:
            self.buffer.push((data, len(data)))
        return len(messages)

    def is_full(self) -> bool:
        return False

    def notify_when_free(self, signal: Signal) -> None:
        raise AssertionError("it is never full")


class Message:
    """Something to send that knows whether it was."""

    size = 5

    def __init__(self) -> None:
        self.is_sent = False

    def take(self) -> bytes:
        return b"hello"

    def take_back(self) -> None:
        raise AssertionError("the stream takes everything")

    def sent(self) -> None:
        self.is_sent = True

    def fail(self, error: Exception) -> None:
        raise AssertionError("it can be written") from error


def connection(stream: Loopback, outbox: Outbox, events: EventBuffer) -> WebSocketConnection:
    return WebSocketConnection(
        stream,
        RFC6455Framer(1000),
        outbox,
        ToBuffer(events),
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )


@pytest.mark.parametrize("sent", [frame(2, b"event"), frame(1, b"text"), frame(10, b"pong")])
async def test_other_tasks_run_while_much_is_read(sent: bytes) -> None:
    closing = frame(8, b"\x03\xe8")
    steps = 0
    socket = connection(Loopback(sent * 4096 + closing), Outbox(), buffer(10_000, "raise"))

    async def count() -> None:
        nonlocal steps
        while socket.end is None:
            steps += 1
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await socket.run()
    assert steps >= 4096 / 128


async def test_a_consumer_wakes_up_once_for_each_read() -> None:
    events = buffer(1000, "raise")
    reads = [frame(2, b"event") * 60, frame(2, b"event") * 40]
    socket = connection(Loopback(*reads), Outbox(), events)
    stream: EventStream[Any] = EventStream(events, Any, "event")
    wakes = 0
    woken = Signal.set

    def counting(signal: Signal) -> None:
        nonlocal wakes
        wakes += 1
        woken(signal)

    with pytest.MonkeyPatch.context() as patch, anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:

            async def consume() -> None:
                for _ in range(100):
                    assert await stream.receive() == b"event"
                tasks.cancel_scope.cancel()

            tasks.start_soon(consume)
            await anyio.wait_all_tasks_blocked()
            patch.setattr(Signal, "set", counting)
            tasks.start_soon(socket.run)
    # Two reads, and the end of the connection.
    assert wakes <= 3


def first_events(codec: Codec) -> tuple[str | bytes, str | bytes]:
    """Two events of one name, in the encoding of the codec."""

    def event(number: int) -> str | bytes:
        value = {"name": "counted", "args": [number]}
        if codec.encoding == "bare":
            return b"\x04\x00\x03" + bare.text("counted") + bare.data(dump_cbor([number]))
        tree = {"body": {"tag": "Event", "val": value}}
        if codec.encoding == "json":
            return dump_json(tree).decode()
        return (
            b"\xa1dbody\xa2ctageEventcval\xa2dname"
            + dump_cbor("counted")
            + (b"dargs" + dump_cbor([number]))
        )

    return event(1), event(2)


@pytest.mark.parametrize("encoding", ["bare", "cbor"])
def test_an_event_is_a_tuple_known_by_its_prefix(
    encoding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_for(encoding, Dialect.PLAIN)
    first, second = first_events(codec)
    codec.read(first, {"counted"})

    def too_long(*args: Any) -> Any:
        raise AssertionError("all of the message was decoded")

    monkeypatch.setattr(type(codec), "server_message", too_long)
    monkeypatch.setattr(cbor_codec, "read_tree", too_long)
    read = codec.read(second, {"counted"})
    assert type(read) is tuple
    assert read == ("counted", 2)
    # Two look-ups, the arguments, and what makes Python values of them.
    if encoding == "cbor":
        assert calls(lambda: codec.read(second, {"counted"})) <= 20
        return
    assert calls(lambda: codec.events([second], {"counted"})) <= 20
    # Those that come together are decoded together.
    assert codec.events([second] * 64, {"counted"}) == (["counted"] * 64, [2] * 64)
    assert calls(lambda: codec.events([second] * 64, {"counted"})) <= 64 * 8


def test_an_action_over_http_is_read_in_one_step() -> None:
    codec = codec_for("bare", Dialect.PLAIN)
    assert codec.action_output(b"\x03\x00\x01\x07").load() == 7
    # The version, the length, the payload, and what makes a Python value of it.
    assert calls(lambda: codec.action_output(b"\x03\x00\x01\x07").load()) <= 16


def test_an_event_in_json_is_a_tuple() -> None:
    codec = codec_for("json", Dialect.PLAIN)
    read = [codec.read(event, {"counted"}) for event in first_events(codec)]
    assert read == [("counted", 1), ("counted", 2)]
    assert {type(one) for one in read} == {tuple}


async def test_what_is_ready_leaves_in_one_write() -> None:
    stream, outbox = Loopback(), Outbox()
    socket = connection(stream, outbox, buffer(10, "raise"))
    messages = [Message() for _ in range(50)]
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(socket.run)
            await anyio.wait_all_tasks_blocked()
            for message in messages:
                outbox.put(message)
            socket.start_sending()
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert all(message.is_sent for message in messages)
    assert len(stream.written) == 1


async def test_a_lone_caller_writes_in_one_step() -> None:
    stream = Loopback()
    socket = connection(stream, Outbox(), buffer(10, "raise"))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(socket.run)
            await anyio.wait_all_tasks_blocked()
            socket.start_sending()
            for number in range(1, 4):
                message = Message()
                socket.send(message)  # and nothing is awaited
                assert message.is_sent
                assert len(stream.written) == number
            cost = calls(lambda: socket.send(message))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert stream.awaited_writes == 0
    assert cost <= 60


def test_the_header_of_a_long_message_leaves_with_its_payload() -> None:
    size = 64 * 1024
    pieces = list(RFC6455Framer(1000).encode_in_pieces(bytes(4 * size), size))
    assert size - 4 < len(pieces[0]) <= size
    assert [len(piece) for piece in pieces[1:-1]] == [size] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="others may take a while")
async def test_a_dial_within_one_machine_waits_for_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (address,) = await _resolve(*listener.getsockname())
        with pytest.raises(StopIteration) as returned:
            address.attempt().send(None)
        returned.value.value.close()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_connection_that_is_closed_cancels_nothing(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To cancel takes long, also where nobody runs: AnyIO notes who did it."""
    cancelled = 0
    scopes: Any = type(anyio.CancelScope())
    cancel = scopes.cancel

    def counting(scope: Any, *args: Any) -> None:
        nonlocal cancelled
        cancelled += 1
        cancel(scope, *args)

    async def talk(peer: Peer) -> None:
        await peer.open()
        await peer.frame()
        if answers:
            await peer.send(frame(8, b"\x03\xe8"))
            await peer.silence()

    async with (
        serving(talk) as url,
        Client(url, encoding="json", metadata_lookup=False, close_timeout=600) as client,
    ):
        async with client.probe.get_for_id("a1").connect():
            monkeypatch.setattr(scopes, "cancel", counting)
        assert cancelled == 0
        monkeypatch.undo()
