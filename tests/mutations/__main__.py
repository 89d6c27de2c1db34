"""All bugs, or some: ``python -m tests.mutations --only NAME``; 1 if one is not found."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from .finders import is_example
from .mutation import SECONDS, Mutation, look_at_sound_code
from .table import MUTATIONS


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.mutations", description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", nargs="+", default=[""], help="part of a name, file or finder"
    )
    parser.add_argument("--finder", help="let this finder look, not those of the table")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each bug")
    parser.add_argument("--skip-sound", action="store_true", help="do not look at sound code first")
    parser.add_argument("--show", action="store_true", help="what the finders write")
    asked = parser.parse_args()
    chosen = [
        one
        for one in MUTATIONS
        if any(text in f"{one.name} {one.file} by {one.finder}." for text in asked.only)
    ]
    if asked.finder is not None:
        chosen = [Mutation(m.name, m.file, m.before, m.after, asked.finder) for m in chosen]
    wrong: list[str] = []
    finders = dict.fromkeys(one.finder for one in chosen)
    for finder in () if asked.skip_sound else finders:
        sound = look_at_sound_code(finder, asked.seconds / 6)
        print(f"{sound.seconds:6.1f} s  sound code: {sound} by {finder}", flush=True)
        if sound.kind != "not found":
            print(sound.output)
            wrong.append(f"{finder} fails with sound code")
    counts: Counter[str] = Counter()
    for one in chosen:
        outcome = one.look(asked.seconds)
        kind = "example" if is_example(one.finder) else "machine"
        print(f"{outcome.seconds:6.1f} s  {outcome} by {one.finder}: {one.name}")
        print(f"          {outcome.last_line}", flush=True)
        if asked.show or outcome.kind == "failed":
            print(outcome.output)
        counts[f"found by {kind}s" if outcome.is_found else "not found"] += 1
        if not outcome.is_found:
            wrong.append(f"{one.name} ({one.file}): {outcome}; {outcome.last_line}")
    print(f"{len(chosen)} bugs: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    for words in wrong:
        print(words)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
