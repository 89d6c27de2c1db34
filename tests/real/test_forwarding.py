"""Forwarding, subprotocols and URLs by key, on real servers."""

from __future__ import annotations

import httpx
import pytest

from rivet_anyio import ActorError, Client, forward
from tests.servers import Server


async def test_forward(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client:
        other = await client.web.get_or_create([*key, "other"]).resolve()
        site = client.web.get_or_create(key)
        smuggled = [
            ("x-rivet-target", "actor"),
            ("x-rivet-actor", other),
            ("X-Rivet-Conn-Params", "{}"),
            ("Connection", "x-hop"),
            ("x-hop", "1"),
            ("Host", "evil.example"),
            ("Transfer-Encoding", "chunked"),
        ]
        kept = [("x-one", "1"), ("X-One", "2"), ("Cookie", "a=1"), ("cookie", "b=2")]
        answer = await forward(
            site, "POST", "/echo/a?b=c", headers=[*smuggled, *kept], content="hello"
        )
        said = answer.json()
        assert (answer.status_code, said["method"], said["search"]) == (200, "POST", "?b=c")
        assert said["body"] == "hello"
        headers = said["headers"]
        assert (headers["x-one"], headers["cookie"]) == ("1, 2", "a=1; b=2")
        assert "x-hop" not in headers and other not in str(headers)
        assert "evil.example" not in str(headers)


async def test_subprotocols(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client:
        web = client.web.get_or_create(key)
        async with web.websocket("chat?a=1", subprotocols=["chat.v1", "chat.v2"]) as ws:
            assert "chat?a=1" in str(await ws.receive())
            assert ws.subprotocol is None
            await ws.send("text")
            assert await ws.receive() == "text"


async def test_urls_by_key(server: Server, key: list[str]) -> None:
    async with Client(server.endpoint) as client, httpx.AsyncClient(timeout=60) as browser:
        for last in ("a b", "ü/\\+&=#", "%2C"):
            web = client.web.get_or_create([*key, last])
            if not server.version.startswith("2.3"):
                with pytest.raises(ActorError, match="2\\.3"):
                    await web.gateway_url(by="key")
                continue
            url = await web.gateway_url("/request/echo/x?loud=1", by="key")
            answer = (await browser.get(url)).json()
            assert answer["search"] == "?loud=1"
            # The actor that the URL created is the one that the management API finds.
            assert [one async for one in client.web.list(key=[*key, last])]
            found = await client.web.get([*key, last]).gateway_url("/request/echo", by="key")
            assert (await browser.get(found)).status_code == 200
