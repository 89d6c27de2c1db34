"""Measure: ``python -m benchmarks [--quick] [--output DIRECTORY] [NAMES]``.

Names select workloads by the beginning of theirs: ``events actions``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.report import Report, machine, markdown, to_json
from benchmarks.runner import run
from benchmarks.workloads import WORKLOADS, Workload

_QUICK_SKIPS = ("websockets", "trio-websocket", "httpx-ws", "ours uvloop", "rivetkit 2.3.19")
_QUICK_LEAVES = ("events-8-streams", "events-1MiB", "actions-1MiB", "raw-in-1MiB", "raw-out-1MiB")


def quick(workload: Workload) -> Workload:
    """Fewer contenders and operations."""
    job = dict(workload.job)
    if job.get("count", 1) > 32 and workload.name != "slow-consumer":
        job["count"] //= 2
    return Workload(
        workload.name,
        workload.title,
        workload.kind,
        workload.server,
        tuple(
            name
            for name in workload.contenders
            if name not in _QUICK_SKIPS or workload.name.startswith("wire-")
        ),
        job,
        workload.unit,
        workload.tls,
    )


def _is_chosen(name: str, wanted: list[str]) -> bool:
    names = [one.name for one in WORKLOADS]
    return not wanted or any(
        name == one if one in names else name.startswith(one) for one in wanted
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of workloads' names")
    parser.add_argument("--quick", action="store_true", help="about two minutes, rougher figures")
    parser.add_argument("--repeats", type=int, help="runs per contender (5; quick: 3)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    repeats = options.repeats or (3 if options.quick else 5)
    chosen = [one for one in WORKLOADS if _is_chosen(one.name, options.names)]
    if options.quick:
        chosen = [quick(one) for one in chosen if options.names or one.name not in _QUICK_LEAVES]
    report = Report(machine(), repeats, {})
    options.output.mkdir(parents=True, exist_ok=True)
    text = ""
    for workload in chosen:
        print(workload.title, file=sys.stderr, flush=True)
        report.results[workload.name] = run(workload, repeats)
        # After each, so that a run that is cut short leaves what it has.
        text = markdown(report, chosen)
        (options.output / "report.md").write_text(text)
        (options.output / "report.json").write_text(json.dumps(to_json(report), indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
