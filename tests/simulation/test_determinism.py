"""One seed, one run: to the last record, also in another process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from rivet_anyio.testing import simulate

from .model import play
from .told import Run

SEED = 1
ROOT = Path(__file__).parent.parent.parent


def digest(run: Run) -> str:
    return hashlib.sha256(repr(run.trace).encode()).hexdigest()


@cache
def once(backend: str) -> Run:
    return simulate(play, SEED, seed=SEED, backend=backend)


def test_the_same_seed_is_the_same_run(backend: str) -> None:
    one, other = once(backend), simulate(play, SEED, seed=SEED, backend=backend)
    assert len(one.trace) > 1000
    for record, same in zip(one.trace, other.trace, strict=True):
        assert record == same


def test_the_same_seed_is_the_same_run_in_another_process(backend: str) -> None:
    code = (
        "import logging; logging.disable(logging.CRITICAL)\n"
        "from tests.simulation.test_determinism import digest, once\n"
        f"print(digest(once({backend!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout.split() == [digest(once(backend))], done.stderr


def test_another_seed_is_another_run(backend: str) -> None:
    """Also when only the order of tasks comes from it, and all else stays the same."""
    other = simulate(play, SEED, seed=SEED - 1, backend=backend)
    assert digest(once(backend)) != digest(other)
