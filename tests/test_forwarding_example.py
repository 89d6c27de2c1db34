"""The application of `examples.forwarding`, attacked by a client that tries to choose the actor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from examples import forwarding
from rivet_anyio.testing import ActorServer

from .test_forward import SMUGGLED, Web


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with ActorServer({"web": Web}) as server, server.client(token="hush") as client:
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
