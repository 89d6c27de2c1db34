"""The server's side of the protocol as bytes, in bare, CBOR and JSON; without I/O.

What clients write is read here, and what servers of one release write is written, labels and
number forms included: clients of RivetKit up to 2.2 take ids in 64-bit CBOR or as BigInt only.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from .._errors import ActorError, ProtocolError
from ..protocol import bare
from ..protocol.codec import Encoding
from ..protocol.dialect import Dialect
from ..protocol.values import (
    COMPAT_CBOR,
    COMPAT_JSON,
    PLAIN_CBOR,
    PLAIN_JSON,
    TAGLESS_CBOR,
    ValueForm,
    dump_cbor,
    dump_json,
    load_cbor,
    load_json,
    prepare,
    revive,
)
from ._release import Release

__all__ = [
    "ActionRequest",
    "ClientMessage",
    "QueueRequest",
    "ServerCodec",
    "SubscriptionRequest",
    "is_false",
    "server_codec",
]

_LARGEST_NUMBER = 2**53 - 1
"""Larger integers are BigInts in JavaScript."""


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """A client calls an action on its connection."""

    id: int
    name: str
    args: list[Any]


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """A client asks for an event by name, or stops asking."""

    name: str
    subscribe: bool


ClientMessage = ActionRequest | SubscriptionRequest


_QUEUE_FIELDS = ("name", "wait", "timeout")


class _QueueOptions(msgspec.Struct):
    name: str | None = None
    wait: bool = False
    timeout: int | float | None = None


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """A client sends a message to a queue; `timeout` in seconds."""

    name: str | None
    body: Any
    wait: bool
    timeout: float | None


class ServerCodec(Protocol):
    """Reads what clients say and writes what servers say.

    Reading raises `ProtocolError`, writing `TypeError` for a value that cannot travel.
    """

    encoding: Encoding
    content_type: str

    def client_message(self, data: bytes | str) -> ClientMessage:
        """Read one WebSocket message."""
        ...

    def init(self, actor_id: str, connection_id: str) -> bytes | str:
        """The first message on a connection."""
        ...

    def event(self, name: str, args: Sequence[Any]) -> bytes | str:
        """An event."""
        ...

    def action_response(self, id: int, output: Any) -> bytes | str:
        """What an action returned."""
        ...

    def error(self, error: ActorError, action_id: int | None) -> bytes | str:
        """An error of one action, or of the connection."""
        ...

    def action_args(self, body: bytes) -> list[Any]:
        """Read the body of an action call over HTTP."""
        ...

    def action_reply(self, output: Any) -> bytes:
        """The answer to an action call over HTTP."""
        ...

    def queue_request(self, body: bytes) -> QueueRequest:
        """Read the body of a queue message over HTTP."""
        ...

    def queue_reply(self, status: str, response: Any, has_response: bool) -> bytes:
        """The answer to a queue message."""
        ...

    def error_body(self, error: ActorError) -> bytes:
        """An error answer over HTTP."""
        ...


def server_codec(encoding: Encoding, release: Release) -> ServerCodec:
    """The codec of a release for one encoding."""
    match encoding:
        case "bare":
            return _Bare(release)
        case "cbor":
            return _Cbor(release)
        case "json":
            return _Json(release)


class _Bare:
    encoding: Encoding = "bare"
    content_type = "application/octet-stream"

    def __init__(self, release: Release) -> None:
        self._version = release.bare_version.to_bytes(2, "little")
        self._has_actor = release.bare_version >= 4
        self._form = COMPAT_CBOR if release.dialect is Dialect.COMPAT else PLAIN_CBOR

    def client_message(self, data: bytes | str) -> ClientMessage:
        if isinstance(data, str):
            raise ProtocolError("a text message in bare encoding")
        read = bare.Reader(data)
        tag = read.uint()
        message: ClientMessage
        if tag == 0:
            message = ActionRequest(read.uint(), read.text(), self._args(read.data()))
        elif tag == 1:
            message = SubscriptionRequest(read.text(), read.boolean())
        else:
            raise read.unknown_tag(tag)
        read.end()
        return message

    def init(self, actor_id: str, connection_id: str) -> bytes:
        return self._version + b"\x00" + bare.text(actor_id) + bare.text(connection_id)

    def event(self, name: str, args: Sequence[Any]) -> bytes:
        return self._version + b"\x03" + bare.text(name) + self._value(list(args), "args")

    def action_response(self, id: int, output: Any) -> bytes:
        return self._version + b"\x02" + bare.uint(id) + self._value(output, "output")

    def error(self, error: ActorError, action_id: int | None) -> bytes:
        return (
            self._version
            + b"\x01"
            + self._described(error)
            + bare.optional(None if action_id is None else bare.uint(action_id))
            + self._actor(error)
        )

    def action_args(self, body: bytes) -> list[Any]:
        read = bare.Reader(body)
        args = self._args(read.data())
        read.end()
        return args

    def action_reply(self, output: Any) -> bytes:
        return self._version + self._value(output, "output")

    def queue_request(self, body: bytes) -> QueueRequest:
        read = bare.Reader(body)
        value, name = self._load(read.data()), read.optional(read.text)
        wait, timeout = read.optional(read.boolean), read.optional(read.u64)
        read.end()
        return QueueRequest(name, value, bool(wait), None if timeout is None else timeout / 1000)

    def queue_reply(self, status: str, response: Any, has_response: bool) -> bytes:
        value = self._value(response, "response") if has_response else None
        return self._version + bare.text(status) + bare.optional(value)

    def error_body(self, error: ActorError) -> bytes:
        return self._version + self._described(error) + self._actor(error)

    def _described(self, error: ActorError) -> bytes:
        metadata = _metadata(error, self._has_actor)
        # Up to 2.2 this encoding drops what JavaScript takes for false.
        is_none = metadata is None if self._has_actor else is_false(metadata)
        written = None if is_none else self._value(metadata, "metadata")
        return (
            bare.text(error.group)
            + bare.text(error.code)
            + bare.text(error.message)
            + bare.optional(written)
        )

    def _actor(self, error: ActorError) -> bytes:
        if not self._has_actor:
            return b""
        if error.actor is None:
            return bare.optional(None)
        key = error.actor.key
        return bare.optional(
            bare.text(error.actor.id)
            + bare.uint(error.actor.generation)
            + bare.optional(None if key is None else bare.text(key))
        )

    def _value(self, value: Any, where: str) -> bytes:
        return bare.data(dump_cbor(prepare(value, self._form, where)))

    def _args(self, data: bytes) -> list[Any]:
        return _args(load_cbor(data), self._form)

    def _load(self, data: bytes) -> Any:
        return revive(load_cbor(data), self._form)


class _Cbor:
    encoding: Encoding = "cbor"
    content_type = "application/octet-stream"

    def __init__(self, release: Release) -> None:
        compat = release.dialect is Dialect.COMPAT
        self._has_actor = release.bare_version >= 4
        self._form = COMPAT_CBOR if compat else PLAIN_CBOR
        # What goes over HTTP passes through JSON values in the 2.3 runtime.
        self._http_form = TAGLESS_CBOR if compat else PLAIN_CBOR

    def client_message(self, data: bytes | str) -> ClientMessage:
        if isinstance(data, str):
            raise ProtocolError("a text message in cbor encoding")
        return _message_from_tree(load_cbor(data), self._form)

    def init(self, actor_id: str, connection_id: str) -> bytes:
        return _cbor_message("Init", actorId=_cbor(actor_id), connectionId=_cbor(connection_id))

    def event(self, name: str, args: Sequence[Any]) -> bytes:
        return _cbor_message(
            "Event", name=_cbor(name), args=_cbor(prepare(list(args), self._form, "args"))
        )

    def action_response(self, id: int, output: Any) -> bytes:
        value = _cbor(prepare(output, self._form, "output"))
        return _cbor_message("ActionResponse", id=_cbor_u64(id), output=value)

    def error(self, error: ActorError, action_id: int | None) -> bytes:
        id = _cbor(None) if action_id is None else _cbor_u64(action_id)
        return _cbor_message("Error", **self._described(error, self._form), actionId=id)

    def action_args(self, body: bytes) -> list[Any]:
        return _args(_map(load_cbor(body)).get("args"), self._form)

    def action_reply(self, output: Any) -> bytes:
        return _cbor({"output": _for_http(output, self._http_form)})

    def queue_request(self, body: bytes) -> QueueRequest:
        return _queue_from_tree(load_cbor(body), self._form)

    def queue_reply(self, status: str, response: Any, has_response: bool) -> bytes:
        reply: dict[str, Any] = {"status": status}
        if has_response:
            reply["response"] = _for_http(response, self._http_form)
        return _cbor(reply)

    def error_body(self, error: ActorError) -> bytes:
        return _cbor_map(**self._described(error, self._http_form))

    def _described(self, error: ActorError, form: ValueForm) -> dict[str, bytes]:
        fields = {
            "group": _cbor(error.group),
            "code": _cbor(error.code),
            "message": _cbor(error.message),
        }
        metadata = _metadata(error, self._has_actor)
        if metadata is not None:
            fields["metadata"] = _cbor(prepare(metadata, form, "metadata"))
        if error.actor is not None and self._has_actor:
            actor = {
                "actorId": _cbor(error.actor.id),
                "generation": _cbor_u64(error.actor.generation),
            }
            if error.actor.key is not None:
                actor["key"] = _cbor(error.actor.key)
            fields["actor"] = _cbor_map(**actor)
        return fields


class _Json:
    encoding: Encoding = "json"
    content_type = "application/json"

    def __init__(self, release: Release) -> None:
        self._has_actor = release.bare_version >= 4
        self._form = COMPAT_JSON if release.dialect is Dialect.COMPAT else PLAIN_JSON
        # Servers write floats as they are; it is their reader that rounds.
        self._written = msgspec.structs.replace(self._form, rounds=False)

    def client_message(self, data: bytes | str) -> ClientMessage:
        return _message_from_tree(load_json(data), self._form)

    def init(self, actor_id: str, connection_id: str) -> str:
        return _json_message("Init", {"actorId": actor_id, "connectionId": connection_id})

    def event(self, name: str, args: Sequence[Any]) -> str:
        return _json_message("Event", {"name": name, "args": self._value(list(args), "args")})

    def action_response(self, id: int, output: Any) -> str:
        value = self._value(output, "output")
        return _json_message("ActionResponse", {"id": ["$BigInt", str(id)], "output": value})

    def error(self, error: ActorError, action_id: int | None) -> str:
        id = None if action_id is None else ["$BigInt", str(action_id)]
        return _json_message("Error", {**self._described(error), "actionId": id})

    def action_args(self, body: bytes) -> list[Any]:
        return _args(_map(load_json(body)).get("args"), self._form)

    def action_reply(self, output: Any) -> bytes:
        return dump_json({"output": self._value(output, "output")})

    def queue_request(self, body: bytes) -> QueueRequest:
        return _queue_from_tree(load_json(body), self._form)

    def queue_reply(self, status: str, response: Any, has_response: bool) -> bytes:
        reply: dict[str, Any] = {"status": status}
        if has_response:
            reply["response"] = self._value(response, "response")
        return dump_json(reply)

    def error_body(self, error: ActorError) -> bytes:
        return dump_json(self._described(error))

    def _described(self, error: ActorError) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "group": error.group,
            "code": error.code,
            "message": error.message,
        }
        metadata = _metadata(error, self._has_actor)
        if metadata is not None:
            fields["metadata"] = self._value(metadata, "metadata")
        if error.actor is not None and self._has_actor:
            fields["actor"] = {"actorId": error.actor.id, "generation": error.actor.generation}
            if error.actor.key is not None:
                fields["actor"]["key"] = error.actor.key
        return fields

    def _value(self, value: Any, where: str) -> Any:
        return prepare(_like_json_stringify(value), self._written, where)


def _for_http(value: Any, form: ValueForm) -> Any:
    """The tree of a value in an HTTP answer: null where the 2.3 runtime finds no JSON value."""
    try:
        return prepare(value, form, "output")
    except TypeError:
        if form.tags:
            raise
        prepare(value, COMPAT_CBOR, "output")
        return None


def _metadata(error: ActorError, has_runtime: bool) -> Any:
    """What is left of an error's metadata: in 2.3, what JSON has.

    Raises:
        TypeError: for what JSON lacks.
    """
    return _json_value(error.metadata) if has_runtime else error.metadata


def is_false(value: Any) -> bool:
    """Whether JavaScript takes this for false."""
    return value is None or (isinstance(value, (str, int, float)) and (not value or value != value))


def _json_value(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {str(index): byte for index, byte in enumerate(bytes(value))}
    if isinstance(value, (set, frozenset)):
        return {}
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise TypeError(f"JSON has no BigInt: {value!r}")
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    return _like_json_stringify(value)


def _like_json_stringify(value: Any) -> Any:
    """What JavaScript's own JSON writer makes of dates and of numbers that are none."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        text = value.astimezone(dt.UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (list, tuple)):
        return [_like_json_stringify(item) for item in value]
    if isinstance(value, dict):
        return {key: _like_json_stringify(item) for key, item in value.items()}
    return value


