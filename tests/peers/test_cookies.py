"""Whose cookies go where: all actors have one origin, and none may see another's."""

from __future__ import annotations

import anyio
import httpx
import pytest

from rivet_anyio import ActorError, Client, ConnectError, ProtocolError, RivetError

from .raw import Peer, serving

SECONDS = 60


class Jar:
    """A server whose every answer sets cookies.

    Attributes:
        seen: The request line of every request, and its cookies.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []

    async def talk(self, peer: Peer) -> None:
        while True:
            head = await peer.head()
            lines = head.split("\r\n")
            fields = dict(line.split(": ", 1) for line in lines[1:])
            lower = {name.lower(): value for name, value in fields.items()}
            for _ in range(int(lower.get("content-length", 0))):
                await peer._exactly(1)
            self.seen.append((lines[0].rpartition(" ")[0], lower.get("cookie")))
            await peer.send(
                b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n"
                b"Set-Cookie: session=of-one-actor; Path=/\r\n"
                b"Set-Cookie: wide=1; Path=/; Max-Age=1000; Domain=127.0.0.1\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )


async def use_everything(client: Client) -> None:
    one, other = client.actor("a").get_for_id("one"), client.actor("b").get_for_id("other")
    assert (await one.fetch("login")).cookies["session"] == "of-one-actor"
    async with other.stream("x", method="POST", content=b"abc") as answer:
        await answer.aread()
    for handle in (one, other):
        with pytest.raises((ProtocolError, ActorError)):
            await handle.action("get")
        with pytest.raises(RivetError):
            await handle.send("jobs", 1)
        with pytest.raises(ConnectError):
            async with handle.connect():
                pass
        with pytest.raises(ConnectError):
            async with handle.websocket("x"):
                pass
    with pytest.raises(RivetError):
        await client.actor("a").get("k").resolve()


@pytest.mark.parametrize("metadata_lookup", [True, False])
async def test_no_cookie_is_kept(metadata_lookup: bool) -> None:
    jar = Jar()
    with anyio.fail_after(SECONDS):
        async with serving(jar.talk) as url, Client(url, metadata_lookup=metadata_lookup) as client:
            await use_everything(client)
    kinds = ("/request/login", "/request/x", "/action/get", "/queue/jobs", "/connect", "/websocket")
    for kind in (*kinds, "/actors"):
        assert any(kind in line for line, _ in jar.seen), kind
    assert {cookies for _, cookies in jar.seen} == {None}


async def test_cookies_of_one_request() -> None:
    jar = Jar()
    with anyio.fail_after(SECONDS):
        async with serving(jar.talk) as url, Client(url, metadata_lookup=False) as client:
            handle = client.actor("a").get_for_id("one")
            await handle.fetch("1", cookies={"a": "1"})
            await handle.fetch("2")
            await handle.fetch("3", headers={"Cookie": "b=2"})
            await handle.fetch("4")
    assert [cookies for _, cookies in jar.seen] == ["a=1", None, "b=2", None]


async def test_cookies_of_a_clients_own_jar() -> None:
    """Its owner decides, as docs/guide/networks.md says."""
    jar = Jar()
    with anyio.fail_after(SECONDS):
        async with (
            serving(jar.talk) as url,
            httpx.AsyncClient() as http,
            Client(url, http=http, metadata_lookup=False) as client,
        ):
            await client.actor("a").get_for_id("one").fetch("login")
            await client.actor("b").get_for_id("other").fetch("x")
    assert "session=of-one-actor" in (jar.seen[1][1] or "")
