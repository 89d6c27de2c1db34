"""Every option of every public function, at its extremes: refused where it is given, or working."""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import math
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

import rivet_anyio
import rivet_anyio.otel
import rivet_anyio.stubs
import rivet_anyio.testing
from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    ConfigError,
    Connection,
    ConnectionLostError,
    Management,
    Retry,
    TypedActor,
    Versions,
    action,
    event,
    forward,
    health,
    live,
    queue,
    watch,
)
from rivet_anyio.otel import OpenTelemetry
from rivet_anyio.stubs import stubs_from_server, stubs_from_typescript
from rivet_anyio.testing import (
    Actor,
    ActorConnection,
    ActorServer,
    ActorSocket,
    Connected,
    Network,
    assert_deterministic,
    check_contract,
    collect,
    explore,
    explore_faults,
    fault_schedules,
    record,
    replay,
    run_virtual,
    simulate,
    virtual_backend,
)

MINUTE = 60
LARGE = 10**400


class Text(str):
    """Any subclass of str is a str."""


def deeply_nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    return nested


class Values(NamedTuple):
    """What one option refuses, and what it takes."""

    bad: list[Any]
    good: list[Any]


class Unshown:
    """Its `__repr__` raises, as those of some database rows do."""

    def __repr__(self) -> str:
        raise LookupError("no session")


class InLines:
    """As tables are shown."""

    def __repr__(self) -> str:
        return "1 2\n3 4"


class Incomparable:
    """As arrays are, whose comparisons are arrays."""

    def __eq__(self, other: object) -> bool:
        raise LookupError("of which item?")

    __hash__ = None  # type: ignore[assignment]


class AlmostWhole:
    """It can be an index, but not be compared."""

    def __index__(self) -> int:
        return 5


UNSHOWN: list[Any] = [
    Unshown(),
    [LARGE**20],
    deeply_nested(),
    InLines(),
    [0] * 1000,
]
"""What Python cannot write, or not on one short line."""

WRONG: list[Any] = [[], {}, object(), b"1", *UNSHOWN]


def seconds(*, zero: bool = False, none: bool = False, most: float = math.inf) -> Values:
    bad = [-1, -0.5, math.nan, math.inf, -math.inf, True, "5", LARGE, dt.timedelta(1), *WRONG]
    good: list[Any] = [0.5, 5, Fraction(7, 2), 1e300 if most == math.inf else most]
    (good if zero else bad).append(0)
    (good if none else bad).append(None)
    return Values(bad if most == math.inf else [*bad, 1e300, most * 1.01], good)


def size(*, least: int = 1, most: int = 2**63 - 1, none: bool = False) -> Values:
    bad = [least - 1, most + 1, -1, math.nan, math.inf, 1.5, 5.0, True, False, "5", LARGE, *WRONG]
    bad.append(AlmostWhole())
    good: list[Any] = [least, most]
    (good if none else bad).append(None)
    return Values(bad, good)


def flag(*, none: bool = False) -> Values:
    bad = [0, 1, -1, math.nan, "no", "", *WRONG]
    good: list[Any] = [True, False]
    (good if none else bad).append(None)
    return Values(bad, good)


def choice(*names: str) -> Values:
    bad = [None, 0, True, "", names[0].upper(), math.nan, Incomparable(), *WRONG]
    return Values(bad, [*names, Text(names[0])])


def name(*, none: bool = False, good: str = "ping") -> Values:
    bad = [0, 5, True, math.nan, "", "\udc80", ("ping",), *WRONG]
    fine: list[Any] = [good, Text(good)]
    (fine if none else bad).append(None)
    return Values(bad, fine)


def event_names() -> Values:
    """A name, or a tuple of names."""
    bad = [value for value in name().bad if value != ("ping",)]
    bad += [(), ("",), ("a", "a"), ("a", 5), ("\udc80",), ["a"]]
    return Values(bad, [*name().good, ("ping",), ("a", Text("b"))])


def path_name(good: str = "ping") -> Values:
    refused = [".", "..", "../x", "a/../b", "a\\..\\b", "%2e%2e", "%252E.", "a\tb", "..%20"]
    return Values([*name().bad, *refused], [good, Text(good)])


def label(*, empty: bool = False) -> Values:
    bad = [0, 5, True, math.nan, "\udc80", "a\nb", "a\x00", ("x",), *WRONG]
    return Values(bad if empty else [*bad, ""], [None, "eu-1", "ü", *([""] if empty else [])])


def path() -> Values:
    refused = [
        "..",
        "./",
        "a/../b",
        "a/%2E%2e/b",
        "a\\..\\b",
        "a/..?x",
        "..%5Cx",
        "a\r\nX: y",
        "\t",
    ]
    bad = [None, 0, 5, True, math.nan, "\udc80", ("x",), *refused, *WRONG]
    return Values(bad, ["", "/x", Text("x"), "//x", "a b?c=../d", "..x", "100%"])


def function(*, none: bool = True) -> Values:
    return Values([0, True, "x", math.nan, *WRONG, *([] if none else [None])], [])


def kind(good: Any, *, none: bool = True) -> Values:
    bad = [0, 5, True, "x", math.nan, *WRONG]
    return Values(bad if none else [*bad, None], [good, None] if none else [good])


def headers() -> Values:
    bad = [0, 1, True, "a: b", [1], [("a", "b")], math.nan, object()]
    bad += [
        {"a": 1},
        {1: "a"},
        {"a": "b\r\nc: d"},
        {"a b": "c"},
        {"a": "ü"},
        {"a": " b"},
        {"": "x"},
    ]
    return Values(bad, [None, {}, {"x-a": "b c", "x-b": ""}])