def _message_from_tree(tree: Any, form: ValueForm) -> ClientMessage:
    body = _map(_map(tree).get("body"))
    tag, value = body.get("tag"), _map(body.get("val"))
    if tag == "ActionRequest":
        id = value.get("id")
        if isinstance(id, list) and len(id) == 2 and id[0] == "$BigInt" and str(id[1]).isdecimal():
            id = int(id[1])
        if not isinstance(id, int):
            raise ProtocolError(f"no action id: {id!r:.60}")
        return ActionRequest(id, _text(value, "name"), _args(value.get("args"), form))
    if tag == "SubscriptionRequest":
        return SubscriptionRequest(_text(value, "eventName"), bool(value.get("subscribe")))
    raise ProtocolError(f"no message of a client: {tag!r:.60}")


def _queue_from_tree(tree: Any, form: ValueForm) -> QueueRequest:
    fields, is_plain = _map(tree), form in (PLAIN_CBOR, PLAIN_JSON)
    if is_plain and "body" not in fields:
        raise ProtocolError("a message has a body")
    # RivetKit's client writes an option that was not given as undefined.
    given = {name: revive(fields.get(name), form) for name in _QUEUE_FIELDS}
    try:
        wanted = msgspec.convert(
            {name: value for name, value in given.items() if value is not None}, _QueueOptions
        )
    except msgspec.ValidationError as exc:
        raise ProtocolError(str(exc)) from None
    timeout = wanted.timeout
    if timeout is not None:
        if not is_plain and (isinstance(timeout, float) or timeout < 0):
            raise ProtocolError(f"2.3 waits whole milliseconds, not {timeout!r}")
        timeout /= 1000
    return QueueRequest(wanted.name, revive(fields.get("body"), form), wanted.wait, timeout)


