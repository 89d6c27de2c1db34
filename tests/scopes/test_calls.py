"""Calls over HTTP that are cancelled at every step: the next one gets its own answer."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import ActorHandle, Client
from rivet_anyio._http.pool import Pool
from rivet_anyio._http.wire import Wire
from rivet_anyio.testing import Actor, ActorServer

from .injection import MEANS, PLACES, cancelled_at

SECONDS = 60


class Probe(Actor):
    queues = ("jobs",)

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await message.complete(message.body)

    async def echo(self, value: Any) -> Any:
        return value

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces(request.content))


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 2):
        yield content[start : start + 2]


async def action(probe: ActorHandle, value: str) -> None:
    assert await probe.echo(value) == value


async def over_a_new_socket(probe: ActorHandle, value: str) -> None:
    pool = pool_of(probe)
    for origin in tuple(pool._idle):
        pool.lost(origin)
    probe._core.forget_server()
    assert await probe.echo(value) == value


async def over_the_only_socket(probe: ActorHandle, value: str) -> None:
    """Of two at once, one waits for the other's socket."""
    pool_of(probe)._max_sockets = 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(action, probe, value + "'")
        tasks.start_soon(action, probe, value)


async def queue(probe: ActorHandle, value: str) -> None:
    assert (await probe.send_and_wait("jobs", value)).response == value


async def fetch(probe: ActorHandle, value: str) -> None:
    """The iterator's own end is waited for."""
    ended = False

    async def content() -> AsyncIterator[bytes]:
        nonlocal ended
        has_begun.append(None)
        try:
            for character in value:
                yield character.encode()
                await anyio.lowlevel.checkpoint()
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await anyio.lowlevel.checkpoint()
            finally:  # asyncio's own cancellation comes into shielded scopes, too
                ended = True

    has_begun: list[None] = []
    try:
        response = await probe.fetch("/", method="POST", content=content())
        assert response.text == value
    finally:
        assert ended or not has_begun


async def stream(probe: ActorHandle, value: str) -> None:
    async with probe.stream("/", method="POST", content=value.encode()) as response:
        assert b"".join([piece async for piece in response.aiter_bytes()]) == value.encode()


async def resolve(probe: ActorHandle, value: str) -> None:
    probe._target._id = None
    assert await probe.resolve()


CALLS = (action, over_a_new_socket, over_the_only_socket, queue, fetch, stream, resolve)
both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], indirect=True)


def pool_of(probe: ActorHandle) -> Pool:
    wire = probe._core.http
    assert isinstance(wire, Wire)
    return wire.pool


@both_loops
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_cancelled_at_every_step(
    call: Callable[[ActorHandle, str], Awaitable[None]], place: str, anyio_backend_name: str
) -> None:
    means = list(MEANS) if anyio_backend_name == "asyncio" else ["scope", "deadline"]
    with anyio.fail_after(SECONDS):
        async with (
            ActorServer({"probe": Probe}) as server,
            server.listen() as endpoint,
            Client(endpoint) as client,
        ):
            probe = client.probe.get_or_create("p")
            await probe.echo("first")
            for mean in means:
                for step in itertools.count(1):
                    value = f"{mean}-{step}"
                    reached = await cancelled_at(mean, place, partial(call, probe, value), step)
                    assert await probe.echo([value]) == [value]
                    pool = pool_of(probe)
                    assert not (pool._in_use or pool._dials or pool._wanted), value
                    assert pool.figures.open == pool.figures.idle
                    if not reached:
                        break
                assert step > 1
