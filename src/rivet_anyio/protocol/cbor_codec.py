"""Messages as one CBOR structure."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache
from typing import Any

from .._errors import ProtocolError
from .codec import Encoding, remember
from .dialect import Dialect
from .messages import Delivery, ServerMessage
from .trees import TreeCodec, message_from_tree, read_tree, subscription
from .values import (
    MAX_DEPTH,
    PLAIN_CBOR,
    TAGLESS_CBOR,
    ValueForm,
    dump_cbor,
    load_cbor,
    prepare,
    quote,
    revive_arguments,
)

__all__ = ["CborCodec"]

_ARGUMENTS_DEPTH = MAX_DEPTH - 3
"""How deep an event's arguments may nest in the three maps around them."""

# A connection calls few actions many times.
_cbor_text = lru_cache(256)(dump_cbor)

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


class CborCodec(TreeCodec):
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
        return dump_cbor(subscription(name, subscribe))

    def server_message(self, data: bytes | str) -> ServerMessage:
        if isinstance(data, str):
            raise ProtocolError(f"a text message in cbor encoding: {quote(data)}")
        return message_from_tree(load_cbor(data), self._form, data)

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
        message = read_tree(load_cbor(data), self._form, data, wanted)
        if isinstance(message, tuple) and _is_cbor_prefix(data[:at], message[0]):
            remember(self._prefixes, data[:at], message[0])
        return message

    def _load(self, data: bytes) -> Any:
        return load_cbor(data)

    def _dump(self, tree: Any) -> bytes:
        return dump_cbor(tree)

    @property
    def _form(self) -> ValueForm:
        return TAGLESS_CBOR if self.dialect is Dialect.COMPAT else PLAIN_CBOR
