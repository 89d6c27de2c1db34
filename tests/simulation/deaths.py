"""Hosts that die behind a gateway, again and again, and what streams and calls know of it.

A gap of such a death may come late in a stream, behind events of the actor's next start. So the
account goes by time: an event that is missing was sent in a gap. What was sent too late for a
check to find is not looked at.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import anyio

from rivet_anyio import ActorError, Connection, Gap, Retry, RivetError, Status
from rivet_anyio.testing import Actor, ActorServer

__all__ = ["Account", "missing_outside_gaps", "play_deaths"]

_SECONDS = 900.0
_INTERVAL = 30.0
_QUIET = 2 * _INTERVAL + 20.0
"""Until everything has been found: the engine, a check, and attempts to reconnect."""
_EVENTS = ("a", "b")


@dataclass
class Stream:
    """What one stream delivered, and from when on everything was promised."""

    names: tuple[str, ...]
    promised_at: float
    ended_at: float = 0.0
    items: list[Any] = field(default_factory=list)


@dataclass
class Account:
    """One run."""

    sent: list[tuple[float, str]] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    changes_at: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)


class Broadcaster(Actor):
    """Broadcasts numbers while it is awake."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def send(self, name: str) -> None:
        self._account.sent.append((anyio.current_time(), name))
        self.context.broadcast(name, len(self._account.sent) - 1)

    async def run(self) -> None:
        while True:
            await anyio.sleep(1.0)
            self.send("a")

    async def poke(self, seconds: float) -> float:
        self.send("b")
        await anyio.sleep(seconds)
        return seconds


async def play_deaths(seed: int) -> Account:
    """One run, drawn from the seed."""
    chance = random.Random(seed)
    account = Account()
    async with ActorServer({"actor": lambda: Broadcaster(account)}, version="2.3") as server:
        client = server.client(retry=Retry(initial=0.1, maximum=chance.choice((0.2, 5.0))))
        async with client, anyio.create_task_group() as tasks:
            handle = client.actor("actor").get_or_create("k")
            by_id = client.actor("actor").get_for_id(await handle.resolve())
            for index in range(chance.randrange(1, 4)):
                use = random.Random(chance.getrandbits(32))
                tasks.start_soon(_use, by_id if index == 2 else handle, account, use)
            with anyio.move_on_after(_SECONDS):
                while True:
                    await anyio.sleep(chance.expovariate(1 / chance.choice((2.0, 20.0, 60.0))))
                    account.changes_at.append(anyio.current_time())
                    with anyio.CancelScope(shield=True):  # else a host is silent and does not die
                        await _strike(server, chance, account)
                    account.changes_at.append(anyio.current_time())
            await anyio.sleep(_QUIET)
            await handle.action("poke", 0.0)
            await anyio.sleep(1.0)
            tasks.cancel_scope.cancel()
    return account


async def _strike(server: ActorServer, chance: random.Random, account: Account) -> None:
    what = chance.choice(("kill", "kill", "kill", "wake", "drop", "kill and drop"))
    account.counts[what] += 1
    if "kill" in what:
        silence = chance.choice((0.0, 0.4, 3.0))
        await server.kill_host(silent_for=silence, downtime=chance.choice((0.0, 0.0, 8.0)))
    if "drop" in what:
        server.drop_connections()
    if what == "wake":
        async with server.client() as client:
            await client.actor("actor").get_or_create("k").action("poke", 0.0, retry_for=60.0)


async def _use(handle: Any, account: Account, chance: random.Random) -> None:
    while True:
        try:
            async with handle.connect() as conn, anyio.create_task_group() as tasks:
                if chance.random() < 0.8:
                    tasks.start_soon(_listen, conn, account, chance.choice(("a", "b", _EVENTS)))
                if chance.random() < 0.6:
                    tasks.start_soon(_call, conn, account, random.Random(chance.getrandbits(32)))
                await anyio.sleep(chance.choice((50.0, 300.0, 5000.0)))
                assert conn.status is not Status.CLOSED
                tasks.cancel_scope.cancel()
        except ActorError as error:
            # Without `wait_for_server`: there is no host, and the record says why.
            if "failed to start" not in error.message:
                raise
            account.counts["not started"] += 1
            await anyio.sleep(1.0)


async def _listen(conn: Connection, account: Account, names: Any) -> None:
    async with conn.events((names,) if isinstance(names, str) else names, gaps="mark") as stream:
        seen = Stream(tuple(stream._buffer.sinks), anyio.current_time())
        account.streams.append(seen)
        try:
            async for item in stream:
                account.counts["gaps" if isinstance(item, Gap) else "events"] += 1
                seen.items.append(item if isinstance(item, Gap) else item.value)
        finally:
            seen.ended_at = anyio.current_time()


async def _call(conn: Connection, account: Account, chance: random.Random) -> None:
    while True:
        seconds = chance.choice((0.0, 0.0, 1.0, 9.0))
        try:
            with anyio.move_on_after(chance.choice((None, None, 3.0))):
                assert await conn.action("poke", seconds) == seconds
                account.counts["answered"] += 1
        except RivetError as error:
            account.counts[type(error).__name__] += 1
        await anyio.sleep(chance.choice((0.1, 3.0, 40.0)))


def missing_outside_gaps(account: Account) -> list[str]:
    """What is wrong with a run, in words."""
    wrong = []
    for stream in account.streams:
        got = [item for item in stream.items if not isinstance(item, Gap)]
        gaps = [item for item in stream.items if isinstance(item, Gap)]
        if got != sorted(set(got)):
            wrong.append(f"events twice or out of order: {got}")
        if any(one.until > other.since for one, other in pairwise(gaps)):
            wrong.append(f"gaps overlap: {gaps}")
        until = stream.ended_at - 1e-6
        recent = [at for at in account.changes_at if stream.ended_at - _QUIET <= at <= until]
        if recent:  # the last checks may not have come
            until = min(recent) - _INTERVAL - 20.0
        have = set(got)
        for number, (at, name) in enumerate(account.sent):
            if name not in stream.names or not stream.promised_at < at < until or number in have:
                continue
            if not any(gap.since <= at <= gap.until for gap in gaps):
                wrong.append(f"event {number} of {name} at {at} is in none of {gaps}")
    return wrong
