"""Names that cannot be sent fail in the user's own call, and nobody else's."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from rivet_anyio import Client, Status
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import Actor, ActorServer

SECONDS = 60


class Room(Actor):
    async def ping(self) -> int:
        return 1


class Name(str):
    """A subclass of str is a str."""


@pytest.mark.parametrize("encoding", ["bare", "cbor", "json"])
@pytest.mark.parametrize("name", ["\udc80", "a\ud800b", "", 5, None, ["x"], b"x", object()])
async def test_a_connection_survives_them(name: Any, encoding: Encoding) -> None:
    with anyio.fail_after(SECONDS):
        async with (
            ActorServer({"room": Room}) as server,
            server.client(encoding=encoding) as client,
            client.actor("room").get_or_create("k").connect() as conn,
        ):
            before = conn.connection_id
            for refused in (conn.events, conn.next_event, conn.action):
                with pytest.raises((TypeError, ValueError), match="name") as caught:
                    given: Any = refused(name)
                    await given
                if name != "":
                    assert repr(name) in str(caught.value)
            with pytest.raises((TypeError, ValueError), match="name"):
                await conn.send(name, 1)
            with pytest.raises((TypeError, ValueError), match="name"):
                await conn.send_and_wait(name, 1)
            assert await conn.action("ping") == 1
            assert conn.status is Status.CONNECTED and conn.connection_id == before


@pytest.mark.parametrize("encoding", ["bare", "cbor", "json"])
async def test_a_subclass_of_str(encoding: Encoding) -> None:
    with anyio.fail_after(SECONDS):
        async with (
            ActorServer({"room": Room}) as server,
            server.client(encoding=encoding, namespace=Name("n"), pool=Name("p")) as client,
        ):
            handle = client.actor(Name("room")).get_or_create([Name("k")], region=Name("eu"))
            assert await handle.action(Name("ping")) == 1
            async with handle.connect() as conn, conn.events(Name("news")) as news:
                assert await conn.action(Name("ping")) == 1
                room = server.actor("room", "k")
                room.context.broadcast(Name("news"), 5)
                assert await news.receive() == 5
            assert (await handle.fetch(Name("x"))).status_code == 404


@pytest.mark.parametrize("name", ["\udc80", "", 5, None, b"x"])
def test_nothing_takes_them(name: Any) -> None:
    client = Client("http://h")
    accessor: Any = client.actor("room")
    for refused in (
        lambda: client.actor(name),
        lambda: accessor.get_for_id(name),
        lambda: accessor.get_or_create(region=name if name is not None else 5),
        lambda: accessor.get_or_create(pool=name if name is not None else 5),
    ):
        with pytest.raises((TypeError, ValueError)):
            refused()
    for key in ([name] if name != "" else ["\udc80"], 5, {"a"}):
        with pytest.raises((TypeError, ValueError), match="key"):
            accessor.get(key)
