"""What `ActorServer` plays of subscriptions, and what the client makes of it, in virtual time."""

from __future__ import annotations

import gc
import logging
import warnings
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import anyio.lowlevel
import anyio.streams.buffered
import anyio.streams.stapled
import pytest

from rivet_anyio import (
    ActorError,
    Connection,
    EventOverflowError,
    Gap,
    NamedEvent,
    Retry,
    Status,
)
from rivet_anyio.testing import ActorServer, Subscribed, Unsubscribed, run_virtual
from tests.servers import CHECKED

from .actors import ACTORS

BACKENDS = ("asyncio", "trio")
QUICK = Retry(initial=0.01, maximum=0.05)

every_version = pytest.mark.parametrize("version", CHECKED)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL + 1, "rivet_anyio")


def play(main: Callable[[], Awaitable[None]], backend: str) -> None:
    """Run it in virtual time, an hour at most."""

    async def within_an_hour() -> None:
        with anyio.fail_after(3600):
            await main()

    run_virtual(within_an_hour, backend=backend)


@every_version
@every_backend
def test_events_that_nobody_hears_any_more_are_not_sent(version: str, backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            async with client.probe.get_or_create().connect() as conn:
                async with conn.events("tick"):
                    await conn.emit("tick", "heard")
                await server.wait_for(Unsubscribed)
                await conn.emit("tick", "unheard")
            sent = [line for line in server.timeline().splitlines() if " sent to " in line]
            assert ["('heard',)" in line for line in sent] == [True]

    play(main, backend)


@every_version
@every_backend
def test_entering_waits_for_the_server(version: str, backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            gate = client.gate.get_or_create()
            async with gate.connect() as conn:
                began = anyio.current_time()
                async with conn.events("slow") as stream:
                    took = anyio.current_time() - began
                    assert took == pytest.approx(0.0 if version.startswith("2.0") else 0.3)
                    assert len(server.log.of(Subscribed)) == 1
                    await gate.emit("slow", 1)
                    assert await stream.receive() == 1

    play(main, backend)


@every_version
@every_backend
def test_it_waits_through_a_reconnect_and_may_be_cancelled(version: str, backend: str) -> None:
    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            gate = client.gate.get_or_create()
            async with gate.connect(retry=QUICK) as conn:
                stream = conn.events("slow", gaps="mark")
                with anyio.move_on_after(0.1) as scope:
                    await stream.subscribed()
                assert scope.cancelled_caught or version.startswith("2.0")
                server.drop_connections()
                await anyio.wait_all_tasks_blocked()
                await stream.subscribed()
                await gate.emit("slow", 1)
                assert isinstance(await stream.receive(), Gap)
                assert await stream.receive() == 1
                await stream.aclose()

    play(main, backend)


@every_version
@every_backend
@pytest.mark.parametrize("refused", [["a"], ["b"], ["a", "c"], ["a", "b", "c"]])
def test_only_what_is_refused_ends(version: str, backend: str, refused: list[str]) -> None:
    names = ("a", "b", "c", "d")

    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            gate = client.gate.get_or_create(params={"refuse": refused})
            async with gate.connect(retry=QUICK) as conn:
                streams = {name: conn.events(name, gaps="mark") for name in names}
                pairs = {name: conn.events((name, "d")) for name in names if name != "d"}
                for name in sorted(names, key=lambda name: name not in refused):
                    stream = streams[name]
                    if name in refused and not version.startswith("2.0"):
                        for each in (stream, pairs[name]):
                            with pytest.raises(ActorError) as caught:
                                await each.subscribed()
                            assert (caught.value.group, caught.value.code) == ("auth", "forbidden")
                            with pytest.raises(ActorError):
                                each.receive_nowait()
                        continue
                    await stream.subscribed()
                    if name != "d":
                        await pairs[name].subscribed()
                    await gate.emit(name, name)
                    item = await stream.receive()
                    while isinstance(item, Gap):
                        item = await stream.receive()
                    assert item == name
                    if name != "d":
                        assert await pairs[name].receive() == NamedEvent(name, name)
                assert conn.status is Status.CONNECTED
                assert await conn.echo(1) == 1

    play(main, backend)


@every_version
@every_backend
def test_calls_wait_until_the_gap_has_ended(version: str, backend: str) -> None:
    """After a loss: subscriptions, their confirmation, gaps, the status, calls."""
    seen: list[str] = []

    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            gate = client.gate.get_or_create()
            async with gate.connect(retry=QUICK) as conn, anyio.create_task_group() as tasks:
                changes = conn.status_changes()
                stream = conn.events("slow", gaps="mark")
                await stream.subscribed()

                async def watch() -> None:
                    async for change in changes:
                        seen.append(f"{change.status} {stream.gaps}")  # noqa: PERF401

                async def call() -> None:
                    await conn.echo(1)
                    seen.append("answered")

                tasks.start_soon(watch)
                await anyio.wait_all_tasks_blocked()
                server.drop_connections()
                lost = anyio.current_time()
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(call)
                gap = await stream.receive()
                assert isinstance(gap, Gap)
                slow = 0.0 if version.startswith("2.0") else 0.3
                assert gap.since <= lost and gap.until >= lost + slow
                while "answered" not in seen:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
                await stream.aclose()

    play(main, backend)
    assert seen == [
        "connected 0",
        "disconnected 0",
        "connecting 0",
        "connected 1",
        "answered",
    ]


@every_backend
def test_a_full_stream_that_blocks_comes_back(backend: str) -> None:
    """The reader goes on until the gap has ended, whatever the consumer does."""

    async def main() -> None:
        async with ActorServer(ACTORS, version="2.2") as server, server.client() as client:
            gate = client.gate.get_or_create()
            async with (
                gate.connect(retry=QUICK) as conn,
                conn.events("e", buffer_size=2, overflow="block", gaps="mark") as stream,
            ):
                for number in range(2):
                    await gate.emit("e", number)
                await anyio.sleep(0.1)
                assert stream.statistics().tasks_waiting_send == 1
                server.drop_connections()
                assert await stream.receive() == 0  # now the reader sees the end
                while not stream.gaps:
                    await gate.emit("e", -1)
                    await anyio.sleep(0.01)
                assert await stream.receive() == 1
                assert isinstance(await stream.receive(), Gap)

    play(main, backend)


@every_backend
@pytest.mark.parametrize("version", ["2.1.3", "2.3.19"])
def test_a_full_stream_that_blocks_is_confirmed(version: str, backend: str) -> None:
    """The confirmation lies behind events that nobody takes yet."""

    async def main() -> None:
        async with ActorServer(ACTORS, version=version) as server, server.client() as client:
            gate = client.gate.get_or_create()

            async def emit() -> None:
                await anyio.sleep(0.1)
                for number in range(3):
                    await gate.emit("e", number)

            for is_bare in (False, True):
                async with gate.connect() as conn, anyio.create_task_group() as tasks:
                    tasks.start_soon(emit)
                    stream = conn.events(("e", "slow"), buffer_size=1, overflow="block")
                    if is_bare:
                        await anyio.sleep(0.2)
                        assert stream.statistics().tasks_waiting_send == 1
                        began = anyio.current_time()
                        await stream.subscribed()
                        # "slow" takes 0.3 s from the beginning; the reader went on at once.
                        assert anyio.current_time() - began == pytest.approx(0.1)
                    async with stream:
                        assert stream.statistics().current_buffer_used == 3
                        await gate.emit("e", 3)
                        await anyio.sleep(0.1)
                        assert stream.statistics().tasks_waiting_send == 1, "it blocks again"
                        for number in range(4):
                            assert (await stream.receive()).value == number

    play(main, backend)


async def test_generic_code_takes_the_streams() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        gate = client.gate.get_or_create()
        async with gate.connect() as conn, conn.events("e", type=bytes) as stream:
            for part in (b"one\n", b"two\n"):
                await gate.emit("e", part)
            buffered = anyio.streams.buffered.BufferedByteReceiveStream(stream)
            assert await buffered.receive_until(b"\n", 100) == b"one"
            assert await buffered.receive_until(b"\n", 100) == b"two"
        async with gate.connect() as conn, conn.events("e") as heard:
            send, receive = anyio.create_memory_object_stream[int](1)
            stapled = anyio.streams.stapled.StapledObjectStream(send, heard)
            await gate.emit("e", 1)
            assert await stapled.receive() == 1
            await stapled.aclose()
            receive.close()
            changes = conn.status_changes()
            assert changes.statistics().current_buffer_used == 1
            assert changes.receive_nowait().status is Status.CONNECTED
            with pytest.raises(anyio.WouldBlock):
                changes.receive_nowait()
            await changes.aclose()
            assert changes.statistics().open_receive_streams == 0


@pytest.mark.parametrize("how", ["closed", "dropped at the end", "before the block", "overflow"])
@pytest.mark.parametrize("names", ["e", ("e", "f")])
async def test_a_connection_that_had_streams_is_freed_without_a_collection(
    how: str, names: Any
) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        gate = client.gate.get_or_create()

        async def use(connection: Connection) -> None:
            stream = connection.events(names, buffer_size=1) if how == "before the block" else None
            async with connection as conn:
                stream = stream or conn.events(names, buffer_size=1)
                await stream.subscribed()
                if how == "closed":
                    await stream.aclose()
                elif how == "overflow":
                    await conn.emit("e", 1)
                    await conn.emit("e", 2)
                    assert await stream.receive() == (1 if names == "e" else NamedEvent("e", 1))
                    with pytest.raises(EventOverflowError):
                        await stream.receive()

        gc.collect()
        gc.disable()
        try:
            connection = gate.connect()
            link = weakref.ref(connection._link)
            await use(connection)
            del connection
            await anyio.lowlevel.checkpoint()
            assert link() is None
        finally:
            gc.enable()


async def test_a_stream_that_was_never_subscribed_is_dropped_without_a_warning() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        conn = client.probe.get_or_create("p").connect()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stream = conn.events("e")
            del stream
            gc.collect()
        assert not caught
        async with conn:
            await conn.emit("e", 1)


@every_backend
def test_leaving_does_not_wait_for_a_reader_that_pauses(backend: str) -> None:
    async def program() -> None:
        async with ActorServer(ACTORS) as server, server.client() as client:
            probe = client.probe.get_or_create("p")
            async with probe.connect() as conn:
                stream = conn.events("e", overflow="block", buffer_size=1)
                await stream.subscribed()
                await probe.emitMany("e", 5)
                await anyio.sleep(1.1)
                left_at = anyio.current_time()
            assert anyio.current_time() < left_at + 0.1

    run_virtual(program, backend=backend)


@every_backend
def test_calls_that_wait_for_capacity_end_with_the_block(backend: str) -> None:
    errors: list[Exception] = []

    async def program() -> None:
        async with (
            ActorServer(ACTORS, max_incoming_message_size=2**20) as server,
            server.client(close_timeout=1) as client,
            anyio.create_task_group() as tasks,
            AsyncExitStack() as stack,
        ):
            conn: Any = await stack.enter_async_context(client.probe.get_or_create("p").connect())

            async def call() -> None:
                try:
                    await conn.echo("x" * 50_000)
                except Exception as error:
                    errors.append(error)

            with server.network.to_server.hold():
                for _ in range(20):
                    tasks.start_soon(call)
                await anyio.sleep(1)
                assert not errors and conn._link.state.outbox.waiters
                await stack.aclose()

    run_virtual(program, backend=backend)
    assert len(errors) == 20
