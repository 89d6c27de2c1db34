"""Actors that send events in onConnect, on real servers.

RivetKit 2.0 to 2.2 refuse `conn.send` there, and so the connection; 2.3 sends before Init.
"""

from __future__ import annotations

import contextlib

import anyio
import pytest

from rivet_anyio import Client, ConnectionLostError, Gap
from tests.servers import Server

GUARD = 60


def sends_before_init(server: Server) -> bool:
    return server.version.startswith("2.3")


async def test_a_greeting(client: Client, server: Server, key: list[str]) -> None:
    params = {"name": "ann", "greetings": 30}
    conn = client.greeter.get_or_create(key, params=params).connect()
    welcome = conn.events("welcome", gaps="mark")
    with anyio.fail_after(GUARD):
        if not sends_before_init(server):
            with pytest.raises(ConnectionLostError, match="onConnect"):
                async with conn:
                    pytest.fail("the body ran")
            return
        async with conn:
            await conn.greet()
            got = [await welcome.receive() for _ in range(31)]
            assert [(one["name"], one["number"]) for one in got] == [
                ("ann", number) for number in (*range(1, 31), 0)
            ]


async def test_a_greeting_after_a_reconnect(client: Client, server: Server, key: list[str]) -> None:
    if not sends_before_init(server):
        pytest.skip("no greeting arrives")
    conn = client.greeter.get_or_create(key, params={"greetings": 2}).connect()
    welcome = conn.events("welcome", gaps="mark")
    with anyio.fail_after(GUARD):
        async with conn:
            assert [(await welcome.receive())["number"] for _ in range(2)] == [1, 2]
            with contextlib.suppress(ConnectionLostError):
                await conn.kick()
            assert isinstance(await welcome.receive(), Gap)
            assert [(await welcome.receive())["number"] for _ in range(2)] == [1, 2]
