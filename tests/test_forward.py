"""`forward` and raw WebSockets for others: nobody outside chooses the actor or the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import ActorError, Client, TypedActor, forward
from rivet_anyio.testing import Actor, ActorServer, ActorSocket


class Web(Actor):
    async def on_request(self, request: httpx.Request) -> httpx.Response:
        fields = [[n, v] for n, v in request.headers.multi_items()]
        said = {"key": self.context.key, "method": request.method, "url": str(request.url)}
        body = request.content.decode("latin-1")
        answer = httpx.Response(200, json={**said, "headers": fields, "body": body})
        answer.headers["x-own"] = "1"
        return answer

    async def on_websocket(self, socket: ActorSocket) -> None:
        await socket.send("/".join(self.context.key) + " " + socket.path)


class TypedWeb(TypedActor, name="web"):
    pass


@asynccontextmanager
async def site(**options: Any) -> AsyncIterator[Client]:
    with anyio.fail_after(60):
        async with (
            ActorServer({"web": Web}) as server,
            server.client(token="hush", **options) as client,
        ):
            await client.web.get_or_create("victim").resolve()
            yield client


SMUGGLED = [
    ("Host", "evil.example"),
    ("Connection", "close, X-Hop ,x-other"),
    ("connection", "x-third"),
    ("X-Hop", "1"),
    ("x-other", "1"),
    ("X-Third", "1"),
    ("Keep-Alive", "timeout=9"),
    ("TE", "trailers"),
    ("Trailer", "x-rivet-actor"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Length", "1"),
    ("Expect", "100-continue"),
    ("Upgrade", "websocket"),
    ("Proxy-Authorization", "Basic x"),
    ("Proxy-Connection", "keep-alive"),
    ("X-Rivet-Target", "actor"),
    ("x-rivet-actor", "actor0001"),
    ("X-RIVET-TOKEN", "theirs"),
    ("x-rivet-conn-params", "{}"),
    ("x_rivet_actor", "actor0001"),
    ("X-Rivet-Made-Up", "1"),
    ("Sec-WebSocket-Key", "x"),
    ("sec-websocket-protocol", "rivet, rivet_actor.actor0001"),
    ("Accept-Encoding", "gzip"),
    ("X-Tenant", "theirs"),
    ("x_tenant", "theirs"),
    ("traceparent", "kept"),
]


@pytest.mark.parametrize("as_mapping", [False, True])
async def test_what_goes_on(as_mapping: bool) -> None:
    async with site(headers={"x-tenant": "ours"}) as client:
        handle = client.web.get_or_create("mine")
        kept = [
            ("User-Agent", "browser"),
            ("X-Latin", "\xe4"),
            ("Authorization", "Bearer user"),
        ]
        twice = [
            ("Cookie", "a=1"),
            ("X-Twice", "1"),
            ("cookie", "b=2"),
            ("x-twice", ""),
            ("X-TWICE", "2"),
        ]
        given: Any = [*SMUGGLED, *kept, *twice]
        if as_mapping:
            given = httpx.Headers([(n.encode(), v.encode("latin-1")) for n, v in given])
        body = "GET /actors HTTP/1.1\r\n\r\n"
        answer = await forward(handle, "POST", "/a%20b?x=1", headers=given, content=body)
        assert (answer.status_code, answer.headers["x-own"]) == (200, "1")
        said = answer.json()
        assert (said["key"], said["method"], said["body"]) == (["mine"], "POST", body)
        assert said["url"] == "http://actor/a%20b?x=1"
        seen = [(name.lower(), value) for name, value in said["headers"]]
        names = [name for name, _ in seen]
        for name, value in kept:
            assert (name.lower(), value) in seen
        assert ("cookie", "a=1; b=2") in seen and ("x-twice", "1, , 2") in seen
        assert all(names.count(name) == 1 for name in ("cookie", "x-twice", "user-agent"))
        assert [value for name, value in seen if name == "x-tenant"] == ["ours"]
        assert ("content-length", str(len(body))) in seen and names.count("content-length") == 1
        assert [value for name, value in seen if name == "x-rivet-token"] in ([], ["hush"])
        gone = {name.lower() for name, _ in SMUGGLED} - {
            "accept-encoding", "content-length", "host", "traceparent", "x-rivet-token", "x-tenant",
        }  # fmt: skip
        assert gone.isdisjoint(names), gone & set(names)
        assert "evil.example" not in str(seen) and "theirs" not in str(seen)
        assert ("accept-encoding", "gzip") not in seen


async def test_a_streamed_body() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with site() as client:
        handle = client.get_or_create(TypedWeb, "typed")
        given = {"Content-Length": "7", "Transfer-Encoding": "gzip"}
        answer = await forward(handle, "PUT", "/", headers=given, content=body())
        assert answer.json()["body"] == "one two"


@pytest.mark.parametrize(
    "target",
    [
        "/../action/x", "/a/%2e%2e/b", "/..%2f..%2fvictim", "/%252e%252e/x", "\\..\\x", "*",
        "http://evil.example/", "victim", "/?rvt-method=get", "/?a=1&rvt-namespace=default",
        "/?%72vt-key=victim", "/?RVT-key=x", "/x\r\nHost: y", "/\x00", "/?+rvt-key=x",
    ],
)  # fmt: skip
async def test_a_target_that_would_lead_elsewhere(target: str) -> None:
    async with site() as client:
        handle = client.web.get_or_create("mine")
        with pytest.raises(ValueError):
            await forward(handle, "GET", target)
        with pytest.raises(ValueError):
            await handle.fetch(
                target.replace("http:", "..").replace("*", "..").replace("vi", "../")
            )


async def test_parameters_of_the_gateway_are_refused_everywhere() -> None:
    async with site() as client:
        handle = client.web.get_or_create("mine")
        with pytest.raises(ValueError, match="rvt-"):
            await handle.fetch("x", params={"rvt-key": "victim"})
        with pytest.raises(ValueError, match="rvt-"):
            handle.websocket("x?a=1&rvt-key=victim")
        assert (await handle.fetch("x?a=rvt-key&b-rvt-=1")).json()["key"] == ["mine"]


@pytest.mark.parametrize(
    "offers",
    [["rivet_actor.actor0001"], ["chat", "RIVET_target.actor"], ["rivet"], ["a b"], ["a,b"]],
)
async def test_subprotocols_that_choose_the_actor(offers: list[str]) -> None:
    async with site() as client:
        with pytest.raises(ValueError):
            client.web.get_or_create("mine").websocket("x", subprotocols=offers)


async def test_no_error_repeats_the_token_of_a_subprotocol() -> None:
    async with Client() as client:
        for offer in ("rivet_token.s3cr3t", "rivet_token.s3cr3t and more"):
            with pytest.raises(ValueError, match="'rivet_token' begins with") as caught:
                client.web.get_or_create("mine").websocket("x", subprotocols=[offer])
            assert "s3cr3t" not in str(caught.value)


async def test_subprotocols() -> None:
    async with site() as client:
        handle = client.get_or_create(TypedWeb, "mine")
        for offers in ((), ("chat.v1", "chat.v2")):
            async with handle.websocket("x?y=1", subprotocols=offers) as ws:
                assert await ws.receive() == "mine /x?y=1"
                assert ws.subprotocol is None


KEYS: list[list[str]] = [["a"], ["a", "b c"], ["ü/\\+&=#"], [], ["%2C"]]


@pytest.mark.parametrize("key", KEYS)
async def test_urls_by_key(key: list[str]) -> None:
    with anyio.fail_after(60):
        async with (
            ActorServer({"web": Web}) as server,
            server.client() as client,
            server.http_client() as browser,
        ):
            url = await client.web.get_or_create(key).gateway_url("/request/x?y=1", by="key")
            answer = (await browser.get(url)).json()
            assert answer["key"] == key and answer["url"] == "http://actor/x?y=1"
            url = await client.get(TypedWeb, key).gateway_url("request/x", by="key")
            assert (await browser.get(url)).json()["key"] == key
            by_id = await client.web.get(key).gateway_url("/request/z")
            assert (await browser.get(by_id)).json()["url"] == "http://actor/z"


async def test_urls_by_key_that_are_not_safe() -> None:
    async with site() as client:
        for key in (["a,b"], ["", "a"], [""]):
            with pytest.raises(ValueError, match="by='id'"):
                await client.web.get_or_create(key).gateway_url(by="key")
        with pytest.raises(ValueError, match="by='id'"):
            await client.web.get_for_id("actor0001").gateway_url(by="key")
        with pytest.raises(ValueError):
            await client.web.get_or_create().gateway_url("/../x", by="key")
    async with ActorServer({"web": Web}, version="2.2") as server, server.client() as client:
        with pytest.raises(ActorError, match="2\\.3"):
            await client.web.get_or_create("a").gateway_url(by="key")
