"""A recording for every test, whose end finds nothing that OpenTelemetry complains of."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from opentelemetry import trace

from tests.peers.conftest import no_tasks_left
from tests.servers import Server, start_server

from .recording import Recording

__all__ = ["no_tasks_left"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("RIVET_", "OTEL_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The SDK logs spans that end twice and contexts that are left in the wrong task."""
    caplog.set_level(logging.WARNING, "opentelemetry")
    yield
    records = caplog.get_records("call")
    said = [record.getMessage() for record in records if "opentelemetry" in record.name]
    assert said == []
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server
