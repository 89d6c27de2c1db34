"""Requests of every kind but connections."""

from __future__ import annotations

from random import Random

import pytest

from rivet_anyio.testing import run_virtual

from .errands import run


@pytest.mark.parametrize("seed", range(4))
def test_errands(seed: int, backend: str) -> None:
    run_virtual(run, Random(seed), backend=backend)