KEY = Values(
    [
        0,
        True,
        math.nan,
        b"k",
        object(),
        {},
        {"k"},
        [1],
        [None],
        "\udc80",
        ["a", "\udc80"],
        *UNSHOWN,
    ],
    ["k", "", [], ("a", ""), Text("k")],
)
FREE = "takes every value, or says at once what cannot travel"
PARAMS = Values(
    [b"x", object(), {"a": {1, 2}}, math.nan, math.inf], [None, 0, "", {"a": [1, None]}]
)
INPUT = Values([object(), {"a": object()}], [None, 0, "", b"x", {"a": [1]}])
ACTORS_OF_TESTS = Values([0, None, True, "x", [], object(), Actor, {"x": 5}, {5: Actor}], [])
BACKENDS = Values([0, None, [], "trio", ["x"], [None], [Incomparable()]], [["asyncio"], ("trio",)])
CLOSE_REASON = Values([None, 0, True, b"x", "x" * 124, "\udc80", []], ["", "bye", "ü" * 61])
CLIENT_CODE = Values(
    [None, 0, -1, True, math.nan, "1000", 999, 1001, 2999, 5000, LARGE], [1000, 3000, 4999]
)
SERVER_CODE = Values(
    [0, -1, True, math.nan, "1000", 999, 1005, 1006, 1015, 5000], [None, 1000, 4999]
)


async def nothing() -> None:
    """A program."""


ASYNC = {"x": nothing}


async def fresh_token() -> str:
    return "t"


TOKEN = Values(
    [0, 5, True, b"hush", ["hush"], "hush\n", "hush-ü", " hush", "\udc80"],
    [None, "", "t", fresh_token],
)
RETRY = kind(Retry(initial=0.001, maximum=0.001))
SKIP = flag(none=True)

