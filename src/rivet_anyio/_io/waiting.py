"""A signal that costs next to nothing until somebody waits for it."""

from __future__ import annotations

from anyio.lowlevel import checkpoint

from .backend import Waiter, new_waiter

__all__ = ["Signal"]


class Signal:
    """As `anyio.Event`, which takes a microsecond and a kilobyte to make on asyncio."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters: dict[Waiter, None] | None = None

    def is_set(self) -> bool:
        """Whether `set` has been called."""
        return self._is_set

    def set(self) -> None:
        """Wake everybody who waits, and let nobody wait any more."""
        self._is_set = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            waiter.set()

    async def wait(self) -> None:
        """Return when `set` has been called."""
        if self._is_set:
            await checkpoint()
            return
        waiters = self._waiters = self._waiters or {}
        waiter = new_waiter()
        waiters[waiter] = None
        try:
            await waiter.wait()
        except BaseException:
            waiters.pop(waiter, None)
            raise
