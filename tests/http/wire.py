"""A Rivet server that is nothing but TCP. It answers every kind of request well, unless told else.

A test says what one request of one kind meets instead; the next of that kind is answered well.
"""

from __future__ import annotations

import functools
import json
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import pytest

from rivet_anyio import Client, ConnectError, ConnectionLostError, ProtocolError, RivetError
from tests.peers.raw import INIT, Peer, serving, text

GUARD = 60.0
"""Seconds after which a test gives up."""

ACTOR = "a1"
RIGHT = "right"
"""What every action, queue and path of the actor answers."""

RUNS_NOTHING = ("metadata", "put", "find", "connect", "websocket")
"""Requests that run no code of the actor's: their failure is a ConnectError."""
RUNS_CODE = ("action", "send", "send_and_wait", "fetch", "stream")
"""Requests after whose failure the actor's code may have run."""
HANDSHAKES = ("connect", "websocket")
KINDS = RUNS_NOTHING + RUNS_CODE
WHOLE = tuple(kind for kind in KINDS if kind not in HANDSHAKES)
"""Requests whose good answer is a plain one."""


class Request(NamedTuple):
    """A request as the server saw it.

    Attributes:
        kind: One of `KINDS`.
        connection: The number of the TCP connection that it came over.
        head: The request line and the fields.
    """

    kind: str
    connection: int
    head: str


Meeting = Callable[[Peer, Request], Awaitable[None]]


class Wire:
    """The server.

    Attributes:
        url: Where it listens.
        instead: What the next request of a kind meets instead of a good answer.
        requests: All requests so far.
    """

    def __init__(self) -> None:
        self.url = ""
        self.instead: dict[str, Meeting] = {}
        self.requests: list[Request] = []
        self._ended: set[int] = set()
        self._one_more = anyio.Event()

    def last(self, kind: str) -> Request:
        """The newest request of a kind."""
        return next(each for each in reversed(self.requests) if each.kind == kind)

    def answer(self, kind: str, data: bytes) -> None:
        """The next request of this kind meets these bytes, and the connection stays open."""

        async def meeting(peer: Peer, request: Request) -> None:
            await take_body(peer, request.head)
            await peer.send(data)

        self.instead[kind] = meeting

    def change(self, kind: str, change: Callable[[bytes], bytes]) -> None:
        """The next request of this kind meets the good answer, but changed."""

        async def meeting(peer: Peer, request: Request) -> None:
            await self._answer(peer, request, change)

        self.instead[kind] = meeting

    def stop(self, kind: str, data: bytes) -> None:
        """The next request of this kind meets these bytes, and then silence."""

        async def meeting(peer: Peer, request: Request) -> None:
            await take_body(peer, request.head)
            await peer.send(data)
            await peer.silence()

        self.instead[kind] = meeting

    async def ends(self, connection: int) -> None:
        """Wait until the client has ended a connection."""
        while connection not in self._ended:
            self._one_more = anyio.Event()
            await self._one_more.wait()

    async def handle(self, peer: Peer) -> None:
        """Serve one connection."""
        try:
            while True:
                await self._serve_one(peer)
        finally:
            self._ended.add(peer.number)
            self._one_more.set()

    async def _serve_one(self, peer: Peer) -> None:
        head = await peer.head()
        request = Request(_kind(head), peer.number, head)
        self.requests.append(request)
        meeting = self.instead.pop(request.kind, None)
        if meeting is not None:
            await meeting(peer, request)
            return
        await self._answer(peer, request, lambda answer: answer)

    async def _answer(self, peer: Peer, request: Request, change: Callable[[bytes], bytes]) -> None:
        await take_body(peer, request.head)
        if request.kind not in HANDSHAKES:
            await peer.send(change(good(request.kind)))
            return
        await peer.send(change(peer.accept(request.head)))
        if request.kind == "connect":
            await peer.send(text(INIT))
        await peer.serve_actions()


async def take_body(peer: Peer, head: str) -> None:
    """Read the body of a request, which has a Content-Length or none."""
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            await peer._exactly(int(line.partition(":")[2]))


def _kind(head: str) -> str:
    method, target, _ = head.partition("\r\n")[0].split(" ")
    path = target.partition("?")[0]
    if path == "/metadata":
        return "metadata"
    if path == "/actors":
        return {"PUT": "put", "GET": "find"}[method]
    below = path.removeprefix(f"/gateway/{ACTOR}/").partition("/")[0]
    if below == "request":
        return "stream" if path.endswith("stream") else "fetch"
    if below == "queue":
        return "send_and_wait" if path.endswith("waited") else "send"
    assert below in KINDS, head
    return below


