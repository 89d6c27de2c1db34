"""The states of a connection, as a stream of their own."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from anyio.lowlevel import checkpoint

from .._errors import ClosedError
from .._io.waiting import Signal

__all__ = ["Status", "StatusChange", "StatusStream"]

_BUFFER_SIZE = 256


class Status(enum.StrEnum):
    """What a connection is doing."""

    CONNECTING = "connecting"
    """An attempt is being made."""
    CONNECTED = "connected"
    """The server has said Init: actions and subscriptions flow."""
    DISCONNECTED = "disconnected"
    """The connection was lost and will be tried again after a delay."""
    CLOSED = "closed"
    """The scope was left, or the connection failed for good."""


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A state and what led to it.

    Attributes:
        status: The state.
        error: Why the connection was lost or an attempt failed; also an error that the actor
            reported for the whole connection while it stayed connected. None where there is none.
    """

    status: Status
    error: BaseException | None = None


class StatusStream(anyio.abc.ObjectReceiveStream[StatusChange]):
    """The states of one connection, from `Connection.status_changes`.

    The first item is the state at the time of that call; the last one is ``closed``. Of more than
    256 changes that nobody took, the oldest are forgotten, and `dropped` counts them.
    """

    def __init__(self, now: StatusChange, check_loop: Callable[[], None]) -> None:
        self._check_loop = check_loop
        self._changes: deque[StatusChange] = deque([now])
        self._arrival = Signal()
        self._ended = now.status is Status.CLOSED
        self._closed = False
        self.dropped = 0

    def push(self, change: StatusChange) -> None:
        """Take a change; `closed` is the last."""
        if self._ended or self._closed:
            return
        if len(self._changes) >= _BUFFER_SIZE:
            self._changes.popleft()
            self.dropped += 1
        self._changes.append(change)
        self._ended = change.status is Status.CLOSED
        self._arrival.set()

    async def receive(self) -> StatusChange:
        """The next change.

        Raises:
            anyio.EndOfStream: after ``closed``.
            ClosedError: when this stream was closed.

        Cancellation: safe, no change is lost.
        """
        self._check_loop()
        await checkpoint()
        while not self._changes or self._closed:
            if self._closed:
                raise ClosedError("the stream of status changes is closed")
            if self._ended:
                raise anyio.EndOfStream
            if self._arrival.is_set():
                self._arrival = Signal()
            await self._arrival.wait()
        return self._changes.popleft()

    async def aclose(self) -> None:
        """Stop listening."""
        self._closed = True
        self._changes.clear()
        self._arrival.set()
        await checkpoint()
