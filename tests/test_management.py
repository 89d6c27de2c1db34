# mypy: disable-error-code="empty-body"
"""`Management`: what it asks of a server, and how often."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import pytest

from rivet_anyio import (
    ActorError,
    Client,
    ConnectionLostError,
    Management,
    ProtocolError,
    TypedActor,
)
from rivet_anyio.testing import Actor, ActorDestroyed, ActorServer


class Counter(Actor):
    async def increment(self) -> int:
        return 1


class TypedCounter(TypedActor, name="counter"):
    async def increment(self) -> int: ...


async def test_get_list_names_destroy() -> None:
    with anyio.fail_after(60):
        async with ActorServer({"counter": Counter}) as server, server.client() as client:
            management = Management(client)
            handle = client.counter.get_or_create(["a", "b"])
            actor_id = await handle.resolve()
            info = await management.get(actor_id)
            assert info is not None and (info.name, info.key) == ("counter", ("a", "b"))
            assert await management.get("actor9999") is None
            for name in ("counter", TypedCounter):
                assert [one.actor_id async for one in management.list(name)] == [actor_id]
            assert [one async for one in management.list("counter", key="c")] == []
            assert await management.names() == ["counter"]
            await management.destroy(actor_id)
            await server.wait_for(ActorDestroyed)
            assert await management.get(actor_id) is None
            gone = [one async for one in management.list("counter", include_destroyed=True)]
            assert [one.destroyed_at is not None for one in gone] == [True]
            await management.destroy(actor_id)


@pytest.mark.parametrize("page_size", [3, None])
async def test_several_tasks_iterate_one_list(page_size: int | None) -> None:
    """Each actor goes to one of them, and none is left out."""
    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        for number in range(10):
            await client.counter.create(str(number))
        listed = client.counter.list(page_size=page_size)
        found: list[tuple[str, ...]] = []

        async def take() -> None:
            async for one in listed:
                found.append(one.key)  # noqa: PERF401

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(take)
        assert sorted(found) == [(str(number),) for number in range(10)]


async def test_sleep() -> None:
    with anyio.fail_after(60):
        async with ActorServer({"counter": Counter}) as server, server.client() as client:
            handle = client.counter.get_or_create()
            assert await handle.increment() == 1
            actor_id = await handle.resolve()
            management = Management(client)
            await management.sleep(actor_id)
            while (info := await management.get(actor_id)) and info.sleeping_since is None:
                await anyio.lowlevel.checkpoint()
            assert info is not None
            assert await handle.increment() == 1
            awake = await management.get(actor_id)
            assert awake is not None and awake.sleeping_since is None


@pytest.mark.parametrize("knows_version", [True, False])
@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2"])
async def test_older_servers(version: str, knows_version: bool) -> None:
    async with (
        ActorServer({"counter": Counter}, version=version) as server,
        server.client(metadata_lookup=knows_version, encoding="json") as client,
    ):
        management = Management(client)
        actor_id = await client.counter.get_or_create().resolve()
        for request in (management.destroy, management.sleep):
            with pytest.raises(ActorError) as caught:
                await request(actor_id)
            assert (caught.value.group, caught.value.code) == ("feature", "unsupported")
        info = await management.get(actor_id)
        assert info is not None and info.crash_policy is None
        if knows_version:
            with pytest.raises(ActorError, match=r"crash policies came with 2\.3"):
                await client.counter.create("x", crash_policy="restart")
            with pytest.raises(ActorError, match=r"crash policies came with 2\.3"):
                await client.get_or_create(TypedCounter, "x", crash_policy="restart").increment()


async def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    transport = httpx.MockTransport(answer)
    http = httpx.AsyncClient(transport=transport)
    return Client("http://server", http=http, metadata_lookup=False)


@pytest.mark.parametrize("status", [None, 500, 502, 503])
@pytest.mark.parametrize("method", ["destroy", "sleep"])
async def test_what_changes_an_actor_is_sent_once(method: str, status: int | None) -> None:
    requests: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append((request.method, request.url.path))
        if status is None:
            raise httpx.ReadError("reset by the peer")
        error = {"group": "guard", "code": "actor_ready_timeout", "message": "wait"}
        return httpx.Response(status, json=error)

    async with await client_of(answer) as client:
        with pytest.raises(ConnectionLostError if status is None else ActorError):
            await getattr(Management(client), method)("a?b#c")
    path = "/actors/a?b#c" + ("/sleep" if method == "sleep" else "")
    assert requests == [("DELETE" if method == "destroy" else "POST", path)]


@pytest.mark.parametrize("body", [b"", b"null", b"<html>log in</html>"])
@pytest.mark.parametrize("method", ["destroy", "sleep"])
async def test_a_page_of_a_proxy_changes_no_actor(method: str, body: bytes) -> None:
    async with await client_of(lambda _: httpx.Response(200, content=body)) as client:
        with pytest.raises(ProtocolError):
            await getattr(Management(client), method)("a")


async def test_the_policy_that_is_sent() -> None:
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.content.decode())
        return httpx.Response(200, json={"actor": {"actor_id": "a", "name": "counter"}})

    async with await client_of(answer) as client:
        await client.create(TypedCounter, crash_policy="destroy")
        await client.counter.get_or_create(crash_policy="restart").resolve()
        await client.counter.get_or_create().resolve()
    policies = [text.partition('"crash_policy":')[2].partition(",")[0].rstrip("}") for text in sent]
    assert policies == ['"destroy"', '"restart"', '"sleep"']


async def test_a_record_of_an_actor_that_was_destroyed_is_none() -> None:
    record = {"actor_id": "a1", "name": "c", "key": "k", "destroy_ts": 1}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"actors": [record]})

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Client("http://h", http=http, metadata_lookup=False) as client,
    ):
        assert await Management(client).get("a1") is None