ACTOR_ID = Values(
    [*name().bad, ".", "..", "a/../b", "%2e%2e", "a\tb", "a,b"], ["actor0001", Text("actor0001")]
)
CREATION: dict[str, Any] = {
    "key": KEY,
    "params": PARAMS,
    "get_params": function(),
    "input": INPUT,
    "region": label(),
    "pool": label(),
    "crash_policy": Values(
        [0, True, "", "Sleep", math.nan, *WRONG], [None, "restart", "sleep", Text("destroy")]
    ),
}
FETCH: dict[str, Any] = {
    "path": path(),
    "method": Values([None, 0, True, b"GET", "", "G T", "GET\r\n", "ü"], ["PUT"]),
    "headers": headers(),
    "skip_ready_wait": SKIP,
    "options": "httpx checks its own options",
}
FAULT: dict[str, Any] = {
    "action": name(none=True, good="ping"),
    "times": size(),
    "actor": name(none=True, good="probe"),
    "key": Values(KEY.bad, [*KEY.good, None]),
}
REQUEST_FAULT: dict[str, Any] = {
    **FAULT,
    "queue": name(none=True, good="jobs"),
    "fetch": name(none=True, good="/orders/*"),
    "management": Values([0, True, "", "put", math.nan, *WRONG], [None, "*", Text("get")]),
}
NETWORK = Values(kind(None).bad, [None])
LATENCY = Values([*seconds(zero=True).bad, (2, 1), (1,), (0, 1, 2), (0, None)], [0, 0.001, (0, 0)])
CLIENT: dict[str, Any] = {
    "endpoint": Values(
        [0, 5, True, b"http://h", [], "h", "http://h/?a=1", "ftp://h"], [None, "", "http://h"]
    ),
    "namespace": label(empty=True),
    "token": TOKEN,
    "pool": label(empty=True),
    "encoding": choice("bare", "cbor", "json"),
    "headers": headers(),
    "http": Values([0, True, "x", object(), httpx.AsyncClient], []),
    "ssl_context": kind(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
    "proxy": Values(
        [0, 5, True, b"http://h", [], "", "http://", "ftp://h", "socks5://h", "http://me:hush@h:x"],
        [None, "http://h", "https://me:hush@h:1", "h:1"],
    ),
    "max_connections": size(none=True),
    "metadata_lookup": flag(),
    "forward_token": flag(),
    "connect_timeout": seconds(),
    "close_timeout": seconds(zero=True),
    "request_timeout": seconds(none=True),
    "ping_interval": seconds(none=True),
    "ping_timeout": seconds(none=True),
    "actor_check_interval": seconds(none=True),
    "max_message_size": size(),
    "retry": RETRY,
    "skip_ready_wait": flag(),
    "observer": kind(OpenTelemetry()),
}

CASSETTE: dict[str, Any] = {
    "path": Values(
        [None, 0, True, math.nan, "", ".", str(Path(__file__).parent), *WRONG],
        ["x.json", Path("x.json")],
    ),
    "secrets": Values([None, 0, "hush", b"hush", {}, [5], ["hush", ""]], [(), ["hush"]]),
}

TABLE: dict[str, dict[str, Any]] = {
    "Client": CLIENT,
    "Client.actor": {"name": name(good="probe")},
    "ActorAccessor.get": {n: CREATION[n] for n in ("key", "params", "get_params")},
    "ActorAccessor.get_or_create": CREATION,
    "ActorAccessor.create": CREATION,
    "ActorAccessor.get_for_id": {
        "actor_id": path_name("a1"),
        "params": PARAMS,
        "get_params": function(),
    },
    "ActorAccessor.list": {
        "key": Values(KEY.bad, [*KEY.good, None]),
        "include_destroyed": flag(),
        "page_size": size(none=True),
    },
    "Management": {"client": Values([0, True, None, "x", math.nan, *WRONG], [])},
    "Management.get": {"actor_id": ACTOR_ID},
    "Management.list": {
        "name": name(good="probe"),
        "key": Values(KEY.bad, [*KEY.good, None]),
        "include_destroyed": flag(),
    },
    "Management.names": {},
    "Management.destroy": {"actor_id": ACTOR_ID},
    "Management.sleep": {"actor_id": ACTOR_ID},
    "ActorHandle.action": {
        "name": path_name(),
        "args": FREE,
        "type": FREE,
        "skip_ready_wait": SKIP,
        "retry_for": seconds(none=True),
    },
    "ActorHandle.send": {"queue": path_name("jobs"), "body": FREE},
    "ActorHandle.send_and_wait": {
        "queue": path_name("jobs"),
        "body": FREE,
        "type": FREE,
        "timeout": seconds(zero=True, none=True, most=2_147_483),
    },
    "ActorHandle.fetch": FETCH,
    "ActorHandle.stream": FETCH,
    "ActorHandle.websocket": {
        "path": path(),
        "skip_ready_wait": SKIP,
        "max_message_size": size(none=True),
        "subprotocols": Values(
            [None, 0, "chat", b"chat", [1], [""], ["a b"], ["a", "a"], ["rivet"], ["RIVET_x"], {1}],
            [(), ["chat"], ["v1", "v2"]],
        ),
    },
    "ActorHandle.gateway_url": {"path": path(), "by": choice("id", "key")},
    "live": {
        "conn": Values([None, 0, "x", math.nan, *WRONG], []),
        "snapshot": function(none=False),
        "on": Values(
            [None, 0, "x", {}, {"": len}, {"\udc80": len}, {5: len}, {"x": 5}, ASYNC, *WRONG],
            [{"x": max}, {"x": max, Text("y"): max}],
        ),
        "versions": Values([None, 0, True, "x", math.nan, (len, len), *WRONG], []),
        "atomic_snapshot": flag(),
    },
    "health": {"connections": Values([None, 5, "x", []], [])},
    "forward": {
        "handle": Values([0, None, "x", True, math.nan, *WRONG], []),
        "method": Values([None, 0, True, b"GET", "", "G T", "GET\r\n", "ü"], ["PUT"]),
        "target": Values(
            [*path().bad, "", "x", "*", "http://h/", "/?rvt-key=x"], ["/", "/x?a=b", Text("/x")]
        ),
        "headers": Values(
            [0, None, "a: b", [1], [("a",)], [("a", 1)], [("a b", "c")], {"a": "b\r\nc: d"}],
            [(), {}, [("a", "b"), ("a", "c")], {"x-rivet-actor": "y"}],
        ),
        "content": Values([0, True, [], object(), math.nan], [None, b"x", "ü"]),
    },
    "ActorHandle.connect": {
        "params": PARAMS,
        "get_params": function(),
        "skip_ready_wait": SKIP,
        "connect_timeout": seconds(none=True),
        "close_timeout": seconds(zero=True, none=True),
        "retry": RETRY,
        "wait_for_server": flag(),
    },
    "Connection.action": {
        "name": name(),
        "args": FREE,
        "type": FREE,
        "retry_for": seconds(none=True),
    },
    "Connection.events": {
        "name": event_names(),
        "type": FREE,
        "buffer_size": size(),
        "overflow": choice("raise", "drop_oldest", "drop_newest", "block"),
        "gaps": choice("ignore", "raise", "mark"),
    },
    "Connection.next_event": {
        "name": Values([each for each in name().bad if each != ("ping",)], []),
        "type": FREE,
    },
    "Connection.send": {"queue": path_name("jobs"), "body": FREE},
    "Connection.send_and_wait": {
        "queue": path_name("jobs"),
        "body": FREE,
        "type": FREE,
        "timeout": seconds(zero=True, none=True, most=2_147_483),
    },
    "watch": {
        "names": name(),
        "buffer_size": size(),
        "opening": size(),
    },
    "Feed.add": {
        "handle": Values([0, None, "x", True, math.nan, *WRONG], []),
        "key": Values([[], {}, {"k"}, ("a", [])], [None, 0, "", ("a", 1), b"k", object()]),
    },
    "Feed.remove": {"key": FREE},
    "ActorWebSocket.send": {"item": Values([None, 0, True, [], "\udc80"], ["", b"", "ü"])},
    "ActorWebSocket.aclose": {"code": CLIENT_CODE, "reason": CLOSE_REASON},
    "Retry": {
        "initial": Values([*seconds().bad, 1e300], [0.5, Fraction(1, 2), 30]),
        "maximum": Values([*seconds().bad, 0.1], [5, 1e300]),
        "random": function(none=False),
        "sleep": function(none=False),
    },
    "Retry.delay": {"attempt": "the library's own number"},
    "action": {
        "name": name(none=True),
        "idempotent": flag(),
        "retry_for": seconds(none=True),
    },
    "event": {"type": FREE, "name": name(none=True)},
    "queue": {"body": FREE, "response": FREE, "name": name(none=True)},
    "OpenTelemetry": {
        "tracer_provider": FREE,
        "meter_provider": FREE,
        "propagator": FREE,
        "actor_keys": flag(),
    },
    "stubs_from_server": {
        n: Values(CLIENT[n].bad, []) for n in ("endpoint", "namespace", "token", "headers", "http")
    },
    "stubs_from_typescript": {
        "registry_path": FREE,
        "export": FREE,
        "node": FREE,
        "timeout": Values(seconds(most=1e6).bad, []),
    },
    "testing.ActorServer": {
        "actors": ACTORS_OF_TESTS,
        "version": Values([None, 0, True, 2.3, "", "2.9", "9"], ["2.0", "2.3.19"]),
        "leaks": flag(),
        "epoch": Values(
            [None, 0, True, "2024", dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)],
            [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)],
        ),
        "unused_faults": choice("error", "ignore"),
        "max_incoming_message_size": size(),
        "max_outgoing_message_size": size(),
    },
    "testing.ActorServer.client": {"network": NETWORK, "options": "those of Client"},
    "testing.ActorServer.http_client": {
        "timeout": Values(seconds(none=True).bad, [None, 5, httpx.Timeout(5)]),
        "network": NETWORK,
    },
    "testing.ActorServer.listen": {
        "port": Values(size(least=0, most=65535).bad, [0]),
        "host": Values([None, 0, True, b"x", "", "a\n"], ["127.0.0.1"]),
    },
    "testing.ActorServer.actor": {"name": FREE, "key": Values(KEY.bad, []), "type": FREE},
    "testing.ActorServer.drop_connections": {
        "code": SERVER_CODE,
        "reason": CLOSE_REASON,
        "actor": name(none=True, good="probe"),
        "key": Values(KEY.bad, [*KEY.good, None]),
    },
    "testing.ActorServer.restart": {
        "downtime": Values(seconds(zero=True).bad, [0, 0.001]),
        "keep_actors": flag(),
        "unsaved": choice("kept", "lost"),
    },
    "testing.ActorServer.kill_host": {
        "silent_for": Values(seconds(zero=True).bad, [0, 0.001]),
        "downtime": Values(seconds(zero=True).bad, [0, 0.001]),
        "unsaved": choice("kept", "lost"),
    },
    "testing.ActorServer.wait_for": {
        "what": Values([0, True, "x", None, *WRONG], []),
        "where": function(),
        "count": Values(size().bad, [1]),
        "since": Values(size(least=0).bad, [0]),
        "within": seconds(zero=True),
    },
    "testing.Faults.fail_action": {
        **FAULT,
        "error": kind(ActorError("a", "b"), none=False),
    },
    "testing.Faults.delay_action": {**FAULT, "seconds": seconds(zero=True)},
    "testing.Faults.lose_reply": REQUEST_FAULT,
    "testing.Faults.lose_request": REQUEST_FAULT,
    "testing.Faults.fail_request": {
        **REQUEST_FAULT,
        "error": kind(ActorError("a", "b"), none=False),
    },
    "testing.Faults.refuse_request": {
        **REQUEST_FAULT,
        "status": size(least=400, most=599),
        "retry_after": size(least=0, none=True),
    },
    "testing.Faults.delay_request": {**REQUEST_FAULT, "seconds": seconds(zero=True)},
    "testing.Faults.refuse_connects": {
        "times": size(),
        "error": kind(ActorError("a", "b")),
        "status": size(least=400, most=599),
        "retry_after": size(least=0, none=True),
        "actor": name(none=True, good="probe"),
        "key": Values(KEY.bad, [*KEY.good, None]),
    },
    "testing.Network.refuse": {"times": size()},
    "testing.Network": {
        "name": Values([None, 0, True, b"x", "", "a\n", "\udc80", *WRONG], ["office"])
    },
    "testing.Network.latency": {"value": LATENCY},
    "testing.Direction.latency": {"value": LATENCY},
    "testing.Direction.loss": {
        "value": Values([None, "x", True, -0.1, 1, 2, math.nan, math.inf, *WRONG], [0, 0.0001])
    },
    "testing.Network.chunk_size": {"value": Values(size(none=True).bad, [None, 1, 2**40])},
    "testing.Log.of": {
        "kind": kind(Connected, none=False),
        "where": function(),
        "since": size(least=0),
    },
    "testing.ActorConnection.send": {"event": name(), "args": FREE},
    "testing.ActorConnection.state": {"value": FREE},
    "testing.ActorConnection.disconnect": {"reason": CLOSE_REASON},
    "testing.ActorConnection.drop": {"code": SERVER_CODE, "reason": CLOSE_REASON},
    "testing.ActorConnection.send_message": {"data": FREE},
    "testing.ActorConnection.send_bytes": {"data": FREE},
    "testing.ActorSocket.send": {"data": FREE},
    "testing.ActorSocket.close": {"code": Values(SERVER_CODE.bad, []), "reason": CLOSE_REASON},
    "testing.ActorContext.broadcast": {"event": name(), "args": FREE},
    "testing.ActorContext.send_to": {"connection": FREE, "event": name(), "args": FREE},
    "testing.ActorContext.queue": {"names": name(), "completable": flag()},
    "testing.ActorSchedule.after": {
        "seconds": seconds(zero=True),
        "action": name(),
        "args": FREE,
    },
    "testing.ActorSchedule.at": {
        "when": Values(
            [None, 0, True, "2024", dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)],
            [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC)],
        ),
        "action": name(),
        "args": FREE,
    },
    "testing.QueueMessage.complete": {"response": FREE},
    "testing.collect": {
        "stream": Values([0, None, "x", *WRONG], []),
        "count": Values(size(least=0).bad, [0]),
        "within": seconds(zero=True),
    },
    "testing.simulate": {
        "main": function(none=False),
        "args": FREE,
        "seed": Values([None, "x", 1.5, math.nan, *WRONG], [0, -1, LARGE]),
        "backend": choice("asyncio", "trio"),
    },
    "testing.explore": {
        "main": function(none=False),
        "args": FREE,
        "seeds": Values([0, None, 5, "ab", [], ["x"], [None]], [[1], range(2)]),
        "backends": BACKENDS,
    },
    "testing.run_virtual": {
        "main": function(none=False),
        "args": FREE,
        "backend": choice("asyncio", "trio"),
        "options": FREE,
        "limit": seconds(none=True),
    },
    "testing.virtual_backend": {
        "backend": choice("asyncio", "trio"),
        "seed": Values(["x", 1.5, math.nan, *WRONG], [None, 0, -1, LARGE]),
    },
    "testing.assert_deterministic": {
        "main": function(none=False),
        "args": FREE,
        "seed": Values([None, "x", 1.5, math.nan, *WRONG], [0, -1]),
        "backends": BACKENDS,
    },
    "testing.explore_faults": {
        "main": function(none=False),
        "schedules": FREE,
        "examples": Values(size().bad, [1]),
        "seed": Values([None, "x", 1.5, math.nan, *WRONG], [0, -1]),
        "backends": BACKENDS,
    },
    "testing.fault_schedules": {
        "names": Values([["boom"], ["cut", 5], "cut", [], 5], [["cut"], ("cut", "crash")]),
        "most": Values(size().bad, [1]),
        "within": Values(seconds(most=1e9).bad, [0.01, 1000, 1e9]),
    },
    "testing.play_faults": {"server": FREE, "schedule": FREE},
    "testing.check_contract": {"actors": ACTORS_OF_TESTS, "contracts": FREE},
    "testing.record": {
        "endpoint": Values(
            [None, 0, True, math.nan, "", "localhost", "http://h?x", *WRONG],
            ["http://localhost:6420", ActorServer({})],
        ),
        **CASSETTE,
    },
    "testing.replay": {**CASSETTE, "unused": choice("error", "ignore")},
    "testing.Cassette.client": {"options": "those of Client"},
}

