"""A server that has moved, as ``/metadata`` says, while its old place does not answer at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, ConnectError, ConnectionLostError, Retry, Status
from rivet_anyio.testing import Actor, ActorServer, virtual_backend
from rivet_anyio.testing._gateway import Gateway
from rivet_anyio.testing._http import Answer, HttpRequest, Upgrade
from rivet_anyio.testing._memory import MemoryConnector

from .actors import ACTORS

PATIENCE = 5.0
"""Seconds of a caller who gives up long before `connect_timeout`."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Places:
    """Three servers, found by their names; the front one says where clients are to go.

    Attributes:
        servers: By their names.
        where: Where clients are to go.
        greets: Whether the old one says Init on a WebSocket.
    """

    def __init__(self, servers: dict[str, ActorServer]) -> None:
        self.servers = servers
        self.where = "old"
        self.greets = True

    async def connect(self, host: str, port: int) -> Any:
        return await MemoryConnector(self.servers[host].network._dial).connect(host, port)

    def end_old(self, *, accepts: bool) -> None:
        """From now on the old place does not answer; `accepts`: it only takes connections."""
        network = self.servers["old"].network
        network.cut()
        if accepts:
            network.hold()
        else:
            network.partition()


def is_old(request: HttpRequest) -> bool:
    return request.headers["host"] == "old"


async def say_nothing(wire: Any, data: bytes) -> None:
    await anyio.sleep_forever()


@pytest.fixture
async def places(
    monkeypatch: pytest.MonkeyPatch, anyio_backend: Any
) -> AsyncIterator[Callable[[], Any]]:
    handle = Gateway.handle

    @asynccontextmanager
    async def entered() -> AsyncIterator[tuple[Places, Client]]:
        async with AsyncExitStack() as stack:
            names = ("front", "old", "new")
            servers = {name: await stack.enter_async_context(ActorServer(ACTORS)) for name in names}
            found = Places(servers)

            async def send_on(self: Gateway, request: HttpRequest) -> Any:
                answer = await handle(self, request)
                if isinstance(answer, Upgrade) and not found.greets and is_old(request):
                    return replace(answer, serve=say_nothing)
                if request.path != "/metadata":
                    return answer
                assert isinstance(answer, Answer) and isinstance(answer.body, bytes)
                said = {**json.loads(answer.body), "clientEndpoint": f"http://{found.where}"}
                return replace(answer, body=json.dumps(said).encode())

            monkeypatch.setattr(Gateway, "handle", send_on)
            client = Client("http://front", retry=Retry(initial=1, maximum=1))
            client._connector = found
            async with client:
                yield found, client
            servers["old"].network.clear()

    yield entered


def is_silent(found: Places) -> None:
    found.end_old(accepts=False)


def accepts_sockets(found: Places) -> None:
    found.end_old(accepts=True)


def refuses_handshakes(found: Places) -> None:
    """As a proxy does that has lost the server."""
    old = found.servers["old"]
    old.faults.refuse_connects(times=10**6)
    old.drop_connections()


def refuses_handshakes_for_now(found: Places) -> None:
    """As a proxy does that expects the server back."""
    old = found.servers["old"]
    old.faults.refuse_connects(times=10**6, retry_after=1)
    old.drop_connections()


def accepts_handshakes(found: Places) -> None:
    """As a gateway does that has lost the actors' hosts."""
    found.greets = False
    found.servers["old"].drop_connections()


@pytest.mark.parametrize(
    "end_old",
    [
        is_silent,
        accepts_sockets,
        refuses_handshakes,
        refuses_handshakes_for_now,
        accepts_handshakes,
    ],
)
async def test_a_connection_finds_the_new_place(
    places: Any, end_old: Callable[[Places], None]
) -> None:
    async with (
        places() as (found, client),
        client.probe.get_or_create("p").connect() as conn,
    ):
        assert await conn.echo(1) == 1
        end_old(found)
        await anyio.sleep(10)  # the first attempts are sent to the old place
        found.where = "new"
        with anyio.fail_after(100):
            assert await conn.echo(2) == 2
        found.servers["old"].faults.clear()


@pytest.mark.parametrize("end_old", [is_silent, accepts_sockets, refuses_handshakes])
async def test_the_next_raw_websocket_is_at_the_new_place(
    places: Any, end_old: Callable[[Places], None]
) -> None:
    async with places() as (found, client):
        handle = client.web.get_or_create("w")
        async with handle.websocket("/x"):
            end_old(found)
        found.where = "new"
        with pytest.raises(ConnectError):
            async with handle.websocket("/x"):
                pytest.fail("connected")
        async with handle.websocket("/x"):
            pass
        found.servers["old"].faults.clear()


@pytest.mark.parametrize("accepts", [False, True])
async def test_the_next_search_for_an_actor_is_at_the_new_place(places: Any, accepts: bool) -> None:
    async with places() as (found, client):
        assert await client.probe.get_or_create("p").echo(1) == 1
        found.end_old(accepts=accepts)
        found.where = "new"
        with pytest.raises(ConnectError, match="could not be resolved"):
            await client.probe.get_or_create("q").echo(1)
        assert await client.probe.get_or_create("q").echo(2) == 2


async def with_patience(call: Callable[..., Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(PATIENCE):
        await call(1)


async def with_repeats(call: Callable[..., Awaitable[Any]]) -> None:
    with pytest.raises(ConnectionLostError, match="retry_for"):
        await call(1, retry_for=PATIENCE)


@pytest.mark.parametrize("call_once", [with_patience, with_repeats])
async def test_a_caller_who_gives_up_early_finds_the_new_place_by_the_next_call(
    places: Any, call_once: Callable[..., Awaitable[None]]
) -> None:
    async with places() as (found, client):
        handle = client.probe.get_or_create("p")
        assert await handle.echo(1) == 1
        found.end_old(accepts=False)
        found.where = "new"
        await call_once(lambda value, **options: handle.action("echo", value, **options))
        with anyio.fail_after(PATIENCE):
            await client.probe.get_or_create("q").echo(2)


class Named(Actor):
    async def echo(self, value: int) -> int:
        return value

    async def name_of(self, value: Any) -> str:
        return type(value["a"]).__name__


async def refused(server: ActorServer, client: Client) -> None:
    with server.network.outage():
        server.network.cut()
        with pytest.raises(ConnectError):
            await client.probe.get_or_create("p").echo(1)


async def lost(server: ActorServer, client: Client) -> None:
    async with client.probe.get_or_create("p").connect() as conn:
        changes = conn.status_changes()
        server.drop_connections()
        while (await changes.receive()).status is not Status.DISCONNECTED:
            pass
        await conn.wait_connected()


async def refused_a_connection(server: ActorServer, client: Client) -> None:
    server.faults.refuse_connects()
    with pytest.raises(ConnectError):
        async with client.probe.get_or_create("p").connect():
            pytest.fail("connected")


@pytest.mark.parametrize("encoding", ["bare", "cbor", "json"])
@pytest.mark.parametrize("end", [refused, lost, refused_a_connection])
async def test_without_metadata_what_answers_taught_is_not_forgotten(
    encoding: Any, end: Callable[[ActorServer, Client], Awaitable[None]]
) -> None:
    async with (
        ActorServer({"probe": Named}, version="2.2.1") as server,
        server.client(metadata_lookup=False, encoding=encoding) as client,
    ):
        handle = client.probe.get_or_create("p")
        assert await handle.name_of({"a": 2**70}) == "int"
        await end(server, client)
        assert await handle.name_of({"a": 2**70}) == "int"
