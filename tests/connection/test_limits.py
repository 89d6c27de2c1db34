"""The deadlines of an open WebSocket, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from rivet_anyio import ConnectionLostError
from rivet_anyio._io.backend import current_backend
from rivet_anyio._io.waiting import Signal
from rivet_anyio._websocket.connection import WebSocketConnection
from rivet_anyio._websocket.outbox import Outbox
from rivet_anyio._websocket.rfc6455 import RFC6455Framer
from rivet_anyio.testing import virtual_backend
from rivet_anyio.testing._memory import ClientStream, MemoryStream, memory_pipe


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Nobody:
    """Takes messages that never come."""

    def take(self, messages: list[str | bytes]) -> int:
        raise AssertionError("no message was sent")

    def is_full(self) -> bool:
        return False

    def notify_when_free(self, signal: Signal) -> None:
        raise AssertionError("it is never full")


def socket_on(end: MemoryStream) -> WebSocketConnection:
    return WebSocketConnection(
        ClientStream(end),
        RFC6455Framer(1024),
        Outbox(),
        Nobody(),
        current_backend(),
        ping_interval=None,
        ping_timeout=None,
    )


UNCONFIRMED = ConnectionLostError("not confirmed")
STOPPED = ConnectionLostError("the actor has stopped")


@pytest.mark.parametrize(
    ("steps", "seconds", "end"),
    [
        (("limit",), 30, UNCONFIRMED),
        (("limit", "unlimit"), None, None),
        (("retire",), 5, STOPPED),
        (("limit", "retire"), 5, STOPPED),
        (("limit", "retire", "unlimit"), 5, STOPPED),
        (("limit", "retire", "limit", "unlimit"), 5, STOPPED),
        (("limit", "unlimit", "retire", "retire"), 5, STOPPED),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_how_long_a_socket_stays(
    steps: tuple[str, ...], seconds: float | None, end: Exception | None
) -> None:
    ours, theirs = memory_pipe()
    socket = socket_on(ours)
    socket.start_sending()
    doing: dict[str, Callable[[], None]] = {
        "limit": lambda: socket.limit(UNCONFIRMED, seconds=30),
        "unlimit": socket.unlimit,
        "retire": lambda: socket.retire(STOPPED, seconds=5),
    }
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(socket.run)
        await anyio.wait_all_tasks_blocked()
        for step in steps:
            doing[step]()
        if seconds is None:
            await anyio.sleep(3600)
            assert socket.end is None
        else:
            await anyio.sleep(seconds - 0.5)
            assert socket.end is None
            await anyio.sleep(1)
            assert socket.end is end
        tasks.cancel_scope.cancel()
    theirs.close()


async def test_the_first_fault_of_a_socket_is_kept() -> None:
    """It tells the log that messages are too large."""
    ours, theirs = memory_pipe()
    socket = socket_on(ours)
    socket.start_sending()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(socket.run)
        await anyio.wait_all_tasks_blocked()
        socket.fail(STOPPED, 1009)
        socket.fail(UNCONFIRMED)
        assert socket.fault == 1009 and socket.end is STOPPED
        tasks.cancel_scope.cancel()
    theirs.close()
