"""A request that may run more than once, and is given up when the host of its actor has died.

Since RivetKit 2.3 a gateway stands before the actors' hosts. When a host dies, the gateway keeps
the requests that it has passed on, and answers them half a minute later with an error, although
the actor was started anew meanwhile and answers others. So a request that waits is checked as
connections are. A request that is answered soon costs no check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import anyio

from .._errors import ConnectionLostError
from .._io.tasks import SilentTasks
from ..protocol.management import ActorInfo
from ..protocol.starts import Change, Start, StartState, change_between, start_of
from .context import Core
from .server import Server

__all__ = ["unless_host_dies"]

T = TypeVar("T")

_QUICK_SECONDS = 2.5
"""A request that takes longer is checked."""


async def unless_host_dies(
    core: Core, server: Server, actor_id: str, send: Callable[[], Awaitable[T]]
) -> T:
    """What `send` returns.

    Raises:
        ConnectionLostError: the actor's host has died meanwhile; `send` was cancelled.
        Exception: what `send` raised.
    """
    is_behind_gateway = server.version is not None and server.version.has_engine
    if not (is_behind_gateway and core.checks.are_on):
        return await send()
    return await _CheckedRequest(core, actor_id).run(send)


class _CheckedRequest:
    """A `CheckedSession`."""

    last_message = 0.0

    def __init__(self, core: Core, actor_id: str) -> None:
        self.actor_id: str | None = actor_id
        self._core = core
        self._began = core.time()
        self._seen: Start | None = None
        self._scope = anyio.CancelScope()
        self._tasks = SilentTasks()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.start(task)

    def notify_of_calls(self, notify: Callable[[], None] | None) -> None:
        """It waits from its beginning: there is nothing to notify of."""

    def seconds_waiting(self, now: float) -> float | None:
        return now - self._began

    def checked(self, actor: ActorInfo, last_message: float) -> None:
        start = start_of(actor)
        # A dead actor may be about to be started, because of this very request.
        is_first = self._seen is None
        if not is_first and change_between(self._seen, start) is not Change.NONE:
            self._scope.cancel()
        elif start.state is not StartState.UNKNOWN:
            self._seen = start

    async def run(self, send: Callable[[], Awaitable[T]]) -> T:
        """As `unless_host_dies`."""
        async with self._tasks:
            self._tasks.call_at(self._began + _QUICK_SECONDS, partial(self._core.checks.add, self))
            try:
                with self._scope:
                    return await send()
            finally:
                self._core.checks.remove(self)
        raise ConnectionLostError(
            f"the host of actor {self.actor_id} has died while a request to it was under way, "
            "so it may have run"
        )
