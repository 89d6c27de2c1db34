"""A transport that answers from a tape."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from msgspec import UNSET
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from .._connection.receiving import Receiver
from .._connection.state import ConnectionState
from .._errors import ActorError, ConnectionLostError
from .._gateway.context import Core
from .._http.headers import Headers
from .._http.transport import HttpAnswer, OpenAnswer, Timeouts, Upgraded
from .._io.waiting import Signal
from .._websocket.connection import WebSocketConnection
from ..protocol.addressing import HEADER_ERROR, HEADER_RAY
from ..protocol.values import dump_json
from ..protocol.verdicts import PROBE
from ._cassette_file import (
    CassetteError,
    ErrorEntry,
    Exchange,
    Message,
    Names,
    RecordedConnection,
    Tape,
)
from ._cassette_requests import connection_of, encoding_of, exchange_of, request_of, whole_body
from ._cassette_values import from_json, json_text, to_json
from ._encodings import ActionRequest, ServerCodec, server_codec
from ._http import HttpRequest
from ._release import release_of
from ._script import Script
from ._websocket import upgrade_answer, whole_messages

__all__ = ["Player", "Playing"]

_RAY = (HEADER_RAY, "ray")
_NO_CODE = 1005
_LONGEST = 500
"""How much of a question is compared and shown."""
_FINDING = ("GET ", "PUT ")
"""Methods of requests that find actors, and create them where there is none."""


class Playing:
    """What is left of a tape, for all clients.

    Attributes:
        release: What the server runs.
        names: Names for secrets.
        missing: Calls that were not on the tape.

    Args:
        path: Where the tape is from.
        tape: The tape.
        names: Names for secrets.
    """

    def __init__(self, path: Path, tape: Tape, names: Names) -> None:
        self.release = release_of(tape.rivetkit)
        self.names = names
        self.missing: list[CassetteError] = []
        self._path = path
        self._exchanges = [(json_text(entry.question), entry) for entry in tape.exchanges]
        self._last: dict[str, Exchange] = {}
        self._connections = list(tape.connections)
        self._scripts: list[tuple[RecordedConnection, Script]] = []
        self._known = [question for question, _ in self._exchanges]
        self._known += [
            json_text(message.question)
            for connection in tape.connections
            for message in connection.messages
            if not (message.call is None and message.sent is None)
        ]

    def take(self, asked: Exchange) -> Exchange:
        """The next recorded exchange of this question.

        What finds actors may be asked more often than it was: the last answer comes again.

        Raises:
            CassetteError: there is none.
        """
        question = self.text(asked.question)
        for index, (known, exchange) in enumerate(self._exchanges):
            if known == question:
                del self._exchanges[index]
                if (asked.request or "").startswith(_FINDING):
                    self._last[question] = exchange
                return exchange
        if question in self._last:
            return self._last[question]
        raise self.miss(question)

    @property
    def unused(self) -> list[str]:
        """What was recorded and not asked for, but for requests that only find something."""
        found = [
            _shortened(known)
            for known, exchange in self._exchanges
            if not (exchange.request or "").startswith(_FINDING)
        ]
        found += [f"a {connection.name}" for connection in self._connections]
        for connection, script in self._scripts:
            where = f" on a {connection.name}"
            found += [_shortened(json_text(message)) + where for message in script.unsaid]
        return found

    def script(self, connection: RecordedConnection) -> Script:
        """What a recorded connection says, from now on."""
        script = Script(connection.messages)
        self._scripts.append((connection, script))
        return script

    def connect(self, asked: RecordedConnection) -> RecordedConnection:
        """The next recorded connection to an actor, or raw WebSocket of a path.

        Raises:
            CassetteError: there is none.
        """
        name = self.names.hide(asked.name)
        for index, connection in enumerate(self._connections):
            if connection.name == name:
                return self._connections.pop(index)
        text = f"the cassette {self._path} has no other {name}. Record it anew with record()"
        if asked.websocket is None:
            raise _NoConnection(text)
        raise self.note(CassetteError(text))

    def text(self, question: dict[str, Any]) -> str:
        """A question as the tape has it."""
        return json_text(self.names.hide(question))

    def value(self, tree: Any) -> Any:
        """A value of the tape."""
        return from_json(self.names.show(tree))

    def error(self, entry: ErrorEntry) -> ActorError:
        """An error of the tape."""
        return msgspec.convert(self.names.show(msgspec.to_builtins(entry)), ErrorEntry).load()

    def miss(self, question: str, where: str = "") -> CassetteError:
        """The error for a call that is not on the tape, or not so often."""
        text = f"the cassette {self._path} does not have {_shortened(question)}{where}"
        count = self._known.count(question)
        if count:
            text += f" again: it has it {'once' if count == 1 else f'{count} times'}"
        elif self._known:
            nearest = max(self._known, key=lambda known: _likeness(known, question))
            text += f". The nearest that it has is {_shortened(nearest)}"
        return self.note(CassetteError(f"{text}. Record it anew with record()"))

    def unwritable(self, exc: TypeError) -> CassetteError:
        """The error for a recorded value that this client's encoding does not have."""
        return self.note(CassetteError(f"what the cassette {self._path} has cannot travel: {exc}"))

    def note(self, error: CassetteError) -> CassetteError:
        """Remember an error that the program may suppress."""
        self.missing.append(error)
        return error