def _args(tree: Any, form: ValueForm) -> list[Any]:
    """The arguments of a call. 2.3 wraps anything but a list, those before stumble over it."""
    value = revive(tree, form)
    if isinstance(value, list):
        return value
    if form in (PLAIN_CBOR, PLAIN_JSON):
        raise ProtocolError(f"arguments are a list, not {value!r:.60}")
    return [] if value is None else [value]


def _map(tree: Any) -> Mapping[Any, Any]:
    if not isinstance(tree, dict):
        raise ProtocolError(f"a map was due: {tree!r:.60}")
    return tree


def _text(tree: Mapping[Any, Any], name: str) -> str:
    value = tree.get(name)
    if not isinstance(value, str):
        raise ProtocolError(f"the field {name!r} is {value!r:.60}")
    return value


def _json_message(tag: str, value: Any) -> str:
    return dump_json({"body": {"tag": tag, "val": value}}).decode()


def _cbor_message(tag: str, **fields: bytes) -> bytes:
    return _cbor_map(body=_cbor_map(tag=_cbor(tag), val=_cbor_map(**fields)))


def _cbor_map(**fields: bytes) -> bytes:
    """A map of values that are CBOR already."""
    pairs = (_cbor(name) + value for name, value in fields.items())
    return bytes((0xA0 + len(fields),)) + b"".join(pairs)


def _cbor_u64(value: int) -> bytes:
    return b"\x1b" + value.to_bytes(8, "big")


def _cbor(tree: Any) -> bytes:
    return dump_cbor(tree)