TYPED = ("get", "get_or_create", "create", "get_for_id", "list")
"""Methods of `Client` that hand everything on to the methods of `ActorAccessor`."""

MADE_BY_THE_LIBRARY = {
    "ActionCall", "ActorAccessor", "ActorHandle", "ActorList", "ActorWebSocket", "Connection",
    "Event", "EventStream", "Feed", "Live", "Queue", "Status", "StatusStream", "TypedActor",
    "TypedEvent", "TypedQueue",
    "testing.ActorConnection", "testing.ActorContext", "testing.ActorQueue",
    "testing.ActorSchedule", "testing.ActorSocket", "testing.Cassette",
    "testing.Direction", "testing.Faults", "testing.Log", "testing.NetworkFault",
    "testing.QueueMessage",
    "testing.VirtualTimeLoop",
}  # fmt: skip
"""Classes whose `__init__` is not the user's to call."""

NOT_OPTIONS = {
    "ActionCall": "an action's arguments",
    "TypedActor": "typed: hands everything on to handle and connection",
    "TypedEvent": "declared by the class",
    "TypedQueue": "declared by the class",
    "ActorWebSocket.message": "called by the library",
    "ActorWebSocket.notify_when_free": "called by the library",
    "Event": "`event` makes it",
    "Queue": "`queue` makes it",
    "OpenTelemetry": "called by the library",
    "Health": "the library makes it",
    "NamedEvent": "the library makes it",
    "StatusStream.push": "called by the library",
    "testing.Actor": "hooks are called by the library",
    "testing.FaultName": "a type",
    "testing.ManagementRequest": "a type",
    "testing.Receiver": "a protocol",
    "testing.VirtualTimeLoop": "called by asyncio",
}


