"""A terminal in memory."""

from __future__ import annotations

import io

import anyio

__all__ = ["Screen"]


class Screen(io.StringIO):
    """A terminal that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._more = anyio.Event()

    def write(self, text: str) -> int:
        self._more.set()
        self._more = anyio.Event()
        return super().write(text)

    async def until(self, *words: str) -> None:
        """Wait for a line with these words, and for no longer than that: forget what is there."""
        while not any(all(w in line for w in words) for line in self.getvalue().splitlines()):
            await self._more.wait()
        self.forget()

    def forget(self) -> None:
        """Forget what is there."""
        self.truncate(0)
        self.seek(0)
