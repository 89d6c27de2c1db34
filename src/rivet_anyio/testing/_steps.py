"""Code that runs to its first await before anything else, as in JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio.abc

from .._io.waiting import Signal

__all__ = ["begin"]


async def begin(tasks: anyio.abc.TaskGroup, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Start it as a task, and return when it has run to its first await, or its end."""
    begun = Signal()
    tasks.start_soon(_run, _FirstStep(work, begun.set))
    await begun.wait()


async def _run(step: _FirstStep) -> None:
    await step


class _FirstStep:
    """Awaits a coroutine and says when it has run to its first suspension, or its end."""

    def __init__(
        self, start: Callable[[], Coroutine[Any, Any, None]], begun: Callable[[], None]
    ) -> None:
        self._start = start
        self._begun = begun

    def __await__(self) -> Generator[Any, Any, None]:
        coroutine = self._start()
        try:
            signal = coroutine.send(None)
        except StopIteration:
            return
        finally:
            self._begun()
        while True:
            try:
                value = yield signal
            except BaseException as exc:
                try:
                    signal = coroutine.throw(exc)
                except StopIteration:
                    return
            else:
                try:
                    signal = coroutine.send(value)
                except StopIteration:
                    return
