"""What all simulations share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Weeks of losses and reconnects are told in the log, and nobody reads that."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
