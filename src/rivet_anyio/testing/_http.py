"""HTTP/1.1, the server's side: h11 on a wire, one request after another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import anyio
import h11
import httpx
from anyio import CancelScope

from ._network import Wire

__all__ = ["Answer", "HttpRequest", "Upgrade", "serve_http"]

_MAX_HEAD = 1024 * 1024
_MAX_BODY = 32 * 1024 * 1024


@dataclass(frozen=True)
class HttpRequest:
    """A request with its whole body."""

    method: str
    target: str
    headers: httpx.Headers
    body: bytes

    @property
    def path(self) -> str:
        """The path as it was written, without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query string as it was written."""
        return self.target.partition("?")[2]

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def is_upgrade(self) -> bool:
        """Whether it wants to become a WebSocket."""
        upgrade: str = self.headers.get("upgrade", "")
        return upgrade.lower() == "websocket"


@dataclass(frozen=True)
class Answer:
    """What a request is answered with.

    Attributes:
        status: The status.
        headers: Its fields, without those of the body's length.
        body: The body.
        says_length: Whether the length of the body is said first, as far as it is known.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes | AsyncIterable[bytes] = b""
    says_length: bool = True


@dataclass(frozen=True)
class Upgrade:
    """The answer that makes a WebSocket of the connection: who goes on with it."""

    headers: list[tuple[str, str]]
    serve: Callable[[Wire, bytes], Awaitable[None]]


_CONTINUE = h11.InformationalResponse(status_code=100, headers=[])

Handler = Callable[[HttpRequest], Awaitable["Answer | Upgrade | None"]]
"""Answers a request; None breaks the connection off instead."""


async def serve_http(wire: Wire, handle: Handler) -> None:
    """Answer requests until the connection ends."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    try:
        while True:
            wire.is_idle = True
            request = await _read_request(wire, connection)
            if request is None:
                return
            wire.is_idle = False
            answer = await handle(request)
            if answer is None:
                return
            if isinstance(answer, Upgrade):
                await _send(wire, connection, _switching(answer))
                await answer.serve(wire, connection.trailing_data[0])
                return
            await _write(wire, connection, request, answer)
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as exc:
        await _refuse(wire, connection, exc)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _read_request(wire: Wire, connection: h11.Connection) -> HttpRequest | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            if connection.they_are_waiting_for_100_continue:
                await _send(wire, connection, _CONTINUE)
            connection.receive_data(await wire.receive())
        elif isinstance(event, h11.Request):
            head = event
            wire.is_idle = False
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_BODY:
                return None
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            assert head is not None
            return HttpRequest(
                head.method.decode(),
                head.target.decode(),
                httpx.Headers(list(head.headers)),
                bytes(body),
            )
        else:
            return None


def _switching(answer: Upgrade) -> h11.InformationalResponse:
    return h11.InformationalResponse(
        status_code=101, headers=answer.headers, reason=b"Switching Protocols"
    )


async def _write(
    wire: Wire, connection: h11.Connection, request: HttpRequest, answer: Answer
) -> None:
    headers: list[tuple[Any, Any]] = [
        (name.lower(), value.encode("latin-1"))
        for name, value in answer.headers
        if name.lower() not in ("content-length", "transfer-encoding", "connection")
    ]
    if isinstance(answer.body, bytes) and answer.says_length and answer.status not in (204, 304):
        headers.append(("content-length", str(len(answer.body))))
    head = h11.Response(status_code=answer.status, headers=headers, reason=_reason(answer.status))
    start = connection.send(head) or b""
    if isinstance(answer.body, bytes):
        data = answer.body if request.method != "HEAD" and answer.status not in (204, 304) else b""
        rest = connection.send(h11.Data(data=data)) if data else b""
        await wire.send(start + (rest or b"") + (connection.send(h11.EndOfMessage()) or b""))
        return
    await wire.send(start)
    parts = aiter(answer.body)
    try:
        async for part in parts:
            if part:
                await _send(wire, connection, h11.Data(data=part))
        await _send(wire, connection, h11.EndOfMessage())
    finally:
        await _close_all(parts, getattr(answer.body, "_stream", None))


async def _close_all(*generators: Any) -> None:
    """httpx leaves the generator of a body to the garbage collector, which Trio warns of."""
    with CancelScope(shield=True):
        for generator in generators:
            if isinstance(generator, AsyncGenerator):
                await generator.aclose()


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


async def _send(wire: Wire, connection: h11.Connection, event: Any) -> None:
    data = connection.send(event)
    if data:
        await wire.send(data)


async def _refuse(wire: Wire, connection: h11.Connection, exc: h11.RemoteProtocolError) -> None:
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    try:
        response = h11.Response(
            status_code=exc.error_status_hint,
            headers=[("content-length", "0"), ("connection", "close")],
        )
        await _send(wire, connection, response)
        await _send(wire, connection, h11.EndOfMessage())
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