@dataclass
class Env:
    """What the functions are called on."""

    server: ActorServer
    client: Client
    handle: ActorHandle
    conn: Connection


class Probe(Actor):
    async def ping(self) -> int:
        return 1

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=request.url.path)

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for message in socket:
            await socket.send(message)

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await message.complete()


@asynccontextmanager
async def environment() -> AsyncIterator[Env]:
    async with (
        ActorServer({"probe": Probe}, leaks=False, unused_faults="ignore") as server,
        server.client(close_timeout=0) as client,
    ):
        handle = client.actor("probe").get_or_create("k")
        async with handle.connect() as conn:
            yield Env(server, client, handle, conn)


async def use(client: Client) -> None:
    """Whatever the options: calls and connections work."""
    async with client:
        handle = client.actor("probe").get_or_create("used")
        assert await handle.action("ping") == 1
        async with handle.connect() as conn:
            assert await conn.action("ping") == 1


async def make_client(env: Env, **given: Any) -> None:
    if {"endpoint", "http", "proxy"} & given.keys():
        Client(**given)
        return
    client = env.server.client(**{"close_timeout": 0, **given})
    if given.get("max_message_size") != 1:  # is less than an answer
        await use(client)


async def keep_state(env: Env, **given: Any) -> None:
    if given.get("atomic_snapshot") is False:
        given["versions"] = Versions(int, int)
    else:
        given.setdefault("atomic_snapshot", "versions" not in given)
    given = {"conn": env.conn, "snapshot": env.conn.ping, "on": {"x": max}, **given}
    async with live(**given) as state:
        assert state.value == 1


async def connect(env: Env, **given: Any) -> None:
    async with env.handle.connect(**given) as conn:
        assert await conn.action("ping") == 1


async def websocket(env: Env, **given: Any) -> None:
    async with env.handle.websocket(**given) as ws:
        await ws.send("x")
        assert await ws.receive() == "x"


async def stream(env: Env, **given: Any) -> None:
    async with env.handle.stream(**{"path": "x", **given}) as response:
        await response.aread()


async def close_websocket(env: Env, **given: Any) -> None:
    async with env.handle.websocket() as ws:
        await ws.aclose(**given)


async def send_on_websocket(env: Env, item: Any) -> None:
    async with env.handle.websocket() as ws:
        await ws.send(item)
        assert await ws.receive() == item


async def list_actors(env: Env, **given: Any) -> None:
    async for actor in env.client.actor("probe").list(**given):
        assert actor.name == "probe"


async def kill_host(env: Env, **given: Any) -> None:
    await env.server.kill_host(**given)


async def listen(env: Env, **given: Any) -> None:
    async with env.server.listen(**given):
        pass


async def nothing_with(schedule: object) -> None:
    """A program with a schedule."""


async def wait_for(env: Env, **given: Any) -> None:
    await env.server.wait_for(**{"what": Connected, **given})


def schedule_of(e: Any) -> Any:
    return e.server.actor("probe", "k").context.schedule


