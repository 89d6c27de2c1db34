"""What is fuzzed. Every target takes any bytes, and raises for nothing but a bug."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

import httpx
import msgspec
import trio
from trio.testing import MockClock

from rivet_anyio import ActorError, Client, ProtocolError, RivetError
from rivet_anyio._convert import convert
from rivet_anyio._errors import again
from rivet_anyio._gateway.errors import error_of
from rivet_anyio._http.exchange import State
from rivet_anyio._http.transport import HttpAnswer
from rivet_anyio._websocket.framing import Close, Frame, Framer, FramingError, Ping, Pong
from rivet_anyio.protocol.bare import data as bare_data
from rivet_anyio.protocol.closes import close_as_error, close_error
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.protocol.dialect import Dialect, ServerVersion
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.json_codec import error_from_json
from rivet_anyio.protocol.management import parse_actor, parse_actors, parse_metadata
from rivet_anyio.protocol.messages import (
    ActionResponse,
    ErrorBody,
    Event,
    Init,
    QueueReply,
    RawCbor,
    RawTree,
    ServerError,
)
from rivet_anyio.protocol.session import Session
from rivet_anyio.protocol.verdicts import (
    is_refusal,
    is_scheduling,
    is_transient,
    judge,
)

from ..conformance.framers import FRAMERS, frames_of
from ..conformance.table import CASES
from ..http.cases import CASES as HTTP_CASES
from ..http.differ import read_by_h11, read_by_plain
from ..http.playing import new, play
from ..protocol.vectors import SERVERS

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """Something that reads what a peer sent.

    Attributes:
        name: For the command line.
        run: Reads it; an exception is a finding.
        seeds: Inputs to begin with.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


# Frames

_LIMITS = (1, 100, 70_000)


class _Read(NamedTuple):
    got: list[Frame]
    violation: int | None


def frames(data: bytes) -> None:
    """The framers: the first two bytes choose the limit and the slices, the rest arrives."""
    limit = _LIMITS[data[0] % len(_LIMITS)] if data else 1
    step = data[1] % 32 + 1 if len(data) > 1 else 1
    data = data[2:]
    for tested in FRAMERS:
        whole = _read_frames(tested.make(limit), [data], limit)
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        sliced = _read_frames(tested.make(limit), pieces, limit)
        assert sum(map(_size, whole.got)) <= len(data)
        # Slices can show an early fault of a frame that another fault comes before in a whole.
        assert sliced.got == whole.got
        assert sliced.violation == whole.violation or {sliced.violation, whole.violation} == {
            1007,
            1009,
        }


def _read_frames(framer: Framer, pieces: list[bytes], limit: int) -> _Read:
    got: list[Frame] = []
    for piece in pieces:
        try:
            for frame in frames_of(framer, piece):
                assert isinstance(frame, (str, bytes, Ping, Pong, Close))
                assert not isinstance(frame, (str, bytes)) or len(frame) <= limit
                got.append(frame)
        except FramingError as error:
            assert error.close_code in (1002, 1007, 1009)
            return _Read(got, int(error.close_code))
        if got and isinstance(got[-1], Close):
            break
    return _Read(got, None)


def _size(frame: Frame) -> int:
    if isinstance(frame, Close):
        return len(frame.reason.encode())
    payload = frame.payload if isinstance(frame, (Ping, Pong)) else frame
    return len(payload.encode() if isinstance(payload, str) else payload)


# Messages


class _Point(msgspec.Struct):
    x: int
    y: float = 0.0
    name: str | None = None


_TYPES: tuple[Any, ...] = (int, float, str, bytes, list[int], dict[str, Any], _Point, Any)


def _messages(encoding: Encoding, data: bytes) -> None:
    for dialect in Dialect:
        codec = codec_for(encoding, dialect)
        session = Session(codec)
        session.init = Init("a", "c")
        _read(partial(_received, session, data))
        for method in (codec.server_message, codec.action_output, codec.queue_reply):
            _read(partial(method, data))
        _read(partial(codec.error_body, data))
        if encoding == "json":
            _read(partial(codec.server_message, data.decode(errors="replace")))


def _received(session: Session, data: bytes) -> Any:
    message = session.receive(data, {"e", "newCount"})
    if not isinstance(message, tuple):
        session.check_answer(message, issued=1)
    return message


def _read(read: Callable[[], Any]) -> None:
    try:
        value = _load(read())
    except ProtocolError as error:
        _check_text(error)
        return
    for type in _TYPES:
        try:
            convert(value, type, "a value")
        except ProtocolError as error:
            _check_text(error)


def _load(part: Any) -> Any:
    """The value inside a message, or the last one that is."""
    if isinstance(part, (RawCbor, RawTree)):
        return part.load()
    if isinstance(part, ActionResponse):
        return _load(part.output)
    if isinstance(part, Event):
        return _load(part.args)
    if isinstance(part, ServerError):
        return _load(part.body)
    if isinstance(part, ErrorBody):
        return _load(part.metadata)
    if isinstance(part, QueueReply):
        return _load(part.response)
    return part


