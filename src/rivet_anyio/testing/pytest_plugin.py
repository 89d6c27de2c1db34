"""Fixtures for pytest: an `ActorServer` for every test, and a client of it.

It is loaded by those who want it: ``pytest_plugins = ["rivet_anyio.testing.pytest_plugin"]`` in
the topmost ``conftest.py``, or ``-p rivet_anyio.testing.pytest_plugin``. The fixtures work for the
tests of AnyIO's pytest plugin and for those of pytest-trio.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any

import pytest

from rivet_anyio import Client

from . import Actor, ActorServer
from ._timeline import Timeline, collecting

__all__ = ["rivet_actors", "rivet_client", "rivet_server", "rivet_version"]


_LINES = 200
"""How many lines of a timeline a report shows."""

_timelines = pytest.StashKey[list[Timeline]]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None]:
    """Know the servers that run during a test."""
    with collecting() as timelines:
        item.stash[_timelines] = timelines
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any]:
    """Show in the report of a failure what happened at its servers."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for timeline in item.stash.get(_timelines, []):
            report.sections.append(("timeline of ActorServer", timeline.describe(_LINES)))


@pytest.fixture
def rivet_actors() -> Mapping[str, Callable[[], Actor]]:
    """The actors of `rivet_server`: define a fixture of this name that returns yours."""
    raise pytest.UsageError(
        "rivet_server needs actors: define a fixture 'rivet_actors' that returns "
        'them by name, {"counter": Counter}'
    )


@pytest.fixture
def rivet_version() -> str:
    """The RivetKit version of `rivet_server`: define a fixture of this name for another one."""
    return "2.3"


@pytest.fixture
async def rivet_server(
    rivet_actors: Mapping[str, Callable[[], Actor]], rivet_version: str
) -> AsyncGenerator[ActorServer]:
    """A server with the actors of `rivet_actors`, new for every test."""
    async with ActorServer(rivet_actors, version=rivet_version) as server:
        yield server


@pytest.fixture
async def rivet_client(rivet_server: ActorServer) -> AsyncGenerator[Client]:
    """A client of `rivet_server`."""
    async with rivet_server.client() as client:
        yield client
