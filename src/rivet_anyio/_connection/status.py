"""The states of a connection, as a stream of their own."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from .._errors import ClosedError
from .._io.waiting import Signal

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectStreamStatistics

__all__ = ["Status", "StatusChange", "StatusStream"]

_BUFFER_SIZE = 256


class Status(enum.StrEnum):
    """What a connection is doing."""

    CONNECTING = "connecting"
    """An attempt is being made, or the server has not confirmed the subscriptions again."""
    CONNECTED = "connected"
    """The connection is open: actions and events flow."""
    DISCONNECTED = "disconnected"
    """The connection was lost and will be tried again after a delay."""
    CLOSED = "closed"
    """The scope was left, or the connection failed for good."""


class StatusChange(msgspec.Struct, frozen=True):
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
        self._waiting = 0

    def _push(self, change: StatusChange) -> None:
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
            self._check_changes()
            if self._arrival.is_set():
                self._arrival = Signal()
            self._waiting += 1
            try:
                await self._arrival.wait()
            finally:
                self._waiting -= 1
        return self._changes.popleft()

    def receive_nowait(self) -> StatusChange:
        """As `receive`, without waiting.

        Raises:
            anyio.WouldBlock: when nothing has changed.
        """
        self._check_loop()
        self._check_changes()
        if not self._changes:
            raise anyio.WouldBlock
        return self._changes.popleft()

    def statistics(self) -> MemoryObjectStreamStatistics:
        """As `anyio.streams.memory.MemoryObjectReceiveStream.statistics`."""
        from anyio.streams.memory import MemoryObjectStreamStatistics

        return MemoryObjectStreamStatistics(
            current_buffer_used=len(self._changes),
            max_buffer_size=_BUFFER_SIZE,
            open_send_streams=int(not self._ended),
            open_receive_streams=int(not self._closed),
            tasks_waiting_send=0,
            tasks_waiting_receive=self._waiting,
        )

    def _check_changes(self) -> None:
        """Raise when there is nothing to take any more."""
        if self._closed:
            raise ClosedError("the stream of status changes is closed")
        if self._ended and not self._changes:
            raise anyio.EndOfStream

    async def aclose(self) -> None:
        """Stop listening."""
        self._closed = True
        self._changes.clear()
        self._arrival.set()
        await checkpoint()
