"""A transport that notes on a tape what goes through it."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from .._errors import ConfigError, ConnectionLostError, ProtocolError, RivetError
from .._gateway.context import Core
from .._gateway.errors import error_of
from .._http.transport import (
    HttpAnswer,
    HttpTransport,
    ObservedTransport,
    OpenAnswer,
    Timeouts,
    Upgraded,
)
from .._io.backend import ByteStream
from .._websocket.framing import Close
from .._websocket.rfc6455 import RFC6455Framer
from ..protocol.addressing import HEADER_RAY
from ..protocol.codec import Codec, Encoding
from ..protocol.encodings import codec_for
from ..protocol.management import parse_metadata
from ..protocol.messages import ActionResponse, Event, Init, actor_error
from ..protocol.verdicts import PROBE
from ._cassette_file import (
    CassetteError,
    Exchange,
    Message,
    Names,
    RecordedConnection,
    Tape,
    error_entry,
)
from ._cassette_requests import (
    connection_of,
    encoding_of,
    exchange_of,
    request_of,
    text_or_bytes,
    whole_body,
)
from ._cassette_values import json_text, to_json
from ._encodings import ActionRequest, ServerCodec, server_codec
from ._http import HttpRequest
from ._release import Release, release_of
from ._websocket import whole_messages

__all__ = ["Recorder", "Recording"]

_LONGEST = 2**40
_TIME = 1_704_067_200_000
"""What every time in a record of an actor becomes: 2024-01-01, in milliseconds."""
_TIMES = ("create_ts", "sleep_ts", "destroy_ts")
_KEPT = ("actor_id", "name", "key", "datacenter", "runner_name_selector", "crash_policy", "error")
"""What is kept of the record of an actor."""
_LEFT_OUT = re.compile(
    r"date|server|connection|keep-alive|transfer-encoding|via|alt-svc"
    r"|.*(token|secret|password|auth|cookie|api-?key).*",
    re.IGNORECASE,
)
"""Headers of answers that differ each time, or are secret."""


class Recording:
    """What is recorded of all clients.

    Attributes:
        tape: What came so far.
        names: Names for ids and secrets.
        problems: What could not be recorded.
    """

    def __init__(self, names: Names) -> None:
        self.tape = Tape(exchanges=[], connections=[])
        self.names = names
        self.problems: list[str] = []

    @property
    def release(self) -> Release:
        """That of the server.

        Raises:
            CassetteError: the server has not said.
        """
        if not self.tape.rivetkit:
            raise CassetteError("the server does not say its version, which a recording needs")
        return release_of(self.tape.rivetkit)

    def learn_version(self, answer: HttpAnswer) -> None:
        """Read the answer of ``/metadata``.

        Raises:
            CassetteError: the version is unknown.
        """
        if not answer.ok:
            return
        version = parse_metadata(answer.body).version.text
        try:
            release_of(version)
        except ConfigError as exc:
            raise CassetteError(f"this server cannot be recorded: {exc}") from None
        self.tape.rivetkit = version

    def begin(self, asked: HttpRequest) -> Exchange:
        """Note a request."""
        exchange = exchange_of(asked, self.release, self.names)
        self.tape.exchanges.append(exchange)
        return exchange

    @contextmanager
    def noting_loss(self, entry: Exchange | RecordedConnection) -> Generator[None]:
        """Note that there is no answer when sending the request raises."""
        try:
            yield
        except RivetError as exc:
            self.fail(entry, exc)
            raise

    def fail(self, entry: Exchange | RecordedConnection, error: Exception) -> None:
        """Note that the answer cannot be recorded."""
        if isinstance(entry, Exchange):
            what = json_text(self.names.hide(entry.question))
        else:
            what = f"a {self.names.hide(entry.name)}"
        self.problems.append(f"{what}: {error}")


class Recorder(ObservedTransport):
    """The transport of one client.

    Args:
        transport: What carries the requests.
        core: The client.
        recording: Where to note them.
    """

    def __init__(self, transport: HttpTransport, core: Core, recording: Recording) -> None:
        super().__init__(transport)
        self._core = core
        self._recording = recording
        self._known = {core.config.endpoint.url}

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        **options: Any,
    ) -> HttpAnswer:
        recording = self._recording
        asked = request_of(method, url, self._endpoints, headers, content, recording.names)
        if asked.path == "/metadata":
            answer = await self._transport.request(
                method, url, headers=headers, content=content, **options
            )
            recording.learn_version(answer)
            return answer
        exchange = recording.begin(asked)
        with recording.noting_loss(exchange):
            answer = await self._transport.request(
                method, url, headers=headers, content=content, **options
            )
        try:
            _note_answer(exchange, answer, self._codec(encoding_of(asked)), recording.names)
        except (ProtocolError, TypeError) as exc:
            recording.fail(exchange, exc)
        return answer

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> OpenAnswer:
        recording = self._recording
        body = await whole_body(content)
        asked = request_of(method, url, self._endpoints, headers, body, recording.names)
        exchange = recording.begin(asked)
        if body is not None and content is not body:
            content = _in_one_piece(body)
        with recording.noting_loss(exchange):
            answer = await self._transport.open(
                method, url, headers=headers, content=content, timeouts=timeouts
            )
        return _ObservedAnswer(answer, exchange, recording)

    async def upgrade(self, url: str, *, headers: Mapping[str, str], **options: Any) -> Upgraded:
        recording = self._recording
        asked = request_of("GET", url, self._endpoints, headers, None, recording.names)
        connection = connection_of(asked, recording.names)
        codec = self._codec(encoding_of(asked))
        recording.tape.connections.append(connection)
        with recording.noting_loss(connection):
            answer = await self._transport.upgrade(url, headers=headers, **options)
        if answer.stream is None:
            refusal = HttpAnswer(answer.status, answer.headers, answer.body)
            try:
                connection.error = error_entry(error_of(refusal, codec))
                connection.status = answer.status
            except (ProtocolError, TypeError) as exc:
                recording.fail(connection, exc)
            return answer
        notes: _Notes = _RawNotes(connection, recording)
        if connection.websocket is None:
            written_by_client = server_codec(codec.encoding, recording.release)
            notes = _ConnectionNotes(connection, recording, codec, written_by_client)
        return msgspec.structs.replace(answer, stream=_ObservedStream(answer.stream, notes))

    @property
    def _endpoints(self) -> list[str]:
        """The endpoint that the client was given, and those that the server has sent it on to.

        One may begin with another: the longest come first.
        """
        server = self._core._server
        if server is not None:
            self._known.add(server.endpoint.url)
        return sorted(self._known, key=len, reverse=True)

    def _codec(self, encoding: Encoding) -> Codec:
        return codec_for(encoding, self._recording.release.dialect)


async def _in_one_piece(body: bytes) -> AsyncGenerator[bytes]:
    yield body


def _note_answer(exchange: Exchange, answer: HttpAnswer, codec: Codec, names: Names) -> None:
    """Note what came.

    Raises:
        ProtocolError: it is not an answer of RivetKit's.
        TypeError: as `to_json`.
    """
    is_action, is_send = exchange.action is not None, exchange.send is not None
    if not answer.ok:
        error = error_of(answer, codec if is_action or is_send else None)
        exchange.error, exchange.status = error_entry(error), answer.status
    elif is_action:
        exchange.answer = to_json(codec.action_output(answer.body).load())
    elif is_send:
        reply = codec.queue_reply(answer.body)
        exchange.answer = {"status": reply.status}
        if reply.response is not None:
            exchange.answer["response"] = to_json(reply.response.load())
    else:
        try:
            exchange.answer = _reduced(json.loads(answer.body), names)
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            raise ProtocolError(f"this is not of the management API: {exc!r}") from exc


def _reduced(tree: Any, names: Names) -> Any:
    """An answer of the management API without what differs each time."""
    tree.pop("created", None)
    if "actor" in tree:
        tree["actor"] = _reduced_actor(tree["actor"], names)
    if "actors" in tree:
        tree["actors"] = [_reduced_actor(actor, names) for actor in tree["actors"]]
    pagination = tree.get("pagination") or {}
    if pagination.get("cursor"):
        pagination["cursor"] = names.cursor(pagination["cursor"])
    return tree


def _reduced_actor(actor: dict[str, Any], names: Names) -> dict[str, Any]:
    names.add_id("actor", actor["actor_id"])
    kept = {name: actor[name] for name in _KEPT if actor.get(name) is not None}
    return kept | {name: _TIME for name in _TIMES if actor.get(name) is not None}


class _ObservedAnswer:
    """An answer whose body is noted as it is read."""

    def __init__(self, answer: OpenAnswer, exchange: Exchange, recording: Recording) -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.version = answer.version
        self.headers = answer.headers
        self.raw_headers = answer.raw_headers
        self._answer = answer
        self._exchange = exchange
        self._recording = recording
        self._body = bytearray()
        self._is_whole = False
        self._note()

    async def read(self) -> bytes:
        with self._recording.noting_loss(self._exchange):
            data = await self._answer.read()
        self._body += data
        self._is_whole = not data
        return data

    async def aclose(self) -> None:
        self._note()
        await self._answer.aclose()

    def _note(self) -> None:
        headers = {
            name: "ray" if name == HEADER_RAY else value
            for name, value in sorted(self.headers.items())
            if not _LEFT_OUT.fullmatch(name)
        }
        body = to_json(text_or_bytes(bytes(self._body)))
        self._exchange.answer = {"status": self.status, "headers": headers, "body": body}
        if not self._is_whole:
            self._exchange.answer["unfinished"] = True


class _Notes(ABC):
    """Reads the messages of one WebSocket, in both directions, and notes them."""

    def __init__(self, connection: RecordedConnection, recording: Recording) -> None:
        self._connection = connection
        self._recording = recording
        self._framer = RFC6455Framer(_LONGEST)
        self._server = Connection(ConnectionType.SERVER)
        self._parts: list[Any] = []
        self._is_over = False

    def received(self, data: bytes) -> None:
        """The server sent bytes, or none at the end."""
        if self._is_over:
            return
        if not data:
            self.lost()
            return
        try:
            for received in self._framer.receive(data):
                if isinstance(received, Close):
                    self._is_over = True
                    reason = re.sub("#.*", "#ray", received.reason)
                    self._note(Message(close=(received.code, reason)))
                elif isinstance(received, list):
                    for message in received:
                        self._read(message)
        except (ProtocolError, TypeError) as exc:
            self._fail(exc)

    def sent(self, data: bytes) -> None:
        """The client sent bytes."""
        if self._is_over:
            return
        self._server.receive_data(data)
        try:
            for event in whole_messages(self._server.events(), self._parts):
                if isinstance(event, CloseConnection):
                    self._is_over = True
                elif isinstance(event, (str, bytes)):
                    self._read_sent(event)
        except (ProtocolError, TypeError) as exc:
            self._fail(exc)

    def lost(self) -> None:
        """The connection broke."""
        if not self._is_over:
            self._is_over = True
            self._note(Message(lost=True))

    def _fail(self, exc: Exception) -> None:
        self._is_over = True
        self._recording.fail(self._connection, exc)

    def _note(self, message: Message) -> None:
        self._connection.messages.append(message)

    @abstractmethod
    def _read_sent(self, data: str | bytes) -> None:
        """A message of the client."""

    @abstractmethod
    def _read(self, data: str | bytes) -> None:
        """A message of the server."""


class _RawNotes(_Notes):
    """Those of a raw WebSocket."""

    def _read_sent(self, data: str | bytes) -> None:
        self._note(Message(sent=to_json(data)))

    def _read(self, data: str | bytes) -> None:
        self._note(Message(received=to_json(data)))


class _ConnectionNotes(_Notes):
    """Those of a connection."""

    def __init__(
        self,
        connection: RecordedConnection,
        recording: Recording,
        codec: Codec,
        written_by_client: ServerCodec,
    ) -> None:
        super().__init__(connection, recording)
        self._codec = codec
        self._written_by_client = written_by_client
        self._calls: dict[int, int] = {}  # their numbers by their ids; probes have none
        self._count = 0

    def _read_sent(self, data: str | bytes) -> None:
        message = self._written_by_client.client_message(data)
        if not isinstance(message, ActionRequest):
            if message.subscribe:
                self._note(Message(subscribe=message.name))
        elif message.name != PROBE:
            self._count += 1
            self._calls[message.id] = self._count
            args = [to_json(arg) for arg in message.args]
            self._note(Message(call=self._count, action=message.name, args=args))

    def _read(self, data: str | bytes) -> None:
        message = self._codec.server_message(data)
        if isinstance(message, Init):
            self._recording.names.add_id("connection", message.connection_id)
            self._note(Message(init=message.connection_id))
        elif isinstance(message, Event):
            args = [to_json(arg) for arg in message.args.load()]
            self._note(Message(event=message.name, args=args))
        elif isinstance(message, ActionResponse):
            if message.id in self._calls:
                answer = to_json(message.output.load())
                self._note(Message(to=self._calls[message.id], answer=answer))
        elif message.action_id is None or message.action_id in self._calls:
            number = None if message.action_id is None else self._calls[message.action_id]
            self._note(Message(to=number, error=error_entry(actor_error(message.body))))


class _ObservedStream:
    """A stream whose bytes are noted."""

    def __init__(self, stream: ByteStream, notes: _Notes) -> None:
        self._stream = stream
        self._notes = notes

    @property
    def writes_now(self) -> bool:
        return self._stream.writes_now

    async def read(self, max_bytes: int) -> bytes:
        try:
            data = await self._stream.read(max_bytes)
        except ConnectionLostError:
            self._notes.lost()
            raise
        self._notes.received(data)
        return data

    def read_now(self, max_bytes: int) -> bytes | None:
        data = self._stream.read_now(max_bytes)
        if data is not None:
            self._notes.received(data)
        return data

    def is_quiet(self) -> bool:
        return self._stream.is_quiet()

    async def write(self, data: bytes) -> None:
        self._notes.sent(data)
        await self._stream.write(data)

    def write_now(self, data: bytes) -> int:
        written = self._stream.write_now(data)
        if written:
            self._notes.sent(data[:written])
        return written

    def unsent(self) -> int:
        return self._stream.unsent()

    def drop(self) -> None:
        self._stream.drop()

    async def aclose(self) -> None:
        await self._stream.aclose()
