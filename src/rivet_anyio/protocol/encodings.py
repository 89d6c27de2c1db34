"""The protocol's messages as bytes: one codec for each of bare, cbor and json.

A codec speaks one dialect. Answers in bare encoding name their version, so that codec corrects
itself; the two others speak the dialect they were made for.
"""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache
from typing import Any, Literal, Protocol, TypeVar

from .._errors import ActorSpecifier, ProtocolError
from . import bare
from .dialect import Dialect
from .messages import (
    ActionResponse,
    Delivery,
    ErrorBody,
    Event,
    Init,
    QueueReply,
    Raw,
    RawCbor,
    RawTree,
    ServerError,
    ServerMessage,
)
from .values import (
    COMPAT_CBOR,
    COMPAT_JSON,
    MAX_DEPTH,
    PLAIN_CBOR,
    PLAIN_JSON,
    TAGLESS_CBOR,
    ValueForm,
    dump_cbor,
    dump_json,
    javascript_numbers,
    load_cbor,
    load_json,
    prepare,
    quote,
    revive_arguments,
    shown,
)

__all__ = ["Codec", "Encoding", "codec_for", "error_from_json"]

Encoding = Literal["bare", "cbor", "json"]
"""How values and messages are written: ``bare`` carries every value, see `values`."""

T = TypeVar("T")

_MESSAGE_VERSION = (2).to_bytes(2, "little")
"""Requests have the same bytes in versions 1 to 4; 2 is the oldest that a 2.x server reads."""
_ACTION = _MESSAGE_VERSION + b"\x00"
_ARGUMENTS_DEPTH = MAX_DEPTH - 3
"""How deep an event's arguments may nest in the three maps around them."""
_QUEUE_VERSION = (3).to_bytes(2, "little")


# A connection calls few actions many times.
_text = lru_cache(256)(bare.text)
_cbor_text = lru_cache(256)(dump_cbor)


class Codec(Protocol):
    """Writes what clients say and reads what servers say.

    Writing raises `TypeError` for a value that cannot travel, reading `ProtocolError`.
    """

    encoding: Encoding
    content_type: str
    dialect: Dialect

    def action_message(self, id: int, name: str, args: list[Any] | tuple[Any, ...]) -> bytes | str:
        """An action call on a connection."""
        ...

    def subscription_message(self, name: str, subscribe: bool) -> bytes | str:
        """Ask for an event by name, or stop asking."""
        ...

    def server_message(self, data: bytes | str) -> ServerMessage:
        """Read one WebSocket message."""
        ...

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        """As `server_message`; but an event of a wanted name can come with its value.

        Most messages are such, and this is the short way for them. Whatever is odd, arguments
        that cannot be read among it, takes the long way.
        """
        ...

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        """The body of an action call over HTTP."""
        ...

    def action_output(self, body: bytes) -> Raw:
        """Read the answer to an action call over HTTP."""
        ...

    def queue_body(self, name: str, body: Any, wait: bool, timeout_ms: int | None) -> bytes:
        """The body of a queue message over HTTP."""
        ...

    def queue_reply(self, body: bytes) -> QueueReply:
        """Read the answer to a queue message."""
        ...

    def error_body(self, body: bytes) -> ErrorBody:
        """Read an error answer over HTTP."""
        ...


def codec_for(encoding: Encoding, dialect: Dialect) -> Codec:
    """The codec to begin with."""
    if encoding == "bare":
        return BareCodec(dialect)
    if encoding == "cbor":
        return CborCodec(dialect)
    return JsonCodec(dialect)


# The event-prefix cache. All event messages of one name begin with the same bytes, up to the
# arguments. Where a prefix came before, only the arguments are decoded. The first event of each
# name is decoded completely, which checks its prefix.

_MOST = 256

