"""What this library uses of other libraries that they do not document, and what it does without it.

All of it stands here, but for what only the harness for tests uses: see `testing/_internals.py`.
Each function looks for what it needs; where a version of the library does not have it, the
function logs one warning and returns the slower or plainer way.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from functools import cache, partial
from types import CodeType
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._log import logger

__all__ = [
    "ScopeCheck",
    "TrioTimer",
    "asyncio_checkpoint_if_cancelled",
    "ki_protected",
    "mask_in_c",
    "response_keeps_content",
    "trio_call_at",
    "trio_cancellation_check",
    "warn_once",
]

F = TypeVar("F", bound=Callable[..., Any])


@cache
def warn_once(library: str, name: str, consequence: str) -> None:
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
        warn_once("anyio", "AsyncIOBackend", "checkpoints take longer")
        return checkpoint_if_cancelled
    return AsyncIOBackend.checkpoint_if_cancelled


class ScopeCheck:
    """See `Backend.cancellation_check`; for asyncio.

    AnyIO finds a task's cancel scopes in a weak dictionary, which takes longer than an event does
    otherwise. So what it finds there is kept, for as long as the same task asks.
    """

    __slots__ = ("_current_task", "_state", "_states", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        from anyio._backends import _asyncio as anyio_backend

        self._current_task = _current_task_of(loop)
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
        warn_once("anyio", "_task_states with CancelScope._parent_scope", "events take longer")
        return False

    def run(self) -> Awaitable[None] | None:
        task = self._current_task()
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


def _current_task_of(loop: asyncio.AbstractEventLoop) -> Callable[[], asyncio.Task[Any] | None]:
    """As `asyncio.current_task` of this loop, which in Python 3.11 is a function in Python."""
    tasks = getattr(asyncio.tasks, "_current_tasks", None)
    if sys.version_info < (3, 12) and isinstance(tasks, dict):
        return partial(tasks.get, loop)
    return partial(asyncio.current_task, loop)


# Trio


def ki_protected(function: F) -> F:
    """A function that Trio does not interrupt for Ctrl-C, to be called in a task of Trio's.

    The function itself is marked, which Trio does without saying that it will: its decorator might
    return another function as well.
    """
    import trio

    if not _marks_functions():
        return trio.lowlevel.enable_ki_protection(function)
    code = function.__code__
    if id(code) not in _marked:
        trio.lowlevel.enable_ki_protection(function)
        _marked[id(code)] = code
    return function


_marked: dict[int, CodeType] = {}
"""The code that was marked, by its id; it lives on, so no other has that id."""


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
    warn_once(
        "trio", "marks on functions", "Ctrl-C may break a connection before it ends the program"
    )
    return False


class TrioTimer:
    """A function that Trio calls at a time: to Trio it is a cancel scope with that deadline.

    Trio has nothing of the kind, and to enter and leave a scope takes several times as long.
    """

    __slots__ = ("_deadlines", "_registered_deadline", "function")

    def __init__(self, at: float, function: Callable[[], None], deadlines: Any) -> None:
        self.function = function
        self._deadlines = deadlines
        self._registered_deadline = at
        if at < math.inf:
            deadlines.add(at, self)

    def cancel(self) -> None:
        """Do not call it any more."""
        at, self._registered_deadline = self._registered_deadline, math.inf
        if at < math.inf:
            self._deadlines.remove(at, self)

    def _cancel(self, reason: object) -> None:
        self.cancel()
        try:
            self.function()
        except Exception:  # it would end the event loop
            logger.exception("what was to be done at a time failed")


@cache
def trio_call_at() -> Callable[[float, Callable[[], None]], TrioTimer] | None:
    """Makes a `TrioTimer`, in Trio; None where this Trio does not take it."""
    try:
        from trio._core._run import GLOBAL_RUN_CONTEXT, Deadlines

        if _takes_timers(Deadlines()):
            return lambda at, function: TrioTimer(at, function, GLOBAL_RUN_CONTEXT.runner.deadlines)
    except (ImportError, AttributeError, TypeError):
        pass
    warn_once("trio", "Deadlines for timers", "requests and connections take longer")
    return None


def _takes_timers(deadlines: Any) -> bool:
    called: list[int] = []
    timers = [TrioTimer(at, partial(called.append, at), deadlines) for at in (1, 2, 3)]
    timers[0].cancel()
    deadlines.expire(2.5)
    return called == [2] and deadlines.next_deadline() == 3


@cache
def trio_cancellation_check() -> Callable[[], Awaitable[None] | None]:
    """See `Backend.cancellation_check`; to be called in a task of Trio's.

    Trio's own function is a coroutine, which takes three times as long where nothing is cancelled.
    """
    import trio

    current_task = trio.lowlevel.current_task

    def check() -> Awaitable[None] | None:
        task = current_task()
        if task._cancel_status.effectively_cancelled or task._runner.ki_pending:
            return checkpoint()
        return None

    try:
        check()
    except AttributeError:
        warn_once("trio", "Task._cancel_status with Task._runner", "events take longer")
        return trio.lowlevel.checkpoint_if_cancelled
    return check


# httpx


@cache
def response_keeps_content() -> bool:
    """Whether `httpx.Response` keeps a whole body as `_content`, and its length beside it."""
    import httpx

    if {"_content", "_num_bytes_downloaded"} <= vars(httpx.Response(200, content=b"")).keys():
        return True
    warn_once("httpx", "Response._content", "fetch takes longer")
    return False


# websockets


@cache
def mask_in_c() -> Callable[[bytes | memoryview, bytes], bytes] | None:
    """The function of `websockets` that masks frames in C; None where there is none."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        warn_once("websockets", "speedups.apply_mask", "large messages take longer to send")
        return None
    return apply_mask
