"""Every event loop that people run: asyncio, also with uvloop and with eager tasks, and Trio."""

from __future__ import annotations

from typing import Any

import pytest

from tests.loops import BACKENDS


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
