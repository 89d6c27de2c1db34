"""Every test here runs on asyncio and on Trio, and leaves no task behind."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sniffio
import trio

from rivet_anyio import Client
from rivet_anyio._http.borrowed import Borrowed


def _running_tasks() -> set[Any]:
    if sniffio.current_async_library() == "asyncio":
        # The plugin has a new task of its own for every fixture and test.
        return {
            task
            for task in asyncio.all_tasks()
            if not getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")
        }
    root = trio.lowlevel.current_root_task()
    assert root is not None
    found: set[Any] = set()
    waiting = [root]
    while waiting:
        task = waiting.pop()
        found.add(task)
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


@pytest.fixture(autouse=True)
async def no_tasks_left() -> AsyncIterator[None]:
    before = _running_tasks()
    yield
    left = _running_tasks() - before
    assert not left


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RIVET_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=["wire", "httpx", "httpx2"])
async def way(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """What carries requests: connections of our own, or an HTTP client of the user's."""
    way: str = request.param
    if way == "wire":
        yield way
        return
    library = importlib.import_module(way)
    limits = library.Limits(max_connections=None)
    async with library.AsyncClient(limits=limits) as http:

        def borrowed(client: Client) -> Borrowed:
            size = client._core.options.max_message_size
            return Borrowed(http, max_body_size=size, timeouts=client._timeouts)

        monkeypatch.setattr(Client, "_transport", borrowed)
        yield way
