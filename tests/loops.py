"""Every event loop that people run: asyncio, also with uvloop and with eager tasks, and Trio."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

__all__ = ["BACKENDS", "LOOPS"]


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


LOOPS: dict[str, dict[str, Any]] = {"uvloop": {"use_uvloop": True}}
"""The options of AnyIO's asyncio backend for each loop that is not asyncio's own."""

if sys.version_info >= (3, 12):
    LOOPS["eager"] = {"loop_factory": _eager_loop}

BACKENDS = [
    pytest.param(("asyncio", {}), id="asyncio"),
    pytest.param(("trio", {}), id="trio"),
    *(pytest.param(("asyncio", options), id=loop) for loop, options in LOOPS.items()),
]
"""What a fixture `anyio_backend` takes as its parameters."""
