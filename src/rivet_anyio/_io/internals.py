"""What this library uses of other libraries that they do not document, and what it does without it.

All of it stands here, but for what only the harness for tests uses: see `testing/_internals.py`.
Each function looks for what it needs; where a version of the library does not have it, the
function logs one warning and returns the slower or plainer way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from types import CodeType
from typing import Any, TypeVar

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._log import logger

__all__ = [
    "ScopeCheck",
    "asyncio_checkpoint_if_cancelled",
    "ki_protected",
    "mask_in_c",
    "response_keeps_content",
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
        warn_once("anyio", "_task_states with CancelScope._parent_scope", "events take longer")
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
