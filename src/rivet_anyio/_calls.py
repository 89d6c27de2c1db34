"""One call to an actor over HTTP, repeated where that is safe.

Repeated are calls that met an error from before the actor's code: a stale id, an actor that is
starting or moving. Everything else, lost connections included, goes to the caller at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio

from ._core import Core, Server
from ._errors import ActorError, RivetError
from ._log import logger
from ._retry import Retry
from ._target import Target, find_by_id
from .protocol.lifecycle import Verdict, is_scheduling, judge
from .protocol.management import scheduling_error

__all__ = ["Attempts", "call_actor", "explain"]

_MAX_ATTEMPTS = 10
_MAX_SECONDS = 60.0

T = TypeVar("T")


class Attempts:
    """Counts attempts against a budget of 10 and of 60 seconds.

    Args:
        retry: Whose `random` and `sleep` to use.
    """

    def __init__(self, retry: Retry) -> None:
        self._backoff = replace(retry, initial=0.1, maximum=2.0)
        self._count = 0
        self._until = anyio.current_time() + _MAX_SECONDS

    async def wait(self, error: ActorError, *, at_once: bool = False) -> None:
        """Wait before the next attempt; raises `error` when there is none.

        Args:
            error: What the last attempt met.
            at_once: The first time without a delay.
        """
        self._count += 1
        if self._count >= _MAX_ATTEMPTS or anyio.current_time() > self._until:
            raise error
        delay = 0.0 if at_once and self._count == 1 else self._backoff.delay(self._count)
        logger.info("retrying in %.2f s after %s.%s", delay, error.group, error.code)
        await self._backoff.sleep(delay)


async def call_actor(
    core: Core,
    target: Target,
    attempt: Callable[[Server, str], Awaitable[T | ActorError]],
    *,
    repeat: bool = True,
    replaceable: bool = True,
) -> T:
    """Resolve the actor and make attempts until one has an outcome.

    Args:
        core: The client.
        target: The actor.
        attempt: Sends the call to an actor id; returns the outcome, or the `ActorError` it met.
        repeat: Whether the call may be repeated at all.
        replaceable: Whether it may go to another actor of the same key when this one is gone.

    Raises:
        ActorError: what the last attempt met.
    """
    attempts = Attempts(core.options.retry)
    while True:
        server = await core.server()
        try:
            actor_id = await target.resolve(core, server)
        except ActorError as error:
            if target.creation is None or judge(error) is Verdict.FINAL:
                raise
            await attempts.wait(error)
            continue
        outcome = await attempt(server, actor_id)
        if not isinstance(outcome, ActorError):
            return outcome
        verdict = judge(outcome)
        if not repeat or verdict is Verdict.FINAL:
            raise outcome
        if verdict is Verdict.STALE:
            if target.is_fixed or not replaceable:
                raise outcome
            target.forget(actor_id)
        else:
            await explain(core, server, actor_id, outcome)
        await attempts.wait(outcome, at_once=verdict is Verdict.STALE)


async def explain(core: Core, server: Server, actor_id: str, error: ActorError) -> None:
    """Raise the reason why an actor did not start, where the management API knows it."""
    if not is_scheduling(error):
        return
    try:
        actor = await find_by_id(core, server, actor_id)
    except RivetError:
        return
    if actor is not None and actor.error is not None:
        raise scheduling_error(error, actor) from error
