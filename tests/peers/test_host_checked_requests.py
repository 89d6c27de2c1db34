"""Calls that may run again, while the host of their actor dies behind a gateway."""

from __future__ import annotations

import json
import re
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
import trustme

from rivet_anyio import Client, ClosedError, ConnectionLostError, Retry
from rivet_anyio._gateway import host_checked_request, host_checks
from rivet_anyio._http.wire import Wire
from tests.http.wire import take_body, whole
from tests.scopes.injection import PLACES, cancelled_at

from .raw import Peer, serving
from .test_tls import client_side, server_side

GUARD = 60
AT_ONCE = Retry(initial=0.001, maximum=0.001)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def checks_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_checked_request, "_QUICK_SECONDS", 0.01)
    monkeypatch.setattr(host_checks, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(host_checks, "_SLOW_SECONDS", 0.02)


class Gateway:
    """A gateway of RivetKit 2.3. The first host of its actors answers nothing.

    Attributes:
        start: When the actors' present start began.
        calls: How often each actor was called.
        asked: The ids that each check asked for.
        waiting: How many calls wait for an answer.
        is_silent: Whether checks are not answered.
        is_dead: Whether checks say that no start of the actors runs.
    """

    def __init__(self) -> None:
        self.start = 1
        self.calls: Counter[str] = Counter()
        self.asked: list[list[str]] = []
        self.waiting = 0
        self.is_silent = self.is_dead = False
        self.answers_first = anyio.Event()

    async def handle(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            await take_body(peer, head)
            target = head.split(" ", 2)[1]
            if target.startswith("/metadata"):
                body: object = {"runtime": "rivetkit", "version": "2.3.19"}
            elif found := re.search(r"actor_ids=([^&]*)", target):
                self.asked.append(found[1].replace("%2C", ",").split(","))
                if self.is_silent:
                    await peer.silence()
                body = {"actors": [self._record(id) for id in self.asked[-1]]}
            else:
                id = target.split("/")[2]
                self.calls[id] += 1
                if self.start == 1:
                    await self._wait(peer)
                body = {"output": id}
            await peer.send(whole(json.dumps(body).encode()))

    def _record(self, id: str) -> object:
        record: dict[str, object] = {"actor_id": id, "name": "x", "key": id}
        return {**record, **({"error": "x"} if self.is_dead else {"connectable_ts": self.start})}

    async def _wait(self, peer: Peer) -> None:
        """Until the client goes away, or `answers_first`."""
        self.waiting += 1
        try:
            async with anyio.create_task_group() as tasks:

                async def listen() -> None:
                    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                        await peer.silence()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(listen)
                await self.answers_first.wait()
                tasks.cancel_scope.cancel()
        finally:
            self.waiting -= 1
        if not self.answers_first.is_set():
            raise anyio.EndOfStream


@asynccontextmanager
async def using(
    authority: trustme.CA | None = None,
) -> AsyncGenerator[tuple[Gateway, Client]]:
    gateway = Gateway()
    server_tls = None if authority is None else server_side(authority)
    client_tls: ssl.SSLContext | None = None if authority is None else client_side(authority)
    async with (
        serving(gateway.handle, server_tls) as url,
        Client(
            url, encoding="json", retry=AT_ONCE, actor_check_interval=0.2, ssl_context=client_tls
        ) as client,
    ):
        yield gateway, client


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await anyio.sleep(0.001)


def is_at_rest(client: Client) -> bool:
    """Whether nothing is checked, and no socket is in use."""
    wire, checked = client._core.http, client._core.checks
    assert isinstance(wire, Wire)
    figures = wire.pool.figures
    return not checked._asked and checked._leader is None and figures.open == figures.idle


def number_seen(client: Client) -> int:
    """Of how many calls it is known which start their actor is in."""
    return sum(getattr(each, "_seen", None) is not None for each in client._core.checks._asked)


@pytest.mark.parametrize("over", ["http", "https"])
async def test_fifty_calls_whose_host_dies(authority: trustme.CA, over: str) -> None:
    """Each is called once more, and few requests find out for all of them."""
    actors = [f"a{number}" for number in range(25)]
    results: list[str] = []
    with anyio.fail_after(GUARD):
        async with using(authority if over == "https" else None) as (gateway, client):

            async def call(id: str) -> None:
                results.append(await client.x.get_for_id(id).action("go", retry_for=GUARD))

            async with anyio.create_task_group() as tasks:
                for id in actors * 2:
                    tasks.start_soon(call, id)
                await until(lambda: gateway.waiting == 50)
                await until(lambda: number_seen(client) == 50)
                gateway.start = 2
            await until(lambda: gateway.waiting == 0)
            assert is_at_rest(client)
    assert Counter(results) == Counter(actors * 2)
    assert gateway.calls == Counter(actors * 4)
    assert all(len(set(ids)) == len(ids) <= 32 for ids in gateway.asked)


@pytest.mark.parametrize("place", PLACES)
async def test_cancelled_at_every_step(authority: trustme.CA, place: str) -> None:
    with anyio.fail_after(GUARD):
        async with using(authority) as (gateway, client):

            async def call() -> None:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(change)
                    assert await client.x.get_for_id("a1").action("go", retry_for=GUARD) == "a1"
                    tasks.cancel_scope.cancel()

            async def change() -> None:
                """The actor has another host as soon as its first one was seen."""
                gateway.start = 1
                await until(lambda: number_seen(client) == 1)
                gateway.start = 2

            at = 1
            while await cancelled_at("scope", place, call, at):
                assert is_at_rest(client)
                at += 1
            assert at > 4
            await until(lambda: gateway.waiting == 0)


async def test_the_client_is_left_meanwhile(authority: trustme.CA) -> None:
    """While checks wait for their answer, too."""
    errors: list[Exception] = []
    with anyio.fail_after(GUARD):
        async with (
            anyio.create_task_group() as tasks,
            using(authority) as (gateway, client),
        ):

            async def call(id: str) -> None:
                try:
                    await client.x.get_for_id(id).action("go", retry_for=GUARD)
                except Exception as error:
                    errors.append(error)

            for number in range(10):
                tasks.start_soon(call, f"a{number}")
            gateway.is_silent = True
            await until(lambda: gateway.waiting == 10 and len(gateway.asked) == 1)
            await client.__aexit__(None, None, None)
            await until(lambda: len(errors) == 10)
    assert {type(error) for error in errors} <= {ConnectionLostError, ClosedError}


async def test_a_call_that_starts_a_dead_actor_is_not_given_up(authority: trustme.CA) -> None:
    """The first record of the actor may be from before the call woke it."""
    with anyio.fail_after(GUARD):
        async with using() as (gateway, client), anyio.create_task_group() as tasks:

            async def call() -> None:
                assert await client.x.get_for_id("a1").action("go", retry_for=GUARD) == "a1"
                tasks.cancel_scope.cancel()

            gateway.is_dead = True
            tasks.start_soon(call)
            await until(lambda: number_seen(client) == 1)
            gateway.is_dead = False
            count = len(gateway.asked)
            await until(lambda: len(gateway.asked) > count + 1)
            gateway.answers_first.set()
            await anyio.sleep_forever()
        assert gateway.calls["a1"] == 1


async def test_an_answer_does_not_wait_for_a_check(authority: trustme.CA) -> None:
    with anyio.fail_after(GUARD):
        async with using(authority) as (gateway, client):
            results: list[str] = []

            async def call(id: str) -> None:
                results.append(await client.x.get_for_id(id).action("go", retry_for=GUARD))

            gateway.is_silent = True
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(call, f"a{number}")
                await until(lambda: gateway.waiting == 10 and len(gateway.asked) == 1)
                gateway.answers_first.set()
            assert is_at_rest(client)
            assert len(results) == sum(gateway.calls.values()) == 10
