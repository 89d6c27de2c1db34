"""The facts of facts.py, of real servers and of the harness."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import Client
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import ActorCrashError, ActorServer, virtual_backend
from tests.servers import CHECKED, Server, start_server
from tests.testing.actors import ACTORS, LONG

from .facts import FACTS, Fact

pytestmark = pytest.mark.one_encoding

every_fact = pytest.mark.parametrize("fact", FACTS, ids=[fact.name for fact in FACTS])


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """In virtual time where no real server answers."""
    backend: str = request.param
    return backend if "server" in request.fixturenames else virtual_backend(backend)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The actors fail on purpose."""
    caplog.set_level(logging.CRITICAL + 1, "rivet_anyio")


@pytest.fixture(autouse=True)
def asked_once(request: pytest.FixtureRequest) -> None:
    """Some facts are asked once, and not in each encoding on each backend."""
    parameters = request.node.callspec.params
    once = parameters["encoding"] == "bare" and parameters["anyio_backend"] == "asyncio"
    fact: Fact = parameters["fact"]
    if fact.once and not once:
        pytest.skip("this fact is asked in bare encoding on asyncio only")
    if fact.slow and "server" in parameters and not request.config.getoption("--all-versions"):
        pytest.skip("real servers are asked with --all-versions only")


@every_fact
async def test_a_real_server(
    fact: Fact,
    server: Server,
    encoding: Encoding,
    key: list[str],
    strict_servers: Callable[[str], Server],
) -> None:
    if fact.default_limits:
        server = strict_servers(server.version)
    async with (
        Client(server.endpoint, encoding=encoding) as client,
        httpx.AsyncClient(base_url=server.endpoint, trust_env=False) as http,
    ):
        if encoding == "json" and not fact.in_json:
            pytest.skip("it is another fact in json")
        await find(fact, client, server.version, key, http)


@pytest.fixture(scope="module")
def strict_servers() -> Iterator[Callable[[str], Server]]:
    """Starts a server with RivetKit's own limits, one of each version."""
    servers: dict[str, Server] = {}

    def start(version: str) -> Server:
        if version not in servers:
            servers[version] = start_server(version, default_limits=True)
        return servers[version]

    yield start
    for server in servers.values():
        server.close()


@every_fact
@pytest.mark.parametrize("version", CHECKED)
async def test_the_harness(fact: Fact, version: str, encoding: Encoding, key: list[str]) -> None:
    limits: Any = {} if fact.default_limits else LONG
    try:
        async with (
            ActorServer(ACTORS, version=version, leaks=False, **limits) as harness,
            harness.client(encoding=encoding) as client,
        ):
            http = harness.http_client()
            http.base_url = httpx.URL(harness.endpoint)
            await find(fact, client, harness.version, key, http)
    except ActorCrashError as crash:
        if not any(text in str(crash) for text in ("is not completed", "CBOR has no form")):
            raise


async def find(
    fact: Fact, client: Client, version: str, key: list[str], http: httpx.AsyncClient
) -> None:
    if not fact.holds_for(version):
        pytest.skip(f"RivetKit {version} cannot be asked")
    with anyio.fail_after(60):
        found: Any = await fact.check(client, key, *([http] if fact.raw else []))
    assert found == fact.expected(version)
