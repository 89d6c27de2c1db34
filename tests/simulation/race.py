"""Losses against everything that listens: streams of several names, live states, feeds.

Actors broadcast numbered events all the time. Losses come at every moment: a few milliseconds
apart, so that one hits the handshake after another, and minutes apart. What each program was
given is judged by `wrong_of` in race_rules.py, by order and by time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import Any
from zlib import crc32

import anyio

from rivet_anyio import (
    ActorHandle,
    Client,
    Connection,
    EventGapError,
    EventStream,
    Feed,
    Gap,
    Retry,
    RivetError,
    SourceEvent,
    SourceFailed,
    SourceGap,
    Status,
    Versions,
    live,
    watch,
)
from rivet_anyio._connection.events import Overflow
from rivet_anyio.testing import Actor, ActorConnection, ActorServer, UserError
from tests.scopes.injection import live_tasks

from .race_record import About, Board, Call, Copy, Digest, Race, Seen, Source

__all__ = ["race"]

KEYS = ("x", "y")
NAMES = ("a", "b", "c")
SHY = "shy"
"""Its subscription is refused at some times."""
OVERFLOWS: tuple[Overflow, ...] = ("raise", "drop_oldest", "drop_newest", "block")
SECRET = "secret"
"""Its subscription is always refused, where a server asks."""
LATENCY = 0.005
CLOSE_SECONDS = 3.0
QUIET_SECONDS = 600.0
"""Until everybody is back: backoff, a keepalive, and a check of the hosts."""


class Broadcaster(Actor):
    """Broadcasts numbered events while it is awake."""

    sleep_timeout = None

    def __init__(self, result: Race, chance: random.Random, pause: float) -> None:
        self._result = result
        self._chance = chance
        self._pause = pause

    @property
    def _board(self) -> Board:
        return self._result.boards[self.context.key[0]]

    def _send(self, name: str) -> None:
        sent = self._board.send(name, anyio.current_time())
        self.context.broadcast(name, *sent)

    async def run(self) -> None:
        while True:
            pause = 30.0 if self._result.is_calm else self._pause
            await anyio.sleep(self._chance.expovariate(1 / pause))
            self._send(self._chance.choice((*NAMES, SHY, SECRET)))

    async def on_before_connect(self, connection: ActorConnection) -> None:
        if not connection.is_http:
            self._result.params.append(connection.params)

    async def can_subscribe(self, connection: ActorConnection, event: str) -> bool:
        if self._chance.random() < 0.3:  # before the subscriptions are confirmed
            self._send(self._chance.choice(NAMES))
        if event == SHY and self._result.is_refusing:
            raise UserError("not now", code="shy")
        return event != SECRET

    async def send_all(self) -> None:
        for name in (*NAMES, SHY, SECRET):
            self._send(name)

    async def put(self, number: int, seconds: float) -> int:
        await anyio.sleep(seconds)
        self._result.put.add(number)
        return number

    async def digest(self, seconds: float = 0.0) -> Digest:
        """The digest as it is when this begins, after so many seconds."""
        digest = self._board.digests[-1]
        if seconds:
            await anyio.sleep(seconds)
        return digest


def add(digest: Digest, event: list[int]) -> Digest:
    """The digest after one more event."""
    return digest[0] + 1, crc32(b"%d" % event[0], digest[1])


async def race(seed: int) -> Race:
    """One run, drawn from the seed."""
    chance = random.Random(seed)
    result = Race(version=chance.choice(("2.0", "2.1", "2.2", "2.3")))
    before = len(live_tasks())
    pause = chance.choice((0.02, 0.3, 3.0))
    seconds = 400 * pause
    actors = {"board": lambda: Broadcaster(result, random.Random(chance.getrandbits(32)), pause)}
    async with ActorServer(actors, version=result.version, unused_faults="ignore") as server:
        if chance.random() < 0.8:
            server.network.latency = LATENCY
        client = server.client(
            encoding=chance.choice(("bare", "cbor", "json")),
            close_timeout=CLOSE_SECONDS,
            observer=result.observer,
            retry=Retry(initial=chance.choice((0.02, 0.25)), maximum=chance.choice((1.0, 20.0))),
        )
        async with client, anyio.create_task_group() as tasks:
            programs = Programs(result, client, pause, _part(chance))
            for _ in range(chance.randrange(1, 4)):
                tasks.start_soon(programs.connections, _part(chance))
            tasks.start_soon(programs.feed, _part(chance))
            tasks.start_soon(programs.posts, _part(chance))
            strikes = Strikes(result, server, chance)
            with anyio.move_on_after(seconds):
                await strikes.run()
            result.is_refusing, result.is_calm = False, True
            server.network.clear()
            server.faults.clear()
            await anyio.sleep(QUIET_SECONDS)
            result.is_over, result.calm_at = True, anyio.current_time()
            for key in KEYS:
                handle = client.board.get_or_create(key)
                await handle.action("digest", retry_for=60.0)
                await handle.action("send_all")
            await anyio.sleep(400)  # the slowest reader is there
            tasks.cancel_scope.cancel()
        await anyio.sleep(10)
    await anyio.wait_all_tasks_blocked()
    result.tasks_left = len(live_tasks()) - before
    return result


def _part(chance: random.Random) -> random.Random:
    return random.Random(chance.getrandbits(64))


class Strikes:
    """What goes wrong, one thing after another."""

    def __init__(self, result: Race, server: ActorServer, chance: random.Random) -> None:
        self._result = result
        self._server = server
        self._chance = chance
        self._kinds: dict[str, Callable[[], Any]] = {
            "kick": self._kick,
            "close": self._close,
            "kick one": self._kick_one,
            "half-open": self._half_open,
            "refuse": self._refuse,
            "outage": self._outage,
            "restart": self._restart,
            "shy": self._be_shy,
            "overload": self._overload,
        }
        if result.version == "2.3":
            self._kinds |= {"kill": self._kill, "kill again": self._kill}

    async def run(self) -> None:
        chance = self._chance
        while True:
            await anyio.sleep(chance.expovariate(1 / chance.choice((2.0, 20.0, 60.0))))
            for _ in range(chance.choice((1, 1, 3, 8))):
                kind = chance.choice(sorted(self._kinds))
                self._result.counts[kind] += 1
                await self._kinds[kind]()
                self._result.strikes_at.append(anyio.current_time())
                # Half a millisecond off: beside what the network delivers, not with it.
                await anyio.sleep(LATENCY * chance.randrange(0, 30) + 0.0005)

    async def _kick(self) -> None:
        self._server.drop_connections()

    async def _close(self) -> None:
        self._server.drop_connections(self._chance.choice((1000, 1001, 1011, 1012)))

    async def _kick_one(self) -> None:
        if self._server.connections:
            self._chance.choice(self._server.connections).drop()

    async def _half_open(self) -> None:
        with self._server.network.partition():
            await anyio.sleep(self._chance.choice((0.02, 1.0, 100.0)))

    async def _refuse(self) -> None:
        self._server.network.refuse(self._chance.randrange(1, 5))
        self._server.drop_connections()

    async def _outage(self) -> None:
        with self._server.network.outage():
            await anyio.sleep(self._chance.choice((0.0, 0.1, 30.0)))

    async def _restart(self) -> None:
        await self._server.restart(
            downtime=self._chance.choice((0.0, 0.1, 10.0)),
            keep_actors=self._chance.random() < 0.7,
        )

    async def _be_shy(self) -> None:
        self._result.is_refusing = not self._result.is_refusing
        self._server.drop_connections()

    async def _overload(self) -> None:
        self._server.faults.refuse_connects(self._chance.randrange(1, 4), status=503)
        self._server.drop_connections()

    async def _kill(self) -> None:
        self._result.kills_at.append(anyio.current_time())
        silence = self._chance.choice((0.0, 0.4, 3.0))
        downtime = self._chance.choice((0.0, 0.0, 8.0))
        await self._server.kill_host(silent_for=silence, downtime=downtime)


class Programs:
    """What users do."""

    def __init__(self, result: Race, client: Client, pause: float, chance: random.Random) -> None:
        self._result = result
        self._client = client
        self._pause = pause
        self._next = 0

    def _handle(self, key: str) -> ActorHandle:
        return self._client.board.get_or_create(key)

    async def _next_params(self) -> int:
        self._next += 1
        return self._next

    # Connections, one after another

    async def connections(self, chance: random.Random) -> None:
        while True:
            key = chance.choice(KEYS)
            with anyio.CancelScope() as scope:
                params = self._next_params
                handle = self._handle(key)
                async with handle.connect(wait_for_server=True, get_params=params) as conn:
                    await self._use(conn, key, chance)
                    assert conn.status is not Status.CLOSED, conn.status
                    if chance.random() < 0.3:
                        scope.cancel()
                        await anyio.lowlevel.checkpoint()

    async def _use(self, conn: Connection, key: str, chance: random.Random) -> None:
        about = About(may_block=chance.random() < 0.3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._count_returns, conn, about)
            tasks.start_soon(self._waits, conn, random.Random(key))
            for _ in range(chance.randrange(1, 5)):
                tasks.start_soon(self._streams, conn, key, about, _part(chance))
            tasks.start_soon(self._calls, conn, _part(chance))
            tasks.start_soon(self._copy, conn, key, _part(chance))
            await anyio.sleep(chance.choice((0.02, 3.0, 100.0, 5000.0)) * chance.random())
            if self._result.is_over:
                await anyio.sleep_forever()
            tasks.cancel_scope.cancel()

    async def _count_returns(self, conn: Connection, about: About) -> None:
        async with aclosing(conn.status_changes()) as changes:
            async for change in changes:
                if change.status is Status.CONNECTED and change.error is None:
                    about.returns.append(anyio.current_time())

    async def _waits(self, conn: Connection, chance: random.Random) -> None:
        while True:
            await conn.wait_connected()
            assert conn.status is Status.CONNECTED, "wait_connected returned too early"
            await anyio.sleep(chance.choice((0.1, 10.0)) * chance.random())

    async def _streams(
        self, conn: Connection, key: str, about: About, chance: random.Random
    ) -> None:
        while True:
            names = tuple(chance.sample(NAMES, chance.randrange(1, 4)))
            extra = chance.random()
            if extra < 0.15:
                names += (SECRET,) if extra < 0.05 else (SHY,)
            seen = Seen(
                key,
                names,
                chance.choice(OVERFLOWS if about.may_block else OVERFLOWS[:3]),
                chance.choice(("ignore", "raise", "mark", "mark")),
                chance.choice((1, 3, 1000)),
                anyio.current_time(),
                about,
            )
            seconds = chance.choice((0.01, 1.0, 50.0, 1e9)) * chance.random()
            pace = chance.choice((0.0, 0.0, 0.01, 1.0, 30.0))
            is_alone = len(names) == 1 and chance.random() < 0.5
            stream: EventStream[Any] = conn.events(
                names[0] if is_alone else names,
                overflow=seen.overflow,
                gaps=seen.gaps,
                buffer_size=seen.size,
            )
            self._result.seen.append(seen)
            is_bare = chance.random() < 0.5
            try:
                with anyio.move_on_after(seconds):
                    await (stream.subscribed() if is_bare else stream.__aenter__())
                    seen.promised_at = anyio.current_time()
                    await self._take(stream, seen, names[0] if is_alone else None, pace)
            except RivetError as error:
                seen.ended_by = error
            finally:
                _finish(stream, seen)
            await anyio.sleep(chance.choice((0.0, 0.1, 10.0)))

    async def _take(
        self, stream: EventStream[Any], seen: Seen, alone: str | None, pace: float
    ) -> None:
        while True:
            try:
                item = await stream.receive()
            except EventGapError as error:
                item = Gap(error.since, error.until, error.attempts)
            now = anyio.current_time()
            if isinstance(item, Gap):
                seen.items.append((now, "", item))
                self._result.counts["gaps"] += 1
            else:
                name, value = (alone, item) if alone else (item.name, item.value)
                seen.items.append((now, name, value))
                self._result.counts["events"] += 1
            if pace:
                await anyio.sleep(0.0 if self._result.is_over else pace)

    async def _calls(self, conn: Connection, chance: random.Random) -> None:
        while True:
            await self._call(conn, chance)
            await self._pause_calls(chance)

    async def posts(self, chance: random.Random) -> None:
        """Call over HTTP."""
        while True:
            await self._call(self._handle(chance.choice(KEYS)), chance)
            await self._pause_calls(chance)

    async def _pause_calls(self, chance: random.Random) -> None:
        longest = 100.0 if self._result.is_calm else chance.choice((0.01, 0.3, 10.0))
        await anyio.sleep(longest * chance.random() + 0.001)

    async def _call(self, at: Connection | ActorHandle, chance: random.Random) -> None:
        call = Call(self._next, chance.choice((0.05, 3.0, 100.0)), anyio.current_time())
        self._next += 1
        self._result.calls.append(call)
        try:
            with anyio.move_on_after(chance.choice((None, None, 1.0))):
                slow = chance.choice((0.0, 0.0, 0.2, 8.0))
                answer = await at.action("put", call.number, slow, retry_for=call.seconds)
                assert answer == call.number
                call.is_answered = True
                self._result.counts["answered"] += 1
        except RivetError as error:
            call.error = error
            self._result.counts[type(error).__name__] += 1
        finally:
            call.ended_at = anyio.current_time()

    async def _copy(self, conn: Connection, key: str, chance: random.Random) -> None:
        way = chance.choice(("atomic", "versions", "versions over HTTP"))
        copy = Copy(key, way)
        self._result.copies.append(copy)
        slow = 0.0 if way == "atomic" else chance.choice((0.0, 0.3, 8.0))
        pace = chance.choice((0.0, 0.0, 0.5, 20.0))
        at = self._handle(key) if way == "versions over HTTP" else conn
        is_atomic = way == "atomic"
        versions = Versions[Digest](lambda digest: digest[0], lambda event: event[1])
        async with live(
            conn,
            partial(at.action, "digest", slow, type=Digest),
            dict.fromkeys(NAMES, add),
            versions=None if is_atomic else versions,
            atomic_snapshot=is_atomic,
        ) as copy.state:
            async for digest in copy.state:
                copy.shown.append((anyio.current_time(), digest))
                self._result.counts["states"] += 1
                await anyio.sleep(pace)

    # A feed of both actors, and of one of them under other names

    async def feed(self, chance: random.Random) -> None:
        while True:
            names = (*NAMES, SHY) if chance.random() < 0.3 else NAMES
            size, opening = chance.choice((1, 4, 64)), chance.choice((1, 2, 32))
            sources: dict[str, Source] = {}
            try:
                async with (
                    watch(*names, buffer_size=size, opening=opening) as feed,
                    anyio.create_task_group() as tasks,
                ):
                    tasks.start_soon(self._change, feed, names, sources, _part(chance))
                    tasks.start_soon(self._receive, feed, sources, chance.choice((0.0, 0.0, 0.5)))
                    await anyio.sleep(chance.choice((0.02, 30.0, 1e9)) * chance.random())
                    tasks.cancel_scope.cancel()
            finally:
                for source in sources.values():
                    source.ended_at = anyio.current_time()

    async def _change(
        self,
        feed: Feed[Any],
        names: tuple[str, ...],
        sources: dict[str, Source],
        chance: random.Random,
    ) -> None:
        while not self._result.is_over:
            name = chance.choice(("1", "2", "3", "4"))
            if name in sources:
                sources.pop(name).ended_at = anyio.current_time()
                feed.remove(name)
                self._result.counts["removed"] += 1
            else:
                key = chance.choice(KEYS)
                source = Source(key, names, anyio.current_time())
                feed.add(self._handle(key), key=name)
                sources[name] = source
                self._result.sources.append(source)
            await anyio.sleep(chance.choice((0.0, 0.01, 5.0, 100.0)) * chance.random())

    async def _receive(self, feed: Feed[Any], sources: dict[str, Source], pace: float) -> None:
        async for item in feed:
            source = sources[item.key]  # raises for one that was removed
            now = anyio.current_time()
            if isinstance(item, SourceEvent):
                source.items.append((now, item.name, item.value))
            elif isinstance(item, SourceGap):
                source.dropped += item.dropped
                if item.gap is not None:
                    source.items.append((now, "", item.gap))
            else:
                assert isinstance(item, SourceFailed)
                source.ended_by = item.error
                sources.pop(item.key).ended_at = now
            self._result.counts[type(item).__name__] += 1
            if pace and not self._result.is_over:
                await anyio.sleep(pace)


def _finish(stream: EventStream[Any], seen: Seen) -> None:
    """Close a stream, and write down how it ended, and what nobody has taken."""
    now = seen.ended_at = anyio.current_time()
    buffer = stream._buffer
    for item in buffer.items:
        if isinstance(item, Gap):
            seen.items.append((now, "", item))
        else:
            value: Any = item[0]
            name, value = (value.name, value.value) if buffer.is_named else (buffer.name, value)
            seen.items.append((now, name, value))
    seen.left, seen.has_ended = buffer.event_count, buffer.ended
    seen.dropped, seen.gap_count = stream.dropped, stream.gaps
    stream.close()
