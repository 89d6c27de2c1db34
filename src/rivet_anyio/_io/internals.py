"""What this library uses of other libraries that they do not document, and what it does without it.

All of it stands here. Each function looks for what it needs; where a version of the library does
not have it, the function logs one warning and returns the slower or plainer way.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._log import logger

__all__ = [
    "ScopeCheck",
    "asyncio_checkpoint_if_cancelled",
    "is_trio_waiting_for_idle",
    "ki_protected",
    "mask_in_c",
    "ready_handles",
    "trio_scheduling",
]

F = TypeVar("F", bound=Callable[..., Any])


@cache
def _warn(library: str, name: str, consequence: str) -> None:
    """Log, once, that something is missing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version(library)
    except PackageNotFoundError:
        release = "of an unknown version"
    logger.warning("%s %s has no %s: %s", library, release, name, consequence)


# AnyIO


@cache
def asyncio_checkpoint_if_cancelled() -> Callable[[], Any]:
    """AnyIO's own function for asyncio: by way of `anyio.lowlevel` it takes twice as long."""
    try:
        from anyio._backends._asyncio import AsyncIOBackend
    except ImportError:
        _warn("anyio", "AsyncIOBackend", "checkpoints take longer")
        return checkpoint_if_cancelled
    return AsyncIOBackend.checkpoint_if_cancelled


class ScopeCheck:
    """See `Backend.cancellation_check`; for asyncio.

    AnyIO finds a task's cancel scopes in a weak dictionary, which takes longer than an event does
    otherwise. So what it finds there is kept, for as long as the same task asks.
    """

    __slots__ = ("_loop", "_state", "_states", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from anyio._backends import _asyncio as anyio_backend

        self._loop = loop
        self._states: Any = anyio_backend._task_states
        self._task: asyncio.Task[Any] | None = None
        self._state: Any = None

    @staticmethod
    @cache
    def is_possible() -> bool:
        """Whether this AnyIO keeps its cancel scopes where they are looked for here."""
        names = ("_cancel_called", "_shield", "_parent_scope")
        try:
            from anyio._backends import _asyncio as anyio_backend

            scope = anyio_backend.CancelScope()
            _ = anyio_backend._task_states.get
            for name in names:
                getattr(scope, name)
            return True
        except (ImportError, AttributeError):
            pass
        _warn("anyio", "_task_states with CancelScope._parent_scope", "events take longer")
        return False

    def run(self) -> Awaitable[None] | None:
        task = asyncio.current_task(self._loop)
        if task is not self._task or self._state is None:
            self._task = task
            self._state = self._states.get(task) if task is not None else None
            if self._state is None:
                return None
        scope = self._state.cancel_scope
        while scope is not None:
            if scope._cancel_called:
                return checkpoint()
            if scope._shield:
                return None
            scope = scope._parent_scope
        return None


# Trio


def ki_protected(function: F) -> F:
    """A function that Trio does not interrupt for Ctrl-C, to be called in a task of Trio's.

    The function itself is marked, which Trio does without saying that it will: its decorator might
    return another function as well.
    """
    import trio

    if _marks_functions():
        trio.lowlevel.enable_ki_protection(function)
        return function
    return trio.lowlevel.enable_ki_protection(function)


@cache
def _marks_functions() -> bool:
    import trio

    def is_protected() -> bool:
        return trio.lowlevel.currently_ki_protected()

    @trio.lowlevel.disable_ki_protection
    def call() -> bool:
        return is_protected()

    trio.lowlevel.enable_ki_protection(is_protected)
    if call():
        return True
    _warn("trio", "marks on functions", "Ctrl-C may break a connection before it ends the program")
    return False


def is_trio_waiting_for_idle() -> bool | None:
    """Whether a task of the Trio program that runs waits until all others wait, or a clock does.

    None: nobody knows.
    """
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT

        runner: Any = GLOBAL_RUN_CONTEXT.runner
        return bool(runner.waiting_for_idle)
    except (ImportError, AttributeError):
        _warn("trio", "Runner.waiting_for_idle", "a program that waits for ever is not noticed")
        return None


def trio_scheduling() -> tuple[Any, random.Random]:
    """The module in which Trio decides what runs next, and its source of chance.

    ``_ALLOW_DETERMINISTIC_SCHEDULING`` of the module makes the source alone decide.

    Raises:
        RuntimeError: this Trio has no such thing.
    """
    try:
        from trio._core import _run

        module: Any = _run
        _ = module._ALLOW_DETERMINISTIC_SCHEDULING
        chance: random.Random = module._r
        _ = chance.getstate, chance.setstate, chance.seed
    except (ImportError, AttributeError) as exc:
        from importlib.metadata import version

        raise RuntimeError(
            f"a seed cannot decide what runs next on Trio {version('trio')}: {exc}. Use "
            "backend='asyncio', or another version of Trio"
        ) from exc
    return module, chance


# asyncio


def ready_handles(loop: asyncio.BaseEventLoop) -> deque[Any]:
    """What runs in the loop's next round, handles with ``_callback``; to be changed in place.

    Raises:
        RuntimeError: this Python's loop has no such thing.
    """
    ready = getattr(loop, "_ready", None)
    if not isinstance(ready, deque) or not hasattr(loop, "_run_once"):
        raise RuntimeError(
            "a seed cannot decide what runs next on asyncio of this Python: use backend='trio', "
            "or another version of Python"
        )
    return ready


# websockets


@cache
def mask_in_c() -> Callable[[bytes | memoryview, bytes], bytes] | None:
    """The function of `websockets` that masks frames in C; None where there is none."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        _warn("websockets", "speedups.apply_mask", "large messages take longer to send")
        return None
    return apply_mask
