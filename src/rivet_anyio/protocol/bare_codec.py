"""Messages in BARE, whose values are CBOR."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Any

from .._errors import ActorSpecifier, ProtocolError
from . import bare
from .codec import Encoding, remember
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
    ServerError,
    ServerMessage,
)
from .values import (
    COMPAT_CBOR,
    PLAIN_CBOR,
    ValueForm,
    dump_cbor,
    load_arguments,
    prepare,
    quote,
)

__all__ = ["BareCodec"]

_MESSAGE_VERSION = (2).to_bytes(2, "little")
"""Requests have the same bytes in versions 1 to 4; 2 is the oldest that a 2.x server reads."""
_ACTION = _MESSAGE_VERSION + b"\x00"
_QUEUE_VERSION = (3).to_bytes(2, "little")

_MOST_TOGETHER = 16 * 1024
"""The arguments of several events are decoded together up to so many bytes."""

# A connection calls few actions many times.
_text = lru_cache(256)(bare.text)

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
    names_version = True

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
        names, values = self.events((data,), wanted)
        return (names[0], values[0]) if names else self._other_event(data, wanted)

    def events(
        self, messages: Sequence[bytes | str], wanted: Container[str]
    ) -> tuple[list[str], list[Any]]:
        names: list[str] = []
        payloads: list[bytes] = []
        known = None
        bytes_left = _MOST_TOGETHER
        for data in messages:
            try:
                if type(data) is not bytes or data[2] != 3:
                    break
                # The prefix of an event is its version, tag and name.
                at = data[3] + 4
                found = self._prefixes.get(data[:at])
                length, start = data[at], at + 1
                if length >= 0x80:
                    length, start = _short_uint(data, at)
            except IndexError:
                break
            bytes_left -= length
            is_too_long = bytes_left < 0 and len(messages) > 1
            if found is None or start + length != len(data) or is_too_long:
                break
            if found is not known:
                if found[0] not in wanted or (known is not None and found[1] is not known[1]):
                    break
                known = found
            names.append(found[0])
            payloads.append(data[start:])
        if known is None:
            return [], []
        _, self.dialect, form = known
        values = load_arguments(payloads, form)
        return names[: len(values)], values

    def _other_event(self, data: bytes, wanted: Container[str]) -> Event:
        """Read an event the long way, and remember its prefix."""
        event = self.server_message(data)
        assert isinstance(event, Event)
        at = data[3] + 4
        if event.name in wanted and data[3] < 0x80:
            remember(self._prefixes, data[:at], (event.name, *_BARE_VERSIONS[data[0]]))
        return event

    def _answer(self, data: bytes) -> ActionResponse | None:
        """The answer to an action; None for any other message, and for whatever is odd."""
        if data[2] != 2:
            return None
        try:
            id, at = (data[3], 4) if data[3] < 0x80 else _short_uint(data, 3)
        except IndexError:
            return None
        output = self._output(data, at)
        return None if output is None else ActionResponse(id, output)

    def _output(self, data: bytes, at: int) -> RawCbor | None:
        """What an action returned, which ends an answer; None for whatever is odd."""
        try:
            dialect, form = _BARE_VERSIONS[data[0] | data[1] << 8]
            length, start = data[at], at + 1
            if length >= 0x80:
                length, start = _short_uint(data, at)
        except (KeyError, IndexError):
            return None
        if start + length != len(data):
            return None
        self.dialect = dialect
        return RawCbor(data[start:], form)

    def action_body(self, args: list[Any] | tuple[Any, ...]) -> bytes:
        return _MESSAGE_VERSION + bare.data(self._value(args, "args"))

    def action_output(self, body: bytes) -> Raw:
        output = self._output(body, 2)
        if output is not None:
            return output
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
