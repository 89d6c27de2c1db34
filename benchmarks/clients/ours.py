"""rivet-anyio; the argument is the backend: asyncio, uvloop or trio."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import anyio

from benchmarks.clients._worker import Cost, Job, Meter, resident_kib, serve
from rivet_anyio import ActorHandle, Client, Versions, live, watch

_BIG = 64 * 1024 * 1024


async def events(job: Job, handle: ActorHandle) -> Cost:
    name = f"burst-{job.count}-{job.size}"

    async def consume(stream: Any) -> None:
        left = job.count
        async for _ in stream:
            left -= 1
            if not left:
                return

    async with handle.connect() as conn:
        with Meter(job.count * job.fan) as meter:
            streams = [conn.events(name) for _ in range(job.fan)]
            if job.fan == 1:
                await consume(streams[0])
            else:
                async with anyio.create_task_group() as tasks:
                    for stream in streams:
                        tasks.start_soon(consume, stream)
    return meter.cost


def _one_more(events: int, _: Any) -> int:
    return events + 1


async def live_state(job: Job, handle: ActorHandle) -> Cost:
    """A live state over the events of a burst, each with the next number."""
    name = f"burst-{job.count}-{job.size}"
    numbers = count(1)
    versions = Versions[int](lambda events: events, lambda _: next(numbers))

    async def snapshot() -> int:
        await conn.action("echo", 0)
        return 0

    async with handle.connect() as conn:
        with Meter(job.count) as meter:
            async with live(conn, snapshot, {name: _one_more}, versions=versions) as state:
                async for events in state:
                    if events == job.count:
                        break
    return meter.cost


async def state_by_hand(job: Job, handle: ActorHandle) -> Cost:
    """The same, without what heals it."""
    name = f"burst-{job.count}-{job.size}"
    numbers = count(1)
    async with handle.connect() as conn:
        with Meter(job.count) as meter:
            async with conn.events(name, buffer_size=job.count) as stream:
                await conn.action("echo", 0)
                events = 0
                async for event in stream:
                    if next(numbers) != events + 1:
                        raise AssertionError("an event is missing")
                    events = _one_more(events, event)
                    if events == job.count:
                        break
    return meter.cost


async def server_events(job: Job, handle: ActorHandle) -> Cost:
    async with handle.connect() as conn:
        stream = conn.events("tick", buffer_size=job.count)
        with Meter(job.count) as meter:
            await conn.action("emitMany", "tick", job.count)
            for _ in range(job.count):
                await stream.receive()
    return meter.cost


async def watched(job: Job, handle: ActorHandle) -> Cost:
    """As `server_events`, of several actors by one feed."""
    client = Client(job.url, encoding=job.encoding)
    async with client, watch("tick", buffer_size=job.count) as feed:
        handles = [client.probe.get_or_create(["watched", str(n)]) for n in range(job.fan)]
        for source in handles:
            feed.add(source)
        for _ in handles:
            await feed.receive()
        with Meter(job.count) as meter:
            for source in handles:
                await source.action("emitMany", "tick", job.count // job.fan)
            for _ in range(job.count):
                await feed.receive()
    return meter.cost


async def _calls(
    job: Job, call: Callable[[], Awaitable[Any]], first: Callable[[], Awaitable[Any]] | None = None
) -> Cost:
    async def some(call: Callable[[], Awaitable[Any]], count: int) -> None:
        for _ in range(count):
            await call()

    async def all(call: Callable[[], Awaitable[Any]], count: int) -> None:
        if job.fan == 1:
            await some(call, count)
        else:
            async with anyio.create_task_group() as tasks:
                for _ in range(job.fan):
                    tasks.start_soon(some, call, count)

    await all(first or call, 1)
    with Meter(job.count) as meter:
        await all(call, job.count // job.fan)
    return meter.cost


async def actions(job: Job, handle: ActorHandle) -> Cost:
    async with handle.connect() as conn:
        return await _calls(job, lambda: conn.action("echo", 7))


async def http(job: Job, handle: ActorHandle) -> Cost:
    first = job.first or "echo"
    return await _calls(job, lambda: handle.action("echo", 7), lambda: handle.action(first, 7))


async def fetch(job: Job, handle: ActorHandle) -> Cost:
    first = job.first or "hello"
    return await _calls(job, lambda: handle.fetch("hello"), lambda: handle.fetch(first))


async def sends(job: Job, handle: ActorHandle) -> Cost:
    return await _calls(job, lambda: handle.send("jobs", 7))


async def connect(job: Job, handle: ActorHandle) -> Cost:
    async def once() -> None:
        async with handle.connect():
            pass

    return await _calls(job, once)


async def payload_out(job: Job, handle: ActorHandle) -> Cost:
    payload = bytes(job.size)
    async with handle.connect() as conn:
        return await _calls(job, lambda: conn.action("echo", payload))


async def raw_in(job: Job, handle: ActorHandle) -> Cost:
    name = f"burst-{job.count}-{job.size}".encode()
    async with handle.websocket(max_message_size=_BIG) as ws:
        await ws.receive()
        with Meter(job.count) as meter:
            await ws.send(b"\x02\x00\x01" + bytes((len(name),)) + name + b"\x01")
            for _ in range(job.count):
                await ws.receive()
    return meter.cost


async def raw_out(job: Job, handle: ActorHandle) -> Cost:
    payload = b"\x02\x00\x00\x01" + bytes(job.size)
    async with handle.websocket(max_message_size=_BIG) as ws:
        await ws.receive()

        async def once() -> None:
            await ws.send(payload)
            await ws.receive()

        return await _calls(job, once)


async def idle(job: Job, handle: ActorHandle) -> Cost:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(handle.connect())
        before = resident_kib()
        for _ in range(job.count):
            await stack.enter_async_context(handle.connect())
        kib = (resident_kib() - before) / job.count
    return Cost(job.count, kib=kib)


async def slow_consumer(job: Job, handle: ActorHandle) -> Cost:
    """How much memory grows while events come faster than they are taken; KiB per 10,000."""
    async with handle.connect() as conn:
        stream = conn.events(f"flood-{job.size}", overflow="drop_oldest")
        before = None
        while stream.dropped < job.count:
            await anyio.sleep(0.01)
            await stream.receive()
            if before is None and stream.dropped > job.count // 4:
                before, start = resident_kib(), stream.dropped
        assert before is not None
        grown = resident_kib() - before
        seen = stream.dropped - start
    return Cost(seen, kib=grown / seen * 10_000)


async def _with_client(job: Job) -> Cost:
    do: Callable[[Job, ActorHandle], Awaitable[Cost]] = globals()[job.workload]
    actor = "worker" if job.workload == "sends" else "probe"
    async with Client(job.url, encoding=job.encoding, max_message_size=_BIG) as client:
        return await do(job, client.actor(actor).get_or_create(job.key))


def main() -> None:
    name = sys.argv[1]
    backend = "trio" if name == "trio" else "asyncio"
    options = {"use_uvloop": True} if name == "uvloop" else {}
    serve(lambda job: anyio.run(_with_client, job, backend=backend, backend_options=options))


if __name__ == "__main__":
    main()
