"""`wait_for_server`: a connection that is entered before its server is there, in virtual time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectError,
    Connection,
    ConnectionLostError,
    ProtocolError,
    Retry,
    Status,
    StatusChange,
)
from rivet_anyio.testing import ActorServer, Refused, UserError, virtual_backend

from .actors import ACTORS

TEN_SECONDS = Retry(initial=10, maximum=10, random=lambda: 1.0)
ONE_SECOND = Retry(initial=1, maximum=1, random=lambda: 1.0)
NO_ENVOYS = ActorError("guard", "actor_wake_retries_exceeded", "no_envoys")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "rivet_anyio")
    return lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def waiting(client: Client, **options: Any) -> Connection:
    return client.probe.get_or_create("p").connect(wait_for_server=True, **options)


async def back_after(server: ActorServer, seconds: float) -> None:
    with server.network.outage():
        await anyio.sleep(seconds)


async def test_a_server_that_comes_late_is_waited_for(warnings: Callable[[], list[str]]) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=TEN_SECONDS) as client:
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(back_after, server, 3600)
            await anyio.lowlevel.checkpoint()
            async with waiting(client) as conn:
                assert 3600 <= anyio.current_time() - began <= 3611
                assert await conn.echo(3) == 3
    said = warnings()
    assert 55 <= len(said) <= 61, "at the first failure, and once a minute"
    assert "'probe' cannot be reached at http" in said[0]


async def test_its_states_are_seen_before_it_is_entered() -> None:
    seen: list[StatusChange] = []

    async def watch(conn: Connection) -> None:
        async for change in conn.status_changes():
            seen.append(change)
            if change.status is Status.CONNECTED:
                return

    async with ActorServer(ACTORS) as server, server.client(retry=TEN_SECONDS) as client:
        conn = waiting(client)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, conn)
            tasks.start_soon(back_after, server, 15)
            await anyio.wait_all_tasks_blocked()
            async with conn:
                await anyio.wait_all_tasks_blocked()
    assert [change.status for change in seen] == [
        Status.CONNECTING,
        Status.DISCONNECTED,
        Status.CONNECTING,
        Status.DISCONNECTED,
        Status.CONNECTING,
        Status.CONNECTED,
    ]
    assert isinstance(seen[1].error, ConnectError)


async def test_a_deadline_ends_the_waiting() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        with server.network.outage(), pytest.raises(TimeoutError):
            with anyio.fail_after(100):
                async with waiting(client):
                    pytest.fail("the body ran")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 599])
async def test_a_proxy_without_a_server_behind_it_is_waited_for(status: int) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        server.faults.refuse_connects(20, status=status)
        async with waiting(client):
            assert len(server.log.of(Refused)) == 20


@pytest.mark.parametrize("status", [400, 404, 499])
async def test_a_status_below_500_is_an_answer(status: int) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        server.faults.refuse_connects(20, status=status)
        with pytest.raises(ConnectError) as raised:
            async with waiting(client):
                pytest.fail("the body ran")
        assert raised.value.status == status
        assert len(server.log.of(Refused)) == 1
        server.faults.clear()


@pytest.mark.parametrize("status", [499, 500, 501, 502, 503, 599])
async def test_what_a_call_makes_of_a_status(status: int) -> None:
    """From 500 on the server, or a proxy before it, has failed; below, it has answered."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.refuse_request(status, "echo", times=1)
        with pytest.raises(ProtocolError if status < 500 else ConnectionLostError) as raised:
            await client.probe.get_or_create("p").echo(1)
        assert f"HTTP {status} without a readable error" in str(raised.value)
        assert await client.probe.get_or_create("p").echo(1) == 1


async def test_an_engine_without_a_runner_is_waited_for(
    warnings: Callable[[], list[str]],
) -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        server.faults.refuse_connects(200, error=NO_ENVOYS)
        async with waiting(client) as conn:
            assert await conn.echo(3) == 3
    assert "guard.actor_wake_retries_exceeded" in warnings()[0]


async def test_without_it_an_engine_without_a_runner_raises_after_a_while() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        server.faults.refuse_connects(200, error=NO_ENVOYS)
        with pytest.raises(ActorError, match="actor_wake_retries_exceeded"):
            async with client.probe.get_or_create("p").connect():
                pytest.fail("the body ran")


async def test_metadata_that_hangs_is_waited_for() -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=ONE_SECOND, connect_timeout=5) as client,
        anyio.create_task_group() as tasks,
    ):

        async def hang() -> None:
            with server.network.stalled():
                await anyio.sleep(100)

        tasks.start_soon(hang)
        await anyio.wait_all_tasks_blocked()
        async with waiting(client) as conn:
            assert await conn.echo(3) == 3


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3"])
@pytest.mark.parametrize(
    "error", [UserError("no", code="banned"), ActorError("auth", "forbidden", "no")]
)
async def test_a_refusal_by_the_actor_raises_at_once(version: str, error: ActorError) -> None:
    async with ActorServer(ACTORS, version=version) as server, server.client() as client:
        server.faults.refuse_connects(error=error)
        with pytest.raises(ActorError, match=error.code):
            async with waiting(client):
                pytest.fail("the body ran")
        assert len(server.log.of(Refused)) == 1


async def test_a_refusal_ends_the_waiting_later_too() -> None:
    async with ActorServer(ACTORS) as server, server.client(retry=ONE_SECOND) as client:
        server.faults.refuse_connects(20)
        server.faults.refuse_connects(error=UserError("no", code="banned"))
        with pytest.raises(ActorError, match="banned"):
            async with waiting(client):
                pytest.fail("the body ran")


async def test_an_actor_that_does_not_exist_raises_at_once() -> None:
    async with ActorServer(ACTORS) as server, server.client() as client:
        with pytest.raises(ActorError, match="not_found"):
            async with client.probe.get("p").connect(wait_for_server=True):
                pytest.fail("the body ran")


async def test_an_error_of_get_params_raises_at_once() -> None:
    async def get_params() -> object:
        raise LookupError("no ticket")

    async with ActorServer(ACTORS) as server, server.client() as client:
        with pytest.raises(LookupError, match="no ticket"):
            async with waiting(client, get_params=get_params):
                pytest.fail("the body ran")


async def test_params_that_cannot_travel_raise_at_once() -> None:
    async def get_params() -> object:
        return object()

    async with ActorServer(ACTORS) as server, server.client() as client:
        with pytest.raises(TypeError):
            async with waiting(client, get_params=get_params):
                pytest.fail("the body ran")


async def test_after_the_first_connection_it_is_like_any_other(
    warnings: Callable[[], list[str]],
) -> None:
    async with (
        ActorServer(ACTORS) as server,
        server.client(retry=ONE_SECOND) as client,
        waiting(client) as conn,
    ):
        await server.restart(downtime=300)
        assert await conn.echo(3) == 3
    assert warnings() == []
