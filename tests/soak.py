"""Events and actions at a steady rate through random faults, for as long as you like.

    python -m tests.soak --minutes 2 --backend trio --server 2.2.1

It plays rounds on one client: each opens a connection to a new ledger, calls and listens while
faults happen at random moments, and is then held against the actor's own log. Exits with 1 when
anything was not as promised, or anything was left behind.
"""

from __future__ import annotations

import argparse
import logging
import random
import secrets
import sys
import time
import tracemalloc
from collections import Counter
from functools import partial

import anyio

from rivet_anyio.protocol.codec import Encoding
from tests.faults.leftovers import Held, held, held_memory, nothing_left_since
from tests.faults.schedule import disturb_for
from tests.faults.stage import stage
from tests.servers import VERSIONS, Server, start_server

_ROUND_SECONDS = 15.0
_CALL_PAUSE = 0.01
_FAULT_EVERY = 0.5
_GROWTH_BYTES = 1024 * 1024


class Report:
    """What happened so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.memory: list[int] = []
        self.held: list[Held] = []
        self.seconds = 0.0

    @property
    def growth(self) -> int:
        """Bytes that are held more than after the first round, the warm-up."""
        return self.memory[-1] - self.memory[0]

    def __str__(self) -> str:
        counts, seconds = self.counts, self.seconds
        called = sum(counts[fate] for fate in _FATES)
        first, last = self.held[0], self.held[-1]
        lines = [
            f"rounds             {len(self.memory)} in {seconds:.0f} s",
            f"faults             {counts['faults']}",
            f"reconnects         {counts['gaps']} by {counts['attempts']} attempts",
            f"failed for good    {counts['connections'] - len(self.memory)} connections, "
            f"then {counts['refused']} first attempts",
            f"gaps told          {counts['gaps told']}",
            f"events             {counts['events']}, {counts['events'] / seconds:.0f}/s",
            f"actions            {called}, {called / seconds:.0f}/s",
            *(f"  {fate:<26}{counts[fate]}" for fate in _FATES),
            f"memory             {self.memory[0] / 1024:.0f} KiB after the warm-up, "
            f"{self.memory[-1] / 1024:.0f} KiB at the end",
            f"tasks              {first.tasks.total()}, {last.tasks.total()} at the end",
            f"sockets            {first.sockets}, {last.sockets} at the end",
            f"promises broken    {len(self.broken)}",
        ]
        return "\n".join([*lines, *self.broken[:50]])


_FATES = ("returned", "lost", "not run", "failed", "cancelled", "cancelled while it waited")


async def soak(server: Server, encoding: Encoding, seed: int, seconds: float) -> Report:
    """Play rounds for so long."""
    report = Report()
    chance = random.Random(seed)
    before = await held()
    began = time.monotonic()
    async with stage(server, encoding) as on:
        while (left := began + seconds - time.monotonic()) > 0 or len(report.memory) < 2:
            during = partial(
                disturb_for,
                seed=chance.randrange(2**32),
                seconds=max(1.0, min(left, _ROUND_SECONDS)),
                every=_FAULT_EVERY,
                counts=report.counts,
            )
            key = ["soak", str(seed), str(len(report.memory))]
            broken, counts = await on.play(key, chance, during, pause=_CALL_PAUSE)
            report.broken += [f"round {len(report.memory)}: {what}" for what in broken]
            report.counts += counts
            report.seconds = time.monotonic() - began
            # What ended a moment ago is still being closed by the proxy.
            on.proxy.cut()
            report.held.append(await held())
            report.memory.append(held_memory(everything=True))
    report.broken += await nothing_left_since(before)
    first, last = report.held[0], report.held[-1]
    if last.tasks != first.tasks or last.threads != first.threads or last.sockets > first.sockets:
        report.broken.append(f"{first} became {last}")
    if report.growth >= _GROWTH_BYTES:
        report.broken.append(f"the memory grew by {report.growth} bytes")
    return report


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio")
    parser.add_argument("--server", choices=VERSIONS, default="2.2.1")
    parser.add_argument("--encoding", choices=["bare", "cbor", "json"], default="bare")
    options = parser.parse_args()
    seconds = options.minutes * 60 if options.seconds is None else options.seconds
    logging.getLogger("rivet_anyio").setLevel(logging.ERROR)
    print(
        f"RivetKit {options.server}, {options.encoding}, {options.backend}: --seed {options.seed}",
        flush=True,
    )
    with start_server(options.server) as server:
        tracemalloc.start()
        report = anyio.run(
            soak, server, options.encoding, options.seed, seconds, backend=options.backend
        )
    print(report)
    return 1 if report.broken else 0


if __name__ == "__main__":
    sys.exit(main())