class _NoConnection(CassetteError, TypeError):
    """A connection takes a `TypeError` for final, and makes no other attempt."""


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one[:_LONGEST], other[:_LONGEST], autojunk=False).ratio()


def _shortened(question: str) -> str:
    return question if len(question) <= _LONGEST else f"{question[:_LONGEST]}..."


class Player:
    """The transport of one client.

    Args:
        core: The client.
        playing: Where answers are.
    """

    failed_dials = 0

    def __init__(self, core: Core, playing: Playing) -> None:
        self._core = core
        self._playing = playing

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        **options: Any,
    ) -> HttpAnswer:
        await checkpoint()
        asked = self._asked(method, url, headers, content)
        if asked.path == "/metadata":
            return self._metadata()
        exchange = await self._exchange(asked)
        codec = self._codec(asked)
        if exchange.error is not None:
            assert exchange.status is not None
            error = self._playing.error(exchange.error)
            if exchange.request is not None:
                return self._gateway_error(exchange.status, error)
            return self._actor_error(exchange.status, error, codec)
        value = self._playing.value(exchange.answer)
        try:
            if exchange.action is not None:
                body = codec.action_reply(value)
            elif exchange.send is not None:
                response = value.get("response")
                body = codec.queue_reply(value["status"], response, "response" in value)
            else:
                body = dump_json(value)
        except TypeError as exc:
            raise self._playing.unwritable(exc) from None
        return HttpAnswer(200, self._headers(("content-type", codec.content_type)), body)

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> OpenAnswer:
        await checkpoint()
        body = await whole_body(content)
        exchange = await self._exchange(self._asked(method, url, headers, body))
        return _PlayedAnswer(self._playing.value(exchange.answer))

    async def upgrade(self, url: str, *, headers: Mapping[str, str], **options: Any) -> Upgraded:
        await checkpoint()
        asked = self._asked("GET", url, headers, None)
        connection = self._playing.connect(connection_of(asked, self._playing.names))
        if connection.error is not None:
            assert connection.status is not None
            error = self._playing.error(connection.error)
            answer = self._gateway_error(connection.status, error)
            return Upgraded(answer.status, "HTTP/1.1", answer.headers, None, answer.body)
        kind = _PlayedStream if connection.websocket is None else _PlayedWebSocket
        stream = kind(self._core, self._playing, connection, self._codec(asked))
        return Upgraded(101, "HTTP/1.1", _fields(upgrade_answer(asked, _nobody).headers), stream)

    def via(self, url: str) -> str:
        """There is nothing to lead through."""
        return ""

    def lost(self, url: str) -> None:
        """There are no connections to forget."""

    def close(self) -> None:
        """There are no connections to close."""

    def _asked(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | list[tuple[str, str]],
        content: bytes | None,
    ) -> HttpRequest:
        endpoints = (self._core.config.endpoint.url,)
        return request_of(method, url, endpoints, headers, content, self._playing.names)

    async def _exchange(self, asked: HttpRequest) -> Exchange:
        """What was recorded of a request; it waits for ever where no answer came."""
        playing = self._playing
        exchange = playing.take(exchange_of(asked, playing.release, playing.names))
        if exchange.answer is UNSET and exchange.error is None:
            await anyio.sleep_forever()
        return exchange

    def _codec(self, asked: HttpRequest) -> ServerCodec:
        return server_codec(encoding_of(asked), self._playing.release)

    def _metadata(self) -> HttpAnswer:
        release = self._playing.release
        runtime = "engine" if release.has_engine else "rivetkit"
        body = dump_json({"runtime": runtime, "version": release.version})
        return HttpAnswer(200, self._headers(), body)

    def _actor_error(self, status: int, error: ActorError, codec: ServerCodec) -> HttpAnswer:
        """An error that the actor, or its host, has answered."""
        signer = error.actor
        if signer is None and self._playing.release.has_engine:
            return self._gateway_error(status, error)
        headers = []
        if signer is not None:
            headers += [("x-rivet-actor", signer.id)]
            headers += [("x-rivet-actor-generation", str(signer.generation))]
            headers += [("content-type", codec.content_type)]
        try:
            return HttpAnswer(status, self._headers(*headers), codec.error_body(error))
        except TypeError as exc:
            raise self._playing.unwritable(exc) from None

    def _gateway_error(self, status: int, error: ActorError) -> HttpAnswer:
        """An error from before the actor."""
        fields = {"group": error.group, "code": error.code, "message": error.message}
        body = dump_json({**fields, "metadata": to_json(error.metadata)})
        headers = [("content-type", "application/json")]
        if self._playing.release.has_engine:
            headers.append((HEADER_ERROR, f"{error.group}.{error.code}"))
        return HttpAnswer(status, self._headers(*headers), body)

    def _headers(self, *headers: tuple[str, str]) -> Headers:
        return _fields([*headers, *([_RAY] if self._playing.release.has_engine else [])])