def connection_of(env: Env) -> ActorConnection:
    """What the actor sees of the client."""
    (connection,) = env.server.actor("probe", "k").context.connections
    return connection


async def set_attribute(env: Env, attribute: str, value: Any) -> None:
    path, _, last = attribute.rpartition(".")
    owner = getattr(env.server.network, path) if path else env.server.network
    setattr(owner, last, value)
    assert await env.conn.action("ping") == 1
    assert await env.handle.action("ping") == 1


async def manage_list(env: Env, **given: Any) -> None:
    async for actor in Management(env.client).list(**{"name": "probe", **given}):
        assert actor.name == "probe"


async def create(env: Env, **given: Any) -> None:
    env.server._registry.clear()
    await env.client.actor("probe").create(**given)


def stubs(env: Env, **given: Any) -> Any:
    path = Path(__file__).parent / "stubs" / "registry.ts"
    return stubs_from_typescript(path, **given)


async def collect_events(e: Env, **given: Any) -> Any:
    stream = e.conn.events("x")
    try:
        return await collect(**{"stream": stream, "count": 0, **given})
    finally:
        stream.close()


async def use_feed(env: Env, names: Any = "x", **given: Any) -> None:
    async with watch(names, **given) as feed:
        feed.add(env.handle)
        await feed.receive()


async def add(env: Env, **given: Any) -> None:
    async with watch("x") as feed:
        feed.add(**{"handle": env.handle, **given})
        await feed.receive()


CALLS: dict[str, Callable[..., Any]] = {
    "Client": make_client,
    "Client.actor": lambda e, **g: e.client.actor(**g),
    "ActorAccessor.get": lambda e, **g: e.client.actor("probe").get(**g),
    "ActorAccessor.get_or_create": lambda e, **g: e.client.actor("probe").get_or_create(**g),
    "ActorAccessor.create": create,
    "ActorAccessor.get_for_id": lambda e, **g: e.client.actor("probe").get_for_id(
        **{"actor_id": "a1", **g}
    ),
    "ActorAccessor.list": list_actors,
    "Management": lambda e, **g: Management(**g),
    "Management.get": lambda e, **g: Management(e.client).get(**g),
    "Management.list": manage_list,
    "Management.destroy": lambda e, **g: Management(e.client).destroy(**g),
    "Management.sleep": lambda e, **g: Management(e.client).sleep(**g),
    "ActorHandle.action": lambda e, name="ping", **g: e.handle.action(name, **g),
    "ActorHandle.send": lambda e, queue: e.handle.send(queue, 1),
    "ActorHandle.send_and_wait": lambda e, queue="jobs", **g: e.handle.send_and_wait(queue, 1, **g),
    "ActorHandle.fetch": lambda e, **g: e.handle.fetch(**{"path": "x", **g}),
    "ActorHandle.stream": stream,
    "ActorHandle.websocket": websocket,
    "ActorHandle.gateway_url": lambda e, **g: e.handle.gateway_url(**g),
    "live": keep_state,
    "health": lambda e, connections: health(connections),
    "forward": lambda e, **g: forward(**{"handle": e.handle, "method": "GET", "target": "/", **g}),
    "ActorHandle.connect": connect,
    "Connection.action": lambda e, name="ping", **g: e.conn.action(name, **g),
    "Connection.events": lambda e, **g: e.conn.events(**{"name": "x", **g}).aclose(),
    "Connection.next_event": lambda e, name: e.conn.next_event(name),
    "Connection.send": lambda e, queue: e.conn.send(queue, 1),
    "Connection.send_and_wait": lambda e, queue="jobs", **g: e.conn.send_and_wait(queue, 1, **g),
    "watch": use_feed,
    "Feed.add": add,
    "ActorWebSocket.send": send_on_websocket,
    "ActorWebSocket.aclose": close_websocket,
    "Retry": lambda e, **g: Retry(**g),
    "action": lambda e, name="x", **g: action(name, **{"idempotent": "retry_for" in g, **g}),
    "event": lambda e, **g: event(**g),
    "queue": lambda e, **g: queue(**g),
    "OpenTelemetry": lambda e, **g: OpenTelemetry(**g),
    "stubs_from_server": lambda e, **g: stubs_from_server(**g),
    "stubs_from_typescript": stubs,
    "testing.ActorServer": lambda e, **g: ActorServer(**{"actors": {"probe": Probe}, **g}),
    "testing.ActorServer.http_client": lambda e, **g: e.server.http_client(**g),
    "testing.ActorServer.listen": listen,
    "testing.ActorServer.actor": lambda e, key: e.server.actor("probe", key),
    "testing.ActorServer.drop_connections": lambda e, **g: e.server.drop_connections(**g),
    "testing.ActorServer.restart": lambda e, **g: e.server.restart(**g),
    "testing.ActorServer.kill_host": kill_host,
    "testing.ActorServer.wait_for": wait_for,
    "testing.Faults.fail_action": lambda e, **g: e.server.faults.fail_action(
        **{"action": "ping", "error": ActorError("a", "b"), **g}
    ),
    "testing.Faults.delay_action": lambda e, **g: e.server.faults.delay_action(
        **{"action": "ping", "seconds": 1, **g}
    ),
    "testing.Faults.lose_reply": lambda e, **g: e.server.faults.lose_reply(**g),
    "testing.Faults.refuse_connects": lambda e, **g: e.server.faults.refuse_connects(**g),
    "testing.Network.refuse": lambda e, times: e.server.network.refuse(times),
    "testing.Network.latency": lambda e, value: set_attribute(e, "latency", value),
    "testing.Network.chunk_size": lambda e, value: set_attribute(e, "chunk_size", value),
    "testing.Log.of": lambda e, **g: e.server.log.of(**{"kind": Connected, **g}),
    "testing.ActorConnection.send": lambda e, event: connection_of(e).send(event),
    "testing.ActorConnection.disconnect": lambda e, reason: connection_of(e).disconnect(reason),
    "testing.ActorConnection.drop": lambda e, **g: connection_of(e).drop(**g),
    "testing.ActorSocket.close": lambda e, **g: ActorSocket("s", "/", None, Gone()).close(**g),
    "testing.ActorContext.broadcast": lambda e, event: e.server.actor(
        "probe", "k"
    ).context.broadcast(event),
    "testing.ActorContext.send_to": lambda e, event: e.server.actor("probe", "k").context.send_to(
        connection_of(e), event
    ),
    "testing.ActorContext.queue": lambda e, names="q", **g: e.server.actor(
        "probe", "k"
    ).context.queue(names, **g),
    "testing.ActorSchedule.after": lambda e, **g: schedule_of(e).after(
        **{"seconds": 1, "action": "ping", **g}
    ),
    "testing.ActorSchedule.at": lambda e, **g: schedule_of(e).at(
        **{"when": dt.datetime(9999, 1, 1, tzinfo=dt.UTC), "action": "ping", **g}
    ),
    "testing.collect": collect_events,
    "testing.ActorServer.client": lambda e, **g: e.server.client(**g),
    "testing.Network": lambda e, **g: Network(**g),
    "testing.Direction.latency": lambda e, value: set_attribute(e, "to_server.latency", value),
    "testing.Direction.loss": lambda e, value: set_attribute(e, "to_server.loss", value),
    "testing.Faults.lose_request": lambda e, **g: e.server.faults.lose_request(**g),
    "testing.Faults.fail_request": lambda e, **g: e.server.faults.fail_request(
        **{"error": ActorError("a", "b"), **g}
    ),
    "testing.Faults.refuse_request": lambda e, **g: e.server.faults.refuse_request(**g),
    "testing.Faults.delay_request": lambda e, **g: e.server.faults.delay_request(
        **{"seconds": 1, **g}
    ),
}


