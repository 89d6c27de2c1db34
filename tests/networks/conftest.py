"""A real server, certificates, and nothing in the environment that says how to reach anything."""

from __future__ import annotations

import itertools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from tests.servers import Server, start_server

_numbers = itertools.count()


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


@pytest.fixture(scope="package")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        is_ours = name.startswith("RIVET_") and name != "RIVET_ANYIO_SERVERS_CACHE"
        if is_ours or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def socket_path() -> Iterator[Path]:
    """Short, unlike tmp_path: systems take about a hundred bytes for the path of a socket."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / "rivet.sock"


@pytest.fixture
def key(request: pytest.FixtureRequest) -> list[str]:
    """A key that no other test uses."""
    return [request.node.name, str(next(_numbers))]
