"""What everybody needs first, ``/metadata`` and the id of an actor: asked once, within bounds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any

import anyio
import httpx
import msgspec
import pytest

from rivet_anyio import ActorError, Client, ConnectError, ConnectionLostError, Retry
from rivet_anyio._gateway.call import is_gone
from rivet_anyio.testing import Actor, ActorServer, virtual_backend

from .raw import INIT, Peer, serving, text

GUARD = 60


class Lookups(httpx.AsyncBaseTransport):
    """Counts what is asked for, and answers what `before` lets pass."""

    def __init__(self, before: Callable[[str], Awaitable[None]]) -> None:
        self.asked: Counter[str] = Counter()
        self._before = before

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        what = request.url.path.split("/")[1]
        self.asked[what] += 1
        await self._before(what)
        if what == "metadata":
            return httpx.Response(200, json={"runtime": "engine", "version": "2.3.19"})
        if what == "actors":
            return httpx.Response(200, json={"actor": {"actor_id": "a1", "name": "c"}})
        return httpx.Response(200, json={"output": 1})


@pytest.mark.parametrize("slow", ["metadata", "actors"])
async def test_fifty_first_calls_ask_once(slow: str) -> None:
    go_on = anyio.Event()

    async def before(what: str) -> None:
        if what == slow:
            await go_on.wait()

    transport = Lookups(before)
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://h", http=http, encoding="json") as client,
        ):
            one = client.c.get_or_create("k")
            async with anyio.create_task_group() as tasks:
                for number in range(50):
                    handle = one if number % 2 else client.c.get_or_create("k")
                    tasks.start_soon(handle.ping)
                await anyio.wait_all_tasks_blocked()
                go_on.set()
    assert transport.asked[slow] == 1
    assert transport.asked["metadata"] == 1 and transport.asked["gateway"] == 50


async def test_handles_that_differ_ask_for_themselves() -> None:
    go_on = anyio.Event()

    async def before(what: str) -> None:
        if what == "actors":
            await go_on.wait()

    transport = Lookups(before)
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://h", http=http, encoding="json") as client,
        ):
            handles = [
                client.c.get_or_create("k"),
                client.c.get_or_create("other"),
                client.d.get_or_create("k"),
                client.c.get_or_create("k", region="far"),
                client.c.get_or_create("k", input=[1]),
                client.c.get_or_create("k", input=[1]),
            ]
            async with anyio.create_task_group() as tasks:
                for handle in handles:
                    tasks.start_soon(handle.ping)
                await anyio.wait_all_tasks_blocked()
                assert transport.asked["actors"] == len(handles)
                go_on.set()


async def failures_of(calls: list[Callable[[], Awaitable[Any]]]) -> list[BaseException]:
    errors: list[BaseException] = []

    async def fail(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(ConnectError) as caught:
            await call()
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(fail, call)
    return errors


@pytest.mark.parametrize("broken", ["metadata", "actors"])
async def test_a_failure_is_given_to_everybody_who_waits(broken: str) -> None:
    go_on = anyio.Event()

    async def before(what: str) -> None:
        if what == broken:
            await go_on.wait()
            raise httpx.ReadError("gone")

    transport = Lookups(before)
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://h", http=http, encoding="json") as client,
            anyio.create_task_group() as tasks,
        ):
            handle = client.c.get_or_create("k")
            errors: list[BaseException] = []

            async def collect() -> None:
                errors.extend(await failures_of([handle.ping] * 8))

            tasks.start_soon(collect)
            await anyio.wait_all_tasks_blocked()
            go_on.set()
    assert transport.asked[broken] == 1
    assert len({id(error) for error in errors}) == 8
    assert len({str(error) for error in errors}) == 1


@pytest.mark.parametrize("seconds", [0.3, Fraction(3, 10)])
@pytest.mark.parametrize("silent", ["metadata", "actors"])
async def test_a_server_that_does_not_answer_takes_connect_timeout(
    silent: str, seconds: Any
) -> None:
    """Each caller's own, all at the same time, and not the much longer `request_timeout`."""

    async def before(what: str) -> None:
        if what == silent:
            await anyio.sleep_forever()

    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=Lookups(before)) as http,
            Client("http://h", http=http, encoding="json", connect_timeout=seconds) as client,
        ):
            handle = client.c.get_or_create("k")
            began = anyio.current_time()
            errors = await failures_of([handle.ping] * 7 + [handle.resolve])
            assert anyio.current_time() - began < 0.3 * 8
    for error in errors:
        assert f"within {float(seconds):g} s" in str(error) and "connect_timeout" in str(error)