def _check_text(error: BaseException) -> None:
    """What an error says is text, and no copy of all that was sent."""
    assert len(str(error).encode(errors="replace")) < 20_000


def bare(data: bytes) -> None:
    """Messages of bare encoding."""
    _messages("bare", data)
    # Most inputs would not get past the version.
    _messages("bare", b"\x04\x00" + data)


def cbor(data: bytes) -> None:
    """Messages of cbor encoding."""
    _messages("cbor", data)


def json(data: bytes) -> None:
    """Messages of json encoding."""
    _messages("json", data)


# What reading costs

_REPEATED_LENGTH = 40_000
_MEMORY = 20_000_000
_MEMORY_PER_BYTE = 60
_SECONDS = 5.0
"""Much more than any input of this length takes, and much less than what grows with its square."""


def costs(data: bytes) -> None:
    """Values: one item many times, in a list, a set, and as the keys of a map."""
    if not data:
        return
    many = _REPEATED_LENGTH // len(data)
    counted = many.to_bytes(4, "big")
    numbered = b"".join(data + b"\x1a" + number.to_bytes(4, "big") for number in range(many))
    for value in (
        b"\x9a" + counted + data * many,
        b"\xd9\x01\x02\x9a" + counted + data * many,
        b"\xba" + counted + (data + b"\x00") * many,
        b"\xba" + counted + numbered,
        b"\x9f" + numbered + b"\xff",
        b"[" + b",".join([data] * many) + b"]",
        b'["$Set",[' + b",".join([data] * many) + b"]]",
    ):
        for encoding in ("bare", "json"):
            body = value
            if encoding == "bare":
                body = b"\x04\x00" + bare_data(value)
            _bounded(partial(_messages_of, encoding, body), len(body))


def _messages_of(encoding: Encoding, body: bytes) -> None:
    _read(partial(codec_for(encoding, Dialect.COMPAT).action_output, body))


def _bounded(read: Callable[[], None], length: int) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        read()
        seconds = time.process_time() - began
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < _MEMORY + _MEMORY_PER_BYTE * length, (peak, length)
    assert seconds < _SECONDS, (seconds, length)


# HTTP

_STATUSES = (200, 400, 401, 403, 404, 409, 429, 500, 502, 503)


def _answers(data: bytes) -> list[HttpAnswer]:
    """Answers, one after another: a status, some headers and a body each."""
    answers: list[HttpAnswer] = []
    for part in data.split(b"\xff\xff\n"):
        head, _, body = part.partition(b"\n\n")
        lines = head[1:].decode("latin-1").split("\n")
        headers = [
            (name.encode(), value.encode("latin-1"))
            for name, colon, value in (line.partition(":") for line in lines)
            if colon and name.isascii() and name.isprintable() and name.strip()
        ]
        status = _STATUSES[part[0] % len(_STATUSES)] if part else 200
        answers.append(HttpAnswer(status, httpx.Headers(headers), body))
    return answers


_METHODS = ("GET", "POST", "HEAD", "CONNECT")


def exchange(data: bytes) -> None:
    """Bytes of an answer: the first two choose the request and the pieces, the rest arrives."""
    method = _METHODS[data[0] % len(_METHODS)] if data else "GET"
    upgrade = bool(data) and data[0] % 8 > 3
    step = data[1] % 32 + 1 if len(data) > 1 else 1
    data = data[2:]
    results = {
        play(new(method, upgrade=upgrade), [*pieces, b""])
        for pieces in (
            [data] if data else [],
            [data[at : at + step] for at in range(0, len(data), step)],
            [data[at : at + 1] for at in range(len(data))],
        )
    }
    assert len(results) == 1, results
    (only,) = results
    assert only.state not in (State.HEAD, State.BODY)
    assert not only.reusable
    assert len(only.body) + len(only.leftover) <= len(data)
    if method == "GET" and (plain := read_by_plain(data)) is not None:
        assert read_by_h11(data) == plain


def http_errors(data: bytes) -> None:
    """Errors in HTTP answers, with every codec that may be asked."""
    for answer in _answers(data):
        for encoding in _ENCODINGS:
            for dialect in Dialect:
                _judge(partial(error_of, answer, codec_for(encoding, dialect)))
        _judge(partial(error_of, answer, None))


_ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


def _judge(read: Callable[[], ActorError]) -> None:
    try:
        error = read()
    except ProtocolError as problem:
        _check_text(problem)
        return
    judge(error)
    for ask in (is_refusal, is_scheduling, is_transient):
        assert isinstance(ask(error), bool)
    assert str(again(error)) == str(error)


def management(data: bytes) -> None:
    """The management API's answers."""
    _read(partial(error_from_json, data))
    for version in (None, ServerVersion("rivetkit", "2.0.33")):
        _read(partial(parse_actors, data, version))
        _read(partial(parse_actor, data, version))
    try:
        metadata = parse_metadata(data)
    except ProtocolError as error:
        _check_text(error)
    else:
        assert isinstance(metadata.version.dialect, Dialect)
        assert isinstance(metadata.version.has_queues, bool)


