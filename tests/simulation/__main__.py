"""Many seeds: ``python -m tests.simulation --seeds 100 --start 1000 --only race``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from rivet_anyio.testing import simulate

from .deaths import missing_outside_gaps, play_deaths
from .invariants import broken
from .model import play
from .race import race
from .race_rules import wrong_of

WORLDS: dict[str, tuple[Callable[..., Any], Callable[[Any], list[str]]]] = {
    "weeks": (play, broken),
    "race": (race, wrong_of),
    "deaths": (play_deaths, missing_outside_gaps),
}
"""What runs, and what is wrong with a run."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--backend", choices=("asyncio", "trio"), help="only this one")
    parser.add_argument("--only", choices=sorted(WORLDS), help="only this one")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    backends = [asked.backend] if asked.backend else ["asyncio", "trio"]
    worlds = [asked.only] if asked.only else list(WORLDS)
    counts: Counter[str] = Counter()
    failed: list[str] = []
    began = time.process_time()
    for seed in range(asked.start, asked.start + asked.seeds):
        for backend in backends:
            for world in worlds:
                play_one, wrong_with = WORLDS[world]
                try:
                    run = simulate(play_one, seed, seed=seed, backend=backend)
                except Exception:
                    wrong = [traceback.format_exc()]
                else:
                    wrong = wrong_with(run)
                    counts.update({f"{world}: {name}": n for name, n in run.counts.items()})
                for words in wrong:
                    print(f"seed {seed} of {world} on {backend}: {words}", flush=True)
                if wrong:
                    failed.append(f"--start {seed} --seeds 1 --backend {backend} --only {world}")
    seconds = time.process_time() - began
    print(
        f"{asked.seeds} seeds of {', '.join(worlds)} on {' and '.join(backends)}: {seconds:.0f} s"
    )
    for name, count in sorted(counts.items()):
        print(f"  {count:9,} {name}")
    for options in failed:
        print(f"failed; once more: python -m tests.simulation {options}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
