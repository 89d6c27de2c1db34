"""How often a request is attempted, and how long to wait between two attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .._errors import ActorError, ConnectError, ConnectionLostError
from .._log import logger
from .._retry import Retry

__all__ = ["Attempts", "OneAttempt"]


_MAX_ATTEMPTS = 10

_MAX_SECONDS = 60.0


class Attempts:
    """Counts attempts against a budget of 10 and of 60 seconds.

    Args:
        retry: Whose `random`, `sleep` and, for ``Retry-After``, `maximum` to use.
        time: The clock, in seconds.
    """

    __slots__ = ("_count", "_retry", "_time", "_until")

    def __init__(self, retry: Retry, time: Callable[[], float]) -> None:
        self._retry = retry
        self._count = 0
        self._until = time() + _MAX_SECONDS
        self._time = time

    async def wait(
        self, error: ActorError, *, at_once: bool = False, retry_after: float | None = None
    ) -> None:
        """Wait before the next attempt; raises as `next_delay`."""
        delay = self.next_delay(error, at_once=at_once, retry_after=retry_after)
        await self._retry.sleep(delay)

    def next_delay(
        self, error: ActorError, *, at_once: bool = False, retry_after: float | None = None
    ) -> float:
        """Seconds until the next attempt; raises `error` when there is none.

        Args:
            error: What the last attempt met.
            at_once: The first time without a delay.
            retry_after: Seconds that the server asked to wait, or None.
        """
        self._count += 1
        if self._count >= _MAX_ATTEMPTS or self._time() > self._until:
            raise error
        backoff = replace(self._retry, initial=0.1, maximum=2.0)
        delay = 0.0 if at_once and self._count == 1 else backoff.delay(self._count)
        if retry_after is not None:
            delay = max(delay, min(retry_after, self._retry.maximum))
        logger.info("retrying in %.2f s after %s.%s", delay, error.group, error.code)
        return delay


class OneAttempt:
    """Stands in for `Attempts` where the caller repeats: only a stale id is replaced here."""

    def __init__(self) -> None:
        self._has_replaced = False
        self._retry_after: float | None = None

    async def wait(
        self, error: ActorError, *, at_once: bool = False, retry_after: float | None = None
    ) -> None:
        """As `Attempts.wait`: return the first time `at_once` is given, else raise `error`."""
        if at_once and not self._has_replaced:
            self._has_replaced = True
            return
        self._retry_after = retry_after
        raise error

    def retry_after(self, error: Exception) -> float:
        """Seconds that the server asked to wait when it answered with this error, or 0."""
        if isinstance(error, (ConnectError, ConnectionLostError)) and error.retry_after is not None:
            return error.retry_after
        return self._retry_after or 0.0
