"""Messages that are one tree of maps and lists, as in cbor and json encoding."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, TypeVar

from .._errors import ActorSpecifier, ProtocolError
from .dialect import Dialect
from .messages import (
    ActionResponse,
    Delivery,
    ErrorBody,
    Event,
    Init,
    QueueReply,
    Raw,
    RawTree,
    ServerError,
    ServerMessage,
)
from .values import ValueForm, prepare, quote, revive_arguments, shown

__all__ = ["TreeCodec", "error_from_tree", "message_from_tree", "read_tree", "subscription"]

T = TypeVar("T")


class TreeCodec:
    """What cbor and json encoding have in common: a message is one tree of maps and lists."""

    names_version = False
    dialect: Dialect

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def events(
        self, messages: Sequence[bytes | str], wanted: Container[str]
    ) -> tuple[list[str], list[Any]]:
        return [], []  # each tree is read by itself

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        return self._dump({"args": prepare(args, self._form, "args")})

    def action_output(self, body: bytes) -> Raw:
        fields = _map(self._load(body), body)
        # RivetKit up to 2.2 answers `{}` in JSON for undefined. Whoever says something else, and no
        # output, is no actor.
        if fields and "output" not in fields:
            raise ProtocolError(f"an answer without the action's output: {quote(body)}")
        return RawTree(fields.get("output"), self._form)

    def queue_body(self, name: str, body: Any, wait: bool, timeout_ms: int | None) -> bytes:
        message = {"body": prepare(body, self._form, "body"), "name": name, "wait": wait}
        return self._dump(message if timeout_ms is None else {**message, "timeout": timeout_ms})

    def queue_reply(self, body: bytes) -> QueueReply:
        fields = _map(self._load(body), body)
        response = RawTree(fields["response"], self._form) if "response" in fields else None
        return QueueReply(_field(fields, "status", str, body), response)

    def error_body(self, body: bytes) -> ErrorBody:
        return error_from_tree(self._load(body), self._form, body)

    def _load(self, data: bytes) -> Any:
        raise NotImplementedError

    def _dump(self, tree: Any) -> bytes:
        raise NotImplementedError

    @property
    def _form(self) -> ValueForm:
        raise NotImplementedError


def subscription(name: str, subscribe: bool) -> Any:
    value = {"eventName": name, "subscribe": subscribe}
    return {"body": {"tag": "SubscriptionRequest", "val": value}}


def read_tree(
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
    return message_from_tree(tree, form, data)


def message_from_tree(tree: Any, form: ValueForm, data: bytes | str) -> ServerMessage:
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
        return ServerError(error_from_tree(value, form, data), _integer(value.get("actionId")))
    raise ProtocolError(f"the message tag {shown(tag)} is unknown: {quote(data)}")


def error_from_tree(tree: Any, form: ValueForm, data: bytes | str) -> ErrorBody:
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
