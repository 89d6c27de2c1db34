"""Cancelled before it was sent, and so never sent: over HTTP, on a connection, on a WebSocket."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio import CancelScope, wait_all_tasks_blocked

from rivet_anyio import ActorHandle, Client
from rivet_anyio._http.pool import Pool
from rivet_anyio._http.wire import Wire
from rivet_anyio._websocket.outbox import HIGH_WATER
from rivet_anyio.testing import ActionCalled, Actor, ActorServer, ActorSocket

SECONDS = 60


class Probe(Actor):
    """Keeps what it was asked for."""

    queues = ("jobs",)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            self.asked.append(message.body)

    async def ask(self, what: str) -> None:
        self.asked.append(what)

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.content.decode())
        return httpx.Response(200)

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for data in socket:
            self.asked.append(data)
            await socket.send(data)


def pool_of(client: Client) -> Pool:
    wire = client._core.http
    assert isinstance(wire, Wire)
    return wire.pool


CALLS: dict[str, Callable[[Client, ActorHandle], Awaitable[Any]]] = {
    "action": lambda _, probe: probe.ask("cancelled"),
    "send": lambda _, probe: probe.send("jobs", "cancelled"),
    "send_and_wait": lambda _, probe: probe.send_and_wait("jobs", "cancelled"),
    "fetch": lambda _, probe: probe.fetch("/", method="POST", content=b"cancelled"),
    "create": lambda client, _: client.probe.create("cancelled"),
    "resolve": lambda client, _: client.probe.get_or_create("cancelled").resolve(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
async def test_a_request_in_a_cancelled_scope_is_never_sent(
    call: Callable[[Client, ActorHandle], Awaitable[Any]],
) -> None:
    with anyio.fail_after(SECONDS):
        async with ActorServer({"probe": Probe}) as server, server.client() as client:
            probe = client.probe.get_or_create("p")
            await probe.ask("first")
            records, dials = len(server.log), pool_of(client).figures
            with CancelScope() as scope:
                scope.cancel()
                await call(client, probe)
            assert scope.cancelled_caught
            await wait_all_tasks_blocked()
            assert len(server.log) == records
            assert pool_of(client).figures == dials  # the socket was idle, and is
            await probe.ask("last")
            assert server.actor("probe", "p", type=Probe).asked == ["first", "last"]


async def test_a_request_that_is_cancelled_when_it_gets_a_socket_is_never_sent() -> None:
    with anyio.fail_after(SECONDS):
        async with ActorServer({"probe": Probe}) as server, server.client() as client:
            probe = client.probe.get_or_create("p")
            await probe.ask("first")
            pool = pool_of(client)
            pool._max_sockets = 1
            (origin,) = pool._idle
            taken = pool.take_idle(origin)
            assert taken is not None
            scope = CancelScope()

            async def ask() -> None:
                with scope:
                    await probe.ask("cancelled")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await wait_all_tasks_blocked()
                assert pool.figures.waiting == 1
                pool.release(taken, reusable=True)
                scope.cancel()
            assert scope.cancelled_caught
            assert pool.figures.idle == 1
            await probe.ask("last")
            assert server.actor("probe", "p", type=Probe).asked == ["first", "last"]


class Large:
    """Fills an outbox."""

    size = HIGH_WATER

    def take(self) -> None:
        raise NotImplementedError

    take_back = sent = take

    def fail(self, error: Exception) -> None:
        raise error


async def test_a_call_that_is_cancelled_when_there_is_capacity_is_never_sent() -> None:
    """It lets the next one go on."""
    with anyio.fail_after(SECONDS):
        async with (
            ActorServer({"probe": Probe}) as server,
            server.client() as client,
            client.probe.get_or_create("p").connect() as conn,
            anyio.create_task_group() as tasks,
        ):
            outbox = conn._link.state.outbox
            outbox.is_paused = True
            outbox.put(large := Large())
            scope = CancelScope()

            async def ask() -> None:
                with scope:
                    await conn.action("ask", "cancelled")

            tasks.start_soon(ask)
            await wait_all_tasks_blocked()
            tasks.start_soon(conn.action, "ask", "next")
            await wait_all_tasks_blocked()
            outbox.is_paused = False
            outbox.discard(large)
            scope.cancel()
            await wait_all_tasks_blocked()
            assert not outbox.must_wait  # by now: other messages would let it go on, too
        asked = [r.args for r in server.log.of(ActionCalled)]
        assert asked == [("next",)]


async def test_a_message_in_a_cancelled_scope_is_never_sent() -> None:
    with anyio.fail_after(SECONDS):
        async with (
            ActorServer({"probe": Probe}) as server,
            server.client() as client,
            client.probe.get_or_create("p").websocket() as websocket,
        ):
            for message in ("first", "last"):
                await websocket.send(message)
                assert await websocket.receive() == message
                with CancelScope() as scope:
                    scope.cancel()
                    await websocket.send("cancelled")
                assert scope.cancelled_caught
            assert server.actor("probe", "p", type=Probe).asked == ["first", "last"]
