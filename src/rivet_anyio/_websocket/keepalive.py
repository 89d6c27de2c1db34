"""When to ping a silent peer, and when it counts as gone. No clock of its own, no I/O.

Three deadlines follow each other. With ``ping_interval=20`` and ``ping_timeout=10``, in seconds:

1. The last byte came at 0. At 20 a ping is due; it is put before all other messages.
2. A message of 50 MB is being written. Until the ping has left, the peer has 10 s from the last
   progress of what stands before it: from the last write, or from the last time that its system
   confirmed bytes. So a slow path is no dead peer. The ping leaves at 31.
3. From then on the peer has until 41, or 10 s from the last time that its system confirmed bytes
   up to the ping's own. Messages that are written behind the ping give it no time.

A byte of any kind ends the wait at once, and the next ping is due 20 s after it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

__all__ = ["Due", "Keepalive"]

_TICK = 0.001
"""Seconds to a deadline that count as none: clocks and sums of floats are not exact."""
_LATE_CHECKS = 4


class Due(enum.Enum):
    """What to do now."""

    PING = enum.auto()
    """Write a ping before everything else, call `Keepalive.ping_left` when it left."""
    YIELD = enum.auto()
    """Let other tasks run once: something may have blocked the whole event loop."""
    GONE = enum.auto()
    """The peer is gone."""


class Keepalive:
    """The keepalive of one connection; see the module.

    Attributes:
        interval: Seconds of silence after which a ping is due; `inf`: never.
        timeout: Seconds that the peer has to answer a ping; `inf`: without end.

    Args:
        interval: As the attribute, or None.
        timeout: As the attribute, or None.
        now: The time now, as in all methods.
    """

    __slots__ = (
        "_asked",
        "_before_ping",
        "_is_queued",
        "_late",
        "_left_at",
        "_left_end",
        "_up_to_ping",
        "interval",
        "timeout",
    )

    def __init__(self, interval: float | None, timeout: float | None, now: float) -> None:
        self.interval = math.inf if interval is None else interval
        self.timeout = math.inf if timeout is None else timeout
        self._asked: float | None = None
        self._is_queued = False  # whether the last ping has not left
        self._left_at = now
        self._left_end = 0
        self._late = 0
        self._before_ping = _Growth()
        self._up_to_ping = _Growth()

    def ping_left(self, now: float, written: int) -> None:
        """The ping was handed to the system, as the last of `written` bytes in all."""
        self._is_queued = False
        self._left_at = now
        self._left_end = written

    def check(
        self,
        now: float,
        *,
        last_received: float,
        written: int,
        last_written: float,
        unsent: Callable[[], int],
    ) -> float | Due:
        """What is due now, or the seconds until the next check.

        Args:
            now: The time.
            last_received: When the last bytes came, or when reading went on after a pause.
            written: Bytes handed to the system so far.
            last_written: When the last of them were.
            unsent: Returns how many of them the peer's system has not confirmed.
        """
        if self._asked is not None and last_received < self._asked:
            if self.timeout < math.inf:
                return self._check_answer(now, written, last_written, unsent)
            left = self._asked + self.interval - now
        else:
            left = last_received + self.interval - now
        if left > _TICK:
            return left
        self._asked = now
        self._late = 0
        self._before_ping = _Growth()
        self._up_to_ping = _Growth()
        if self._is_queued:  # the last ping has not left: it asks now, and one is enough
            return min(self.interval, self.timeout / 4)
        self._is_queued = True
        return Due.PING

    def _check_answer(
        self, now: float, written: int, last_written: float, unsent: Callable[[], int]
    ) -> float | Due:
        assert self._asked is not None
        confirmed = written - unsent()
        if self._is_queued:
            since = max(self._asked, last_written, self._before_ping.last(confirmed, now))
        else:
            grown = self._up_to_ping.last(min(confirmed, self._left_end), now)
            since = max(self._left_at, grown)
        left = since + self.timeout - now
        if left > _TICK:
            self._late = 0
            return min(left, self.interval, self.timeout / 4)
        self._late += 1
        return Due.YIELD if self._late <= _LATE_CHECKS else Due.GONE


class _Growth:
    """When a number was last seen to have grown."""

    __slots__ = ("_number", "_time")

    def __init__(self) -> None:
        self._number: int | None = None
        self._time = -math.inf

    def last(self, number: int, now: float) -> float:
        """Record the number; return when it last grew, `-inf` if never."""
        if self._number is not None and number > self._number:
            self._time = now
        self._number = number
        return self._time