def body_of(kind: str, word: str = RIGHT) -> bytes:
    """The body of a good answer, whose result is `word` where the kind has one."""
    actor = {"actor_id": ACTOR if word == RIGHT else word, "name": "x", "key": "k"}
    bodies: dict[str, Any] = {
        "metadata": {"runtime": "rivetkit", "version": "2.2.1"},
        "put": {"actor": actor, "created": False},
        "find": {"actors": [actor]},
        "action": {"output": word},
        "send": {"status": "completed"},
        "send_and_wait": {"status": "completed", "response": word},
    }
    return json.dumps(bodies[kind]).encode() if kind in bodies else word.encode()


def whole(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """An answer with a Content-Length."""
    head = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *fields,
    )
    return "\r\n".join((*head, "", "")).encode() + body


def in_chunks(body: bytes, *fields: str, after: bytes = b"", status: str = "200 OK") -> bytes:
    """An answer whose body is one chunk; `after` are trailer fields."""
    head = (
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        "Transfer-Encoding: chunked",
        *fields,
    )
    chunk = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, after)
    return "\r\n".join((*head, "", "")).encode() + chunk


def good(kind: str, word: str = RIGHT) -> bytes:
    """A good answer to a request of a kind in `WHOLE`."""
    return whole(body_of(kind, word))


def refusal(group: str, code: str, status: str, *fields: str) -> bytes:
    """An answer with an error as RivetKit writes it."""
    error = {"group": group, "code": code, "message": "no", "metadata": None}
    return whole(json.dumps(error).encode(), *fields, status=status)


async def ask(client: Client, kind: str, *, params: Any = None, content: Any = None) -> str:
    """Do what sends a request of this kind, and return what it gave.

    Args:
        client: Made by `using`.
        kind: One of `KINDS`.
        params: The params of the handle.
        content: The body of the request, where the kind has one.
    """
    actor = client.x.get_for_id(ACTOR, params=params)
    input = {} if content is None else {"input": content}
    by_key = client.x.get_or_create("k", params=params, **input)
    match kind:
        case "metadata":
            # The server is asked for its metadata before the first request.
            return str(await actor.action("go", content))
        case "put":
            return await by_key.resolve()
        case "find":
            return await client.x.get("k", params=params).resolve()
        case "action":
            return str(await actor.action("go", content))
        case "send":
            await actor.send("stored", content)
            return RIGHT
        case "send_and_wait":
            return str((await actor.send_and_wait("waited", content)).response)
        case "fetch":
            method = "GET" if content is None else "POST"
            return (await actor.fetch("fetch", method=method, content=content)).text
        case "stream":
            method = "GET" if content is None else "POST"
            async with actor.stream("stream", method=method, content=content) as response:
                await response.aread()
                return response.text
        case "connect":
            async with actor.connect() as conn:
                return RIGHT if conn.connection_id else ""
        case "websocket":
            async with actor.websocket():
                return RIGHT
        case _:
            raise AssertionError(kind)


def result_of(kind: str, word: str = RIGHT) -> str:
    """What `ask` returns for a good answer with this word."""
    return ACTOR if kind in ("put", "find") and word == RIGHT else word


def failures(kind: str) -> tuple[type[RivetError], ...]:
    """What a request of this kind may raise for an answer that HTTP does not allow."""
    if kind in RUNS_NOTHING:
        return (ConnectError, ProtocolError)
    return (ConnectionLostError, ProtocolError)


async def refused(client: Client, kind: str) -> RivetError:
    """The error that this request must raise for an answer that HTTP does not allow."""
    try:
        result = await ask(client, kind)
    except failures(kind) as error:
        return error
    raise AssertionError(f"it was accepted: {result[:100]!r}")


@asynccontextmanager
async def using(
    kind: str = "", *, wire: Wire | None = None, **options: Any
) -> AsyncGenerator[tuple[Wire, Client]]:
    """A server, and a client of it that asks for metadata only where the kind is that."""
    wire = wire or Wire()
    options = {"encoding": "json", "metadata_lookup": kind == "metadata", **options}
    async with serving(wire.handle) as url:
        wire.url = url
        async with Client(url, **options) as client:
            yield wire, client


_tls_context = functools.cache(ssl.create_default_context)


def prepare(monkeypatch: pytest.MonkeyPatch, *, load_certificates_once: bool = True) -> None:
    """Take out of the environment what says how to reach a server."""
    if load_certificates_once:
        monkeypatch.setattr(ssl, "create_default_context", _tls_context)
    for name in tuple(os.environ):
        if name.startswith("SSL") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