def _fields(headers: list[tuple[str, str]]) -> Headers:
    return Headers([(name.lower().encode(), value.encode()) for name, value in headers])


async def _nobody(*args: Any) -> None:
    """Serves nothing: the frames are read in `_PlayedStream`."""


class _PlayedAnswer:
    """An answer of an actor's own server."""

    reason = ""
    version = "HTTP/1.1"

    def __init__(self, answer: dict[str, Any]) -> None:
        self.status: int = answer["status"]
        body: str | bytes = answer["body"]
        self._body = body.encode() if isinstance(body, str) else body
        fields = dict(answer["headers"])
        self._is_unfinished = "unfinished" in answer
        # Where there is no body it is that of another answer, as after HEAD.
        if self._body and "content-length" in fields and not self._is_unfinished:
            fields["content-length"] = str(len(self._body))
        self.headers = _fields(list(fields.items()))
        self.raw_headers = self.headers.raw

    async def read(self) -> bytes:
        await checkpoint()
        body, self._body = self._body, b""
        if self._is_unfinished and not body:
            await anyio.sleep_forever()
        return body

    async def aclose(self) -> None:
        await checkpoint()


class _PlayedStream:
    """The client's end of a recorded connection: what it writes is answered at once."""

    writes_now = True

    def __init__(
        self, core: Core, playing: Playing, connection: RecordedConnection, codec: ServerCodec
    ) -> None:
        self._core = core
        self._playing = playing
        self._actor = connection.actor
        self._name = connection.name
        self._codec = codec
        self._script = playing.script(connection)
        self._server = Connection(ConnectionType.SERVER)
        self._parts: list[Any] = []
        self._ids: dict[int, int] = {}  # of the client's calls, by their numbers
        self._incoming = bytearray()
        self._hears = True  # False once the server has closed
        self._is_ended = False  # by the server
        self._is_dropped = False  # by the client
        self._changed = Signal()
        self._say(self._script.begin())

    # The client's side

    async def read(self, max_bytes: int) -> bytes:
        await checkpoint()
        while (data := self.read_now(max_bytes)) is None:
            await self._changed.wait()
        return data

    def read_now(self, max_bytes: int) -> bytes | None:
        self._check_open()
        if not self._incoming:
            return b"" if self._is_ended else None
        data = bytes(self._incoming[:max_bytes])
        del self._incoming[:max_bytes]
        return data

    def is_quiet(self) -> bool:
        return not (self._incoming or self._is_ended or self._is_dropped)

    async def write(self, data: bytes) -> None:
        await checkpoint()
        self._check_open()
        self._take(data)
        self._check_open()

    def write_now(self, data: bytes) -> int:
        if not self._is_dropped:
            self._take(data)
        return 0 if self._is_dropped else len(data)

    def unsent(self) -> int:
        return 0

    def drop(self) -> None:
        self._is_dropped = True
        self._notify()

    async def aclose(self) -> None:
        self.drop()

    def _check_open(self) -> None:
        if self._is_dropped:
            raise ConnectionLostError("the connection broke: it is closed")

    def _notify(self) -> None:
        self._changed.set()
        self._changed = Signal()

    # The server's side

    def _take(self, data: bytes) -> None:
        """Take bytes of the client's."""
        if self._is_ended:
            return
        self._server.receive_data(data)
        for event in whole_messages(self._server.events(), self._parts):
            if isinstance(event, CloseConnection):
                if not self._is_ended:
                    self._send(self._server.send(event.response()))
                self._is_ended = True
            elif isinstance(event, Ping):
                self._send(self._server.send(event.response()))
            elif isinstance(event, (str, bytes)) and self._hears:
                self._receive(event)
        self._notify()

    def _receive(self, data: str | bytes) -> None:
        message = self._codec.client_message(data)
        if isinstance(message, ActionRequest):
            if message.name == PROBE:
                self._answer_probe(message.id)
            else:
                self._call(message)
        elif message.subscribe:
            said = self._script.subscribe(message.name)
            if said is not None:
                self._say(said)
                return
            known = json_text({"subscribe": message.name})
            error = self._playing.miss(known, f" on the {self._name}")
            self._state.end_streams(message.name, error)

    def _call(self, request: ActionRequest) -> None:
        try:
            args = [to_json(arg) for arg in request.args]
        except TypeError as exc:
            self._fail(request.id, CassetteError(str(exc)))
            return
        question = self._playing.text(Message(action=request.name, args=args).question)
        found = self._script.call(lambda message: json_text(message.question) == question)
        if found is None:
            where = f" on this {self._name}"
            self._fail(request.id, self._playing.miss(question, where))
            return
        number, said = found
        self._ids[number] = request.id
        self._say(said)

    def _answer_probe(self, id: int) -> None:
        """A probe is not recorded: it finds what has no action, as always."""
        error = ActorError("actor", "action_not_found", f"Action `{PROBE}` was not found.")
        self._send_message(self._codec.error(error, id))

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            try:
                self._say_one(message)
            except TypeError as exc:
                error = self._playing.unwritable(exc)
                if message.to is not None:
                    self._fail(self._ids[message.to], error)
                elif message.event is not None:
                    self._state.end_streams(message.event, error)
        self._notify()

    def _say_one(self, message: Message) -> None:
        playing = self._playing
        id = None if message.to is None else self._ids[message.to]
        if message.init is not None:
            self._send_message(self._codec.init(self._actor, message.init))
        elif message.event is not None:
            self._send_message(self._codec.event(message.event, playing.value(message.args)))
        elif message.error is not None:
            self._send_message(self._codec.error(playing.error(message.error), id))
        elif message.close is not None:
            self._hears = False
            code, reason = message.close
            frame = CloseConnection(code, reason or None) if code != _NO_CODE else None
            self._send(b"\x88\x00" if frame is None else self._server.send(frame))
        elif message.received is not None:
            self._send_message(playing.value(message.received))
        elif message.lost:
            self._hears = False
            self._is_ended = True
        else:
            assert id is not None
            self._send_message(self._codec.action_response(id, playing.value(message.answer)))

    def _send_message(self, data: str | bytes) -> None:
        frame = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
        self._send(self._server.send(frame))

    def _send(self, data: bytes) -> None:
        self._incoming += data

    # What has no form in the protocol: the caller gets an error of the harness

    def _fail(self, id: int, error: CassetteError) -> None:
        call = self._state.in_flight.pop(id, None)
        if call is not None:
            call.fail(error)

    @property
    def _state(self) -> ConnectionState:
        """That of the connection whose stream this is."""
        assert isinstance(self._socket._sink, Receiver)
        return self._socket._sink._state

    @property
    def _socket(self) -> WebSocketConnection:
        """The one whose stream this is."""
        for socket in self._core.sockets:
            if isinstance(socket, WebSocketConnection) and socket._stream is self:
                return socket
        raise AssertionError("the stream is of no connection")


class _PlayedWebSocket(_PlayedStream):
    """The client's end of a recorded raw WebSocket."""

    def _receive(self, data: str | bytes) -> None:
        question = self._playing.text(Message(sent=to_json(data)).question)
        said = self._script.send(lambda message: json_text(message.question) == question)
        if said is not None:
            self._say(said)
            return
        error: Any = self._playing.miss(question, f" on this {self._name}")
        self._socket._finish(error)  # so the program gets it
        self.drop()
