"""How often a request is attempted, and how long to wait between two attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .._errors import ActorError
from .._log import logger
from .._retry import Retry, heeded

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

    async def wait(self, error: ActorError, *, at_once: bool = False) -> None:
        """Wait before the next attempt; raises as `next_delay`."""
        await self._retry.sleep(self.next_delay(error, at_once=at_once))

    def next_delay(self, error: ActorError, *, at_once: bool = False) -> float:
        """Seconds until the next attempt; raises `error` when there is none.

        Args:
            error: What the last attempt met.
            at_once: The first time without a delay.
        """
        self._count += 1
        if self._count >= _MAX_ATTEMPTS or self._time() > self._until:
            raise error
        backoff = replace(self._retry, initial=0.1, maximum=2.0)
        delay = 0.0 if at_once and self._count == 1 else backoff.delay(self._count)
        delay = heeded(delay, error.retry_after, self._retry)
        logger.info("retrying in %.2f s after %s.%s", delay, error.group, error.code)
        return delay


class OneAttempt:
    """Stands in for `Attempts` where the caller repeats: only a stale id is replaced here.

    Attributes:
        may_repeat: Whether `Attempts` would have waited for another attempt.
    """

    def __init__(self) -> None:
        self.may_repeat = False
        self._has_replaced = False

    async def wait(self, error: ActorError, *, at_once: bool = False) -> None:
        """As `Attempts.wait`: return the first time `at_once` is given, else raise `error`."""
        if at_once and not self._has_replaced:
            self._has_replaced = True
            return
        self.may_repeat = True
        raise error
