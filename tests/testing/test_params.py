"""`get_params`: asked for every request, and its failures raise in the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import Client, ConnectError, TypedActor
from rivet_anyio.testing import Actor, ActorConnection, ActorServer


class Guarded(Actor):
    async def on_before_connect(self, connection: ActorConnection) -> None:
        seen.append(connection.params)

    async def ping(self) -> str:
        return "pong"

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.headers.get("x-rivet-conn-params", "none"))


seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def counted() -> Callable[[], Any]:
    """Another token each time."""
    asked = 0

    async def get_params() -> dict[str, int]:
        nonlocal asked
        await anyio.lowlevel.checkpoint()
        asked += 1
        return {"token": asked}

    return get_params


async def test_every_request_has_the_params_of_now() -> None:
    async with ActorServer({"guarded": Guarded}) as server, server.client() as client:
        guarded = client.guarded.get_or_create("k", get_params=counted())
        assert await guarded.ping() == "pong"
        await guarded.send("jobs", 1)
        await guarded.action("ping", retry_for=5)
        assert seen == [{"token": 1}, {"token": 2}, {"token": 3}]
        assert (await guarded.fetch("/x")).text == '{"token":4}'
        async with guarded.connect() as conn:
            await conn.ping()
        assert seen[-1] == {"token": 5}


class Described(TypedActor[dict[str, int]], name="guarded"):
    """The typed one."""


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("way", ["get", "get_or_create", "create", "get_for_id", "connect"])
async def test_both_are_refused(way: str, typed: bool) -> None:
    """Only one of them could be sent."""
    both: dict[str, Any] = {"params": {"token": 0}, "get_params": counted()}
    async with ActorServer({"guarded": Guarded}) as server, server.client() as client:
        place: Any = client if typed else client.guarded
        first = [Described] if typed else []
        handle = place.get_or_create(*first, "k", params={"token": 1})
        with pytest.raises(TypeError, match=r"^give params or get_params, not both$"):
            if way == "connect":
                handle.connect(**both)
            elif way == "create":
                await place.create(*first, "k", **both)
            else:
                getattr(place, way)(*first, "k", **both)
        assert not server.log
        async with handle.connect(get_params=counted()) as conn:
            await conn.action("ping")
        assert seen == [{"token": 1}]


@pytest.mark.parametrize("typed", [False, True])
async def test_what_is_no_function_is_refused_in_the_call(typed: bool) -> None:
    no_function: Any = {"token": 0}
    async with ActorServer({"guarded": Guarded}) as server, server.client() as client:
        place: Any = client if typed else client.guarded
        first = [Described] if typed else []
        handle = place.get_or_create(*first, "k")
        for way in (place.get, place.get_or_create, place.create, handle.connect):
            with pytest.raises(TypeError, match=r"^get_params is a function or None, not"):
                made = way(
                    *([] if way == handle.connect else [*first, "k"]), get_params=no_function
                )
                if way == place.create:
                    await made
        assert not server.log


@pytest.mark.parametrize("way", ["action", "send", "fetch"])
async def test_what_it_raises(way: str) -> None:
    class Expired(Exception):
        pass

    async def expired() -> Any:
        raise Expired("log in again")

    async def odd() -> Any:
        return {"token": b"1"}

    async def call(client: Client, get_params: Any) -> None:
        handle = client.guarded.get_or_create("k", get_params=get_params)
        if way == "action":
            await handle.action("ping", retry_for=5)
        elif way == "send":
            await handle.send("jobs", 1)
        else:
            await handle.fetch("/x")

    async with ActorServer({"guarded": Guarded}) as server, server.client() as client:
        with pytest.raises(Expired, match="log in again"):
            await call(client, expired)
        with pytest.raises(TypeError, match="params"):
            await call(client, odd)
    assert seen == []


async def test_one_that_does_not_return() -> None:
    async with (
        ActorServer({"guarded": Guarded}) as server,
        server.client(connect_timeout=0.05) as client,
    ):
        guarded = client.guarded.get_or_create("k", get_params=anyio.sleep_forever)
        with pytest.raises(ConnectError, match=r"get_params did not return within 0\.05 s"):
            await guarded.ping()
    assert seen == []
