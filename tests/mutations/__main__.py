"""All bugs, or some: ``python -m tests.mutations --only NAME``. Exits with 1 if one is not found."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from .finders import is_example
from .mutation import SECONDS, Mutation, Outcome, look_at_sound_code
from .table import MUTATIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutations", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="bugs that have this in their names")
    parser.add_argument("--finder", help="let this finder look, not those of the table")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each bug")
    parser.add_argument("--show", action="store_true", help="what the finders write")
    asked = parser.parse_args()
    chosen = [one for one in MUTATIONS if asked.only is None or asked.only in one.name]
    if asked.finder is not None:
        chosen = [Mutation(m.name, m.file, m.before, m.after, asked.finder) for m in chosen]
    wrong: list[str] = []
    for finder in dict.fromkeys(one.finder for one in chosen):
        sound = look_at_sound_code(finder, asked.seconds / 6)
        print(f"{sound.seconds:6.1f} s  sound code: {sound.kind} by {finder}", flush=True)
        if sound.kind != "not found":
            print(sound.output)
            wrong.append(f"{finder} fails with sound code")
    counts: Counter[str] = Counter()
    for one in chosen:
        outcome = one.look(asked.seconds)
        kind = "example" if is_example(one.finder) else "machine"
        print(f"{outcome.seconds:6.1f} s  {outcome.kind} by {one.finder}: {one.name}", flush=True)
        if asked.show or outcome.kind == "failed":
            print(outcome.output)
        counts[f"found by {kind}s" if outcome.is_found else "not found"] += 1
        if not outcome.is_found:
            wrong.append(f"{one.name} ({one.file}): {_last(outcome)}")
    print(f"{len(chosen)} bugs: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    for words in wrong:
        print(words)
    return 1 if wrong else 0


def _last(outcome: Outcome) -> str:
    lines = outcome.output.strip().splitlines()
    return f"{outcome.kind}; {lines[-1]}" if lines else outcome.kind


if __name__ == "__main__":
    sys.exit(main())