@pytest.mark.parametrize("silent", ["metadata", "actors"])
async def test_a_deadline_of_one_caller_ends_nothing_for_the_others(silent: str) -> None:
    go_on = anyio.Event()
    transport: Lookups

    async def before(what: str) -> None:
        if what != silent:
            return
        if transport.asked[silent] == 1:
            await anyio.sleep_forever()
        await go_on.wait()

    transport = Lookups(before)
    results: list[int] = []
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://h", http=http, encoding="json") as client,
            anyio.create_task_group() as tasks,
        ):
            handle = client.c.get_or_create("k")

            async def call() -> None:
                results.append(await handle.ping())

            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as first:
                    first.start_soon(handle.ping)
                    await anyio.wait_all_tasks_blocked()
                    for _ in range(5):
                        tasks.start_soon(call)
                    await anyio.wait_all_tasks_blocked()
                    assert transport.asked[silent] == 1
                    scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert transport.asked[silent] == 2
            go_on.set()
    assert results == [1] * 5


async def test_a_connection_waits_for_its_own_timeout_not_for_the_clients() -> None:
    """`connect(connect_timeout=...)` rules the whole attempt, longer or shorter."""

    async def talk(peer: Peer) -> None:
        await peer.silence()

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, Client(url, connect_timeout=0.1) as client:
            began = anyio.current_time()
            with pytest.raises(ConnectError, match="in time"):
                async with client.c.get_or_create("k").connect(connect_timeout=0.5):
                    pytest.fail("the body ran")
            assert anyio.current_time() - began >= 0.5
        async with serving(talk) as url, Client(url, connect_timeout=GUARD) as client:
            with pytest.raises(ConnectError, match="in time"):
                async with client.c.get_or_create("k").connect(connect_timeout=0.1):
                    pytest.fail("the body ran")


