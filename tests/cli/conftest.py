"""One real server for all tests of the command line, and the command pointed at it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.servers import Server, start_server

from .running import Cli

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


@pytest.fixture
def cli(server: Server) -> Cli:
    return Cli(RIVET_ENDPOINT=server.endpoint)


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f"k{next(_numbers)}"