_BEFORE_CBOR_NAME = {
    before[0]: (before, before.index(b"eEvent"))
    for before in (
        b"\xb9\x00\x01dbody\xb9\x00\x02ctageEventcval\xb9\x00\x02dname",  # RivetKit up to 2.2
        b"\xa1dbody\xa2ctageEventcval\xa2dname",  # RivetKit 2.3
    )
}
_AFTER_CBOR_NAME = b"dargs"
_SHORT_TEXT = 0x60
"""What CBOR adds to the length of a short string; 24 says that the length comes next."""


def _remember(prefixes: dict[bytes, T], prefix: bytes, known: T) -> None:
    """Remember what a prefix says; a bounded number of them, whatever a server sends."""
    if len(prefixes) >= _MOST:
        prefixes.clear()
    prefixes[prefix] = known


def _cbor_arguments_at(data: bytes) -> int:
    """Where the arguments begin, if this is an event in cbor encoding as servers write them.

    0: it is not. Whether it is one, only the prefix that ends there says.
    """
    known = _BEFORE_CBOR_NAME.get(data[0]) if data else None
    if known is None:
        return 0
    before, tag_at = known
    at = len(before)
    # The first byte of the tag is its length, and distinguishes an event from an answer.
    if len(data) < at + 2 or data[tag_at] != before[tag_at]:
        return 0
    size = data[at] - _SHORT_TEXT
    if size == 24:
        size = data[at + 1] + 1
    return at + 1 + size + len(_AFTER_CBOR_NAME)


def _is_cbor_prefix(prefix: bytes, name: str) -> bool:
    """Whether this is all that comes before the arguments of an event of this name."""
    after = dump_cbor(name) + _AFTER_CBOR_NAME
    return any(prefix == before + after for before, _ in _BEFORE_CBOR_NAME.values())


_BARE_VERSIONS = {
    version: (dialect, COMPAT_CBOR if dialect is Dialect.COMPAT else PLAIN_CBOR)
    for version in range(1, bare.NEWEST_VERSION + 1)
    for dialect in (Dialect.of_bare_version(version),)
}
"""What the version prefix of an answer says of its values."""