class OfProbe(TypedActor, name="probe"):
    """A contract."""


class Gone:
    """The line of a socket whose client is gone."""

    def send_message(self, data: str | bytes) -> None: ...

    async def receive_message(self) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


OUTSIDE: dict[str, Callable[..., Any]] = {
    "testing.simulate": lambda **g: simulate(**{"main": nothing, "seed": 1, **g}),
    "testing.explore": lambda **g: explore(**{"main": nothing, "seeds": [1], **g}),
    "testing.run_virtual": lambda **g: run_virtual(**{"main": nothing, **g}),
    "testing.virtual_backend": lambda **g: virtual_backend(**{"backend": "asyncio", **g}),
    "testing.assert_deterministic": lambda **g: assert_deterministic(**{"main": nothing, **g}),
    "testing.check_contract": lambda actors: check_contract(actors, OfProbe),
    "testing.explore_faults": lambda **g: explore_faults(
        **{"main": nothing_with, "examples": 1, **g}
    ),
    "testing.fault_schedules": lambda **g: fault_schedules(**g),
    "testing.record": lambda **g: record(
        **{"endpoint": "http://localhost:6420", "path": "x.json", **g}
    ),
    "testing.replay": lambda **g: replay(**{"path": "x.json", **g}),
}
"""What starts an event loop of its own, or needs none."""

ROWS = [
    (target, option, values)
    for target, options in TABLE.items()
    for option, values in options.items()
    if isinstance(values, Values)
]


@pytest.mark.parametrize(
    "target, option, values",
    [row for row in ROWS if row[0] not in OUTSIDE],
    ids=[f"{row[0]}({row[1]})" for row in ROWS if row[0] not in OUTSIDE],
)
async def test_options(target: str, option: str, values: Values) -> None:
    with anyio.fail_after(MINUTE):
        async with environment() as env:
            before = len(env.server.log)
            for value in values.bad:
                with pytest.raises((TypeError, ValueError)) as caught:
                    await result(CALLS[target](env, **{option: value}))
                check_refusal(target, caught.value, value)
            if not target.startswith("ActorWebSocket"):
                assert len(env.server.log) == before, "something was sent before it was refused"
            assert await env.conn.action("ping") == 1
        for value in values.good:
            async with environment() as env:
                await result(CALLS[target](env, **{option: value}))


@pytest.mark.parametrize(
    "target, option, values",
    [row for row in ROWS if row[0] in OUTSIDE],
    ids=[f"{row[0]}({row[1]})" for row in ROWS if row[0] in OUTSIDE],
)
def test_options_of_what_starts_a_loop(target: str, option: str, values: Values) -> None:
    for value in values.bad:
        with pytest.raises((TypeError, ValueError)) as caught:
            OUTSIDE[target](**{option: value})
        check_refusal(target, caught.value, value)
    for value in values.good:
        OUTSIDE[target](**{option: value})


def check_refusal(target: str, error: BaseException, value: Any) -> None:
    """One sentence; of a client's options it is a `ConfigError`, and no secret is in it."""
    text = str(error)
    assert 10 < len(text) < 300 and "\n" not in text, (value, text)
    assert "hush" not in text
    assert "object has no attribute" not in text and "not supported between" not in text, text
    for module, named in re.findall(r"an instance of (?:([\w.]+)\.)?(\w+)", text):
        assert hasattr(importlib.import_module(module or "builtins"), named), text
    if target in ("Client", "testing.ActorServer", "testing.record", "testing.replay"):
        assert isinstance(error, ConfigError), (value, error)


async def result(given: Any) -> None:
    if isinstance(given, Awaitable):
        await given


def public() -> Iterator[tuple[str, Any]]:
    for module, prefix in (
        (rivet_anyio, ""),
        (rivet_anyio.otel, ""),
        (rivet_anyio.stubs, ""),
        (rivet_anyio.testing, "testing."),
    ):
        for exported in module.__all__:
            yield prefix + exported, getattr(module, exported)


