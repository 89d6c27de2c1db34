"""Real servers of every version, started once, and clients in every encoding."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Iterator

import pytest

from rivet_anyio import Client
from rivet_anyio.protocol.codec import Encoding
from tests.servers import VERSIONS, Server, start_server

ENCODINGS = ("bare", "cbor", "json")

# On a busy machine the engine of 2.3 ends some answers of `fetch` in the middle, for Python's
# http.client, too: docs/guide/low-level.md.
_CUT = "the server closed the connection before the last chunk of its answer"

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test again whose answer the engine of 2.3 cut."""
    for item in items:
        params = getattr(item, "callspec", None)
        if params is not None and str(params.params.get("server")).startswith("2.3."):
            item.add_marker(pytest.mark.flaky(reruns=3, only_rerun=_CUT))


@pytest.fixture(scope="session", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_server(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def creating(request: pytest.FixtureRequest) -> None:
    """Whatever a test before this one did to the server, actors can be created."""
    if "server" in request.fixturenames:
        request.getfixturevalue("server").ensure_creates()


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    name: Encoding = request.param
    return name


@pytest.fixture
async def client(server: Server, encoding: Encoding) -> AsyncGenerator[Client]:
    async with Client(server.endpoint, encoding=encoding) as client:
        yield client


@pytest.fixture
def key(request: pytest.FixtureRequest) -> list[str]:
    """A key that no other test uses."""
    return [request.node.name, str(next(_numbers))]


@pytest.fixture(scope="session", params=VERSIONS)
def private_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that a test may stop and start."""
    with start_server(request.param) as server:
        yield server
