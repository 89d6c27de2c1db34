"""The workloads: what is done, by whom, against which server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.servers import install
from tests.servers._node import node

__all__ = ["WORKLOADS", "Workload", "command"]

Server = Literal["stub", "2.2.1", "none"]

OURS = ("ours asyncio", "ours trio")
JS = ("rivetkit 2.2.1",)
NEW_JS = "rivetkit 2.3.19"
BOTH_JS = (*JS, NEW_JS)
RAW = ("websockets", "aiohttp", "trio-websocket", "httpx-ws")
HTTPX = ("httpx asyncio", "httpx trio")

BURST = 20_000
FAN_BURST = 2_000
LIVE_BURST = 10_000
"""Less than a live state keeps while it fetches its snapshot."""


class Workload(msgspec.Struct, frozen=True):
    """One table of the report.

    Attributes:
        name: What it is selected by.
        title: For people.
        kind: What the contenders' programs call it.
        server: What they talk to.
        contenders: Who does it.
        job: The job's other fields.
        unit: What one operation is.
        tls: Whether it goes over TLS; the stub can do that.
    """

    name: str
    title: str
    kind: str
    server: Server
    contenders: tuple[str, ...]
    job: dict[str, Any]
    unit: str
    tls: bool = False


def _events() -> list[Workload]:
    def one(name: str, title: str, contenders: tuple[str, ...], **job: Any) -> Workload:
        return Workload(name, title, "events", "stub", contenders, job, "event")

    clients = (*OURS, "ours uvloop", *BOTH_JS)
    return [
        one(
            "events-60B",
            "Events of 60 bytes, bare, in a burst",
            (*clients, *RAW, "socket"),
            count=BURST,
        ),
        one(
            "events-1KiB",
            "Events of 1 KiB, bare, in a burst",
            (*clients, *RAW, "socket"),
            count=BURST,
            size=1024,
        ),
        *(
            one(
                f"events-{encoding}{suffix}",
                f"Events of {size}, {encoding}",
                (*OURS, *JS),
                count=BURST,
                encoding=encoding,
                **options,
            )
            for size, suffix, options in (
                ("60 bytes", "", {}),
                ("1 KiB", "-1KiB", {"size": 1024}),
            )
            for encoding in ("cbor", "json")
        ),
        one(
            "events-8-streams",
            "Events of 60 bytes to 8 subscribers (per event and subscriber)",
            (*OURS, *JS),
            count=FAN_BURST * 4,
            fan=8,
        ),
        one(
            "events-64-streams",
            "Events of 60 bytes to 64 subscribers (per event and subscriber)",
            (*OURS, *JS),
            count=FAN_BURST,
            fan=64,
        ),
        *(
            Workload(name, title, kind, "stub", OURS, {"count": LIVE_BURST}, "event")
            for name, title, kind in (
                ("live", "A live state over events of 60 bytes", "live_state"),
                ("live-by-hand", "Events of 60 bytes applied by hand", "state_by_hand"),
            )
        ),
        Workload(
            "events-server",
            "Events of a real server (RivetKit 2.2.1)",
            "server_events",
            "2.2.1",
            (*OURS, *JS, *RAW),
            {"count": BURST // 2},
            "event",
        ),
        Workload(
            "events-watched",
            "Events of 8 actors by one feed (RivetKit 2.2.1)",
            "watched",
            "2.2.1",
            OURS,
            {"count": BURST // 2, "fan": 8},
            "event",
        ),
    ]


def _calls() -> list[Workload]:
    def one(
        name: str, title: str, kind: str, server: Server, contenders: tuple[str, ...], **job: Any
    ) -> Workload:
        return Workload(name, title, kind, server, contenders, job, "call")

    clients = (*OURS, "ours uvloop")
    return [
        one(
            "actions-1",
            "Actions over the connection, one at a time (RivetKit 2.2.1)",
            "actions",
            "2.2.1",
            (*clients, *JS, *RAW, "socket"),
            count=1000,
        ),
        one(
            "actions-50",
            "Actions over the connection, 50 in flight (RivetKit 2.2.1)",
            "actions",
            "2.2.1",
            (*clients, *JS, *RAW, "socket"),
            count=5000,
            fan=50,
        ),
        one(
            "actions-stub-50",
            "Actions over the connection, 50 in flight, server that costs nothing",
            "actions",
            "stub",
            (*clients, *BOTH_JS, *RAW, "socket"),
            count=5000,
            fan=50,
        ),
        one(
            "http-1",
            "Actions over HTTP, one at a time (RivetKit 2.2.1)",
            "http",
            "2.2.1",
            (*OURS, *JS, *HTTPX),
            count=300,
        ),
        one(
            "http-50",
            "Actions over HTTP, 50 in flight (RivetKit 2.2.1)",
            "http",
            "2.2.1",
            (*OURS, *JS, *HTTPX),
            count=500,
            fan=50,
        ),
        one(
            "sends",
            "Queue messages, fire and forget, one at a time (RivetKit 2.2.1)",
            "sends",
            "2.2.1",
            (*OURS, *JS, *HTTPX),
            count=200,
        ),
        Workload(
            "connect",
            "From connect to Init, and the goodbye (RivetKit 2.2.1)",
            "connect",
            "2.2.1",
            (*OURS, *JS, *RAW),
            {"count": 50},
            "connection",
        ),
    ]


def _payloads() -> list[Workload]:
    found = []
    for name, size, count in (("1MiB", 1 << 20, 32), ("16MiB", 1 << 24, 4)):
        job = {"count": count, "size": size}
        everybody = (*OURS, "ours uvloop", *RAW, "socket")
        found += [
            Workload(
                f"raw-in-{name}", f"{name} messages received, raw WebSocket", "raw_in", "stub",
                everybody, job, "message",
            ),
            Workload(
                f"raw-out-{name}", f"{name} messages sent, raw WebSocket", "raw_out", "stub",
                everybody, job, "message",
            ),
            Workload(
                f"events-{name}", f"{name} events received, bare", "events", "stub",
                (*OURS, *JS), job, "event",
            ),
            Workload(
                f"actions-{name}", f"{name} arguments sent, bare", "payload_out", "stub",
                (*OURS, *JS), job, "call",
            ),
        ]  # fmt: skip
    return found


def _others() -> list[Workload]:
    return [
        Workload(
            "idle",
            "1,000 idle connections",
            "idle",
            "stub",
            (*OURS, *JS, *RAW),
            {"count": 1000},
            "connection",
        ),
        Workload(
            "slow-consumer",
            "Memory while a slow consumer is fed (KiB grown per 10,000 events)",
            "slow_consumer",
            "stub",
            OURS,
            {"count": 2_000_000},  # one block of 256 KiB of Python's allocator is 1.7 KiB then
            "event",
        ),
        Workload(
            "import",
            "Import (each after what it is built on)",
            "import",
            "none",
            ("import rivet_anyio:Client", "import httpx", "import aiohttp", "import websockets"),
            {},
            "import",
        ),
    ]


def _wire() -> list[Workload]:
    """Everything against a server that costs nothing, by every way it may go."""
    found: list[Workload] = []

    def one(
        name: str,
        title: str,
        kind: str,
        unit: str,
        *,
        ways: tuple[bool, ...] = (False, True),
        peers: tuple[str, ...] = (NEW_JS,),
        **job: Any,
    ) -> None:
        found.extend(
            Workload(
                f"wire-{name}{'-tls' if tls else ''}",
                f"{title}{' over TLS' if tls else ''}, server that costs nothing",
                kind,
                "stub",
                (*OURS, *peers),
                job,
                unit,
                tls,
            )
            for tls in ways
        )

    for fan, count in ((1, 500), (50, 1500), (500, 2000)):
        # Each has a socket of its own before it is measured.
        job: dict[str, Any] = {"count": count, "fan": fan, "first": f"together-{fan}"}
        one(f"http-{fan}", f"HTTP actions, {fan} in flight", "http", "call", **job)
        if fan < 500:
            title = f"fetch of a small answer, {fan} in flight"
            one(f"fetch-{fan}", title, "fetch", "call", ways=(False,), **job)
    for fan, count in ((1, 100), (50, 300)):
        title = f"From connect to Init, and the goodbye, {fan} at a time"
        one(f"connect-{fan}", title, "connect", "connection", count=count, fan=fan)
    for fan, count in ((1, 1500), (50, 5000)):
        title = f"Actions over the connection, {fan} in flight"
        one(f"actions-{fan}", title, "actions", "call", count=count, fan=fan)
    one("events-60B", "Events of 60 bytes in a burst", "events", "event", count=BURST)
    for name, size, count in (("1MiB", 1 << 20, 32), ("16MiB", 1 << 24, 4)):
        for kind, verb in (("raw_in", "received"), ("raw_out", "sent")):
            one(
                f"{kind.replace('_', '-')}-{name}",
                f"{name} messages {verb}, raw WebSocket",
                kind,
                "message",
                ways=(True,),
                peers=("aiohttp",),
                count=count,
                size=size,
            )
    one("idle", "1,000 idle connections", "idle", "connection", count=1000)
    found.append(
        Workload(
            "wire-import",
            "Import beyond anyio",
            "import",
            "none",
            (
                "import rivet_anyio:Client after anyio anyio._backends._asyncio",
                "import anyio",
                "import httpx",
            ),
            {},
            "import",
        )
    )
    return found


WORKLOADS = [*_events(), *_calls(), *_payloads(), *_others(), *_wire()]

_IMPORTS = {
    "anyio": [],
    "rivet_anyio:Client": ["httpx", "anyio", "msgspec"],
    "httpx": [],
    "aiohttp": [],
    "websockets": [],
}


def command(contender: str) -> list[str]:
    """The command line of a contender's program."""
    first, _, second = contender.partition(" ")
    second, _, after = second.partition(" after ")
    program = {"ours": "ours", "httpx": "bare_httpx", "import": "importing"}.get(first, "raw")
    if first == "rivetkit":
        script = Path(__file__).parent / "clients" / "rivetkit.mjs"
        return [str(node()), "--expose-gc", str(script), str(install(second))]
    if first == "import":
        arguments = [second, *(after.split() or _IMPORTS[second])]
    else:
        arguments = [second or first]
    return [sys.executable, "-m", f"benchmarks.clients.{program}", *arguments]
