"""Real servers of every version, with a proxy before them that fails on demand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterator

import pytest

from rivet_anyio import Client, Retry
from tests.servers import CHECKED, Server, start_server

from .proxy import Proxy, running_proxy

_numbers = itertools.count()


@pytest.fixture(scope="package", params=CHECKED)
def any_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Every version."""
    with start_server(request.param) as server:
        yield server


@pytest.fixture(scope="package")
def server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """One version, where they do not differ."""
    with start_server(pytestconfig.getoption("--server")) as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with running_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncGenerator[Client]:
    """A client that tries again at once, but waits for a busy machine."""
    retry = Retry(initial=0.02, maximum=0.1)
    async with Client(proxy.endpoint, metadata_lookup=False, retry=retry) as client:
        yield client


@pytest.fixture
async def direct(server: Server) -> AsyncGenerator[Client]:
    """A client that the proxy cannot trouble."""
    async with Client(server.endpoint, metadata_lookup=False) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest) -> list[str]:
    """A key that no other test uses."""
    return [request.node.name, str(next(_numbers))]
