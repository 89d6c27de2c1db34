"""What waits when a connection opens leaves, all of it, though nothing is put after it."""

from __future__ import annotations

import anyio

from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.outbox import HIGH_WATER, Outbox, capacity
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

SECONDS = 30


class Stream:
    """A byte stream that takes everything at once, from a peer that is silent."""

    writes_now = True

    def __init__(self) -> None:
        self.written = 0

    async def read(self, max_bytes: int) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError("it sleeps forever")

    def read_now(self, max_bytes: int) -> bytes | None:
        return None

    def is_quiet(self) -> bool:
        raise AssertionError("it is in use")

    def drop(self) -> None:
        raise AssertionError("a socket leaves its stream open")

    async def write(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.written += len(data)

    def write_now(self, data: bytes) -> int:
        self.written += len(data)
        return len(data)

    def unsent(self) -> int:
        return 0

    async def aclose(self) -> None:
        raise AssertionError("a socket leaves its stream open")


class Sink:
    """Takes nothing."""

    def take(self, messages: list[str | bytes]) -> int:
        raise AssertionError("the peer is silent")

    def is_full(self) -> bool:
        return False

    def notify_when_free(self, signal: Signal) -> None:
        raise AssertionError("it is never full")


class Message:
    """A message that fills a batch, and may be one that cannot be written."""

    size = HIGH_WATER

    def __init__(self, error: Exception | None = None) -> None:
        self.left = anyio.Event()
        self._error = error

    def take(self) -> bytes:
        if self._error is not None:
            raise self._error
        return bytes(self.size)

    def take_back(self) -> None:
        raise AssertionError("the stream takes everything")

    def sent(self) -> None:
        self.left.set()

    def fail(self, error: Exception) -> None:
        assert error is self._error


async def test_more_than_one_batch_waits_when_the_connection_opens() -> None:
    await all_leave([Message(), Message(), Message()])


async def test_what_waits_behind_a_message_that_cannot_be_written() -> None:
    await all_leave([Message(ValueError("no")), Message()])


async def test_a_caller_that_is_cancelled_when_it_gets_capacity_lets_the_next_one_on() -> None:
    outbox, message = Outbox(), Message()
    outbox.put(message)
    scope = anyio.CancelScope()

    async def first() -> None:
        with scope:
            await capacity(outbox)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(capacity, outbox)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            outbox.discard(message)
    assert not outbox.must_wait


async def test_the_caller_behind_one_that_gave_up_waits_until_a_batch_is_taken() -> None:
    outbox = Outbox()
    outbox.put(Message())
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            with anyio.move_on_after(0):
                await capacity(outbox)
            tasks.start_soon(capacity, outbox)
            await anyio.wait_all_tasks_blocked()
            assert outbox.must_wait
            outbox.take()
    assert not outbox.must_wait


async def test_a_peer_that_answers_no_close_frame_is_left_in_time() -> None:
    stream, ends = Stream(), list[object]()
    socket = WebSocketConnection(
        stream,
        RFC6455Framer(1000),
        Outbox(),
        Sink(),
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )

    async def run() -> None:
        ends.append(await socket.run())

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await anyio.wait_all_tasks_blocked()
            socket.start_sending()
            socket.close(seconds=0.01)
    assert stream.written and "not closed in time" in str(ends)


async def all_leave(messages: list[Message]) -> None:
    outbox, stream = Outbox(), Stream()
    socket = WebSocketConnection(
        stream,
        RFC6455Framer(1000),
        outbox,
        Sink(),
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(socket.run)
            await anyio.wait_all_tasks_blocked()
            for message in messages:
                outbox.put(message)
            socket.start_sending()
            await messages[-1].left.wait()
            socket.drop()
