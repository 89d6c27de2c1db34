# mypy: disable-error-code="empty-body"
"""`watch`: many actors as one stream, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from weakref import ref

import anyio
import anyio.lowlevel
import anyio.to_thread
import msgspec
import pytest

import rivet_anyio
from rivet_anyio import (
    ActorError,
    Client,
    ClosedError,
    ConnectionLostError,
    Event,
    Feed,
    Gap,
    ProtocolError,
    Retry,
    SourceEvent,
    SourceFailed,
    SourceGap,
    Status,
    watch,
)
from rivet_anyio.testing import (
    ActorServer,
    Disconnected,
    Subscribed,
    collect,
    explore,
    virtual_backend,
)
from tests.scopes.injection import cancelled_at, undisturbed

from .actors import ACTORS, Slow

GUARD = 3600


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


@asynccontextmanager
async def serving(
    *, version: str = "2.3", actors: Any = ACTORS, leaks: bool = True, **options: Any
) -> AsyncGenerator[tuple[ActorServer, Client]]:
    async with (
        ActorServer(actors, version=version, unused_faults="ignore", leaks=leaks) as server,
        server.client(**options) as client,
    ):
        with anyio.fail_after(GUARD):
            yield server, client


def values(items: Sequence[Any]) -> list[Any]:
    """The values of events; fails for anything else."""
    assert all(isinstance(item, SourceEvent) for item in items), items
    return [item.value for item in items]


async def opened(feed: Feed[Any], client: Client, *keys: str, **options: Any) -> None:
    """Add tickers, and take their first gaps."""
    for key in keys:
        feed.add(client.ticker.get_or_create(key), key=key, **options)
    gaps = await collect(feed, len(keys))
    assert {item.key for item in gaps} == set(keys)
    assert all(isinstance(item, SourceGap) and item.gap for item in gaps), gaps


async def test_events_of_several_actors() -> None:
    async with serving() as (_, client), watch("tick", "tock") as feed:
        await anyio.sleep(5)
        feed.add(client.ticker.get_or_create(["a", "b"]))
        first = await feed.receive()
        assert first == SourceGap(("a", "b"), Gap(5.0, 5.0, 0), 0)
        await opened(feed, client, "x")
        await client.ticker.get(["a", "b"]).emit("tick", 1)
        await client.ticker.get("x").emit("tock", 2, 3)
        await client.ticker.get("x").emit("other", 4)
        await client.ticker.get("x").emit("tick")
        seen = await collect(feed, 3)
    assert seen == [
        SourceEvent(("a", "b"), "tick", 1),
        SourceEvent("x", "tock", (2, 3)),
        SourceEvent("x", "tick", ()),
    ]


async def test_items_are_matched() -> None:
    async with serving() as (_, client), watch("tick") as feed:
        feed.add(client.ticker.get_or_create("a"))
        feed.add(client.guard.get_or_create("b"), key=7)
        seen: list[tuple[Any, ...]] = []
        for item in await collect(feed, 2):
            match item:
                case SourceEvent(key, name, value):
                    seen.append((key, name, value))
                case SourceGap(key, gap):
                    assert gap is not None
                    seen.append((key, gap.attempts))
                case SourceFailed(key, ActorError() as error):
                    seen.append((key, error.code))
        assert sorted(seen, key=str) == [(("a",), 0), (7, "forbidden")]
        with pytest.raises(AttributeError):
            item.key = 1  # type: ignore[misc]


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_a_source_begins_with_a_gap(version: str) -> None:
    """What is sent before it may be missing; all that is sent after it comes."""
    async with serving(version=version) as (server, client), watch("tick") as feed:
        ticker = client.ticker.get_or_create("a")
        await ticker.emit("tick", 0)
        sent = 0
        feed.add(ticker, key="a")

        async def keep_sending() -> None:
            nonlocal sent
            while True:
                await ticker.emit("tick", sent)
                sent += 1
                await anyio.sleep(0.001)

        server.network.latency = 0.01
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_sending)
            first = await feed.receive()
            assert isinstance(first, SourceGap) and first.gap and first.gap.until > 0
            numbers = values(await collect(feed, 20))
            tasks.cancel_scope.cancel()
        assert numbers == list(range(numbers[0], numbers[0] + 20))


async def test_sources_alternate() -> None:
    """A source with a full buffer does not stand before one with a single event."""
    async with serving() as (_, client), watch("tick") as feed:
        await opened(feed, client, "a", "b", "c")
        await client.ticker.get("a").emit_many(0, 50)
        await client.ticker.get("b").emit_many(0, 3)
        await client.ticker.get("c").emit_many(0, 1)
        await anyio.wait_all_tasks_blocked()
        seen = [item.key for item in await collect(feed, 54)]
        assert sorted(seen[:3]) == ["a", "b", "c"] and sorted(seen[3:5]) == ["a", "b"]
        assert seen[7:] == ["a"] * 47


async def test_too_many_events_become_a_gap() -> None:
    async with serving() as (_, client), watch("tick", buffer_size=4) as feed:
        await opened(feed, client, "a", "b")
        await client.ticker.get("a").emit_many(0, 10)
        await client.ticker.get("b").emit_many(0, 1)
        await anyio.wait_all_tasks_blocked()
        statistics = feed.statistics()
        assert (statistics.sources["a"].dropped, statistics.sources["a"].buffered) == (6, 4)
        assert (statistics.current_buffer_used, statistics.max_buffer_size) == (5, 8)
        seen = await collect(feed, 6)
        assert [item for item in seen if item.key == "a"] == [
            SourceGap("a", None, 6),
            *(SourceEvent("a", "tick", number) for number in range(6, 10)),
        ]
        await client.ticker.get("a").emit_many(10, 1)
        assert await feed.receive() == SourceEvent("a", "tick", 10)


async def test_what_is_dropped_around_a_loss_is_in_its_gap() -> None:
    async with serving() as (server, client), watch("tick", buffer_size=4) as feed:
        await opened(feed, client, "a")
        await client.ticker.get("a").emit_many(0, 3)
        await anyio.wait_all_tasks_blocked()
        server.drop_connections()
        await server.wait_for(Subscribed, count=2)
        await anyio.sleep(1)
        await client.ticker.get("a").emit_many(3, 6)
        await anyio.wait_all_tasks_blocked()
        gap, *events = await collect(feed, 5)
        assert isinstance(gap, SourceGap) and gap.gap and gap.dropped == 5
        assert values(events) == [5, 6, 7, 8]


async def test_a_refused_source_is_an_item_and_gone() -> None:
    async with serving() as (_, client), watch("tick") as feed:
        guard = client.guard.get_or_create("g")
        feed.add(guard, key="g")
        await opened_beside_failure(feed, client)
        assert "g" not in feed.statistics().sources
        with pytest.raises(KeyError, match="the feed has no source 'g'"):
            feed.remove("g")
        feed.add(client.guard.get("g", params="open"), key="g")
        assert isinstance(await feed.receive(), SourceGap)
        await guard_emits(client)
        assert await feed.receive() == SourceEvent("g", "tick", 1)


async def opened_beside_failure(feed: Feed[Any], client: Client) -> None:
    feed.add(client.ticker.get_or_create("a"), key="a")
    items = {item.key: item for item in await collect(feed, 2)}
    assert isinstance(items["a"], SourceGap)
    failed = items["g"]
    assert isinstance(failed, SourceFailed)
    assert isinstance(failed.error, ActorError) and failed.error.code == "forbidden"


async def guard_emits(client: Client) -> None:
    await client.guard.get("g", params="open").emit("tick", 1)


@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3"])
async def test_a_refused_subscription_ends_its_source_alone(version: str) -> None:
    async with serving(version=version) as (_, client), watch("tick", "secret") as feed:
        await opened(feed, client, "a")
        feed.add(client.refusing.get_or_create("r"), key="r")
        failed = await feed.receive()
        assert isinstance(failed, SourceFailed) and failed.key == "r"
        assert isinstance(failed.error, ActorError)
        await client.ticker.get("a").emit("tick", 1)
        assert await feed.receive() == SourceEvent("a", "tick", 1)


async def test_a_source_that_fails_later_delivers_what_it_has() -> None:
    async with serving(retry=Retry(initial=0.01, maximum=0.01)) as (_, client):
        made = await client.ticker.create("a")
        async with watch("tick") as feed:
            feed.add(client.ticker.get("a"), key="a")
            assert isinstance(await feed.receive(), SourceGap)
            await made.emit_many(0, 2)
            await made.end()
            await anyio.sleep(5)
            assert feed.statistics().sources["a"].status is Status.CLOSED
            assert feed.statistics().connected == 0
            first, second, failed = await collect(feed, 3)
            assert values([first, second]) == [0, 1]
            assert isinstance(failed, SourceFailed)
            assert isinstance(failed.error, ActorError) and failed.error.code == "not_found"


class Ticking(rivet_anyio.TypedActor, name="ticker"):
    tick: Event[int]
    tock: Event[str]

    async def emit(self, name: str, value: Any) -> None: ...


class Other(rivet_anyio.TypedActor, name="other"):
    tick: Event[int]


async def test_typed_events() -> None:
    async with serving() as (_, client), watch(Ticking.tick, Ticking.tock) as feed:
        typed = client.get_or_create(Ticking, "a")
        feed.add(typed)
        feed.add(client.ticker.get_or_create("b"))
        assert all(isinstance(item, SourceGap) for item in await collect(feed, 2))
        await typed.emit("tick", 1)
        await client.ticker.get("b").emit("tock", "x")
        assert await collect(feed, 2) == [
            SourceEvent(("a",), "tick", 1),
            SourceEvent(("b",), "tock", "x"),
        ]
        await client.ticker.get("b").emit("tick", "no number")
        await client.ticker.get("b").emit("tick", 2)
        failed = await feed.receive()
        assert isinstance(failed, SourceFailed) and failed.key == ("b",)
        assert isinstance(failed.error, ProtocolError) and "'tick'" in str(failed.error)
        await typed.emit("tick", 3)
        assert await feed.receive() == SourceEvent(("a",), "tick", 3)
        with pytest.raises(TypeError, match="no event of Other"):
            feed.add(client.get_or_create(Other, "c"))
        async with typed.connect() as conn:
            with pytest.raises(TypeError, match="an actor's handle, not <Ticking over <Connection"):
                feed.add(conn, key="c")
    with pytest.raises(ValueError, match="twice"):
        watch(Ticking.tick, "tick")


replacements: list[Callable[[], None]] = []


class Replacing(msgspec.Struct):
    """A value that replaces its own source while it is made."""

    def __post_init__(self) -> None:
        if replacements:
            replacements.pop()()


class Replaced(rivet_anyio.TypedActor, name="ticker"):
    tick: Event[Replacing]


async def test_a_source_is_replaced_while_its_value_is_made() -> None:
    async with serving() as (_, client), watch(Replaced.tick) as feed:
        await opened(feed, client, "a")

        def replace() -> None:
            feed.remove("a")
            feed.add(client.ticker.get("a"), key="a")

        replacements.append(replace)
        for expected in (SourceGap, SourceEvent):
            await client.ticker.get("a").emit("tick", {})
            assert type(await feed.receive()) is expected


async def test_a_source_that_is_removed_at_once_is_never_connected() -> None:
    async with serving() as (server, client), watch("tick") as feed:
        feed.add(client.ticker.get_or_create("a"), key="a")
        feed.remove("a")
        await anyio.wait_all_tasks_blocked()
        assert not server.log, "nobody waits for it, however long its server is away"


async def test_after_remove_nothing_of_it_comes() -> None:
    async with serving() as (server, client), watch("tick") as feed:
        await opened(feed, client, "a", "b")
        await client.ticker.get("a").emit_many(0, 5)
        await client.ticker.get("b").emit_many(0, 1)
        await anyio.wait_all_tasks_blocked()
        feed.remove("a")
        assert feed.statistics().current_buffer_used == 1
        assert await feed.receive() == SourceEvent("b", "tick", 0)
        await server.wait_for(Disconnected)
        await client.ticker.get("a").emit_many(5, 1)
        with anyio.move_on_after(60):
            pytest.fail(f"{await feed.receive()}")
        with pytest.raises(KeyError):
            feed.remove("a")


async def test_a_removed_key_is_free_at_once() -> None:
    async with serving() as (server, client), watch("tick") as feed:
        await opened(feed, client, "a")
        await client.ticker.get("a").emit_many(0, 5)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="has a source 'a' already"):
            feed.add(client.ticker.get("a"), key="a")
        feed.remove("a")
        await opened(feed, client, "a")
        await client.ticker.get("a").emit_many(5, 1)
        assert await feed.receive() == SourceEvent("a", "tick", 5)
        assert len(server.connections) == 1


async def test_a_source_is_removed_while_it_opens() -> None:
    async with serving() as (server, client), watch("tick", opening=1) as feed:
        server.network.latency = 1.0
        for key in "abc":
            feed.add(client.ticker.get_or_create(key), key=key)
        await anyio.sleep(0.1)
        feed.remove("a")
        feed.remove("b")
        with pytest.raises(ValueError, match=r"by add\(handle, key=...\)"):
            feed.add(client.ticker.get_for_id("x"))
        assert (await feed.receive()).key == "c"
        assert feed.statistics().handshakes == 0


async def test_a_server_that_comes_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rivet_anyio")
    async with serving() as (server, client), watch("tick") as feed:
        with server.network.outage():
            for number in range(10):
                feed.add(client.ticker.get_or_create(str(number)), key=number)
            await anyio.sleep(150)
            statistics = feed.statistics()
            assert statistics.connected == 0 and len(statistics.sources) == 10
        for item in await collect(feed, 10, within=60):
            assert isinstance(item, SourceGap) and item.gap is not None
            assert item.gap.since == 0 and item.gap.until > 150
        assert feed.statistics().connected == 10
    assert len(caplog.records) == 3, "one for all sources, each minute"


async def test_a_restart_is_one_gap_for_each() -> None:
    async with serving() as (server, client), watch("tick") as feed:
        await opened(feed, client, *map(str, range(10)))
        await server.restart(downtime=10)
        gaps = await collect(feed, 10, within=120)
        assert {gap.key for gap in gaps} == set(map(str, range(10)))
        assert all(isinstance(gap, SourceGap) and gap.gap and gap.gap.attempts for gap in gaps)
        for key in range(10):
            await client.ticker.get(str(key)).emit("tick", key)
        assert set(await collect(feed, 10)) == {
            SourceEvent(str(key), "tick", key) for key in range(10)
        }
        assert all(each.gaps == 2 for each in feed.statistics().sources.values())


@pytest.mark.parametrize("opening", [1, 5])
async def test_handshakes_at_once(opening: int) -> None:
    class Counted(Slow):
        now = most = begun = 0

    actors = {"ticker": Counted}
    async with serving(actors=actors) as (server, client), watch("tick", opening=opening) as feed:
        for round in range(2):
            Counted.most = Counted.begun = 0
            began = anyio.current_time()
            for key in range(10):
                if not round:
                    feed.add(client.ticker.get_or_create(str(key)), key=key)
            if round:
                server.drop_connections()
            await anyio.sleep(0.5 + 1 / opening)
            assert feed.statistics().handshakes == opening
            await collect(feed, 10, within=120)
            assert Counted.most == opening and Counted.begun == 10
            assert anyio.current_time() >= began + 10 / opening
            assert feed.statistics().handshakes == 0


async def test_sources_that_hang_do_not_stop_others() -> None:
    class Hanging(Slow):
        seconds = math.inf

    actors = {"ticker": ACTORS["ticker"], "hanging": Hanging}
    async with (
        serving(actors=actors, connect_timeout=5, leaks=False) as (server, client),
        watch("tick", opening=4) as feed,
    ):
        for key in range(16):
            feed.add(client.hanging.get_or_create(str(key)), key=key)
        await anyio.sleep(25)  # each of them has tried once
        assert feed.statistics().handshakes == 2, "half of them, by those that hang"
        for _ in range(5):
            with anyio.fail_after(1):
                await opened(feed, client, "a", "b")
            await anyio.sleep(1)
            server.drop_connections(actor="ticker")
            with anyio.fail_after(1):
                assert {item.key for item in await collect(feed, 2)} == {"a", "b"}
            feed.remove("a")
            feed.remove("b")


async def test_to_wait_for_a_place_makes_no_handshake_slow() -> None:
    class Slower(Slow):
        seconds = 2.0

    actors = {"ticker": ACTORS["ticker"], "slower": Slower}
    retry = Retry(initial=5.0, random=lambda: 1.0)
    async with (
        serving(actors=actors, retry=retry) as (server, client),
        watch("tick", opening=4) as feed,
    ):
        for key in range(4):
            feed.add(client.slower.get_or_create(str(key)), key=key)
        await anyio.sleep(0.1)
        server.faults.refuse_connects(4, actor="ticker")
        for key in range(4, 8):
            feed.add(client.ticker.get_or_create(str(key)), key=key)
        assert {item.key for item in await collect(feed, 4)} == {0, 1, 2, 3}
        await anyio.sleep(1)
        assert feed.statistics().handshakes == 0, "the others were refused at once"
        with server.network.to_client.hold():
            await anyio.sleep(10)
            assert feed.statistics().handshakes == 4, "and may use all places"
        assert {item.key for item in await collect(feed, 4)} == {4, 5, 6, 7}


async def test_a_connection_that_lasted_makes_no_handshake_slow() -> None:
    retry = Retry(initial=1.0, random=lambda: 1.0)
    async with (
        serving(retry=retry) as (server, client),
        watch("tick", opening=4) as feed,
    ):
        await opened(feed, client, *map(str, range(4)))
        await anyio.sleep(5)
        server.drop_connections()
        await anyio.sleep(0.5)
        with server.network.to_client.hold():
            await anyio.sleep(1)
            assert feed.statistics().handshakes == 4, "they may use all places"
        await anyio.sleep(5)
        assert feed.statistics().connected == 4


@pytest.mark.parametrize("cancelled", [False, True])
async def test_leaving_while_nothing_moves_has_one_deadline(cancelled: bool) -> None:
    async with serving(close_timeout=3) as (server, client):
        with anyio.CancelScope() as scope:
            async with watch("tick", opening=4) as feed:
                await opened(feed, client, *map(str, range(8)))
                stalled = server.network.stalled()
                stalled.__enter__()
                for key in range(20, 30):
                    feed.add(client.ticker.get_or_create(str(key)), key=key)
                await anyio.sleep(1)
                feed.remove("3")
                left_at = anyio.current_time()
                if cancelled:
                    scope.cancel()
        assert anyio.current_time() == pytest.approx(left_at + (1 if cancelled else 3))
        stalled.__exit__(None, None, None)


async def test_a_handshake_that_hangs_ends_with_its_source() -> None:
    class Hanging(Slow):
        seconds = math.inf

    async with serving(actors={"hanging": Hanging}, leaks=False) as (_, client):
        async with watch("tick", opening=1) as feed:
            for key in ("a", "b"):
                feed.add(client.hanging.get_or_create(key), key=key)
                await anyio.sleep(1)
            feed.remove("a")
            await anyio.sleep(1)
            assert feed.statistics().handshakes == 1 and Hanging.begun == 2
            left_at = anyio.current_time()
        assert anyio.current_time() == left_at


async def test_leaving_closes_properly() -> None:
    async with serving() as (server, client):
        async with watch("tick") as feed:
            await opened(feed, client, "a", "b")
        ends = server.log.of(Disconnected)
        assert [end.code for end in ends] == [1000, 1000]
        assert server.connections == ()


async def test_what_the_body_raises_comes_out_as_itself() -> None:
    error = LookupError()
    async with serving() as (_, client):
        with pytest.raises(LookupError) as caught:
            async with watch("tick") as feed:
                await opened(feed, client, "a")
                raise error
        assert caught.value is error
        with anyio.CancelScope() as scope:
            async with watch("tick") as feed:
                await opened(feed, client, "a")
                scope.cancel()
                await feed.receive()
        assert scope.cancelled_caught


@pytest.mark.parametrize("means", ["scope", "task-cancel"])
async def test_cancelled_at_every_wait(means: str, anyio_backend_name: str) -> None:
    if (anyio_backend_name, means) == ("trio", "task-cancel"):
        pytest.skip("Trio's tasks are cancelled by scopes alone")
    async with serving(close_timeout=5, leaks=False) as (server, client):

        async def program() -> None:
            async with feed:
                await opened(feed, client, "a", "b")
                feed.remove("b")
                await client.ticker.get("a").emit("tick", 1)
                await feed.receive()
                feed.add(client.ticker.get_or_create("d"), key="d")
                await anyio.sleep(0.001)
                await feed.aclose()

        feed = watch("tick")
        await program()  # the actors' tasks stay
        at = 0
        with undisturbed():
            while True:
                at += 1
                feed = watch("tick", opening=2)
                began = anyio.current_time()
                if not await cancelled_at(means, "waits", program, at):
                    break
                assert anyio.current_time() < began + 6
                assert feed._handshakes.under_way == 0 and not feed.statistics().sources
                await anyio.sleep(1)
                assert server.connections == ()
        assert at > 10


async def test_outside_of_the_block() -> None:
    async with serving() as (server, client):
        ticker = client.ticker.get_or_create("a")
        feed = watch("tick")
        before = "the feed was used before 'async with' entered it"
        for use in (
            lambda: feed.add(ticker),
            lambda: feed.remove("a"),
            feed.receive_nowait,
        ):
            with pytest.raises(ClosedError, match=before):
                use()
        with pytest.raises(ClosedError, match=before):
            await feed.receive()
        async with feed, anyio.create_task_group() as tasks:
            await opened(feed, client, "a")

            async def add_at_the_end() -> None:
                while server.connections:
                    await anyio.lowlevel.checkpoint()
                with pytest.raises(ClosedError, match="the feed is closed"):
                    feed.add(ticker)

            async def receive_until_the_end() -> None:
                with pytest.raises(ClosedError, match="the feed is closed"):
                    await feed.receive()

            with pytest.raises(RuntimeError, match="call watch\\(\\) again"):
                async with feed:
                    pass
            tasks.start_soon(receive_until_the_end)
            await anyio.wait_all_tasks_blocked()
            assert feed.statistics().tasks_waiting_receive == 1
            await feed.aclose()
            tasks.start_soon(add_at_the_end)
        for use in (
            lambda: feed.add(ticker),
            lambda: feed.remove("a"),
            feed.receive_nowait,
        ):
            with pytest.raises(ClosedError, match="closed"):
                use()
        assert feed.statistics().open_receive_streams == 0
        never = watch("tick")
        await never.aclose()
        with pytest.raises(ClosedError):
            await never.__aenter__()


async def test_adding_while_the_block_ends() -> None:
    async with serving() as (server, client), anyio.create_task_group() as tasks:
        refused = anyio.Event()
        feed = watch("tick")

        async def keep_adding() -> None:
            for number in range(10**6):
                try:
                    feed.add(client.ticker.get_or_create(str(number)), key=number)
                    await anyio.sleep(0.01)
                    if number % 3 == 0:
                        feed.remove(number)
                except ClosedError:
                    refused.set()
                    return

        async with feed:
            tasks.start_soon(keep_adding)
            await collect(feed, 30)
            server.network.latency = 0.2
        assert server.connections == ()
        await refused.wait()


async def test_several_tasks_take() -> None:
    async with serving() as (_, client), watch("tick") as feed:
        await opened(feed, client, "a", "b")
        seen: list[int] = []

        async def take(count: int) -> None:
            for _ in range(count):
                item = await feed.receive()
                assert isinstance(item, SourceEvent)
                seen.append(item.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(take, 5)
            await anyio.wait_all_tasks_blocked()
            await client.ticker.get("a").emit_many(0, 10)
            await client.ticker.get("b").emit_many(10, 10)
        assert sorted(seen) == list(range(20))


async def test_a_cancelled_receive_loses_nothing() -> None:
    async with serving() as (_, client), watch("tick") as feed:
        await opened(feed, client, "a")
        seen: list[int] = []
        ticker = client.ticker.get("a")
        for number in range(20):
            async with anyio.create_task_group() as tasks:

                async def take(scope: anyio.CancelScope) -> None:
                    with scope:
                        item = await feed.receive()
                        seen.append(item.value)  # type: ignore[union-attr]

                scope = anyio.CancelScope()
                tasks.start_soon(take, scope)
                await anyio.wait_all_tasks_blocked()
                await ticker.emit("tick", number)
                scope.cancel()
        await anyio.wait_all_tasks_blocked()
        while len(seen) < 20:
            seen.append(feed.receive_nowait().value)  # type: ignore[union-attr]
        assert seen == list(range(20))
        with pytest.raises(anyio.WouldBlock):
            feed.receive_nowait()
        await ticker.emit_many(0, 3)
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as cancelled:
            cancelled.cancel()
            for _ in range(3):
                await feed.receive()
        assert cancelled.cancelled_caught
        assert len(await collect(feed, 3)) == 3


async def test_a_busy_feed_lets_others_run() -> None:
    async with serving() as (_, client), watch("tick", buffer_size=1000) as feed:
        await opened(feed, client, "a")
        await client.ticker.get("a").emit_many(0, 1000)
        await anyio.wait_all_tasks_blocked()
        steps = 0

        async def step() -> None:
            nonlocal steps
            while True:
                await anyio.lowlevel.checkpoint()
                steps += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(step)
            for _ in range(1000):
                await feed.receive()
            tasks.cancel_scope.cancel()
        assert steps >= 10


async def test_what_cannot_be_added() -> None:
    async with serving() as (_, client), watch("tick") as feed:
        handle = client.ticker.get_or_create("a")
        things: list[Any] = [None, 5, "a", client, client.ticker, handle.connect(), Ticking]
        for given in things:
            with pytest.raises(TypeError, match="add takes an actor's handle, not "):
                feed.add(given, key="x")
        keys: list[Any] = [[], {}, ("a", [])]
        for key in keys:
            with pytest.raises(TypeError, match="key is hashable, as strings and tuples are, not "):
                feed.add(handle, key=key)
        with pytest.raises(ClosedError, match="Client"):
            feed.add(Client("http://127.0.0.1:9").ticker.get("a"), key="x")
        assert not feed.statistics().sources
    with pytest.raises(ValueError, match="no event is named"):
        watch()


async def test_it_belongs_to_one_event_loop() -> None:
    """Threads are not of virtual time, so nothing here waits for its passing."""
    async with serving() as (_, client), watch("tick") as feed:
        await opened(feed, client, "a")
        errors: list[BaseException] = []

        def use_elsewhere() -> None:
            async def use() -> None:
                for misuse in (
                    lambda: feed.remove("a"),
                    lambda: feed.add(client.ticker.get("b")),
                    feed.receive_nowait,
                ):
                    try:
                        misuse()
                    except RuntimeError as error:
                        errors.append(error)
                for awaited in (feed.receive(), feed.aclose()):
                    try:
                        await awaited
                    except RuntimeError as error:
                        errors.append(error)

            asyncio.run(use())

        import threading

        thread = threading.Thread(target=use_elsewhere)
        thread.start()
        thread.join()
        assert len(errors) == 5
        assert all("this feed belongs to another event loop" in str(each) for each in errors)


async def test_a_source_whose_task_is_cancelled_by_others(anyio_backend_name: str) -> None:
    if anyio_backend_name != "asyncio":
        pytest.skip("Trio's tasks are cancelled by scopes alone")
    async with serving() as (_, client), watch("tick") as feed:
        await opened(feed, client, "a", "b")
        task, _ = [each for each in asyncio.all_tasks() if "Source.run" in each.get_name()]
        task.cancel()
        failed = await feed.receive()
        assert isinstance(failed, SourceFailed)
        assert isinstance(failed.error, ConnectionLostError)
        (other,) = feed.statistics().sources
        await client.ticker.get(other).emit("tick", 1)
        assert await feed.receive() == SourceEvent(other, "tick", 1)


async def test_receiving_in_a_block_that_was_cancelled() -> None:
    async with serving() as (_, client):
        with anyio.CancelScope() as scope:
            async with watch("tick") as feed:
                await opened(feed, client, "a")
                scope.cancel()
                with anyio.CancelScope(shield=True):
                    failed = await feed.receive()
                assert isinstance(failed, SourceFailed)


async def test_the_client_is_left_first() -> None:
    async with ActorServer(ACTORS) as server, watch("tick") as feed:
        async with server.client() as client:
            await opened(feed, client, "a")
        failed = await feed.receive()
        assert isinstance(failed, SourceFailed) and isinstance(failed.error, ClosedError)


async def test_statistics() -> None:
    async with serving() as (server, client), watch("tick", buffer_size=8, opening=3) as feed:
        await opened(feed, client, "a", "b")
        server.faults.refuse_connects(10**6, status=503, key="c")
        feed.add(client.ticker.get_or_create("c"), key="c")
        await client.ticker.get("a").emit_many(0, 2)
        await anyio.sleep(1)
        statistics = feed.statistics()
        assert statistics.connected == 2
        assert [each.status for each in statistics.sources.values()] == [
            Status.CONNECTED,
            Status.CONNECTED,
            Status.DISCONNECTED,
        ]
        assert (
            statistics.current_buffer_used,
            statistics.max_buffer_size,
            statistics.open_send_streams,
            statistics.open_receive_streams,
            statistics.tasks_waiting_send,
            statistics.tasks_waiting_receive,
        ) == (2, 24, 3, 1, 0, 0)
        assert repr(feed) == "<Feed of tick sources=3>"


async def test_nothing_is_left_behind() -> None:
    """A source is freed after its end, and so is the feed, without the garbage collector."""
    async with serving() as (server, client):
        gc.disable()
        try:
            async with watch("tick") as feed:
                await opened(feed, client, "a", "b")
                links = [ref(each._connection._link) for each in feed._sources.by_key.values()]
                feed.remove("a")
                await server.wait_for(Disconnected)
                await anyio.sleep(1)
                assert links[0]() is None
            left = ref(feed)
            unused = ref(watch("tick"))
            del feed
            await anyio.sleep(1)
            assert [links[1](), left(), unused()] == [None, None, None]
        finally:
            gc.enable()


async def adding_and_removing_under_fire() -> None:
    """Whatever happens: each source's events come in order, in gaps what is missing."""
    async with ActorServer(ACTORS, unused_faults="ignore") as server, server.client() as client:
        expected: dict[str, int] = {}  # the next number of a source that has begun
        sent: dict[str, int] = {}
        removed: set[str] = set()

        async def send(key: str) -> None:
            handle = client.ticker.get_or_create(key)
            while True:
                number = sent.get(key, 0)
                try:
                    await handle.emit("tick", number)
                except rivet_anyio.RivetError:
                    pass
                sent[key] = number + 1
                await anyio.sleep(random.random())

        async def change(feed: Feed[Any]) -> None:
            for _ in range(12):
                key = random.choice("abcd")
                if key in feed.statistics().sources:
                    feed.remove(key)
                    expected.pop(key, None)
                    removed.add(key)
                else:
                    feed.add(client.ticker.get_or_create(key), key=key)
                    removed.discard(key)
                await anyio.sleep(random.random())
                random.choice(
                    (server.network.cut, server.drop_connections, lambda: None, lambda: None)
                )()

        async with (
            watch("tick", buffer_size=3, opening=2) as feed,
            anyio.create_task_group() as tasks,
        ):
            for key in "abcd":
                tasks.start_soon(send, key)

            async def take() -> None:
                async for item in feed:
                    assert item.key not in removed
                    if isinstance(item, SourceGap):
                        expected[item.key] = -1
                        continue
                    assert isinstance(item, SourceEvent), item
                    after = expected[item.key]
                    assert item.value == after or (after == -1 and item.value >= 0), (item, after)
                    expected[item.key] = item.value + 1
                    await anyio.sleep(random.random() / 4)

            tasks.start_soon(take)
            await change(feed)
            await anyio.sleep(10)
            assert feed.statistics().connected == len(feed.statistics().sources)
            tasks.cancel_scope.cancel()


def test_adding_and_removing_under_fire() -> None:
    logging.disable(logging.CRITICAL)
    try:
        explore(adding_and_removing_under_fire, seeds=range(1))
    finally:
        logging.disable(logging.NOTSET)


async def test_a_feed_of_two_clients_waits_for_the_longer_close_timeout() -> None:
    async with (
        serving(close_timeout=10) as (server, client),
        server.client(close_timeout=1) as other,
        AsyncExitStack() as stack,
    ):
        feed = await stack.enter_async_context(watch("tick"))
        feed.add(client.ticker.get_or_create("a"))
        feed.add(other.ticker.get_or_create("b"))
        await anyio.sleep(5)
        with server.network.to_server.hold():
            left_at = anyio.current_time()
            await stack.aclose()
            assert anyio.current_time() == left_at + 10


async def test_a_source_whose_client_ends_before_it_begins_fails() -> None:
    async with ActorServer(ACTORS) as server, watch("tick") as feed:
        async with server.client() as client:
            feed.add(client.ticker.get_or_create("a"), key="a")
            client._core.close()
            item = await feed.receive()
        assert isinstance(item, SourceFailed) and isinstance(item.error, ClosedError)
