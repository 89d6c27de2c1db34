"""The invariants, over weeks of losses."""

from __future__ import annotations

import pytest

from rivet_anyio.testing import simulate

from .invariants import broken
from .model import play

SEEDS = (1, 6, 7, 16, 18)
"""Busy minutes, busy hours, and a quiet week."""


@pytest.mark.parametrize("seed", SEEDS)
def test_invariants(seed: int, backend: str) -> None:
    run = simulate(play, seed, seed=seed, backend=backend)
    assert broken(run) == [], f"python -m tests.simulation --start {seed} --seeds 1"
    assert run.counts["returned"] > 100 and run.counts["gaps told"] > 1