def _short_uint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer of two to four bytes, and where it ends; an IndexError for others."""
    value = data[at] & 0x7F
    for shift in (7, 14, 21):
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if not byte:
                break
            return value, at + 1
    raise IndexError


class BareCodec:
    """BARE messages whose values are CBOR; carries every value that JavaScript and Python share."""

    encoding: Encoding = "bare"
    content_type = "application/octet-stream"

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._prefixes: dict[bytes, tuple[str, Dialect, ValueForm]] = {}

    def action_message(self, id: int, name: str, args: list[Any] | tuple[Any, ...]) -> bytes:
        payload = self._value(args, "args")
        return b"".join((_ACTION, bare.uint(id), _text(name), bare.uint(len(payload)), payload))

    def subscription_message(self, name: str, subscribe: bool) -> bytes:
        return _MESSAGE_VERSION + b"\x01" + bare.text(name) + bare.boolean(subscribe)

    def server_message(self, data: bytes | str) -> ServerMessage:
        if isinstance(data, str):
            raise ProtocolError(f"a text message in bare encoding: {quote(data)}")
        read = self._reader(data)
        tag = read.uint()
        message: ServerMessage
        if tag == 0:
            message = Init(read.text(), read.text())
            if read.version == 1:
                read.text()
        elif tag == 1:
            message = self._server_error(read)
        elif tag == 2:
            message = ActionResponse(read.uint(), self._raw(read))
        elif tag == 3:
            message = Event(read.text(), self._raw(read))
        else:
            raise read.unknown_tag(tag)
        read.end()
        return message

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        if type(data) is not bytes or len(data) < 5:
            return self.server_message(data)
        if data[2] != 3:
            return self._answer(data) or self.server_message(data)
        # The prefix of an event is its version, tag and name.
        at = data[3] + 4
        known = self._prefixes.get(data[:at])
        if known is None:
            return self._first_event(data, wanted)
        name, dialect, form = known
        try:
            length, start = data[at], at + 1
            if length >= 0x80:
                length, start = _short_uint(data, at)
            if start + length == len(data) and name in wanted:
                value = revive_arguments(load_cbor(data[start:]), form)
                self.dialect = dialect
                return name, value
        except (IndexError, ProtocolError):
            pass
        return self.server_message(data)

    def _first_event(self, data: bytes, wanted: Container[str]) -> Event:
        """Read an event the long way, and remember its prefix."""
        event = self.server_message(data)
        assert isinstance(event, Event)
        at = data[3] + 4
        if event.name in wanted and data[3] < 0x80:
            _remember(self._prefixes, data[:at], (event.name, *_BARE_VERSIONS[data[0]]))
        return event

    def _answer(self, data: bytes) -> ActionResponse | None:
        """The answer to an action; None for any other message, and for whatever is odd."""
        if data[2] != 2 or data[1]:
            return None
        try:
            dialect, form = _BARE_VERSIONS[data[0]]
            id, at = (data[3], 4) if data[3] < 0x80 else _short_uint(data, 3)
            length = data[at]
            length, start = (length, at + 1) if length < 0x80 else _short_uint(data, at)
        except (KeyError, IndexError):
            return None
        if start + length != len(data):
            return None
        self.dialect = dialect
        return ActionResponse(id, RawCbor(data[start:], form))

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        return _MESSAGE_VERSION + bare.data(self._value(args, "args"))

    def action_output(self, body: bytes) -> Raw:
        read = self._reader(body)
        output = self._raw(read)
        read.end()
        return output

    def queue_body(self, name: str, body: Any, wait: bool, timeout_ms: int | None) -> bytes:
        return (
            _QUEUE_VERSION
            + bare.data(self._value(body, "body"))
            + bare.optional(bare.text(name))
            + bare.optional(bare.boolean(wait))
            + bare.optional(None if timeout_ms is None else bare.u64(timeout_ms))
        )

    def queue_reply(self, body: bytes) -> QueueReply:
        read = self._reader(body)
        reply = QueueReply(read.text(), read.optional(lambda: self._raw(read)))
        read.end()
        return reply

    def error_body(self, body: bytes) -> ErrorBody:
        read = self._reader(body)
        group, code, message = read.text(), read.text(), read.text()
        metadata = read.optional(lambda: self._raw(read))
        actor = self._actor(read)
        read.end()
        return ErrorBody(group, code, message, metadata, actor)

    def _server_error(self, read: bare.Reader) -> ServerError:
        group, code, message = read.text(), read.text(), read.text()
        metadata = read.optional(lambda: self._raw(read))
        action_id = read.optional(read.uint)
        actor = self._actor(read)
        return ServerError(ErrorBody(group, code, message, metadata, actor), action_id)

    def _actor(self, read: bare.Reader) -> ActorSpecifier | None:
        if read.version < 4:
            return None
        return read.optional(
            lambda: ActorSpecifier(read.text(), read.uint(), read.optional(read.text))
        )

    def _reader(self, data: bytes) -> bare.Reader:
        read = bare.Reader(data)
        self.dialect = Dialect.of_bare_version(read.version)
        return read

    def _raw(self, read: bare.Reader) -> RawCbor:
        return RawCbor(read.data(), self._form)

    def _value(self, value: Any, where: str) -> bytes:
        return dump_cbor(prepare(value, self._form, where))

    @property
    def _form(self) -> ValueForm:
        return COMPAT_CBOR if self.dialect is Dialect.COMPAT else PLAIN_CBOR


class _TreeCodec:
    """What cbor and json encoding have in common: a message is one tree of maps and lists."""

    dialect: Dialect

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        return self._dump({"args": prepare(args, self._form, "args")})

    def action_output(self, body: bytes) -> Raw:
        return RawTree(_map(self._load(body), body).get("output"), self._form)

    def queue_body(self, name: str, body: Any, wait: bool, timeout_ms: int | None) -> bytes:
        message = {"body": prepare(body, self._form, "body"), "name": name, "wait": wait}
        return self._dump(message if timeout_ms is None else {**message, "timeout": timeout_ms})

    def queue_reply(self, body: bytes) -> QueueReply:
        fields = _map(self._load(body), body)
        response = RawTree(fields["response"], self._form) if "response" in fields else None
        return QueueReply(_field(fields, "status", str, body), response)

    def error_body(self, body: bytes) -> ErrorBody:
        return _error_from_tree(self._load(body), self._form, body)

    def _load(self, data: bytes) -> Any:
        raise NotImplementedError

    def _dump(self, tree: Any) -> bytes:
        raise NotImplementedError

    @property
    def _form(self) -> ValueForm:
        raise NotImplementedError


class CborCodec(_TreeCodec):
    """Messages and values as one CBOR structure."""

    encoding: Encoding = "cbor"
    content_type = "application/octet-stream"

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._prefixes: dict[bytes, str] = {}

    def action_message(self, id: int, name: str, args: list[Any] | tuple[Any, ...]) -> bytes:
        # Servers up to 2.2 want the id in 64-bit form, which cbor-x reads as BigInt, and the
        # 2.3 runtime wants the tag before the value.
        return (
            b"\xa1dbody\xa2ctagmActionRequestcval\xa3bid\x1b"
            + id.to_bytes(8, "big")
            + b"dname"
            + _cbor_text(name)
            + b"dargs"
            + dump_cbor(prepare(args, self._form, "args"))
        )

    def subscription_message(self, name: str, subscribe: bool) -> bytes:
        return dump_cbor(_subscription(name, subscribe))

    def server_message(self, data: bytes | str) -> ServerMessage:
        if isinstance(data, str):
            raise ProtocolError(f"a text message in cbor encoding: {quote(data)}")
        return _message_from_tree(load_cbor(data), self._form, data)

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        if isinstance(data, str):
            return self.server_message(data)
        at = _cbor_arguments_at(data)
        name = self._prefixes.get(data[:at]) if at else None
        if name is not None and name in wanted:
            try:
                return name, revive_arguments(load_cbor(data[at:], _ARGUMENTS_DEPTH), self._form)
            except ProtocolError:
                return self.server_message(data)
        message = _read_tree(load_cbor(data), self._form, data, wanted)
        if isinstance(message, tuple) and _is_cbor_prefix(data[:at], message[0]):
            _remember(self._prefixes, data[:at], message[0])
        return message

    def _load(self, data: bytes) -> Any:
        return load_cbor(data)

    def _dump(self, tree: Any) -> bytes:
        return dump_cbor(tree)

    @property
    def _form(self) -> ValueForm:
        return TAGLESS_CBOR if self.dialect is Dialect.COMPAT else PLAIN_CBOR


class JsonCodec(_TreeCodec):
    """Messages and values as one JSON text."""

    encoding: Encoding = "json"
    content_type = "application/json"

    def action_message(self, id: int, name: str, args: list[Any] | tuple[Any, ...]) -> str:
        # Servers up to 2.2 want the id as a BigInt.
        value = {
            "id": ["$BigInt", str(id)],
            "name": name,
            "args": prepare(args, self._form, "args"),
        }
        return dump_json({"body": {"tag": "ActionRequest", "val": value}}).decode()

    def subscription_message(self, name: str, subscribe: bool) -> str:
        return dump_json(_subscription(name, subscribe)).decode()

    def server_message(self, data: bytes | str) -> ServerMessage:
        return _message_from_tree(self._load(data), self._form, data)

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        return _read_tree(self._load(data), self._form, data, wanted)

    def _load(self, data: bytes | str) -> Any:
        tree = load_json(data)
        # The runtime of 2.3 is no JavaScript: it writes floats so that they cannot be mistaken.
        return javascript_numbers(tree, data) if self.dialect is Dialect.PLAIN else tree

    def _dump(self, tree: Any) -> bytes:
        return dump_json(tree)

    @property
    def _form(self) -> ValueForm:
        return COMPAT_JSON if self.dialect is Dialect.COMPAT else PLAIN_JSON


def error_from_json(body: bytes) -> ErrorBody:
    """Read a JSON error: the gateway and the management API send those in every encoding."""
    return _error_from_tree(load_json(body), COMPAT_JSON, body)


def _subscription(name: str, subscribe: bool) -> Any:
    value = {"eventName": name, "subscribe": subscribe}
    return {"body": {"tag": "SubscriptionRequest", "val": value}}


def _read_tree(
    tree: Any, form: ValueForm, data: bytes | str, wanted: Container[str]
) -> ServerMessage | Delivery:
    """A wanted event, or an answer, without the checks that only find what is wrong."""
    try:
        body = tree["body"]
        tag, value = body["tag"], body["val"]
        if tag == "Event":
            name = value["name"]
            if type(name) is str and name in wanted:
                return name, revive_arguments(value.get("args"), form)
        elif tag == "ActionResponse":
            id = _integer(value["id"])
            if id is not None:
                return ActionResponse(id, RawTree(value.get("output"), form))
    except (LookupError, TypeError, AttributeError, ProtocolError):
        pass
    return _message_from_tree(tree, form, data)


def _message_from_tree(tree: Any, form: ValueForm, data: bytes | str) -> ServerMessage:
    body = _field(_map(tree, data), "body", dict, data)
    tag = _field(body, "tag", str, data)
    value = _field(body, "val", dict, data)
    if tag == "Init":
        return Init(_field(value, "actorId", str, data), _field(value, "connectionId", str, data))
    if tag == "Event":
        return Event(_field(value, "name", str, data), RawTree(value.get("args"), form))
    if tag == "ActionResponse":
        id = _integer(value.get("id"))
        if id is None:
            raise ProtocolError(f"an action response without an id: {quote(data)}")
        return ActionResponse(id, RawTree(value.get("output"), form))
    if tag == "Error":
        return ServerError(_error_from_tree(value, form, data), _integer(value.get("actionId")))
    raise ProtocolError(f"the message tag {shown(tag)} is unknown: {quote(data)}")


def _error_from_tree(tree: Any, form: ValueForm, data: bytes | str) -> ErrorBody:
    fields = _map(tree, data)
    metadata = fields.get("metadata")
    return ErrorBody(
        _field(fields, "group", str, data),
        _field(fields, "code", str, data),
        _field(fields, "message", str, data),
        None if metadata is None else RawTree(metadata, form),
        _actor_from_tree(fields.get("actor")),
    )


def _actor_from_tree(tree: Any) -> ActorSpecifier | None:
    if not isinstance(tree, dict):
        return None
    id, generation, key = tree.get("actorId"), _integer(tree.get("generation")), tree.get("key")
    if not isinstance(id, str) or generation is None:
        return None
    return ActorSpecifier(id, generation, key if isinstance(key, str) else None)


def _integer(tree: Any) -> int | None:
    """An id: a plain integer, or the BigInt marker."""
    if isinstance(tree, list) and len(tree) == 2 and tree[0] == "$BigInt":
        text = tree[1]
        return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 20 else None
    return tree if type(tree) is int else None


def _map(tree: Any, data: bytes | str) -> dict[Any, Any]:
    if not isinstance(tree, dict):
        raise ProtocolError(f"a map was due: {quote(data)}")
    return tree


def _field(tree: dict[Any, Any], name: str, kind: type[T], data: bytes | str) -> T:
    value = tree.get(name)
    if not isinstance(value, kind):
        raise ProtocolError(f"the field {name!r} is {shown(value)}: {quote(data)}")
    return value
