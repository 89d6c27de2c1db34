"""Runs the contenders of a workload in turns, and keeps the medians."""

from __future__ import annotations

import json
import select
import statistics
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.clients._worker import Job
from benchmarks.workloads import Workload, command
from tests.servers import get_or_create, start_server

__all__ = ["Figure", "Result", "run"]

_ROOT = Path(__file__).parent.parent
_RUN_SECONDS = 60


class Figure(msgspec.Struct, frozen=True):
    """The median of several runs, and the runs."""

    median: float
    runs: tuple[float, ...]

    @classmethod
    def of(cls, runs: list[float]) -> Figure:
        return cls(statistics.median(runs), tuple(runs))


class Result(msgspec.Struct):
    """What one contender took for one workload.

    Attributes:
        cpu_us: CPU microseconds of its process per operation.
        per_second: Operations per second of wall time.
        kib: KiB per operation, where memory is what is measured.
        error: Why there is no figure.
    """

    contender: str
    cpu_us: Figure | None = None
    per_second: Figure | None = None
    kib: Figure | None = None
    error: str | None = None


class Program:
    """A contender's running program."""

    def __init__(self, contender: str) -> None:
        self.contender = contender
        self.costs: list[dict[str, Any]] = []
        self.error: str | None = None
        self._process = subprocess.Popen(
            command(contender),
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, job: dict[str, Any], *, counts: bool) -> None:
        """One run; its cost is kept when it counts."""
        if self.error is not None:
            return
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        if select.select([self._process.stdout], [], [], _RUN_SECONDS)[0]:
            line = self._process.stdout.readline()
            answer = json.loads(line) if line else {"error": "the program ended"}
        else:
            self._process.kill()
            answer = {"error": f"no answer within {_RUN_SECONDS} s"}
        self.error = answer.get("error")
        if counts and self.error is None:
            self.costs.append(answer)

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def result(self) -> Result:
        if self.error is not None:
            return Result(self.contender, error=self.error)
        if self.costs[0].get("kib") is not None:
            return Result(self.contender, kib=Figure.of([cost["kib"] for cost in self.costs]))
        return Result(
            self.contender,
            cpu_us=Figure.of([cost["cpu"] / cost["operations"] * 1e6 for cost in self.costs]),
            per_second=Figure.of([cost["operations"] / cost["wall"] for cost in self.costs]),
        )


@contextmanager
def _stub() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stub"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(10)


@contextmanager
def _target(workload: Workload) -> Generator[dict[str, Any]]:
    """Where a workload's jobs go."""
    if workload.server == "none":
        yield {"url": ""}
    elif workload.server == "stub":
        with _stub() as url:
            yield {"url": url}
    else:
        with start_server(workload.server) as server:
            actor = "worker" if workload.kind == "sends" else "probe"
            actor_id = get_or_create(server.port, actor, "k")
            yield {"url": server.endpoint, "actor_id": actor_id}


def run(workload: Workload, repeats: int) -> list[Result]:
    """One warm-up, then A B A B."""
    with _target(workload) as where, ExitStack() as stack:
        programs = []
        for contender in workload.contenders:
            program = Program(contender)
            stack.callback(program.close)
            programs.append(program)
        job = msgspec.to_builtins(Job(workload=workload.kind, **workload.job, **where))
        # Memory that was returned once is found again: only a fresh process tells.
        warm_ups = 0 if workload.kind in ("idle", "slow_consumer") else 1
        for turn in range(warm_ups + (repeats if warm_ups else 1)):
            for program in programs:
                program.do(job, counts=turn >= warm_ups)
        return [program.result() for program in programs]
