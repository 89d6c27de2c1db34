"""A program that blocks its event loop loses nothing that came in time."""

from __future__ import annotations

import socket
import time

import anyio

from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.connect import stream_over
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.framing import Close
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

SOON = 0.05
TIMES = 10
"""Trio runs tasks in any order."""
INIT = b"\x82\x01i"
CLOSE = b"\x88\x02\x03\xe8"


class Opening:
    """Lets messages leave once the first has come."""

    socket: WebSocketConnection

    def take(self, messages: list[str | bytes]) -> int:
        self.socket.start_sending()
        return len(messages)

    def is_full(self) -> bool:
        return False

    def notify_when_free(self, signal: Signal) -> None:
        raise AssertionError("it is never full")


def block(far: socket.socket) -> None:
    far.sendall(INIT + CLOSE)
    time.sleep(2 * SOON)


async def test_the_first_message_of_a_websocket() -> None:
    backend = current_backend()
    for _ in range(TIMES):
        near, far = socket.socketpair()
        near.setblocking(False)
        stream = await stream_over(near)
        sink = Opening()
        sink.socket = WebSocketConnection(
            stream,
            RFC6455Framer(1024),
            Outbox(),
            sink,
            backend,
            ping_interval=None,
            ping_timeout=None,
            opening_deadline=backend.time() + SOON,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sink.socket.run)
            for _ in range(10):  # until it waits
                await anyio.lowlevel.checkpoint()
            block(far)
        far.close()
        stream.drop()
        assert sink.socket.end == Close(1000, "")
