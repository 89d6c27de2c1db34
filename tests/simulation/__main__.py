"""Many seeds of the model: ``python -m tests.simulation --seeds 100 --start 1000``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter

from rivet_anyio.testing import simulate

from .invariants import broken
from .model import play


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--backend", choices=("asyncio", "trio"), help="only this one")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    backends = [asked.backend] if asked.backend else ["asyncio", "trio"]
    counts: Counter[str] = Counter()
    failed: list[str] = []
    hours, began = 0.0, time.process_time()
    for seed in range(asked.start, asked.start + asked.seeds):
        for backend in backends:
            try:
                run = simulate(play, seed, seed=seed, backend=backend)
            except Exception:
                wrong = [traceback.format_exc()]
            else:
                wrong = broken(run)
                counts += run.counts
                hours += run.seconds / 3600
            for words in wrong:
                print(f"seed {seed} on {backend}: {words}", flush=True)
            if wrong:
                failed.append(f"--start {seed} --seeds 1 --backend {backend}")
    seconds = time.process_time() - began
    print(f"{asked.seeds} seeds on {' and '.join(backends)}: {hours:.0f} hours in {seconds:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"  {count:9,} {name}")
    for options in failed:
        print(f"failed; once more: python -m tests.simulation {options}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
