"""Ctrl-C on Trio, at every line of what a caller does, wakes and leaves no one out."""

from __future__ import annotations

import signal
import sys
from types import CodeType, FrameType
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.outbox import HIGH_WATER, Outbox, capacity
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

SECONDS = 30


class Message:
    """A message that fills the outbox."""

    size = HIGH_WATER

    def __init__(self) -> None:
        self.left = anyio.Event()

    def take(self) -> bytes:
        return b"x"

    def take_back(self) -> None:
        raise AssertionError("the stream cannot write at once")

    def sent(self) -> None:
        self.left.set()

    def fail(self, error: Exception) -> None:
        raise AssertionError("it can be written") from error


class Interrupt:
    """Raises SIGINT when one code object comes to its nth line in this thread."""

    def __init__(self, code: CodeType, line: int) -> None:
        self.is_done = False
        self._code = code
        self._left = line

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not self._code or self.is_done:
            return None
        if event == "line":
            self._left -= 1
            if not self._left:
                self.is_done = True
                signal.raise_signal(signal.SIGINT)
        return self._trace


class Stream:
    """A byte stream that takes everything, from a peer that is silent."""

    writes_now = False

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

    def write_now(self, data: bytes) -> int:
        raise AssertionError("it cannot")

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


def new_socket(outbox: Outbox) -> WebSocketConnection:
    return WebSocketConnection(
        Stream(),
        RFC6455Framer(1000),
        outbox,
        Sink(),
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )


@pytest.mark.parametrize("line", range(1, 9))
def test_a_caller_that_waits_for_capacity(line: int) -> None:
    async def main() -> None:
        outbox, message = Outbox(), Message()
        new_socket(outbox)  # it protects what it uses
        outbox.put(message)

        async def make_capacity() -> None:
            await trio.testing.wait_all_tasks_blocked()
            outbox.discard(message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_capacity)
            try:
                with Interrupt(capacity.__code__, line):
                    await capacity(outbox)
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                pass
        assert not outbox.must_wait

    trio.run(main)


@pytest.mark.parametrize("line", range(1, 4))
def test_a_caller_that_wakes_the_writer(line: int) -> None:
    async def main() -> None:
        outbox, message = Outbox(), Message()
        socket = new_socket(outbox)
        async with trio.open_nursery() as nursery:
            socket.start_sending()
            nursery.start_soon(socket.run)
            await trio.testing.wait_all_tasks_blocked()
            try:
                outbox.put(message)
                with Interrupt(WebSocketConnection.notify.__code__, line) as interrupt:
                    socket.notify()
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                pass
            assert interrupt.is_done
            with trio.fail_after(SECONDS):
                await message.left.wait()
            socket.drop()

    trio.run(main)