def functions() -> Iterator[tuple[str, Any]]:
    """Every public function and method that takes anything, by the name it has in the table."""
    for qualified, thing in public():
        if inspect.isclass(thing):
            is_data = issubclass(thing, (BaseException, dict)) or "Record" in {
                base.__name__ for base in thing.__mro__
            }
            has_fields = hasattr(thing, "__struct_fields__") or (
                hasattr(thing, "__dataclass_fields__") and thing is not Retry
            )
            if is_data or has_fields or (qualified in NOT_OPTIONS and qualified != "OpenTelemetry"):
                continue
            if qualified not in MADE_BY_THE_LIBRARY:
                yield qualified, thing.__init__
            if qualified in NOT_OPTIONS:
                continue
            for attribute, member in vars(thing).items():
                if inspect.isfunction(member) and not attribute.startswith("_"):
                    yield f"{qualified}.{attribute}", member
                elif isinstance(member, property) and member.fset is not None:
                    yield f"{qualified}.{attribute}", member.fset
        elif callable(thing):
            yield qualified, thing


def test_no_option_is_missing() -> None:
    missing: list[str] = []
    for qualified, member in functions():
        if qualified in NOT_OPTIONS and qualified != "OpenTelemetry":
            continue
        owner, _, method = qualified.rpartition(".")
        if owner == "Client" and method in TYPED:
            continue
        parameters = [n for n in inspect.signature(member).parameters if n not in ("self", "cls")]
        known: Mapping[str, Any] = TABLE.get(qualified, {})
        if isinstance(inspect.getattr_static(owner_of(qualified), method, None), property):
            parameters = ["value"]
        missing += [f"{qualified}({n})" for n in parameters if n not in known]
        missing += [f"{qualified}({n}) is gone" for n in known if n not in parameters]
    assert not missing
    gone = set(TABLE) - {qualified for qualified, _ in functions()}
    assert not gone


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("params", 5),
        ("cookies", 5),
        ("content", 5),
        ("files", 5),
        ("files", "a.txt"),
        ("json", math.nan),
        ("json", object()),
        ("content", "\ud800"),
        ("extensions", "x"),
    ],
)
async def test_what_httpx_cannot_use_is_named(option: str, value: Any) -> None:
    options: dict[str, Any] = {option: value}
    async with environment() as env:
        with pytest.raises((TypeError, ValueError), match=f"^httpx cannot use these {option}: "):
            await env.handle.fetch("x", **options)


def test_a_tls_context_of_a_server() -> None:
    """Whoever wants to authenticate clients by their certificates may take it for the right one."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with pytest.raises(ConfigError, match="ssl_context is a context of a server: make "):
        Client("https://h", ssl_context=tls)


@pytest.mark.parametrize("option", ["follow_redirects", "auth", "url", "Timeout"])
async def test_an_option_that_a_request_does_not_have(option: str) -> None:
    options: dict[str, Any] = {option: None}
    async with environment() as env:
        with pytest.raises(TypeError, match=f"^a request has no option '{option}', only content"):
            await env.handle.fetch("x", **options)
        with pytest.raises(TypeError, match=f"^a request has no option '{option}', only content"):
            env.handle.stream("x", **options)


@pytest.mark.parametrize("method", ["fetch", "stream"])
async def test_the_timeout_of_a_request(method: str) -> None:
    async with ActorServer({"probe": Probe}) as server, server.client() as client:
        handle = client.probe.get_or_create("k")

        async def use(timeout: Any) -> None:
            if method == "fetch":
                await handle.fetch("x", timeout=timeout)
            else:
                async with handle.stream("x", timeout=timeout):
                    pass

        for bad in seconds(none=True).bad:
            with pytest.raises((TypeError, ValueError), match="timeout is a "):
                await use(bad)
            if isinstance(bad, (tuple, dict, list)):
                continue  # httpx itself refuses some
            with pytest.raises((TypeError, ValueError), match="the connect timeout is a "):
                await use(httpx.Timeout(5, connect=bad))
            with pytest.raises((TypeError, ValueError), match="the read timeout is a "):
                await use((5, bad, 5, 5))
        for bad in [(), (5,), (5,) * 5]:
            with pytest.raises(ValueError, match="timeout is a tuple of two to four times"):
                await use(bad)
        for good in (
            *(5, None, (5, 5, 5, 5), (5, None), (None,) * 4),
            *(httpx.Timeout(5), httpx.Timeout(None), httpx.USE_CLIENT_DEFAULT),
        ):
            await use(good)


@pytest.mark.parametrize("option", ["request_timeout", "timeout", "retry_for"])
async def test_an_error_shows_seconds_that_are_a_fraction(option: str) -> None:
    """Python formats no `Fraction` up to 3.11."""
    seconds: Any = Fraction(1, 4)
    client_options: dict[str, Any] = {option: seconds} if option == "request_timeout" else {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with Client(url, metadata_lookup=False, **client_options) as client:
            handle = client.probe.get_for_id("a1")
            with pytest.raises(ConnectionLostError, match=r"0\.25 s"):
                if option == "timeout":
                    await handle.fetch("x", timeout=seconds)
                elif option == "retry_for":
                    await handle.action("ping", retry_for=seconds)
                else:
                    await handle.action("ping")


def owner_of(qualified: str) -> Any:
    return dict(public()).get(qualified.rpartition(".")[0])


def test_what_hands_on_has_the_same_options() -> None:
    for method in TYPED:
        ours = set(inspect.signature(getattr(Client, method)).parameters) - {"interface"}
        assert ours == set(inspect.signature(getattr(rivet_anyio.ActorAccessor, method)).parameters)
