"""Waiting, reading and writing with the means of Trio."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import trio
from trio.lowlevel import (
    Abort,
    Task,
    checkpoint,
    current_task,
    enable_ki_protection,
    notify_closing,
    reschedule,
    wait_task_rescheduled,
)

from .alarm import Alarm, AlarmDeadline
from .internals import ki_protected, trio_call_at, trio_cancellation_check
from .socket import FIRST_READ, Droppable, WritableSocket, dropped, knows_unsent, next_read

__all__ = ["TrioBackend", "TrioSocket"]


_MAX_UNSENT = 1024 * 1024


class TrioBackend:
    """See `Backend`."""

    __slots__ = ("_alarm", "_token", "time")

    checkpoint_if_cancelled = staticmethod(trio.lowlevel.checkpoint_if_cancelled)

    def __init__(self) -> None:
        self.time = trio.lowlevel.current_clock().current_time
        self._token = trio.lowlevel.current_trio_token()
        self._alarm: Alarm | None = None

    def runs_here(self) -> bool:
        try:
            return trio.lowlevel.current_trio_token() is self._token
        except RuntimeError:
            return False

    def cancellation_check(self) -> Callable[[], Awaitable[None] | None]:
        return trio_cancellation_check()

    def waiter(self) -> TrioWaiter:
        return TrioWaiter()

    def stream(self, sock: socket.socket, data: bytes) -> TrioSocket:
        if knows_unsent:
            _allow_unsent(sock, _MAX_UNSENT)
        return TrioSocket(sock, data)

    def deadline(self, at: float, stream: Droppable) -> AlarmDeadline | ScopeDeadline:
        if self._alarm is None:
            call_at = trio_call_at()
            if call_at is None:
                return ScopeDeadline(at, stream)
            for function in (AlarmDeadline.__enter__, AlarmDeadline.__exit__, Alarm.watch):
                ki_protected(function)
            self._alarm = Alarm(call_at, self.time)
        return AlarmDeadline(self._alarm, at, stream)


class ScopeDeadline:
    """See `Deadline`; for a Trio that takes no `TrioTimer`."""

    __slots__ = ("_scope", "_stream", "expired")

    def __init__(self, at: float, stream: Droppable) -> None:
        self._scope = trio.CancelScope(deadline=at)
        self._stream = stream
        self.expired = False

    @property
    def at(self) -> float:
        return self._scope.deadline

    @at.setter
    def at(self, at: float) -> None:
        self._scope.deadline = at

    @enable_ki_protection
    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    @enable_ki_protection
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        is_done = self._scope.__exit__(exc_type, exc, traceback)
        if self._scope.cancelled_caught:
            self.expired = True
            self._stream.drop()
        return is_done


class TrioWaiter:
    """See `Waiter`.

    Ctrl-C must not come between what is noted here and what Trio knows of the task.
    """

    __slots__ = ("_is_set", "_task")

    def __init__(self) -> None:
        self._is_set = False
        self._task: Task | None = None

    @enable_ki_protection
    def set(self) -> None:
        self._is_set = True
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)

    @enable_ki_protection
    async def wait(self) -> None:
        if self._is_set:
            await checkpoint()
        else:
            self._task = current_task()
            await wait_task_rescheduled(self._abort)

    @enable_ki_protection
    async def wait_until(self, at: float) -> None:
        call_at = trio_call_at()
        if call_at is None:
            with trio.CancelScope(deadline=at):
                await self.wait()
            return
        timer = call_at(at, self.set)
        try:
            await self.wait()
        finally:
            timer.cancel()

    def _abort(self, _: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED


class TrioSocket(WritableSocket):
    """A socket, without the pass through the scheduler that Trio's own add to each success."""

    __slots__ = ("_data", "_fd", "_is_drained", "_size")

    def __init__(self, sock: socket.socket, data: bytes) -> None:
        super().__init__(sock)
        self._fd = sock.fileno()
        self._data = data
        self._size = FIRST_READ
        self._is_drained = True

    async def read(self, max_bytes: int) -> bytes:
        if self._data or not self._is_drained:
            await checkpoint()
        while True:
            # After a short read nothing is left for now: to ask would be a call in vain.
            if self._is_drained and not self._data:
                if self._fd < 0:
                    raise dropped()
                try:
                    await trio.lowlevel.wait_readable(self._fd)
                except trio.ClosedResourceError as exc:
                    raise dropped() from exc
            data = self.read_now(max_bytes)
            if data is not None:
                return data

    def read_now(self, max_bytes: int) -> bytes | None:
        if self._data:
            data, self._data = self._data[:max_bytes], self._data[max_bytes:]
            return data
        size = min(self._size, max_bytes)
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            self._is_drained = True
            return None
        except OSError as exc:
            raise self._lost(exc) from exc
        self._is_drained = len(data) < size
        if size != FIRST_READ or len(data) == FIRST_READ:
            self._size = next_read(size, len(data))
        return data

    def unread(self, data: bytes) -> None:
        self._data = data + self._data

    def is_quiet(self) -> bool:
        return not self._data and self._is_silent()

    @enable_ki_protection
    def drop(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._data = b""
            try:
                notify_closing(fd)
            except RuntimeError:  # Trio does not run here: nobody waits
                pass
            self._end()

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._fd)
        except trio.ClosedResourceError as exc:
            raise dropped() from exc


def _allow_unsent(sock: socket.socket, size: int) -> None:
    """Raise Trio's limit of 16 KiB that the kernel takes before the peer's window opens.

    It makes ten times as many system calls of a long message. Without it what was written has left,
    more or less; else `unsent` has to say.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, option, size)
        except OSError:  # no TCP
            pass
