"""Whether a seed is one run: the same program twice, compared step by step."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from itertools import zip_longest
from typing import Any

from .._checks import check_function, check_instance
from ._replay import replay_text
from ._seeds import Step
from ._simulate import check_backends, simulate_watched
from ._timeline import collect_also, collecting

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["assert_deterministic"]

_PROGRAM = "._Guard.watched"
"""The end of the name of the task that runs the program."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def assert_deterministic(
    main: Callable[..., Awaitable[object]],
    *args: Any,
    seed: int = 0,
    backends: Iterable[str] = ("asyncio", "trio"),
) -> None:
    """Simulate a program twice with one seed, and compare every step and every timeline.

    Where they differ, the program asks something that no seed decides: another clock, a thread,
    `os.urandom`, the addresses of objects. What differs between processes alone, such as the order
    of a set of strings, shows when the test runs again with another ``PYTHONHASHSEED``.

    Args:
        main: An async function.
        args: Its arguments, which it must not change.
        seed: The seed.
        backends: On which backends.

    Raises:
        AssertionError: the two runs are not the same; the message says where they part.
        Exception: what the program raised, the same both times.
        TypeError, ValueError: an argument cannot be used; there is no backend.
        RuntimeError: in an async function: this runs event loops of its own.
    """
    check_function("main", main, none=False)
    check_instance("seed", seed, int, none=False)
    for backend in check_backends(backends):
        first, second = (_Run(main, args, seed, backend) for _ in range(2))
        difference = first.difference(second)
        if difference is not None:
            replay = replay_text(main, args, seed=seed, backend=backend)
            collect_also([*first.timelines, *second.timelines])
            raise AssertionError(
                f"seed {seed} on {backend} is not one run: {difference}. The program asks "
                "something that no seed decides: another clock, a thread, os.urandom, the address "
                f"of an object. To see it again: {replay}, twice"
            ) from (second.error or first.error)
        if first.error is not None:
            collect_also(first.timelines)
            raise first.error


class _Run:
    """What there is to compare of one run."""

    def __init__(
        self, main: Callable[..., Awaitable[object]], args: tuple[Any, ...], seed: int, backend: str
    ) -> None:
        self.steps: list[Step] = []
        self.error: Exception | None = None
        with collecting() as self.timelines:
            try:
                simulate_watched(main, args, seed=seed, backend=backend, watch=self.steps.append)
            except Exception as exc:
                self.error = exc
        self.events = [text for timeline in self.timelines for text in timeline.entries()]

    def difference(self, other: _Run) -> str | None:
        """Where the other run is another one, in words."""
        for number, pair in enumerate(zip_longest(self.events, other.events), 1):
            if pair[0] != pair[1]:
                return f"event {number} of the timeline was {_shown(*pair)}"
        for number, (one, two) in enumerate(zip_longest(self.steps, other.steps), 1):
            if _plain(one) != _plain(two):
                return f"step {number} was {_shown(_plain(one), _plain(two))}"
        outcomes = [f"{type(run.error).__name__}: {run.error}" for run in (self, other)]
        if _ADDRESS.sub("", outcomes[0]) != _ADDRESS.sub("", outcomes[1]):
            return f"the outcome was {_shown(*outcomes)}"
        return None


def _plain(step: Step | None) -> str | None:
    if step is None:
        return None
    at, kind, number, name = step
    if name.endswith(_PROGRAM):
        name = "the program"
    return f"{at:.6f} s {kind} {number} {_ADDRESS.sub('', name)}"


def _shown(first: str | None, second: str | None) -> str:
    return f"{first or 'nothing'!r} in the first run, {second or 'nothing'!r} in the second"
