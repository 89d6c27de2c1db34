"""A real server, and a proxy before it that fails on demand: the fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from rivet_anyio import Client, Retry
from tests.faults.conftest import direct, key, proxy, server
from tests.faults.proxy import Proxy

__all__ = ["client", "direct", "key", "proxy", "server"]


@pytest.fixture
async def client(proxy: Proxy) -> AsyncGenerator[Client]:
    """A client that sees the server through the proxy and soon tries again."""
    retry = Retry(initial=0.05, maximum=0.2)
    async with Client(proxy.endpoint, metadata_lookup=False, retry=retry) as client:
        yield client
