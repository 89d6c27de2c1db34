"""A token that changes, on real servers; those of the tests take every token."""

from __future__ import annotations

import itertools

from rivet_anyio import Client, Management
from tests.servers import Server


async def test_a_function(server: Server, key: list[str]) -> None:
    count = itertools.count()

    async def token() -> str:
        return f"token-{next(count)}"

    async with Client(server.endpoint, token=token) as client:
        handle = client.probe.get_or_create(key)
        before = next(count)
        assert await handle.echo(1) == 1
        async with handle.connect() as conn:
            assert await conn.echo(2) == 2
        assert "probe" in await Management(client).names()
        assert next(count) >= before + 4
