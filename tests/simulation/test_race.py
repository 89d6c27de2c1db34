"""No event is missing outside a gap, whatever is lost at whatever moment."""

from __future__ import annotations

import pytest

from rivet_anyio.testing import simulate

from .race import race
from .race_rules import wrong_of


@pytest.mark.parametrize(
    ("backend", "seed"), [("asyncio", 3014), ("asyncio", 3010), ("trio", 3041), ("trio", 3042)]
)
def test_race(backend: str, seed: int) -> None:
    result = simulate(race, seed, seed=seed, backend=backend)
    again = f"python -m tests.simulation --only race --start {seed} --seeds 1 --backend {backend}"
    assert wrong_of(result) == [], again
    counts = result.counts
    assert counts["gaps"] > 5 and counts["SourceGap"] and counts["answered"] and counts["states"]
