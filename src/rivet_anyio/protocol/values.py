"""Python values to JavaScript values and back.

A value travels as CBOR or as JSON, and not every carrier has a form for everything. `ValueForm`
names what one carrier can do; `prepare` turns a Python value into a tree that the carrier writes,
`revive` turns a tree that was read into Python values.

Where the forms come from: RivetKit's ``jsonStringifyCompat`` and ``encodeCborCompat``
(``common/encoding.ts``) and cbor-x, which reads 64-bit CBOR integers as BigInt and writes whole
numbers from 2**32 on as float64.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import enum
import json
import math
import re
import struct
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any, NoReturn

import cbor2
import msgspec

from .._errors import ProtocolError
from .objects import UNDEFINED, plain_form

__all__ = [
    "COMPAT_CBOR",
    "COMPAT_JSON",
    "MAX_DEPTH",
    "PARAMS_JSON",
    "PLAIN_CBOR",
    "PLAIN_JSON",
    "TAGLESS_CBOR",
    "ValueForm",
    "dump_ascii_json",
    "dump_cbor",
    "dump_json",
    "load_cbor",
    "load_json",
    "prepare",
    "quote",
    "revive",
    "revive_arguments",
    "shown",
]

MAX_DEPTH = 120
"""How deep values may nest, both ways; the 2.3 runtime's JSON reader stops at 128."""

_INTEGER = re.compile(r"-?[0-9]+\Z")
_SMALL = 2**32
_SAFE = 2**53


class ValueForm(msgspec.Struct, frozen=True):
    """What one carrier can write.

    Attributes:
        name: For messages: where the value was to go.
        markers: Bytes and BigInt go as ``["$Uint8Array", base64]`` and ``["$BigInt", digits]``,
            and user arrays that look like markers get one more ``$``.
        sets: Sets and ``undefined`` have markers too, ``["$Set", items]``, ``["$Undefined", 0]``.
        tags: CBOR tags are understood: datetimes, maps with any keys, sets and bytes.
        finite: NaN and the infinities have no form.
        secret: No value is repeated in messages.
    """

    name: str
    markers: bool
    sets: bool
    tags: bool
    finite: bool
    secret: bool = False


PLAIN_CBOR = ValueForm("CBOR", markers=False, sets=False, tags=True, finite=False)
"""RivetKit up to 2.2, in bare and cbor encoding."""
COMPAT_CBOR = ValueForm("CBOR", markers=True, sets=True, tags=True, finite=False)
"""RivetKit 2.3 in bare encoding, and its actor inputs."""
TAGLESS_CBOR = ValueForm(
    "the cbor encoding of this server", markers=True, sets=True, tags=False, finite=True
)
"""RivetKit 2.3 in cbor encoding: it refuses byte strings, tags and keys that are no strings."""
PLAIN_JSON = ValueForm(
    "the json encoding of this server", markers=True, sets=False, tags=False, finite=True
)
"""RivetKit up to 2.2 in json encoding."""
COMPAT_JSON = ValueForm("the json encoding", markers=True, sets=True, tags=False, finite=True)
"""RivetKit 2.3 in json encoding."""
PARAMS_JSON = ValueForm(
    "connection params", markers=False, sets=False, tags=False, finite=True, secret=True
)
"""Connection params: plain JSON in every version; they often hold tokens."""


