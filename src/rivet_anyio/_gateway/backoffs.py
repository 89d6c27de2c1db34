"""The waits of a client's connections for a server that is away: they end when one reaches it."""

from __future__ import annotations

from anyio import CancelScope, current_time

from .._retry import Retry

__all__ = ["Backoffs"]

_SPREAD = 2
"""Connections whose waits end early are spread over the delay before this attempt."""


class Backoffs:
    """Waits between attempts, after attempts that did not reach the server."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: dict[CancelScope, None] = {}  # as they began

    async def sleep(self, retry: Retry, seconds: float) -> bool:
        """Wait before the next attempt; shorter when another connection reaches the server.

        Args:
            retry: Whose `sleep` to use, and whose delays.
            seconds: How long.

        Returns:
            Whether another connection reached the server meanwhile.

        Cancellation: safe.
        """
        until = current_time() + seconds
        scope = CancelScope()
        self._waits[scope] = None
        try:
            with scope:
                await retry.sleep(seconds)
        finally:
            self._waits.pop(scope, None)
        if scope.cancelled_caught:
            left = max(0.0, until - current_time())
            await retry.sleep(min(left, retry.delay(_SPREAD)))
        return scope.cancelled_caught

    def reached(self) -> None:
        """A connection has reached the server."""
        for scope in self._waits:
            scope.cancel()
        self._waits.clear()
