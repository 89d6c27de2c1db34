"""A token that changes: an async function that is asked for each request and each handshake."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import (
    ActorHandle,
    Client,
    ConfigError,
    ConnectError,
    Management,
    Retry,
    TypedActor,
    live,
)
from rivet_anyio.testing import Actor, ActorServer
from rivet_anyio.testing._gateway import Gateway
from rivet_anyio.testing._http import HttpRequest


class Counter(Actor):
    async def increment(self) -> int:
        return 1


class TypedCounter(TypedActor, name="counter"):
    async def increment(self) -> int:
        raise NotImplementedError


class Tokens:
    """The function; each call returns another token, unless it is to fail or to wait."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None
        self.gate: anyio.Event | None = None
        self.failed = anyio.Event()

    async def __call__(self) -> str:
        self.count += 1
        count = self.count
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            self.failed.set()
            raise self.error
        return f"hush-{count}"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Path and token of each request."""
    found: list[tuple[str, str | None]] = []
    handle = Gateway.handle

    async def record(self: Gateway, request: HttpRequest) -> Any:
        headers = request.headers
        token = headers.get("x-rivet-token") or headers.get("authorization")
        for offer in headers.get("sec-websocket-protocol", "").split(", "):
            if offer.startswith("rivet_token."):
                token = offer.removeprefix("rivet_token.")
        found.append((request.path, token and token.removeprefix("Bearer ")))
        return await handle(self, request)

    monkeypatch.setattr(Gateway, "handle", record)
    return found


@asynccontextmanager
async def place(**options: Any) -> AsyncIterator[tuple[ActorServer, Client, Tokens]]:
    tokens = Tokens()
    with anyio.fail_after(60):
        async with (
            ActorServer({"counter": Counter}) as server,
            server.client(
                token=tokens, retry=Retry(initial=0.001, maximum=0.001), **options
            ) as client,
        ):
            yield server, client, tokens


@pytest.mark.parametrize("metadata_lookup", [True, False])
async def test_each_request_and_handshake_has_the_token_of_now(
    seen: list[tuple[str, str | None]], metadata_lookup: bool
) -> None:
    async with place(metadata_lookup=metadata_lookup) as (_, client, tokens):
        handle = client.counter.get_or_create()
        typed = client.get_or_create(TypedCounter)
        uses: list[Callable[[], Awaitable[object]]] = [
            handle.increment,
            typed.increment,
            lambda: handle.fetch("/"),
            Management(client).names,
            handle.gateway_url,
        ]
        for use in uses:
            seen.clear()
            before = tokens.count
            try:
                result = await use()
            except Exception as error:
                assert "hush" not in f"{error!r} {error}"
                raise
            assert tokens.count > before
            if use is uses[-1]:
                assert f"@hush-{tokens.count}" in str(result)
            else:
                assert seen and seen[-1][1] == f"hush-{tokens.count}"
        async with handle.connect() as conn, typed.connect() as other:
            assert ("hush-" in str(seen[-1][1])) and len({token for _, token in seen}) > 1
            assert await conn.increment() == await other.increment() == 1
        path, token = seen[-1]
        assert path.endswith("/connect") and token == f"hush-{tokens.count}"
        assert "hush" not in repr(client) + repr(client._core.config) + repr(handle)


async def test_those_who_ask_at_once_share_one(seen: list[tuple[str, str | None]]) -> None:
    async with place() as (_, client, tokens):
        handle = client.counter.get_or_create()
        await handle.increment()
        before, tokens.gate = tokens.count, anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(client.counter.get_or_create("new").increment)
            with anyio.CancelScope() as first:
                tasks.start_soon(anyio.sleep, 0)
                await anyio.wait_all_tasks_blocked()
                first.cancel()
            assert tokens.count == before + 1
            tokens.gate.set()
            tokens.gate = None
        creations = [path for path, _ in seen if path == "/actors"]
        assert len(creations) == 2, creations


async def test_who_is_cancelled_leaves_the_others_a_token() -> None:
    async with place() as (_, client, tokens):
        await client.counter.get_or_create().increment()
        tokens.gate = anyio.Event()
        scope = anyio.CancelScope()

        async def cancelled() -> None:
            with scope:
                await client.counter.get_or_create().increment()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancelled)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(client.counter.get_or_create().increment)
            await anyio.wait_all_tasks_blocked()
            before = tokens.count
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert tokens.count == before + 1
            tokens.gate.set()


async def test_errors_reach_the_caller() -> None:
    async with place() as (_, client, tokens):
        handle = client.counter.get_or_create()
        tokens.error = LookupError("the vault is sealed")
        for _ in range(2):
            with pytest.raises(LookupError, match="sealed"):
                await handle.increment()
            with pytest.raises(LookupError, match="sealed"):
                async with handle.connect():
                    pytest.fail("connected")
            with pytest.raises(LookupError, match="sealed"):
                async with handle.websocket("/"):
                    pytest.fail("connected")
            tokens.error = None
            assert await handle.increment() == 1
            tokens.error = LookupError("the vault is sealed")


class VaultError(Exception):
    """Its text is not what it was made of."""

    def __init__(self, user: str) -> None:
        super().__init__(f"the vault of {user} is sealed")


async def sealed() -> str:
    vaults: dict[str, str] = {}
    try:
        return vaults["ann"]
    except KeyError:
        raise VaultError("ann")  # noqa: B904


async def call_over_http(handle: ActorHandle) -> None:
    await handle.increment()


async def connect(handle: ActorHandle) -> None:
    async with handle.connect():
        pytest.fail("connected")


async def open_websocket(handle: ActorHandle) -> None:
    async with handle.websocket("/"):
        pytest.fail("connected")


@pytest.mark.parametrize("use", [call_over_http, connect, open_websocket])
@pytest.mark.parametrize("how", ["token", "get_params"])
async def test_an_error_says_where_the_users_function_raised_it(
    how: str, use: Callable[[ActorHandle], Awaitable[None]]
) -> None:
    options: dict[str, Any] = {"token": sealed} if how == "token" else {}
    async with ActorServer({"counter": Counter}) as server, server.client(**options) as client:
        params: dict[str, Any] = {"get_params": sealed} if how == "get_params" else {}
        with pytest.raises(VaultError) as caught:
            await use(client.counter.get_or_create(**params))
    error = caught.value
    assert str(error) == "the vault of ann is sealed"
    assert traceback.extract_tb(error.__traceback__)[-1].name == "sealed"
    assert type(error.__context__) is KeyError and not error.__suppress_context__


async def test_those_who_share_a_failed_request_get_each_an_error_of_its_own() -> None:
    errors: list[VaultError] = []

    async def token() -> str:
        await anyio.wait_all_tasks_blocked()
        return await sealed()

    async def call(handle: ActorHandle) -> None:
        with pytest.raises(VaultError) as caught:
            await handle.increment()
        errors.append(caught.value)

    async with (
        ActorServer({"counter": Counter}) as server,
        server.client(token=token) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(3):
            tasks.start_soon(call, client.counter.get_or_create())
    assert {str(error) for error in errors} == {"the vault of ann is sealed"}
    assert len({id(error) for error in errors}) == len(errors) == 3


@pytest.mark.parametrize("bad", [None, 5, b"hush", "hush\n", "hush-\xfc", " hush"])
async def test_what_is_no_token(bad: Any) -> None:
    async def token() -> Any:
        return bad

    async with ActorServer({"counter": Counter}) as server, server.client(token=token) as client:
        with pytest.raises(ConfigError) as caught:
            await client.counter.get_or_create().increment()
        assert "hush" not in str(caught.value)


async def test_functions_that_should_be_async() -> None:
    def plain() -> Any:
        return "hush"

    class Typed(TypedActor, name="counter"):
        pass

    async with ActorServer({"counter": Counter}) as server, server.client() as client:
        handle = client.counter.get_or_create(get_params=plain)
        typed = client.get_or_create(Typed, get_params=plain)
        for attempt in (
            handle.increment(),
            handle.connect().__aenter__(),
            typed.action("increment"),
            typed.connect().__aenter__(),
        ):
            with pytest.raises(TypeError, match=r"^get_params is an async function, .* str$"):
                await attempt
        async with client.counter.get_or_create().connect() as conn:
            state = live(conn, plain, {"x": max}, atomic_snapshot=True)
            with pytest.raises(TypeError, match=r"^snapshot is an async function, .* str$"):
                async with state:
                    pytest.fail("entered")
        async with server.client(token=plain) as other:
            with pytest.raises(TypeError, match=r"^token is an async function, .* str$"):
                await other.counter.get_or_create().increment()


async def test_a_failure_on_a_reconnect_is_a_failed_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        place() as (server, client, tokens),
        client.counter.get_or_create().connect() as conn,
    ):
        assert await conn.increment() == 1
        tokens.error = LookupError("hush, the vault is sealed")
        server.drop_connections()
        await tokens.failed.wait()
        tokens.error = None
        await conn.wait_connected()
        assert await conn.increment() == 1
    assert "hush" not in caplog.text


async def test_a_function_that_hangs() -> None:
    async def token() -> str:
        await anyio.sleep_forever()
        return ""

    async with (
        ActorServer({"counter": Counter}) as server,
        server.client(token=token, connect_timeout=0.05) as client,
    ):
        handle = client.counter.get_or_create()
        with anyio.fail_after(60), pytest.raises(ConnectError, match="raise connect_timeout"):
            await handle.increment()


async def test_another_host_does_not_get_it() -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.host, request.headers.get("authorization")))
        if request.url.path == "/metadata":
            elsewhere = {"runtime": "engine", "version": "2.3.19", "clientEndpoint": "http://other"}
            return httpx.Response(200, json=elsewhere)
        return httpx.Response(200, json={"names": {}})

    for forward_token in (False, True):
        tokens = Tokens()
        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        async with Client(
            "http://server", http=http, token=tokens, forward_token=forward_token
        ) as client:
            await Management(client).names()
            await Management(client).names()
            assert tokens.count == (3 if forward_token else 1)
    assert seen == [
        ("server", "Bearer hush-1"),
        ("other", None),
        ("other", None),
        ("server", "Bearer hush-1"),
        ("other", "Bearer hush-2"),
        ("other", "Bearer hush-3"),
    ]


def test_two_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="twice") as caught:
        Client("http://ns:hush@server", token=Tokens())
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("RIVET_TOKEN", "hush")
    assert Client("http://server", token=Tokens())._core.config.endpoint.token is None


async def by_task_cancel(use: Callable[[], Awaitable[object]], waiting: anyio.Event) -> None:
    task = asyncio.ensure_future(use())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_timeout(use: Callable[[], Awaitable[object]], waiting: anyio.Event) -> None:
    async def strike() -> None:
        await waiting.wait()
        timeout.reschedule(0)

    async with anyio.create_task_group() as tasks:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                tasks.start_soon(strike)
                await use()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("means", [by_task_cancel, by_timeout])
@pytest.mark.parametrize("function", ["token", "get_params"])
async def test_asyncio_cancels_a_caller_whose_function_is_under_way(
    means: Callable[..., Awaitable[None]], function: str
) -> None:
    waiting = anyio.Event()
    waits = False

    async def token() -> str:
        if waits and function == "token":
            waiting.set()
            await anyio.sleep_forever()
        return "token"

    async def get_params() -> None:
        if waits and function == "get_params":
            waiting.set()
            await anyio.sleep_forever()

    async def open_websocket() -> None:
        async with handle.websocket():
            pytest.fail("the body ran")

    async def open_connection() -> None:
        async with handle.connect():
            pytest.fail("the body ran")

    with anyio.fail_after(60):
        async with (
            ActorServer({"counter": Counter}) as server,
            server.client(token=token) as client,
        ):
            handle = client.counter.get_or_create(get_params=get_params)
            uses = [
                handle.increment,
                lambda: handle.action("increment", retry_for=50.0),
                lambda: handle.send("jobs", 1),
                open_websocket,
                open_connection,
            ]
            if function == "token":
                uses += [handle.resolve, lambda: handle.fetch("/"), Management(client).names]
            for use in uses:
                waiting, waits = anyio.Event(), True
                await means(use, waiting)
                waits = False
                assert await handle.increment() == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("function", ["token", "get_params"])
async def test_a_function_that_cancels_itself_cancels_nobody(function: str) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    options: dict[str, Any] = {function: cancelled}
    own = {"get_params": options.pop("get_params")} if function == "get_params" else {}
    with anyio.fail_after(60):
        async with ActorServer({"counter": Counter}) as server, server.client(**options) as client:
            with pytest.raises(
                ConnectError, match=r"(token|get_params) was cancelled from outside"
            ):
                await client.counter.get_or_create(**own).increment()
