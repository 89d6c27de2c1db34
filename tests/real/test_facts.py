"""The facts of facts.py, of real servers and of the harness."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from rivet_anyio import Client
from rivet_anyio.protocol.dialect import Encoding
from rivet_anyio.testing import ActorServer, virtual_backend
from tests.servers import CHECKED, Server
from tests.testing.actors import ACTORS

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


@every_fact
async def test_a_real_server(fact: Fact, server: Server, client: Client, key: list[str]) -> None:
    await find(fact, client, server.version, key)


@every_fact
@pytest.mark.parametrize("version", CHECKED)
async def test_the_harness(fact: Fact, version: str, encoding: Encoding, key: list[str]) -> None:
    async with (
        ActorServer(ACTORS, version=version, leaks=False) as harness,
        harness.client(encoding=encoding) as client,
    ):
        await find(fact, client, harness.version, key)


async def find(fact: Fact, client: Client, version: str, key: list[str]) -> None:
    if not fact.holds_for(version):
        pytest.skip(f"RivetKit {version} cannot be asked")
    with anyio.fail_after(60):
        found: Any = await fact.check(client, key)
    assert found == fact.expected(version)
