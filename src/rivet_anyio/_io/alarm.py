"""Deadlines of streams that share one timer: a cancel scope takes several times as long."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from .._errors import TransportError
from .socket import Droppable

__all__ = ["Alarm", "AlarmDeadline", "Timer"]


class Timer(Protocol):
    """What calls a function at a time."""

    def cancel(self) -> None:
        """Do not call it any more."""
        ...


class AlarmDeadline:
    """See `Deadline`."""

    __slots__ = ("_alarm", "_at", "_stream", "expired", "is_due")

    def __init__(self, alarm: Alarm, at: float, stream: Droppable) -> None:
        self._alarm = alarm
        self._at = at
        self._stream = stream
        self.expired = False
        self.is_due = False

    @property
    def at(self) -> float:
        return self._at

    @at.setter
    def at(self, at: float) -> None:
        self._at = at
        self.is_due = False
        if not self.expired:
            self._alarm.watch(self, at)

    def __enter__(self) -> Self:
        self._alarm.watch(self, self._at)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._alarm.forget(self)
        return self.expired and isinstance(exc, TransportError)

    def expire(self) -> None:
        """The time has come."""
        self.expired = True
        self._stream.drop()


class Alarm:
    """One timer for all deadlines of a client, while there are any.

    It fires at the earliest time that was asked for since it was set, also when that deadline was
    left meanwhile. So few calls set a timer.

    A deadline whose time has come expires one iteration of the event loop later. Tasks that were
    woken run before: a program that blocked the loop loses no answer that was there in time.

    Args:
        call_at: Calls a function at a time of the event loop.
        time: The time of the event loop.
    """

    __slots__ = ("_at", "_call_at", "_deadlines", "_time", "_timer")

    def __init__(
        self, call_at: Callable[[float, Callable[[], None]], Timer], time: Callable[[], float]
    ) -> None:
        self._call_at = call_at
        self._time = time
        self._deadlines: dict[AlarmDeadline, None] = {}  # in order
        self._timer: Timer | None = None
        self._at = math.inf

    def watch(self, deadline: AlarmDeadline, at: float) -> None:
        """Let a deadline expire at its time, which may be a new one."""
        self._deadlines[deadline] = None
        if at < self._at:
            self._start(at)

    def forget(self, deadline: AlarmDeadline) -> None:
        """Its block was left."""
        self._deadlines.pop(deadline, None)
        if not self._deadlines and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._at = math.inf

    def _start(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._at = math.inf
        now = self._time()  # uvloop's timer may be a part of a millisecond early
        try:
            for deadline in [deadline for deadline in self._deadlines if deadline.at <= now]:
                # The one before it may have ended its block, or put it off.
                if deadline not in self._deadlines or deadline.at > now:
                    continue
                if deadline.is_due:
                    del self._deadlines[deadline]
                    deadline.expire()
                else:
                    deadline.is_due = True
        finally:  # also where a stream raises
            earliest = min((deadline.at for deadline in self._deadlines), default=math.inf)
            if earliest < self._at:
                # Trio calls at once what it is to call now.
                self._start(max(earliest, math.nextafter(now, math.inf)))
