"""When to try again: policies as values."""

from __future__ import annotations

import random as _random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from ._checks import check_function, check_seconds
from ._text import in_short

__all__ = ["Retry", "heeded"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter.

    Before attempt ``n`` (from 0) the delay is drawn evenly between 0 and
    ``min(initial * 2**n, maximum)``. Delays are slept on the event loop's clock, so virtual time
    applies to them. `sleep` is cancelled when another connection of the client has reached the
    server meanwhile; then it is called once more, for at most ``4 * initial`` and what was left.

    Attributes:
        initial: Upper bound of the first delay, in seconds.
        maximum: Upper bound of every delay, in seconds.
        random: Returns a float from 0 to 1; replace it to make delays predictable.
        sleep: Awaited with the seconds of each delay; replace it to decide how they pass.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: a time is not a finite number of seconds, more than 0, or `initial` is longer
            than `maximum`.
    """

    initial: float = 0.25
    maximum: float = 30.0
    random: Callable[[], float] = field(default=_random.random, repr=False)
    sleep: Callable[[float], Awaitable[object]] = field(default=anyio.sleep, repr=False)

    def __post_init__(self) -> None:
        check_seconds("initial", self.initial)
        check_seconds("maximum", self.maximum)
        if self.initial > self.maximum:
            raise ValueError(
                f"initial is at most maximum, not initial={self.initial!r}, "
                f"maximum={self.maximum!r} (seconds)"
            )
        check_function("random", self.random, none=False)
        check_function("sleep", self.sleep, none=False)

    def delay(self, attempt: int) -> float:
        """Seconds to wait before attempt number `attempt`, counted from 0."""
        bound = min(self.initial * 2.0 ** min(attempt, 60), self.maximum)
        drawn = self.random()
        if not isinstance(drawn, (float, int)) or not 0 <= drawn <= 1:
            raise ValueError(f"random of Retry returns a float from 0 to 1, not {in_short(drawn)}")
        return bound * drawn


def heeded(delay: float, asked: float | None, retry: Retry) -> float:
    """A delay, lengthened up to `Retry.maximum` to the seconds that a server asked to wait."""
    return delay if asked is None else max(delay, min(asked, retry.maximum))
