"""Calls that may run more than once, because their user says so: repeated for some time."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio

from .._errors import ActorError, ConnectError, ConnectionLostError, RivetError, TransportError
from .._log import logger
from .._retry import Retry, heeded
from ..protocol.verdicts import is_destroyed, is_transient, is_unplaced
from .attempts import OneAttempt
from .errors import is_not_trusted, refuses_for_good

__all__ = ["may_repeat", "repeated"]

T = TypeVar("T")

_NOTES = 20
"""How many attempts an error has notes of, the last ones."""


def may_repeat(error: BaseException) -> bool:
    """Whether a call that may run more than once is worth another attempt after this error."""
    if isinstance(error, ActorError):
        # The engine of 2.3 says so too when the actor's host died under a request. What the
        # actor's code causes is signed, or comes over a connection and has no ray id.
        is_of_engine = error.ray_id is not None and is_unplaced(error)
        return is_destroyed(error) or is_of_engine or is_transient(error)
    if isinstance(error, ConnectError):
        return not (refuses_for_good(error) or is_not_trusted(error))
    return isinstance(error, TransportError)


async def repeated(
    name: str,
    attempt: Callable[[OneAttempt], Awaitable[T]],
    *,
    seconds: float,
    retry: Retry,
    is_over: Callable[[], bool] = lambda: False,
) -> T:
    """Make attempts at an action until one is answered or the time is over.

    Args:
        name: The action's name.
        attempt: Makes one.
        seconds: The time. The attempt that is under way at its end is cancelled.
        retry: Whose `random`, `sleep` and, for ``Retry-After``, `maximum` to use.
        is_over: Whether no attempt can be made any more.

    Raises:
        ConnectionLostError: an attempt was under way when the time was over.
        Exception: what the last attempt raised; its notes say what the others met.
    """
    backoff = replace(retry, initial=0.1, maximum=2.0)
    began = anyio.current_time()
    deadline = began + seconds
    notes: deque[str] = deque(maxlen=_NOTES)
    count = 0
    error: Exception | None = None
    cause: Exception | None = None
    try:
        while True:
            count += 1
            begins = anyio.current_time() - began
            once, cause = OneAttempt(), error
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    return await attempt(once)
                except Exception as exc:
                    error = exc
            if scope.cancelled_caught:
                error = ConnectionLostError(
                    f"action {name!r} was not answered within the {seconds:g} s of retry_for; "
                    "the attempt under way was cancelled, so it may have run"
                )
                error.__cause__ = cause
            assert error is not None
            asked = error.retry_after if isinstance(error, RivetError) else None
            delay = heeded(backoff.delay(count - 1), asked, retry)
            is_late = anyio.current_time() + delay >= deadline
            if is_late or is_over() or not (once.may_repeat or may_repeat(error)):
                if notes:
                    _add_notes(error, count, notes)
                raise error
            met = f"{type(error).__name__}: {error}"
            notes.append(f"attempt {count}, begun after {begins:.2f} s: {met}")
            logger.info("action %r: %s; next attempt in %.2f s", name, str(error), delay)
            await backoff.sleep(delay)
    finally:
        del error, cause  # they hold this frame, which would hold them


def _add_notes(error: Exception, count: int, notes: deque[str]) -> None:
    """Say what the attempts before the last one met."""
    error.add_note(f"this was attempt {count} at an action that may run more than once")
    if count - 1 > len(notes):
        error.add_note(f"the first {count - 1 - len(notes)} attempts are left out here")
    for note in notes:
        error.add_note(note)