class _Refused(Exception):
    """A value that cannot travel, with the path to it from the inside out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.path: list[str] = []


def prepare(value: Any, form: ValueForm, where: str) -> Any:
    """The tree that carries a Python value.

    Args:
        value: None, bool, int, float, str, bytes, datetime (with a time zone), list, tuple, set,
            dict, `UNDEFINED`, enums, and what `plain_form` makes one of these of.
        form: What the carrier can do.
        where: What the value is, for messages: ``"args"``.

    Raises:
        TypeError: when something in the value cannot travel; the message names the path to it.
    """
    try:
        return _prepare(value, form, 0)
    except _Refused as refused:
        path = where + "".join(reversed(refused.path))
        raise TypeError(f"{path}: {refused.reason}") from None


def _prepare(value: Any, form: ValueForm, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _checked_text(value, form)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -_SMALL <= value < _SMALL else _wide_integer(value, form)
    if kind is float:
        if form.finite and not math.isfinite(value):
            _refuse(value, form, "send None, or use encoding='bare'")
        return value
    if depth >= MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels")
    if kind is list or kind is tuple:
        return _array(value, form, depth)
    if kind is dict:
        return _mapping(value, form, depth)
    return _other(value, form, depth)


def _other(value: Any, form: ValueForm, depth: int) -> Any:
    """The kinds of values that are met less often, and subclasses of the usual ones."""
    if isinstance(value, enum.Enum):
        return _prepare(value.value, form, depth)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value), form)
    if isinstance(value, dt.datetime):
        return _datetime(value, form)
    if isinstance(value, Set):
        return _set(value, form, depth)
    if isinstance(value, cbor2.CBORTag) and form.tags:
        return cbor2.CBORTag(value.tag, _prepare(value.value, form, depth + 1))
    if isinstance(value, Mapping):
        return _mapping(value, form, depth)
    if isinstance(value, str):
        return _checked_text(str(value), form)
    if isinstance(value, int):
        return _prepare(int(value), form, depth)
    if isinstance(value, float):
        return _prepare(float(value), form, depth)
    if isinstance(value, (list, tuple)):
        return _array(value, form, depth)
    if value is UNDEFINED:
        return _undefined(value, form)
    return _prepare(_plain(value, form), form, depth)


def _plain(value: Any, form: ValueForm) -> Any:
    """An object of another kind, one level of it as what it becomes."""
    try:
        plain = plain_form(value)
    except TypeError as exc:
        why = "" if form.secret or exc.__cause__ is None else f": {exc.__cause__}"
        raise _Refused(f"{exc}{why}") from None
    if plain is value:
        _refuse(
            value,
            form,
            "send None, bool, int, float, str, bytes, list, tuple, set, dict, a date or time, "
            "UUID, Decimal, enum, or a dataclass, Struct, attrs class or pydantic model of these",
        )
    return plain


def _undefined(value: Any, form: ValueForm) -> Any:
    if form.sets:
        return ["$Undefined", 0]
    if form.tags:
        return cbor2.undefined
    _refuse(value, form, "send None" if form.secret else "send None, or use encoding='bare'")


def _checked_text(text: str, form: ValueForm) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = _repeated(text, form)
        raise _Refused(f"the string{shown} has a lone surrogate: UTF-8 has none") from None
    return text


def _wide_integer(value: int, form: ValueForm) -> Any:
    """Integers of more than 32 bits: numbers up to 2**53, BigInts beyond."""
    if -_SAFE <= value <= _SAFE:
        # A 64-bit CBOR integer would arrive as BigInt, and the 2.3 runtime makes one of
        # every JSON integer of this size.
        return float(value)
    if form.markers:
        try:
            return ["$BigInt", str(value)]
        except ValueError as exc:
            raise _Refused(str(exc)) from None
    if form.tags:
        return value
    _refuse(value, form, "its integers end at 2**53")


def _bytes(value: bytes, form: ValueForm) -> Any:
    if form.markers:
        return ["$Uint8Array", base64.b64encode(value).decode()]
    if form.tags:
        return cbor2.CBORTag(64, value)
    _refuse(value, form, "encode them as text, base64 for example")


def _datetime(value: dt.datetime, form: ValueForm) -> Any:
    if not form.tags:
        _refuse(value, form, "send .isoformat(), or use encoding='bare'")
    if value.tzinfo is None:
        raise _Refused(f"{value!r} has no time zone: use .astimezone() or tzinfo=")
    # A JavaScript Date counts milliseconds.
    milliseconds = (value - _EPOCH) // dt.timedelta(milliseconds=1)
    seconds, rest = divmod(milliseconds, 1000)
    return cbor2.CBORTag(1, milliseconds / 1000 if rest else seconds)


def _set(value: Set[Any], form: ValueForm, depth: int) -> Any:
    items = [_prepare_at(item, form, depth + 1, "{...}") for item in value]
    if form.sets:
        return ["$Set", items]
    if form.tags:
        return cbor2.CBORTag(258, items)
    _refuse(value, form, "send a list")


def _array(value: Sequence[Any], form: ValueForm, depth: int) -> list[Any]:
    depth += 1
    items: list[Any] = []
    try:
        for item in value:
            items.append(_prepare(item, form, depth))  # noqa: PERF401 - len(items) is the path
    except _Refused as refused:
        refused.path.append(f"[{len(items)}]")
        raise
    if form.markers and len(items) == 2:
        first = items[0]
        if type(first) is str and first.startswith("$"):
            items[0] = "$" + first
    return items


def _mapping(value: Mapping[Any, Any], form: ValueForm, depth: int) -> Any:
    depth += 1
    for key in value:
        if type(key) is not str:
            return _other_mapping(value, form, depth)
    tree: dict[str, Any] = {}
    for key, item in value.items():
        if not key.isascii():
            _checked_text(key, form)
        try:
            tree[key] = _prepare(item, form, depth)
        except _Refused as refused:
            refused.path.append(_segment(key))
            raise
    return tree


def _other_mapping(value: Mapping[Any, Any], form: ValueForm, depth: int) -> Any:
    """A mapping with keys that are not all strings."""
    named = {_name_of(key, form): item for key, item in value.items()}
    if all(type(key) is str for key in named):
        if len(named) < len(value):
            raise _Refused("two of its keys are the same text")
        return _mapping(named, form, depth - 1)
    if not form.tags:
        odd = next(key for key in value if type(key) is not str)
        raise _Refused(
            f"the key {odd!r} is not a string and {form.name} has no other keys: "
            "use string keys, or encoding='bare'"
        )
    tree: dict[Any, Any] = {}
    for key, item in value.items():
        at = f"[{key!r}]"
        tree[_hashable(_prepare_at(key, form, depth, at))] = _prepare_at(item, form, depth, at)
    return cbor2.CBORTag(259, tree)


def _name_of(key: Any, form: ValueForm) -> Any:
    """Enums, dates, UUIDs and decimals are names of properties, as for msgspec."""
    if isinstance(key, enum.Enum):
        return _name_of(key.value, form)
    if isinstance(key, (dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)):
        return key if isinstance(key, dt.datetime) else _plain(key, form)
    return key


def _prepare_at(value: Any, form: ValueForm, depth: int, segment: str) -> Any:
    try:
        return _prepare(value, form, depth)
    except _Refused as refused:
        refused.path.append(segment)
        raise


def _segment(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key!r}]"


def _refuse(value: Any, form: ValueForm, hint: str) -> NoReturn:
    kind = type(value).__name__
    raise _Refused(f"{form.name} has no form for {kind}{_repeated(value, form)}: {hint}")


def _repeated(value: Any, form: ValueForm) -> str:
    """The value with a blank before it, shortened; nothing of a secret."""
    if form.secret:
        return ""
    text = repr(value)
    return f" {text[:57]}..." if len(text) > 60 else f" {text}"


def _hashable(tree: Any) -> Any:
    return tuple(_hashable(item) for item in tree) if isinstance(tree, (list, tuple)) else tree


def revive(tree: Any, form: ValueForm) -> Any:
    """The Python value of a tree that was read; parts of it that need no reviving are shared.

    JavaScript's null and undefined are None, BigInts are ints, whole numbers from 2**32 to 2**53
    that came as floats are ints again, and markers become what they stand for; a marker nobody
    knows stays the list it is.

    Raises:
        ProtocolError: when a marker's content is none, or the tree nests too deeply.
    """
    return _revive(tree, form.markers, 0)


def revive_arguments(tree: Any, form: ValueForm) -> Any:
    """What an event delivers: its only argument, or the tuple of all that it has.

    Raises:
        ProtocolError: as `revive`.
    """
    if type(tree) is list and len(tree) == 1:
        # Most events have one plain argument; the list around it needs no reviving.
        only = tree[0]
        return only if type(only) in _AS_THEY_ARE else _revive(only, form.markers, 1)
    args = _revive(tree, form.markers, 0)
    if not isinstance(args, list):
        return args
    return args[0] if len(args) == 1 else tuple(args)


_AS_THEY_ARE = frozenset((str, int, bool, bytes, type(None)))


def _revive(tree: Any, markers: bool, depth: int) -> Any:
    kind = type(tree)
    if kind in _AS_THEY_ARE:
        return tree
    if kind is float:
        if _SMALL <= abs(tree) <= _SAFE and tree.is_integer():
            return int(tree)
        return tree
    if depth >= MAX_DEPTH:
        raise ProtocolError(f"a value nests deeper than {MAX_DEPTH} levels")
    depth += 1
    if kind is list:
        if markers and len(tree) == 2:
            name = tree[0]
            if type(name) is str and name.startswith("$"):
                return _marker(name, tree[1], depth)
        for item in tree:
            if type(item) not in _AS_THEY_ARE:
                return [
                    item if type(item) in _AS_THEY_ARE else _revive(item, markers, depth)
                    for item in tree
                ]
        return tree
    if kind is dict:
        for key, item in tree.items():
            if type(item) not in _AS_THEY_ARE or type(key) is not str:
                return _revive_mapping(tree, markers, depth)
        return tree
    if tree is cbor2.undefined:
        return None
    if kind is _SetItems:
        return _as_set([_revive(item, markers, depth) for item in tree])
    if kind is tuple:
        return tuple(_revive(item, markers, depth) for item in tree)
    if kind is cbor2.CBORTag:
        return cbor2.CBORTag(tree.tag, _revive(tree.value, markers, depth))
    return tree


def _revive_mapping(tree: dict[Any, Any], markers: bool, depth: int) -> dict[Any, Any]:
    return {
        key if type(key) is str else _hashable(_revive(key, markers, depth)): (
            item if type(item) in _AS_THEY_ARE else _revive(item, markers, depth)
        )
        for key, item in tree.items()
    }


def _marker(name: str, content: Any, depth: int) -> Any:
    if name.startswith("$$"):
        return [name[1:], _revive(content, True, depth)]
    try:
        if name == "$BigInt":
            if not isinstance(content, str) or not _INTEGER.match(content):
                raise ValueError("no decimal integer")
            return int(content)
        if name in ("$Uint8Array", "$ArrayBuffer"):
            return base64.b64decode(content, validate=True)
    except (ValueError, TypeError, binascii.Error) as exc:
        raise ProtocolError(f"not the content of a {name} marker: {shown(content)}") from exc
    if name == "$Undefined":
        return None
    if name == "$Set" and isinstance(content, list):
        return _as_set([_revive(item, True, depth) for item in content])
    return [name, _revive(content, True, depth)]


def _as_set(items: list[Any]) -> Any:
    """A set, or the list of its items where Python cannot hash one of them."""
    try:
        return {_hashable(item) for item in items}
    except (TypeError, RuntimeError):  # cbor2 raises the latter for what it cannot hash
        return items


class _SetItems(list[Any]):
    """The items of a CBOR set, not yet revived."""


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_TYPED_ARRAYS = {
    68: "B",
    69: "<H",
    70: "<I",
    71: "<Q",
    72: "b",
    77: "<h",
    78: "<i",
    79: "<q",
    85: "<f",
    86: "<d",
}
"""RFC 8746 tags that cbor-x writes for JavaScript's typed arrays (Uint8Array is tag 64)."""


