"""Whatever is asked of the actor server over HTTP, it answers by HTTP."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import h11
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rivet_anyio.testing import Actor, ActorServer, run_virtual

VERSIONS = ("2.0.33", "2.1.3", "2.2.1", "2.3.19")


class Box(Actor):
    queues = ("jobs",)

    async def put(self, *things: Any) -> list[Any]:
        return list(things)

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.content)

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await message.complete(message.body)


Header = tuple[str, bytes]
Request = tuple[str, str, list[Header], bytes]

FIELDS = (
    "actor_ids",
    "cursor",
    "include_destroyed",
    "key",
    "limit",
    "name",
    "namespace",
    "rvt-input",
    "rvt-key",
    "rvt-method",
    "rvt-namespace",
    "x",
)
VALUES: tuple[str, ...] = (
    "",
    "0",
    "1",
    "-1",
    "1e400",
    "9" * 4500,
    "abc",
    "box",
    "box,1",
    "actor0001",
    "default",
    "true",
    "getOrCreate",
    "%",
    "%00",
    "%C3%BC",
    "%ED%A0%80",
    "AQI",
    "_w",
    "\\0",
    "[" * 20,
)
PATHS: tuple[str, ...] = (
    "",
    "/",
    "/health",
    "/metadata",
    "/actors",
    "/actors/names",
    "/actors/actor0001",
    "/zzz",
    "/actors/actor0001/sleep",
    "/gateway",
    "/gateway/",
    "/gateway/box",
    "/gateway/%zz",
    "/actors/%ED%A0%80",
    "//",
    "/gateway//",
    "/gateway/a@b",
    "/gateway/@",
    "/actors//sleep",
)
INSIDE: tuple[str, ...] = (
    "",
    "/",
    "/health",
    "/metadata",
    "/action/put",
    "/action/nope",
    "/action/%00",
    "/action/",
    "/queue/jobs",
    "/queue/x",
    "/queue/",
    "/queue",
    "/request",
    "/request/a",
    "/request//[",
    "/connect",
    "/websocket",
    "/websocket/a",
    "/inspector/state",
    "/request/%00?%",
)
BODIES: tuple[str, ...] = (
    "",
    "{",
    "{}",
    "[]",
    "null",
    "5",
    '"s"',
    "[" * 3000,
    "\x00",
    "NaN",
    '{"args":1e400}',
    '{"args":[1]}',
    '{"args":["$BigInt","x"]}',
    '{"args":[["$Map",[[{},1]]]]}',
    '{"args":{}}',
    '{"body":1,"wait":true,"timeout":-5}',
    '{"body":1,"wait":true,"timeout":1e400}',
    '{"body":1,"wait":true,"timeout":"x"}',
    '{"name":"box","key":"\\ud800"}',
)


def creations() -> st.SearchStrategy[bytes]:
    """Bodies of requests that create an actor, with some fields wrong."""
    text = st.sampled_from(
        ["box", "zzz", "", "\0", "a/b\\", "\u00fc", "AQI=", "/w==", "%%%", "sleep"]
    )
    value: st.SearchStrategy[Any] = st.one_of(
        text, st.none(), st.integers(), st.just([]), st.just("x" * 2000)
    )
    names = ["name", "key", "input", "runner_name_selector", "datacenter", "crash_policy", "x"]
    return st.dictionaries(st.sampled_from(names), value).map(
        lambda fields: json.dumps(fields).encode()
    )


def headers() -> st.SearchStrategy[list[Header]]:
    encodings = st.sampled_from([b"json", b"cbor", b"bare", b"xml", b"", b"\xff", b"JSON"])
    texts = st.sampled_from(
        [b"", b"{", b"{}", b"[" * 3000, b"\xc3\xbc", b"\xff", b"NaN", b"null", b'"\\ud800"']
    )
    protocols = st.sampled_from(
        [
            b"rivet",
            b"rivet_target.actor",
            b"rivet_conn_params.%7B",
            b"rivet_encoding.xml",
            b",,\xff",
        ]
    )
    known = st.one_of(
        st.tuples(st.just("x-rivet-encoding"), encodings),
        st.tuples(st.just("x-rivet-conn-params"), texts),
        st.tuples(st.just("x-rivet-target"), st.sampled_from([b"actor", b"x", b"\xff"])),
        st.tuples(st.just("x-rivet-actor"), st.sampled_from([b"actor0001", b"", b"\xff"])),
        st.tuples(st.just("content-type"), st.sampled_from([b"application/json", b"x", b"\xff"])),
        st.tuples(st.just("sec-websocket-protocol"), protocols),
        st.tuples(st.just("upgrade"), st.sampled_from([b"websocket", b"h2c", b"\xff"])),
        st.tuples(st.just("x-odd"), st.sampled_from([b"", b"\xff", b"a" * 5000])),
    )
    return st.lists(known, max_size=4, unique_by=lambda header: header[0])


def requests() -> st.SearchStrategy[Request]:
    value = st.one_of(st.sampled_from(VALUES), st.integers().map(str))
    pairs = st.lists(st.tuples(st.sampled_from(FIELDS), value), max_size=4)
    query = pairs.map(lambda pairs: "?" + "&".join(f"{name}={value}" for name, value in pairs))
    inside = st.sampled_from(INSIDE).map(lambda path: f"/gateway/actor0001{path}")
    path = st.one_of(st.sampled_from(PATHS), inside)
    target = st.tuples(path, st.one_of(st.just(""), query)).map("".join)
    body = st.one_of(
        st.sampled_from(BODIES).map(str.encode), creations(), st.binary(max_size=40), st.just(b"")
    )
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "get", "ODD"]
    return st.tuples(st.sampled_from(methods), target, headers(), body)


def creation(**fields: Any) -> bytes:
    known = {"name": "box", "key": "k", "runner_name_selector": "default", "crash_policy": "sleep"}
    return json.dumps(known | fields).encode()


JSON: Header = ("content-type", b"application/json")


@settings(max_examples=60)
@given(st.lists(requests(), min_size=1, max_size=8))
@example([("GET", "/actors?name=box&namespace=default&limit=abc", [], b"")])
@example([("GET", "/actors?name=box&namespace=default&cursor=x", [], b"")])
@example([("GET", f"/actors?name=box&namespace=default&limit={'9' * 5000}", [], b"")])
@example([("GET", "/gateway/box/health?rvt-method=getOrCreate&rvt-input=%C3%BC", [], b"")])
@example([("PUT", "/actors?namespace=default", [JSON], creation(input="\u00fc"))])
@example([("PUT", "/actors?namespace=default", [JSON], b"[" * 3000)])
@example([("GET", "/gateway/actor0001/", [("upgrade", b"websocket")], b"")])
@example([("GET", "/gateway/actor0001/request", [("x-rivet-conn-params", b"[" * 3000)], b"")])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_is_answered(version: str, backend: str, asked: list[Request]) -> None:
    assert None not in run_virtual(ask, version, asked, backend=backend, limit=1000)


async def ask(version: str, asked: list[Request]) -> list[int | None]:
    """The status of each answer; None: there was none."""
    failures = Failures()
    logger = logging.getLogger("rivet_anyio.testing")
    logger.addHandler(failures)
    logger.propagate = False
    try:
        async with ActorServer({"box": Box}, version=version, leaks=False) as server:
            async with server.client() as client:
                await client.box.get_or_create("1").put(1)
            return [await status_of(server, request) for request in asked]
    finally:
        logger.propagate = True
        logger.removeHandler(failures)
        assert failures.found == []


class Failures(logging.Handler):
    """Keeps what the server says of connections that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "a connection failed" in record.getMessage():
            self.found.append(f"{record.exc_info and record.exc_info[1]!r}")


async def status_of(server: ActorServer, request: Request) -> int | None:
    """Send a request as it is, and read the answer to its end unless it is another protocol."""
    method, target, headers, body = request
    stream = await server.network._dial()
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    own: list[Header] = [
        ("host", b"box"),
        ("content-length", str(len(body)).encode()),
        ("connection", b"close"),
    ]
    fields = [(name.encode(), value) for name, value in [*own, *headers]]
    head = h11.Request(method=method, target=target or "/", headers=fields)
    try:
        data = (connection.send(head) or b"") + (connection.send(h11.Data(body)) or b"")
        data += connection.send(h11.EndOfMessage()) or b""
        with anyio.fail_after(100):
            await stream.send(data)
            return await _answer(stream, connection)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return None
    finally:
        stream.close()


async def _answer(stream: Any, connection: h11.Connection) -> int | None:
    status = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive(65_536))
        elif isinstance(event, (h11.Response, h11.InformationalResponse)):
            status = event.status_code
            if status == 101:
                return status
        elif isinstance(event, h11.EndOfMessage):
            return status
        elif isinstance(event, h11.ConnectionClosed):
            return None
