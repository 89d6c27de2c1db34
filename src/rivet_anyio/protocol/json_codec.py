"""Messages as one JSON text."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from .codec import Encoding
from .dialect import Dialect
from .messages import Delivery, ErrorBody, ServerMessage
from .trees import TreeCodec, error_from_tree, message_from_tree, read_tree, subscription
from .values import (
    COMPAT_JSON,
    PLAIN_JSON,
    ValueForm,
    dump_json,
    javascript_numbers,
    load_json,
    prepare,
)

__all__ = ["JsonCodec", "error_from_json"]


class JsonCodec(TreeCodec):
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
        return dump_json(subscription(name, subscribe)).decode()

    def server_message(self, data: bytes | str) -> ServerMessage:
        return message_from_tree(self._load(data), self._form, data)

    def read(self, data: bytes | str, wanted: Container[str]) -> ServerMessage | Delivery:
        return read_tree(self._load(data), self._form, data, wanted)

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
    return error_from_tree(load_json(body), COMPAT_JSON, body)