def _read_set(items: Any, immutable: bool) -> Any:
    return frozenset(items) if immutable else _SetItems(items)


def _read_date(seconds: Any, immutable: bool) -> Any:
    if isinstance(seconds, float) and math.isnan(seconds):
        return None
    return _EPOCH + dt.timedelta(milliseconds=round(seconds * 1000))


def _read_untouched(value: Any, immutable: bool) -> Any:
    return value


def _reader_of_typed_array(code: str) -> Any:
    def read(data: Any, immutable: bool) -> Any:
        numbers = [number for (number,) in struct.iter_unpack(code, data)]
        return tuple(numbers) if immutable else numbers

    return read


def _reader_of_tag(tag: int) -> Any:
    def read(value: Any, immutable: bool) -> Any:
        return cbor2.CBORTag(tag, value)

    return read


_SEMANTIC_DECODERS: dict[int, Any] = {
    # cbor2 would build regular expressions, decimals, addresses and cyclic structures from
    # these; JavaScript sends none of them on purpose.
    **{tag: _reader_of_tag(tag) for tag in (4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256)},
    **{tag: _reader_of_tag(tag) for tag in (260, 261, 1004, 43000)},
    1: _read_date,
    64: _read_untouched,
    **{tag: _reader_of_typed_array(code) for tag, code in _TYPED_ARRAYS.items()},
    258: _read_set,
    259: _read_untouched,
}


