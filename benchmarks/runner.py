"""Runs the contenders of a workload in turns, and keeps the medians."""

from __future__ import annotations

import json
import os
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
_RUN_SECONDS = 120


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

    def __init__(self, contender: str, authority: str) -> None:
        self.contender = contender
        self.costs: list[dict[str, Any]] = []
        self.error: str | None = None
        self._process = subprocess.Popen(
            command(contender),
            cwd=_ROOT,
            # Whom Python's clients trust, and whom Node.js does.
            env={**os.environ, "SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority}
            if authority
            else None,
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
def _stub(*, tls: bool) -> Iterator[tuple[str, str]]:
    """The URL of a stub, and the file of its certificate authority."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stub"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        plain, secure, authority = process.stdout.readline().split()
        url = f"https://127.0.0.1:{secure}" if tls else f"http://127.0.0.1:{plain}"
        yield url, authority if tls else ""
    finally:
        process.stdin.close()
        process.wait(10)


@contextmanager
def _target(workload: Workload) -> Generator[tuple[dict[str, Any], str]]:
    """Where a workload's jobs go, and the file of a certificate authority, if it needs one."""
    if workload.server == "none":
        yield {"url": ""}, ""
    elif workload.server == "stub":
        with _stub(tls=workload.tls) as (url, authority):
            yield {"url": url}, authority
    else:
        with start_server(workload.server) as server:
            actor = "worker" if workload.kind == "sends" else "probe"
            actor_id = get_or_create(server.port, actor, "k")
            yield {"url": server.endpoint, "actor_id": actor_id}, ""


def run(workload: Workload, repeats: int) -> list[Result]:
    """One warm-up, then A B A B."""
    with _target(workload) as (where, authority), ExitStack() as stack:
        programs = []
        for contender in workload.contenders:
            program = Program(contender, authority)
            stack.callback(program.close)
            programs.append(program)
        job = msgspec.to_builtins(Job(workload=workload.kind, **workload.job, **where))
        # Memory that was returned once is found again: only a fresh process tells.
        warm_ups = 0 if workload.kind in ("idle", "slow_consumer") else 1
        for turn in range(warm_ups + (repeats if warm_ups else 1)):
            for program in programs:
                program.do(job, counts=turn >= warm_ups)
        return [program.result() for program in programs]
