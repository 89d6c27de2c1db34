"""A signal that costs next to nothing until somebody waits for it."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["Signal"]


class Signal:
    """As `anyio.Event`, which takes a microsecond and a kilobyte to make on asyncio."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._is_set = False

    def is_set(self) -> bool:
        """Whether `set` has been called."""
        return self._is_set

    def set(self) -> None:
        """Wake everybody who waits, and let nobody wait any more."""
        self._is_set = True
        event, self._event = self._event, None
        if event is not None:
            event.set()

    async def wait(self) -> None:
        """Return when `set` has been called."""
        if self._is_set:
            await checkpoint()
            return
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()