def dump_cbor(tree: Any) -> bytes:
    """A prepared tree as CBOR."""
    return cbor2.dumps(tree)


def load_cbor(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The tree of a CBOR item, for `revive`.

    Raises:
        ProtocolError: when the bytes are no CBOR item.
    """
    try:
        return cbor2.loads(
            data,
            semantic_decoders=_SEMANTIC_DECODERS,
            max_depth=max_depth,
            str_errors="strict",
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise ProtocolError(f"not CBOR: {exc} in {quote(data)}") from exc


def dump_json(tree: Any) -> bytes:
    """A prepared tree as JSON in UTF-8."""
    return msgspec.json.encode(tree)


def dump_ascii_json(tree: Any) -> str:
    """A prepared tree as JSON in ASCII, for headers."""
    return json.dumps(tree, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def load_json(data: bytes | str) -> Any:
    """The tree of a JSON text, for `revive`.

    Raises:
        ProtocolError: when the text is not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(f"not JSON: {exc} in {quote(data)}") from exc


def shown(value: Any) -> str:
    """A value that a peer sent, for messages; only its type where it may be large.

    Python refuses to write integers of more than 4300 digits.
    """
    if isinstance(value, (str, bytes)):
        return quote(value, 60)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 64 else "an integer of more than 64 bits"
    return repr(value) if value is None or isinstance(value, float) else f"a {type(value).__name__}"


def quote(data: bytes | str, limit: int = 200) -> str:
    """The beginning of what a peer sent, for messages."""
    text = repr(data[:limit])
    return text if len(data) <= limit else f"{text}... ({len(data)} in all)"
