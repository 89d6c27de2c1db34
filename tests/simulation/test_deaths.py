"""No event is missing outside a gap, whenever hosts die."""

from __future__ import annotations

import pytest

from rivet_anyio.testing import simulate

from .deaths import missing_outside_gaps, play_deaths


@pytest.mark.parametrize(("backend", "seed"), [("asyncio", 1), ("trio", 3)])
def test_deaths(backend: str, seed: int) -> None:
    account = simulate(play_deaths, seed, seed=seed, backend=backend)
    assert not missing_outside_gaps(account), f"seed {seed}"
    assert account.counts["gaps"] and account.counts["events"]