async def test_after_a_loss_the_metadata_is_asked_for_once() -> None:
    """Ten connections that are lost together share the question where the server is now."""
    asked = 0
    peers = 0
    everybody = anyio.Event()
    cut = anyio.Event()

    async def talk(peer: Peer) -> None:
        nonlocal asked, peers
        while True:
            head = await peer.head()
            if head.startswith("GET /metadata"):
                asked += 1
                await answer(peer, {"runtime": "engine", "version": "2.3.19"})
                continue
            await peer.send(peer.accept(head) + text(INIT))
            peers += 1
            if peers == 10:
                everybody.set()
            if peers <= 10:
                await cut.wait()
                return
            await peer.serve_actions()
            return

    lost = 0

    async def hold(client: Client) -> None:
        nonlocal lost
        async with client.c.get_for_id("a1").connect() as conn:
            with pytest.raises(ConnectionLostError):
                await conn.action("cut")
            lost += 1
            assert await conn.action("back") == "back"

    with anyio.fail_after(GUARD):
        async with (
            serving(talk) as url,
            Client(
                url, encoding="json", retry=Retry(initial=0.01, maximum=0.01, random=lambda: 1.0)
            ) as client,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(10):
                tasks.start_soon(hold, client)
            await everybody.wait()
            await anyio.wait_all_tasks_blocked()
            before = asked
            cut.set()
    assert lost == 10
    assert before == 1
    assert asked - before <= 3, "asked by each of ten connections"


async def test_a_namespace_in_the_endpoint_of_metadata_is_decoded() -> None:
    asked: list[str] = []

    async def talk(peer: Peer) -> None:
        while True:
            target = (await peer.head()).split(" ", 2)[1]
            asked.append(target)
            if target.startswith("/metadata"):
                moved = url.replace("//", "//n%2Fs:t%2Fk@")
                metadata = {"runtime": "rivetkit", "version": "2.2.1", "clientEndpoint": moved}
                await answer(peer, metadata)
            else:
                await answer(peer, {"actors": [{"actor_id": "a1", "name": "c", "key": "k"}]})

    with anyio.fail_after(GUARD):
        async with serving(talk) as url, Client(url) as client:
            assert await client.c.get("k").resolve() == "a1"
            assert client._core._server is not None
            assert client._core._server.endpoint.token == "t/k"
    assert "namespace=n%2Fs" in asked[1]


async def answer(peer: Peer, body: Any) -> None:
    content = json.dumps(body).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:"
    await peer.send(f"{head} {len(content)}\r\n\r\n".encode() + content)


async def test_a_dial_that_fails_while_metadata_is_asked_for_is_not_forgotten() -> None:
    fails, go_on = anyio.Event(), anyio.Event()

    async def before(what: str) -> None:
        number = transport.asked[what]
        if (what, number) == ("metadata", 2):
            await go_on.wait()
        elif what == "gateway" and number <= 2:
            if number == 1:
                await fails.wait()
            raise httpx.ConnectError("refused")

    transport = Lookups(before)
    with anyio.fail_after(GUARD):
        async with (
            httpx.AsyncClient(transport=transport) as http,
            Client("http://h", http=http, encoding="json") as client,
            anyio.create_task_group() as tasks,
        ):
            handle = client.c.get_or_create("k")
            ping: Callable[[], Awaitable[Any]] = handle.ping
            tasks.start_soon(failures_of, [ping])
            await anyio.wait_all_tasks_blocked()
            await failures_of([ping])
            tasks.start_soon(handle.ping)
            await anyio.wait_all_tasks_blocked()
            assert transport.asked["metadata"] == 2
            fails.set()
            await anyio.wait_all_tasks_blocked()
            go_on.set()
            await anyio.wait_all_tasks_blocked()
            await handle.ping()
    assert transport.asked["metadata"] == 3


LATE = {
    "params": "get_params did not return",
    "token": "the function for the token did not return",
    "metadata": "http://h/metadata did not answer",
    "actors": "http://h did not answer with the actor's id",
    "gateway": "http://h did not answer the handshake",
}


@pytest.mark.parametrize("anyio_backend", [virtual_backend("asyncio"), virtual_backend("trio")])
@pytest.mark.parametrize("late", LATE)
async def test_a_late_connection_says_what_it_waited_for(late: str) -> None:
    async def wait(what: str) -> None:
        if what == late:
            await anyio.sleep_forever()

    async def get_params() -> None:
        await wait("params")

    async def token() -> str:
        await wait("token")
        return "secret"

    async with (
        httpx.AsyncClient(transport=Lookups(wait)) as http,
        Client("http://h", http=http, encoding="json", token=token) as client,
    ):
        handle = client.c.get_or_create("k", get_params=get_params)
        with pytest.raises(ConnectError) as caught:
            async with handle.connect():
                pytest.fail("the body ran")
        assert f"not be opened in time: {LATE[late]} within connect_timeout" in str(caught.value)
        if late == "token":
            with pytest.raises(ConnectError, match="token did not return within 30 s"):
                await client.c.get_or_create("k").ping()


async def test_a_version_that_is_known_is_not_guessed() -> None:
    """A proxy may drop the header by which answers show their version otherwise."""

    async def nothing(what: str) -> None:
        pass

    class Recording(Lookups):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.startswith("/gateway"):
                sent.append(await request.aread())
            return await super().handle_async_request(request)

    sent: list[bytes] = []
    async with (
        httpx.AsyncClient(transport=Recording(nothing)) as http,
        Client("http://h", http=http, encoding="json") as client,
    ):
        await client.c.get_or_create("k").action("go", {1})
    assert b"$Set" in sent[0]


@pytest.mark.parametrize("lives", [True, False])
async def test_a_key_that_is_reserved_in_another_datacenter(lives: bool) -> None:
    """The actor lives there: it is looked up in place of being created."""

    def answer_of(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metadata":
            return httpx.Response(200, json={"runtime": "engine", "version": "2.3.19"})
        if request.method == "GET":
            actors = [{"actor_id": "there", "name": "c", "key": "k"}] if lives else []
            return httpx.Response(200, json={"actors": actors})
        reserved = {"group": "actor", "code": "key_reserved_in_different_datacenter"}
        return httpx.Response(400, json={**reserved, "message": "no"})

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer_of)) as http,
        Client("http://h", http=http) as client,
    ):
        handle = client.c.get_or_create("k", region="here")
        if lives:
            assert await handle.resolve() == "there"
        else:
            with pytest.raises(ActorError, match="key_reserved"):
                await handle.resolve()


async def test_a_record_of_another_actor_says_nothing_of_this_one() -> None:
    """Another caller may have resolved the key anew meanwhile."""
    with anyio.fail_after(GUARD):
        actors = {"probe": Actor}
        async with ActorServer(actors, version="2.2") as server, server.client() as client:
            core = client._core
            ours = await client.probe.get_or_create("a").resolve()
            (record,) = await core.find_actors([ours])
            older = msgspec.structs.replace(record, created_at=None)
            other = msgspec.structs.replace(older, actor_id="other")
            known = await core.server()
            assert await is_gone(core, known, ours, record) is False
            assert await is_gone(core, known, ours, older) is True
            assert await is_gone(core, known, ours, other) is False
