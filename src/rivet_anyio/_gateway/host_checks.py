"""Asks now and then whether the hosts of the actors still run that a client is connected to.

One task asks for all connections of a client, in the background of the block of one of them. When
that connection ends, or its block is cancelled, another one carries the task on. A slow call that
may run more than once is a connection here, for as long as its request is under way. It asks for
those

- that have opened since: the first answer says which start their actor is in;
- that were asked for an interval ago, or longer;
- that wait for an answer to a call, but only so often that all requests of an interval are few.

One request asks for `_BATCH` actors, which is what an engine takes. It is filled with those that
were asked for the longest ago. So 300 connections cost ten requests in an interval, and one or two
more while calls wait.

An answer that does not come, or that is an error, changes nothing for any connection.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

from anyio import CancelScope, current_effective_deadline, move_on_after

from .._errors import ActorError
from .._io.backend import Waiter, current_backend, new_waiter
from .._log import logger
from ..protocol.management import ActorInfo

__all__ = ["ActorChecks", "CheckedSession"]

_BATCH = 32
_LOOK_SECONDS = 2.5
"""How often it is looked at who waits for an answer."""
_SLOW_SECONDS = 5.0
"""How long a call waits before it is asked whether the actor's host still runs."""
_SHARES = 5
"""How many parts an interval has. In each, one request at most is sent for slow calls."""


class CheckedSession(Protocol):
    """One socket of a connection, from its opening to its end; or one request."""

    @property
    def actor_id(self) -> str | None:
        """The actor; None while there is nothing to ask about it."""
        ...

    @property
    def last_message(self) -> float:
        """When the last message came."""
        ...

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task in the background of the connection's block."""
        ...

    def notify_of_calls(self, notify: Callable[[], None] | None) -> None:
        """Call `notify` when a call leaves."""
        ...

    def seconds_waiting(self, now: float) -> float | None:
        """How long a call waits for its answer, as far as this was asked; None: there is none."""
        ...

    def checked(self, actor: ActorInfo, last_message: float) -> None:
        """The record of the actor.

        Args:
            actor: The record.
            last_message: What `last_message` was when it was asked for.
        """
        ...


class ActorChecks:
    """See the module.

    Attributes:
        are_on: Whether anything is ever asked.

    Args:
        ask: Asks for the records of actors by their ids, of which some may be missing.
        interval: Seconds; None: nothing is asked.
    """

    def __init__(
        self, ask: Callable[[list[str]], Awaitable[Iterable[ActorInfo]]], interval: float | None
    ) -> None:
        self._ask_for = ask
        self._interval = math.inf if interval is None else float(interval)
        self.are_on = interval is not None
        self._look = min(_LOOK_SECONDS, self._interval / 10)
        self._asked: dict[CheckedSession, float] = {}  # when; -inf: never
        self._leader: CheckedSession | None = None
        self._scope: CancelScope | None = None
        self._resting: Waiter | None = None
        self._look_at = -math.inf
        self._last_request = -math.inf
        self._has_failed = False

    def add(self, session: CheckedSession) -> None:
        """A socket opens."""
        if self.are_on:
            self._asked[session] = -math.inf
            self.wake()
            if self._leader is None:
                self._look_at = current_backend().time() + self._look
                self._lead_by(session)

    def remove(self, session: CheckedSession) -> None:
        """A socket has ended, or its connection's block is being left."""
        self._asked.pop(session, None)
        if session is self._leader:
            assert self._scope is not None
            self._scope.cancel()
            self._hand_over()

    def wake(self) -> None:
        """Somebody may have to be asked for sooner than it was thought."""
        resting, self._resting = self._resting, None
        if resting is not None:
            resting.set()

    def _lead_by(self, session: CheckedSession) -> None:
        scope = self._scope = CancelScope()
        self._leader = session

        async def lead() -> None:
            await self._run(scope)

        session.start(lead)

    def _hand_over(self) -> None:
        self._leader = None
        if self._asked:  # of slow calls the newest will stay for longest
            self._lead_by(next(reversed(self._asked)))

    async def _run(self, scope: CancelScope) -> None:
        time = current_backend().time
        try:
            with scope:
                while True:
                    seconds = self._seconds_to_rest(time())
                    if seconds > self._look:
                        await self._rest(scope, seconds, until_woken=True)
                        continue
                    await self._rest(scope, seconds)
                    for ids in self._batches(time()):
                        await self._ask(ids, time())
                    self._look_at = time() + self._look
        finally:
            if scope is self._scope and (leader := self._leader) is not None:
                # It was cancelled from outside: the next session leads, if there is one.
                if current_effective_deadline() == -math.inf:
                    self._asked.pop(leader, None)  # in a cancelled block, no other task could run
                elif leader in self._asked:
                    self._asked = {leader: self._asked[leader]} | self._asked
                self._hand_over()

    def _seconds_to_rest(self, now: float) -> float:
        """How long nobody has to be looked at, unless `wake` is called."""
        if any(
            session.actor_id is None or at == -math.inf or session.seconds_waiting(now) is not None
            for session, at in self._asked.items()
        ):
            return self._look_at - now
        for session in self._asked:
            session.notify_of_calls(self.wake)  # ends with this rest
        return min(self._asked.values(), default=now) + self._interval - now

    async def _rest(self, scope: CancelScope, seconds: float, *, until_woken: bool = False) -> None:
        waiter = new_waiter()
        if until_woken:
            self._resting = waiter
        try:
            with move_on_after(seconds):
                await waiter.wait()
        finally:
            if scope is self._scope:  # else another session leads, and may rest already
                self._resting = None
                for session in self._asked:
                    session.notify_of_calls(None)

    def _batches(self, now: float) -> list[list[str]]:
        """The ids to ask for now, as many as one request takes in each list."""
        asked: dict[str, float] = {}
        slow: set[str] = set()
        for session, at in self._asked.items():
            seconds, id = session.seconds_waiting(now), session.actor_id
            if id is None:
                continue
            asked[id] = min(at, asked.get(id, math.inf))
            if seconds is not None and seconds >= _SLOW_SECONDS and at + _SLOW_SECONDS <= now:
                slow.add(id)
        due = {id for id, at in asked.items() if at + self._interval <= now}
        requests = -(-len(due) // _BATCH)
        if slow and now >= self._last_request + self._interval / _SHARES:
            requests = max(requests, 1)
        urgent = due | slow
        ids = sorted(asked, key=lambda id: (id not in urgent, asked[id]))
        return [ids[i * _BATCH : (i + 1) * _BATCH] for i in range(requests)]

    async def _ask(self, ids: list[str], now: float) -> None:
        """One request; whatever comes of it, these were asked for now."""
        self._last_request = now
        asked = set(ids)
        last = {s: s.last_message for s in self._asked if s.actor_id in asked}
        found: dict[str, ActorInfo] = {}
        try:
            found = {actor.actor_id: actor for actor in await self._ask_for(ids)}
            self._has_failed = False
        except Exception as error:
            if not self._has_failed:
                self._has_failed = True
                level = logger.warning if isinstance(error, ActorError) else logger.info
                level(
                    "the actors' hosts cannot be checked, see actor_check_interval: %s", str(error)
                )
        for session, last_message in last.items():
            if session in self._asked:
                self._asked[session] = now
                actor = found.get(session.actor_id or "")
                if actor is not None:
                    session.checked(actor, last_message)
