"""A real server, and a proxy before it that fails on demand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterator

import pytest

from rivet_anyio import Client, Retry
from tests.faults.proxy import Proxy, running_proxy
from tests.servers import Server, start_server

_numbers = itertools.count()


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with running_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncGenerator[Client]:
    """A client that sees the server through the proxy and soon tries again."""
    retry = Retry(initial=0.05, maximum=0.2)
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
