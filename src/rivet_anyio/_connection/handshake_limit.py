"""How many connections may be opening at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from .._io.waiting import Signal
from .._observe import AttemptObserver

__all__ = ["Handshake", "HandshakeLimit"]

_NO_CONTEXT: Mapping[str, str] = {}


class HandshakeLimit:
    """Limits how many handshakes are under way at once, of all connections that share it.

    A handshake goes from the first byte to Init. Connections whose last one was slow and failed use
    half of the places at most, so that the others need not wait for them.

    Attributes:
        under_way: How many there are.
        warned_at: When one of the connections last warned that it waits for its server.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slow_limit = max(1, limit // 2)
        self.under_way = 0
        self._slow = 0
        self._waiting: deque[Signal] = deque()
        self._slow_waiting: deque[Signal] = deque()
        self.warned_at = -math.inf

    async def begin(self, *, slow: bool) -> Handshake:
        """Wait for a place. Cancellation: safe."""
        waiting = self._slow_waiting if slow else self._waiting
        place = Signal()
        waiting.append(place)
        self._admit()
        handshake = Handshake(self, slow)
        try:
            await place.wait()
        except BaseException:
            if place.is_set():
                handshake.end(None)
            else:
                waiting.remove(place)
            raise
        return handshake

    def ended(self, *, slow: bool) -> None:
        """A handshake has ended."""
        self.under_way -= 1
        self._slow -= slow
        self._admit()

    def _admit(self) -> None:
        while self.under_way < self._limit:
            if self._waiting:
                waiting = self._waiting
            elif self._slow_waiting and self._slow < self._slow_limit:
                waiting = self._slow_waiting
                self._slow += 1
            else:
                return
            self.under_way += 1
            waiting.popleft().set()


class Handshake:
    """A handshake that is under way. It ends where an observed attempt does, so it is observed."""

    def __init__(self, limit: HandshakeLimit, slow: bool) -> None:
        self._limit: HandshakeLimit | None = limit
        self._slow = slow
        self.observer: AttemptObserver | None = None

    def current(self) -> AbstractContextManager[Mapping[str, str]]:
        """As `AttemptObserver.current`."""
        return nullcontext(_NO_CONTEXT) if self.observer is None else self.observer.current()

    def end(self, error: BaseException | None) -> None:
        """As `AttemptObserver.end`."""
        limit, self._limit = self._limit, None
        if limit is not None:
            limit.ended(slow=self._slow)
        if self.observer is not None:
            self.observer.end(error)
