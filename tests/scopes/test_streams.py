"""Event streams under slow, absent and several consumers, and what never shows in any text."""

from __future__ import annotations

import gc
import logging

import anyio
import pytest

from rivet_anyio import ActorError, Client, ClosedError, EventOverflowError, Retry, Status
from rivet_anyio._connection.events import Overflow
from tests.faults.proxy import Proxy

from .injection import undisturbed


class TestOverflow:
    async def test_raise(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n", buffer_size=4)
                other = conn.events("n")
                await conn.emitMany("n", 10)
                assert [await events.receive() for _ in range(4)] == [0, 1, 2, 3]
                for _ in range(2):
                    with pytest.raises(EventOverflowError):
                        await events.receive()
                assert [await other.receive() for _ in range(10)] == list(range(10))
                assert await conn.echo(1) == 1

    @pytest.mark.parametrize(
        ("overflow", "kept"), [("drop_oldest", [6, 7, 8, 9]), ("drop_newest", [0, 1, 2, 3])]
    )
    async def test_drop(
        self, client: Client, key: list[str], overflow: Overflow, kept: list[int]
    ) -> None:
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n", buffer_size=4, overflow=overflow)
                await conn.emitMany("n", 10)
                assert events.buffered == 4
                assert [await events.receive() for _ in range(4)] == kept
                assert events.dropped == 6
                await conn.emit("n", 10)
                assert await events.receive() == 10

    async def test_block(self, client: Client, direct: Client, key: list[str]) -> None:
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n", buffer_size=4, overflow="block")
                await conn.echo("the subscription is there")
                answers = []

                async def ask() -> None:
                    answers.append(await conn.echo("behind the events"))

                await direct.probe.get_or_create(key).emitMany("n", 200)
                assert await events.receive() == 0
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ask)
                    for number in range(1, 190):
                        assert await events.receive() == number
                        assert events.buffered <= 5
                    assert answers == []
                    await events.aclose()
                assert answers == ["behind the events"]


class TestEnds:
    async def test_break_and_forget(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60), undisturbed():
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n", buffer_size=2)
                await conn.emitMany("n", 2)
                async for event in events:
                    assert event == 0
                    break
                with pytest.warns(ResourceWarning, match="dropped while subscribed"):
                    del events
                    gc.collect()
                # It would overflow twice over if anybody still listened.
                await conn.emitMany("n", 10)
                assert conn._link.state.buffers == {}
                fresh = conn.events("n")
                await conn.emit("n", "fresh")
                assert await fresh.receive() == "fresh"

    async def test_forgotten_streams_of_silent_events(self, client: Client, key: list[str]) -> None:
        """Nothing ever arrives that could have shown that nobody listens."""
        with anyio.fail_after(60), undisturbed():
            async with client.probe.get_or_create(key).connect() as conn:
                with pytest.warns(ResourceWarning, match="dropped while subscribed"):
                    for number in range(20):
                        conn.events(f"never-{number}")
                    gc.collect()
                assert await conn.echo(1) == 1
                assert conn._link.state.buffers == {}

    async def test_streams_that_ended_may_be_forgotten(
        self, client: Client, key: list[str]
    ) -> None:
        """Nobody is warned of those that were closed, or whose block has ended or never began."""
        with anyio.fail_after(60), undisturbed():
            never = client.probe.get_or_create(key).connect()
            streams = [never.events("n")]
            async with client.probe.get_or_create(key).connect() as conn:
                async with conn.events("n") as stream:
                    streams.append(stream)
                streams.append(conn.events("n"))
                streams.append(conn.events("n"))
                await streams[-1].aclose()
            del stream
            streams.clear()
            gc.collect()

    async def test_closed_under_an_iteration(self, client: Client, key: list[str]) -> None:
        outcomes = []

        with anyio.fail_after(60), undisturbed():
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n")

                async def iterate() -> None:
                    with pytest.raises(ClosedError):
                        outcomes.extend([event async for event in events])
                    outcomes.append("closed")

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(iterate)
                    tasks.start_soon(iterate)
                    await anyio.wait_all_tasks_blocked()
                    await events.aclose()
                assert outcomes == ["closed", "closed"]
                with pytest.raises(ClosedError):
                    await events.receive()
                await events.aclose()

    async def test_two_streams_of_one_name(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                first, second = conn.events("n"), conn.events("n")
                await conn.emit("n", 1)
                assert [await first.receive(), await second.receive()] == [1, 1]
                await first.aclose()
                await conn.emit("n", 2, "b")
                assert await second.receive() == (2, "b")
                await second.aclose()
                third = conn.events("n")
                await conn.emit("n")
                assert await third.receive() == ()

    async def test_several_tasks_share_a_stream(self, client: Client, key: list[str]) -> None:
        seen: list[int] = []
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n", type=int)

                async def take() -> None:
                    while len(seen) < 300:
                        seen.append(await events.receive())
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()

                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(take)
                    await anyio.wait_all_tasks_blocked()
                    await conn.emitMany("n", 300)
                assert sorted(seen) == list(range(300))

    async def test_a_cancelled_receive_loses_nothing(self, client: Client, key: list[str]) -> None:
        seen: list[object] = []
        with anyio.fail_after(60):
            async with client.probe.get_or_create(key).connect() as conn:
                events = conn.events("n")

                async def receive_briefly() -> None:
                    with anyio.move_on_after(0.001):
                        seen.append(await events.receive())

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(conn.action, "emitMany", "n", 500)
                    while len(seen) < 500:
                        await receive_briefly()
                assert seen == list(range(500))

    async def test_next_event(self, client: Client, key: list[str]) -> None:
        with anyio.fail_after(60), undisturbed():
            async with client.probe.get_or_create(key).connect() as conn:
                got = []

                async def wait() -> None:
                    got.append(await conn.next_event("n", type=int))

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    await conn.emitMany("n", 3)
                assert got == [0]
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    tasks.cancel_scope.cancel()
                await conn.emit("n", 5)
                assert got == [0]
                assert conn._link.state.buffers == {}


SECRET = "s3cr3t-t0ken"
PASSWORD = "p4ssw0rd"


async def test_secrets_show_nowhere(
    proxy: Proxy, key: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="rivet_anyio")
    texts: list[str] = []

    def look(*things: object) -> None:
        for thing in things:
            texts.extend((repr(thing), str(thing)))

    params = {"token": "secret", "password": PASSWORD}
    retry = Retry(initial=0.01, maximum=0.05)
    client = Client(proxy.endpoint, token=SECRET, metadata_lookup=False, retry=retry)
    with anyio.fail_after(60):
        async with client:
            handle = client.guarded.get_or_create(key, params=params)
            async with handle.connect() as conn:
                stream = conn.events("e")
                look(client, client.guarded, handle, conn, stream, conn.me)
                changes = conn.status_changes()
                proxy.refuse()
                proxy.cut()
                lost = 0
                async for change in changes:
                    look(change, change.error, getattr(change.error, "__cause__", None))
                    lost += change.status is Status.DISCONNECTED
                    if lost == 2:
                        break
                proxy.accept()
                assert (await conn.me())["params"] == params
            look(conn)
            async with client.web.get_or_create(key, params=params).websocket() as ws:
                look(ws)
            refused = client.guarded.get_or_create(key, params={"password": PASSWORD})
            with pytest.raises(ActorError) as caught:
                async with refused.connect():
                    pytest.fail("the body ran")
            look(caught.value)
        look(client)
    texts += [record.getMessage() for record in caplog.records if record.name == "rivet_anyio"]
    assert any("attempt" in text for text in texts)
    for text in texts:
        assert SECRET not in text
        assert PASSWORD not in text
