"""The programs of docs/recipes/ that need a web framework, where it is installed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from examples import actors
from rivet_anyio import Status
from rivet_anyio.cli._dev.serve import actors_of
from rivet_anyio.testing import ActorServer
from tests.test_docs import ROOT, blocks_of

RECIPES = ROOT / "docs" / "recipes"


At = Callable[[Callable[[ActorServer], object]], object]
"""Calls a function with the server, in the server's thread."""


@pytest.fixture(autouse=True)
def at_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[At]:
    """A server with the actors of the documentation, in a thread."""
    memory = ActorServer(actors_of(actors), leaks=False)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(memory),
        portal.wrap_async_context_manager(portal.call(memory.listen)) as endpoint,
    ):
        monkeypatch.setenv("RIVET_ENDPOINT", endpoint)
        yield lambda function: portal.call(function, memory)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory from which modules are imported, and forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None) or ""
        if path.startswith(str(tmp_path)):
            del sys.modules[name]


def saved(page: str, directory: Path) -> None:
    for block in blocks_of(RECIPES / page):
        if block.title is not None and block.title.endswith(".py") and "/" not in block.title:
            (directory / block.title).write_text(block.text, "utf-8")


def asgi(module: ModuleType) -> Any:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(StateApp(module.app)), base_url="http://app.example"
    )


class StateApp:
    """Adds what the lifespan yielded to each request, as an ASGI server does."""

    state: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": dict(self.state)}, receive, send)


@contextlib.asynccontextmanager
async def running(module: ModuleType) -> Any:
    async with module.app.router.lifespan_context(module.app) as state:
        StateApp.state = state
        yield


def test_fastapi(files: Path) -> None:
    pytest.importorskip("fastapi")
    saved("fastapi.md", files)
    module = importlib.import_module("fastapi_app")

    async def main() -> None:
        async with running(module), asgi(module) as browser:
            message = {"sender": "ann", "text": "hello"}
            posted = await browser.post("/rooms/a/messages", json=message)
            assert (posted.status_code, posted.json()) == (201, 1)
            assert (await browser.get("/rooms/a/messages")).json() == [message]

    asyncio.run(main())


def test_fastapi_websockets(files: Path, at_server: At) -> None:
    pytest.importorskip("fastapi")
    saved("fastapi.md", files)
    module = importlib.import_module("user_sockets")
    testclient = importlib.import_module("starlette.testclient")
    with (
        testclient.TestClient(module.app) as browser,
        browser.websocket_connect("/rooms/b?name=ann") as socket,
    ):
        socket.send_text("hello")
        assert socket.receive_json() == {"sender": "ann", "text": "hello"}
        at_server(lambda server: server.faults.lose_reply("sendMessage"))
        socket.send_text("lost")
        socket.send_text("again")
        told: list[Any] = []  # the event of the lost call may come or not
        while {"sender": "ann", "text": "again"} not in told:
            told.append(socket.receive_json())
        assert {"sent or not": "lost"} in told


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_fastapi_browsers_that_leave(files: Path, error: type[Exception]) -> None:
    """An ASGI server may say so by an exception of `send`, before `receive` says it."""
    pytest.importorskip("fastapi")
    saved("fastapi.md", files)
    module = importlib.import_module("user_sockets")
    url = {"path": "/rooms/b", "raw_path": b"/rooms/b", "query_string": b"name=ann"}
    scope = {"type": "websocket", "headers": [], "subprotocols": [], **url}

    async def main() -> None:
        left = asyncio.Event()
        coming = [{"type": "websocket.receive", "text": "hello"}, {"type": "websocket.connect"}]

        async def receive() -> dict[str, Any]:
            if not coming:
                await left.wait()
                return {"type": "websocket.disconnect", "code": 1006}
            return coming.pop()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "websocket.send":
                left.set()
                raise error

        async with running(module):
            await StateApp(module.app)(scope, receive, send)
        assert left.is_set()

    asyncio.run(main())


def test_flask(files: Path) -> None:
    pytest.importorskip("flask")
    saved("django.md", files)
    module = importlib.import_module("flask_app")
    with module.app.test_client() as browser:
        posted = browser.post("/rooms/c/messages", json={"text": "hello"})
        assert (posted.status_code, posted.json) == (201, {"count": 1})
        read = browser.get("/rooms/c/messages").json
        assert read == [{"sender": "anonymous", "text": "hello"}]


def test_django(files: Path) -> None:
    pytest.importorskip("django")
    saved("django.md", files)
    importlib.import_module("django.conf").settings.configure()
    request = importlib.import_module("django.test").RequestFactory()
    views = importlib.import_module("views")
    body = {"text": "hello"}
    posted = views.messages(request.post("/", body, content_type="application/json"), "d")
    assert json.loads(posted.content) == {"count": 1}
    read = views.messages(request.get("/"), "d")
    assert json.loads(read.content) == [{"sender": "anonymous", "text": "hello"}]


class Interrupted:
    """A portal whose caller is interrupted while it waits."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def start_task_soon(self, function: Callable[..., Any], *args: Any) -> Any:
        future = self._portal.start_task_soon(function, *args)
        self._portal.call(anyio.wait_all_tasks_blocked)
        future.result = self._interrupt  # type: ignore[method-assign]
        return future

    def _interrupt(self, timeout: float | None = None) -> Any:
        raise KeyboardInterrupt


def test_notebooks(capsys: pytest.CaptureFixture[str]) -> None:
    one, *cells = (block for block in blocks_of(RECIPES / "notebooks.md") if block.title)
    code = compile(one.text, "one cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    coroutine = eval(code, {})
    assert inspect.iscoroutine(coroutine)
    asyncio.run(coroutine)
    names: dict[str, Any] = {}
    try:
        for cell in cells[:2]:
            exec(cell.text, names)
        portal = names["portal"]
        names["portal"] = Interrupted(portal)
        with pytest.raises(KeyboardInterrupt):
            names["call"](names["counts"].receive)
        names["portal"] = portal
        for cell in (cells[2], cells[2], cells[3]):
            exec(cell.text, names)
        assert names["conn"].status is Status.CLOSED
    finally:
        names["open_things"].close()
    assert capsys.readouterr().out.split() == ["5", "6", "7"]
    assert len(cells) == 4
