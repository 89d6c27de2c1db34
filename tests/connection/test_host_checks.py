"""The checks of the actors' hosts, in virtual time: each connection is asked for, few at a time."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from rivet_anyio import ConnectionLostError
from rivet_anyio._gateway.host_checks import ActorChecks
from rivet_anyio._io.backend import current_backend
from rivet_anyio.protocol.management import ActorInfo
from rivet_anyio.testing import _idle, explore, run_virtual

INTERVAL = 100.0
LOOK = 2.5
SLOW = 5.0
REQUEST_SECONDS = 1.0
BATCH = 32


class Session:
    """A connection's socket: it gets Init after a moment, and calls come and go."""

    def __init__(self, world: World, number: int, tasks: TaskGroup) -> None:
        self._world = world
        self._tasks = tasks
        self.actor_id: str | None = None
        self._id = f"actor{number}"
        self.last_message = 0.0
        self.opened_at = math.inf
        self.checked_at: list[float] = []
        self.called_at: float | None = None
        self.notify: Callable[[], None] | None = None

    def open(self) -> None:
        self.actor_id = self._id
        self.opened_at = anyio.current_time()

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.start_soon(task)

    def notify_of_calls(self, notify: Callable[[], None] | None) -> None:
        self.notify = notify

    def call(self) -> None:
        self.called_at = anyio.current_time()
        if self.notify is not None:
            self.notify()

    def seconds_waiting(self, now: float) -> float | None:
        return None if self.called_at is None else now - self.called_at

    def checked(self, actor: ActorInfo, last_message: float) -> None:
        now = anyio.current_time()
        assert actor.actor_id == self.actor_id
        assert last_message <= now - self._world.seconds, "a message from after the question"
        self.checked_at.append(now)


class World:
    """Connections that come and go, and a management API that answers, or does not."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.seconds = chance.choice((0.0, REQUEST_SECONDS))
        self.fails = chance.random() < 0.1
        self.pause = chance.choice((20.0, 2000.0))  # until a connection is opened again
        self.asked_at: list[float] = []
        self.sessions: list[Session] = []
        self.most = 0
        self.checks = ActorChecks(self.ask, INTERVAL)

    async def ask(self, ids: list[str]) -> list[ActorInfo]:
        assert 0 < len(ids) <= BATCH and len(set(ids)) == len(ids)
        self.asked_at.append(anyio.current_time())
        await anyio.sleep(self.seconds)
        if self.fails:
            raise ConnectionLostError("no answer")
        return [actor(id) for id in ids]

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(self.chance.choice((1, 3, 40, 70))):
                tasks.start_soon(self.live, number)
            await anyio.sleep(4 * INTERVAL)
            tasks.cancel_scope.cancel()
        assert not self.checks._asked and self.checks._leader is None
        # Those that have opened since are asked for, too.
        a_look = -(-self.most // BATCH)
        for at in self.asked_at:
            part = [other for other in self.asked_at if at <= other < at + INTERVAL / 5]
            assert len(part) <= a_look + self.opened(at) + 1

    def opened(self, at: float) -> int:
        return sum(at - LOOK - 3 <= s.opened_at < at + INTERVAL / 5 for s in self.sessions)

    async def live(self, number: int) -> None:
        """One connection after another, each with a background of its own."""
        chance = random.Random(self.chance.getrandbits(32))
        await anyio.sleep(chance.uniform(0.0, 20.0))
        while True:
            async with anyio.create_task_group() as tasks:
                session = Session(self, number, tasks)
                self.sessions.append(session)
                self.checks.add(session)
                self.most = max(self.most, len(self.checks._asked))
                try:
                    await self.use(session, chance)
                finally:
                    self.checks.remove(session)
                    tasks.cancel_scope.cancel()
            await anyio.sleep(chance.uniform(0.0, self.pause))

    async def use(self, session: Session, chance: random.Random) -> None:
        await anyio.sleep(chance.uniform(0.0, 2.0))
        session.open()
        with anyio.move_on_after(chance.choice((3.0, 120.0, 1000.0))):
            while True:
                await anyio.sleep(chance.choice((0.5, 30.0, 150.0)))
                session.last_message = anyio.current_time()
                self.look_at(session)
                if chance.random() < 0.5:
                    session.call()
                    await anyio.sleep(chance.choice((0.1, 4.0, 60.0)))
                    self.look_at(session)
                    session.called_at = None

    def look_at(self, session: Session) -> None:
        """It was asked for in time."""
        if self.fails:
            return
        now = anyio.current_time()
        batches = 3  # one after another, and a look begins when the last one's have ended
        slack = 2 * (LOOK + batches * self.seconds) + 0.1
        last = session.checked_at[-1] if session.checked_at else None
        if last is None:
            assert now <= session.opened_at + slack, "it was never asked for"
        else:
            assert now <= last + INTERVAL + slack, f"not asked for since {last}"
        if session.called_at is not None and now > session.called_at + SLOW + INTERVAL / 5 + slack:
            assert last is not None and last > session.called_at, "a slow call is not asked about"


def actor(id: str) -> ActorInfo:
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return ActorInfo(actor_id=id, name="actor", key=("k",), connectable_since=since)


async def watch(chance: random.Random) -> None:
    """One run, drawn from chance."""
    await World(chance).run()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_connections_that_come_and_go(backend: str) -> None:
    for seed in range(2):
        run_virtual(watch, random.Random(seed), backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_connection_that_opens_after_the_leader_has_ended(backend: str) -> None:
    """Whether the one that leads now rests before the former one's rest has ended, or after it."""

    async def main() -> None:
        world = World(random.Random(0))
        world.seconds, world.fails = 0.0, False
        async with anyio.create_task_group() as tasks:
            first, second, third = (Session(world, number, tasks) for number in range(3))
            for session in (first, second):
                world.checks.add(session)
                session.open()
            await anyio.sleep(INTERVAL / 5)
            world.checks.remove(first)
            await anyio.sleep(INTERVAL / 5)
            world.checks.add(third)
            third.open()
            await anyio.sleep(2 * LOOK)
            assert third.checked_at
            await anyio.sleep(INTERVAL / 5)
            second.call()
            await anyio.sleep(SLOW + 2 * LOOK)
            assert second.checked_at[-1] > (second.called_at or 0.0)
            for session in (second, third):
                world.checks.remove(session)

    explore(main, seeds=range(10), backends=[backend])


class _Host:
    """A server's, where nothing ever happened."""

    news_at = -math.inf


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_server_that_an_earlier_run_never_left(backend: str) -> None:
    """It says nothing of the hosts that run now."""
    host = _Host()

    async def enter() -> None:
        _idle.hosts[host] = current_backend()

    run_virtual(enter, backend=backend)
    try:
        run_virtual(watch, random.Random(0), backend=backend)
    finally:
        del _idle.hosts[host]
