"""The application of `examples.forwarding`, attacked by a client that tries to choose the actor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from examples import forwarding
from rivet_anyio.testing import ActorServer, ActorSocket

from .test_forward import SMUGGLED, Web


class Site(Web):
    async def on_websocket(self, socket: ActorSocket) -> None:
        await super().on_websocket(socket)
        match socket.path.split("/")[1:]:
            case ["close", code, reason]:
                await socket.close(int(code), reason)
            case ["talk"]:
                while True:
                    await socket.send("more")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with ActorServer({"web": Site}) as server, server.client(token="hush") as client:
        victim = client.web.get_or_create(["sites", "victim"])
        app.state.victim = await victim.resolve()
        app.state.client = client
        yield


@pytest.fixture(params=["asyncio", "trio"])
def browser(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    app = Starlette(
        routes=forwarding.routes, exception_handlers=forwarding.handlers, lifespan=lifespan
    )
    with TestClient(app, backend=request.param) as client:
        yield client


def test_headers(browser: TestClient) -> None:
    victim = browser.app.state.victim  # type: ignore[attr-defined]
    headers = [
        *((n, v) for n, v in SMUGGLED if n.lower() not in ("content-length", "transfer-encoding")),
        ("x-rivet-actor", victim),
        ("x-rivet-target", "actor"),
        ("x-rivet-skip-ready-wait", "1"),
    ]
    answer = browser.request("POST", "/sites/mine/a%2Fb?c=d", headers=headers, content="body")
    said = answer.json()
    assert (said["key"], said["body"]) == (["sites", "mine"], "body")
    assert said["url"] == "http://actor/a%2Fb?c=d"
    assert "x-rivet" not in str(answer.headers) and victim not in answer.text
    assert "hush" not in str(answer.headers)


@pytest.mark.parametrize(
    "target",
    [
        "/sites/mine/%2e%2e/%2e%2e/victim/x",
        "/sites/mine/..%2f..%2fvictim",
        "/sites/mine/x?rvt-namespace=default&rvt-method=get&rvt-key=sites,victim",
        "/sites/mine/x?%72vt-method=get",
    ],
)
def test_targets(browser: TestClient, target: str) -> None:
    answer = browser.get(target)
    assert answer.status_code == 400, answer.text
    with pytest.raises(WebSocketDisconnect) as caught, browser.websocket_connect(target):
        pass
    assert caught.value.code == 1008


def test_websockets(browser: TestClient) -> None:
    victim = browser.app.state.victim  # type: ignore[attr-defined]
    headers = {"x-rivet-actor": victim, "x-rivet-target": "actor"}
    with browser.websocket_connect("/sites/mine/a%20b?c", ["chat"], headers=headers) as socket:
        assert socket.receive_text() == "sites/mine /a%20b?c"
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_text()
    assert ended.value.code == 1000
    choosing = ["rivet", "rivet_target.actor", f"rivet_actor.{victim}"]
    with pytest.raises(WebSocketDisconnect), browser.websocket_connect("/sites/mine/x", choosing):
        pass


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("/close/1000/bye", 1000, "bye"),
        ("/close/4000/bye", 4000, "bye"),
        ("/close/1011/oops", 1011, "oops"),
        ("/close/1011/guard.actor_ready_timeout", 1011, ""),
    ],
)
def test_how_the_actor_ends_it(browser: TestClient, path: str, code: int, reason: str) -> None:
    with browser.websocket_connect(f"/sites/mine{path}") as socket:
        socket.receive_text()
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_text()
    assert (ended.value.code, ended.value.reason) == (code, reason)


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_browsers_that_leave_while_the_actor_sends(error: type[Exception]) -> None:
    """An ASGI server may say so by an exception of `send`, before `receive` says it."""
    app = Starlette(routes=forwarding.routes, lifespan=lifespan)
    url = {"path": "/sites/mine/talk", "raw_path": b"/sites/mine/talk", "query_string": b""}
    scope = {"type": "websocket", "headers": [], "subprotocols": [], **url}
    connecting = [{"type": "websocket.connect"}]
    sent: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        if not connecting:
            await anyio.sleep_forever()
        return connecting.pop()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])
        if sent.count("websocket.send") > 3:
            raise error

    with anyio.fail_after(60):
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)
    assert sent == ["websocket.accept", *["websocket.send"] * 4]