def client(data: bytes) -> None:
    """A whole client, whose every request is answered with the next of these."""
    answers = _answers(data)
    skips = len(data) % 2 == 0

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(found.status, headers=found.headers, content=found.body)

    async def use() -> None:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
            Client(
                "http://peer", http=http, max_message_size=1_000_000, skip_ready_wait=skips
            ) as one,
        ):
            handle = one.actor("a").get_or_create(("k",))
            for call in (
                lambda: handle.action("act"),
                lambda: handle.send("queue", 1),
                lambda: handle.send_and_wait("queue", 1, timeout=1.0),
                lambda: _first(one),
                lambda: handle.fetch("/"),
            ):
                try:
                    await call()
                except RivetError as error:
                    _check_text(error)

    trio.run(use, clock=MockClock(autojump_threshold=0))


async def _first(client: Client) -> Any:
    async for actor in client.actor("a").list():
        return actor
    return None


# Closes


def close_reasons(data: bytes) -> None:
    """Close frames that the framer let through."""
    reason = data[2:].decode(errors="replace")
    error = close_error(reason)
    assert error is None or reason.startswith(f"{error.group}.{error.code}")
    for code in (int.from_bytes(data[:2], "big"), 1000, 1005, 1011):
        meaning = close_as_error(code, reason)
        assert isinstance(meaning, RivetError) and str(meaning)
        if isinstance(meaning, ActorError):
            judge(meaning)
            assert isinstance(is_refusal(meaning) or is_transient(meaning), bool)


# All of them


def _seeds_of(encoding: Encoding) -> tuple[bytes, ...]:
    return tuple(
        data
        for server in SERVERS
        if server.encoding == encoding
        for data in (
            server.init,
            server.event,
            server.error,
            server.response,
            server.values,
            server.nothing,
            server.action_output,
            server.error_body,
            server.queue,
            server.queue_with_response,
        )
        if data is not None
    )


_METADATA = (
    b'{"runtime":"rivetkit","version":"2.3.19","clientEndpoint":"http://other:1/x",'
    b'"clientNamespace":"n","clientToken":"t"}'
)
_ACTOR = (
    b'{"actor_id":"x","name":"a","key":"k","datacenter":"d","runner_name_selector":"p",'
    b'"create_ts":1,"sleep_ts":2,"destroy_ts":3,"error":{"no":1}}'
)
_ONE = b'{"actor":' + _ACTOR + b"}"
_PAGE = b'{"actors":[' + _ACTOR + b'],"pagination":{"cursor":"c"}}'
_ERRORS = tuple(
    bytes((status,)) + head + b"\n\n" + body
    for status, head, body in (
        (1, b"content-type:application/json", b'{"group":"g","code":"c","message":"m"}'),
        (7, b"x-rivet-error:guard.no_route\nx-rivet-ray-id:r", b"no route"),
        (9, b"x-rivet-actor:x\nx-rivet-actor-generation:3", SERVERS[0].error_body),
        (
            4,
            b"x-rivet-actor:x\nx-rivet-actor-generation:3\nx-rivet-actor-key:k",
            SERVERS[1].error_body,
        ),
        (6, b"retry-after:3", b'{"group":"actor","code":"starting","message":"","metadata":{}}'),
    )
)
_OPENING = b"\x00\n\n" + _METADATA + b"\xff\xff\n" + b"\x00\n\n" + _ONE + b"\xff\xff\n"

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "frames",
            frames,
            tuple(
                b"\x02\x06" + data
                for data in (b"".join(sent.wire for sent in case.sent) for case in CASES)
                if len(data) < 400
            ),
        ),
        Target("bare", bare, _seeds_of("bare")),
        Target("cbor", cbor, _seeds_of("cbor")),
        Target("json", json, _seeds_of("json")),
        Target(
            "costs",
            costs,
            (
                b"\xa0",
                b"\xa1\x00\xf7",
                b"\xe0",
                b"\xd9\x01\x02\x80",
                b"\xd9\x01\x03\xa1\x01\x02",
                b"\xc1\x1a\x65\x93\x7d\x25",
                b"\xc2\x49" + b"\x01" * 9,
                b"\xf9\x3c\x00",
                b"\x82\x67$BigInt\x6277",
                b'{"":[]}',
                b'["$Set",[]]',
            ),
        ),
        Target(
            "exchange",
            exchange,
            tuple(
                bytes((_METHODS.index(case.method) + 4 * case.upgrade, 6)) + case.data
                for case in HTTP_CASES
                if case.method in _METHODS and len(case.data) < 400
            ),
        ),
        Target("http_errors", http_errors, (*_ERRORS, b"\xff\xff\n".join(_ERRORS))),
        Target("management", management, (_METADATA, _ONE, _PAGE)),
        Target(
            "client",
            client,
            (
                *(_OPENING + error for error in _ERRORS),
                *(_OPENING + b"\x00\n\n" + output for output in _seeds_of("bare")[:12]),
                _OPENING + b"\x00\n\n" + _PAGE,
            ),
        ),
        Target(
            "close_reasons",
            close_reasons,
            (b"\x03\xf3user.banned#ray", b"\x03\xf3guard.a.b", b"\x03\xe8", b"\x0f\xa0x"),
        ),
    )
}
