"""Faults of every kind of request: lost before it ran, lost after, failed, refused, delayed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    ConnectionLostError,
    Management,
    RivetError,
)
from rivet_anyio.testing import (
    ActionCalled,
    Actor,
    ActorCreated,
    ActorServer,
    MessageQueued,
    Requested,
    UserError,
    virtual_backend,
)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


class Worker(Actor):
    done = 0

    async def pay(self) -> int:
        self.done += 1
        return self.done

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            self.done += 1
            await message.complete(message.body)

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        self.done += 1
        return httpx.Response(200, text="fine")


ACTORS = {"worker": Worker}


async def pay(client: Client) -> Any:
    return await client.worker.get_or_create("w").pay()


async def send(client: Client) -> Any:
    return (await client.worker.get_or_create("w").send_and_wait("jobs", 5)).response


async def fetch(client: Client) -> Any:
    response = await client.worker.get_or_create("w").fetch("orders/7?limit=1")
    return response.status_code


async def create(client: Client) -> Any:
    handle = await client.worker.create("new")
    return handle.key


KINDS: dict[str, tuple[Callable[[Client], Awaitable[Any]], dict[str, Any]]] = {
    "action": (pay, {"action": "pay"}),
    "any action": (pay, {"action": None}),
    "queue": (send, {"queue": "jobs"}),
    "any queue": (send, {"queue": "*"}),
    "fetch": (fetch, {"fetch": "/orders/*"}),
    "any fetch": (fetch, {"fetch": "*"}),
    "management": (create, {"management": "create"}),
}
each_kind = pytest.mark.parametrize(("call", "where"), KINDS.values(), ids=list(KINDS))


def ran(server: ActorServer) -> int:
    """How much work was done."""
    created = [record for record in server.log.of(ActorCreated) if record.actor.key == ("new",)]
    return server.actor("worker", "w", type=Worker).done + len(created)


@each_kind
async def test_lost_before_it_ran(call: Any, where: dict[str, Any]) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.worker.get_or_create("w").resolve()
        server.faults.lose_request(**where)
        with pytest.raises(ConnectionLostError):
            await call(client)
        await anyio.sleep(1)
        assert ran(server) == 0
        assert not server.log.of(ActionCalled) + server.log.of(MessageQueued)
        assert not server.log.of(Requested)
        await call(client)
        assert ran(server) == 1


@each_kind
async def test_ran_and_the_answer_lost(call: Any, where: dict[str, Any]) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.worker.get_or_create("w").resolve()
        server.faults.lose_reply(**where)
        with pytest.raises(ConnectionLostError):
            await call(client)
        assert ran(server) == 1


@each_kind
async def test_an_error_in_its_place(call: Any, where: dict[str, Any]) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.worker.get_or_create("w").resolve()
        server.faults.fail_request(UserError("no", code="closed"), **where)
        if call is fetch:
            response = await client.worker.get_or_create("w").fetch("orders/7")
            assert (response.status_code, b"closed" in response.content) == (500, True)
        else:
            with pytest.raises(ActorError) as caught:
                await call(client)
            assert caught.value.code == "closed"
        assert ran(server) == 0


@each_kind
async def test_a_status_before_the_actor(call: Any, where: dict[str, Any]) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.worker.get_or_create("w").resolve()
        server.faults.refuse_request(503, **where, retry_after=7)
        if call is fetch:
            response = await client.worker.get_or_create("w").fetch("orders/7")
            assert (response.status_code, response.headers["retry-after"]) == (503, "7")
        else:
            with pytest.raises(RivetError, match="503"):
                await call(client)
        assert ran(server) == 0
        await call(client)


@each_kind
async def test_delayed(call: Any, where: dict[str, Any]) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        await client.worker.get_or_create("w").resolve()
        server.faults.delay_request(30, **where)
        began = anyio.current_time()
        await call(client)
        assert anyio.current_time() - began == 30
        assert ran(server) == 1


async def test_delays_add_up() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.delay_request(30, "pay")
        server.faults.delay_request(12, "pay")
        began = anyio.current_time()
        assert await pay(client) == 1
        assert anyio.current_time() == began + 42


async def test_on_a_connection() -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        client.worker.get_or_create("w").connect() as conn,
    ):
        for times in (1, 2):
            server.faults.lose_request("pay")
            with pytest.raises(ConnectionLostError):
                await conn.pay()
            await conn.wait_connected()
            assert await conn.pay() == times
        server.faults.refuse_request(503, "pay")
        assert await conn.pay() == 3, "a status is for HTTP"
        with pytest.raises(RivetError):
            await pay(client)


LOST = (ConnectError, ConnectionLostError)


@pytest.mark.parametrize("version", ["2.0", "2.3"])
async def test_what_the_library_asks_by_itself_is_left_alone(version: str) -> None:
    """A subscription is confirmed by a call that no test has written."""
    async with (
        ActorServer(ACTORS, version=version) as server,
        server.client() as client,
        client.worker.get_or_create("w").connect() as conn,
    ):
        server.faults.lose_request(None)
        async with conn.events("news"):
            with pytest.raises(ConnectionLostError):
                await conn.pay()


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
async def test_management(version: str) -> None:
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        lost: Any = server.faults.lose_request

        async def listed() -> list[Any]:
            return [info async for info in client.worker.list()]

        lost(management="metadata")
        with pytest.raises(LOST):
            await pay(client)
        lost(management="get_or_create", actor="worker", key="w")
        with pytest.raises(LOST):
            await pay(client)
        assert await pay(client) == 1
        lost(management="get", key="w")
        with pytest.raises(LOST):
            await client.worker.get("w").resolve()
        lost(management="list")
        with pytest.raises(LOST):
            await listed()
        assert len(await listed()) == 1
        if version == "2.3":
            id = await client.worker.get("w").resolve()
            management = Management(client)
            for name, call in (
                ("names", management.names),
                ("get", lambda: management.get(id)),
                ("sleep", lambda: management.sleep(id)),
                ("destroy", lambda: management.destroy(id)),
                ("*", lambda: management.get(id)),
            ):
                lost(management=name, actor=None if name == "names" else "worker")
                with pytest.raises(LOST):
                    await call()
            assert await management.get(id) is not None


async def test_which() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        lose: Any = server.faults.lose_request
        lose(queue="other")
        lose(fetch="/orders/8")
        lose("pay", key="another")
        assert await pay(client) == 1 and await send(client) == 5 and await fetch(client) == 200
        server.faults.clear()
        for wrong in (
            {"queue": "jobs", "fetch": "/"},
            {"action": "pay", "queue": "jobs"},
            {"queue": 5},
            {"fetch": ""},
            {"management": "put"},
            {"queue": "jobs", "times": 0},
        ):
            with pytest.raises((TypeError, ValueError)):
                lose(**wrong)
        for unknown in ({"action": "pya"}, {"queue": "jobs", "actor": "wroker"}):
            with pytest.raises(LookupError):
                lose(**unknown)
        for status in (399, 600):
            with pytest.raises(ValueError, match="status"):
                server.faults.refuse_request(status, "pay")
        lose(queue="jobs", actor="worker", times=2)
        assert "lose_request(queue='jobs', actor='worker')" in server.faults._unused[0]
        server.faults.clear()


@pytest.mark.parametrize("streams", [False, True])
async def test_the_time_that_a_response_took(streams: bool) -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        worker = client.worker.get_or_create("w")
        await worker.resolve()
        server.faults.delay_request(5, fetch="*")
        if streams:
            async with worker.stream("orders/7") as response:
                await anyio.sleep(2)
        else:
            response = await worker.fetch("orders/7")
            await anyio.sleep(2)
        assert response.elapsed.total_seconds() == (7 if streams else 5)
