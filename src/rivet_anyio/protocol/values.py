"""Python values to JavaScript values and back.

A value travels as CBOR or as JSON, and not every carrier has a form for everything. `ValueForm`
names what one carrier can do; `prepare` makes of a Python value a tree that the carrier writes,
`revive` makes Python values of a tree that was read.

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
import io
import math
import re
import struct
import types
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from typing import Any, NoReturn

import cbor2
import msgspec

from .._errors import ProtocolError
from .._text import in_short
from .collisions import check_keys
from .numbers import exact_number
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
    "javascript_numbers",
    "load_arguments",
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
        rounds: Numbers are read by the 2.3 runtime's JSON reader; see `numbers`.
        secret: No value is repeated in messages.
    """

    name: str
    markers: bool
    sets: bool
    tags: bool
    finite: bool
    rounds: bool = False
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
COMPAT_JSON = ValueForm(
    "the json encoding", markers=True, sets=True, tags=False, finite=True, rounds=True
)
"""RivetKit 2.3 in json encoding."""
PARAMS_JSON = ValueForm(
    "the JSON of connection params",
    markers=False,
    sets=False,
    tags=False,
    finite=True,
    rounds=True,
    secret=True,
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
            # Not secret in params either.
            raise _Refused(
                f"{form.name} has no form for float {value}: {_or_bare('send None', form)}"
            )
        return _exact(value, form) if form.rounds else value
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
        return _checked_text(str.__str__(value), form)
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
        if isinstance(value, types.CoroutineType):
            _refuse(value, form, "await it, and send what it returns")
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
    _refuse(value, form, _or_bare("send None", form))


def _or_bare(hint: str, form: ValueForm) -> str:
    """The hint, and for what is not always JSON another encoding."""
    return hint if form.secret else f"{hint}, or use encoding='bare'"


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
        return msgspec.Raw(f"{value}e0".encode()) if form.rounds else float(value)
    if form.markers:
        try:
            return ["$BigInt", str(value)]
        except ValueError as exc:
            raise _Refused(str(exc)) from None
    if form.tags:
        return value
    _refuse(value, form, "its integers end at 2**53")


def _exact(value: float, form: ValueForm) -> Any:
    found = exact_number(value)
    if found is None:
        hint = "send it as text" if form.secret else "use encoding='bare', or send it as text"
        raise _Refused(
            f"the float{_repeated(value, form)} would not arrive exactly in {form.name}: {hint}"
        )
    return found


def _bytes(value: bytes, form: ValueForm) -> Any:
    if form.markers:
        return ["$Uint8Array", base64.b64encode(value).decode()]
    if form.tags:
        return cbor2.CBORTag(64, value)
    _refuse(value, form, "encode them as text, base64 for example")


def _datetime(value: dt.datetime, form: ValueForm) -> Any:
    if not form.tags:
        _refuse(value, form, _or_bare("send .isoformat()", form))
    if value.tzinfo is None:
        raise _Refused(f"{in_short(value)} has no time zone: use .astimezone() or tzinfo=")
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
            keys = [_name_of(key, form) for key in value]
            if not all(type(key) is str for key in keys):
                return _other_mapping(value, form, depth)
            if len(set(keys)) < len(keys):
                raise _Refused("two of its keys are the same text")
            value = dict(zip(keys, value.values(), strict=True))
            break
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
    if not form.tags:
        odd = next(key for key in value if type(_name_of(key, form)) is not str)
        raise _Refused(
            f"the key {in_short(odd)} is not a string and {form.name} has no other keys: "
            + _or_bare("use string keys", form)
        )
    tree: dict[Any, Any] = {}
    for key, item in value.items():
        try:
            tree[_hashable(_prepare(key, form, depth))] = _prepare(item, form, depth)
        except _Refused as refused:
            refused.path.append(_segment(key))
            raise
    return cbor2.CBORTag(259, tree)


def _name_of(key: Any, form: ValueForm) -> Any:
    """The name of a property that a key stands for, as for msgspec; other keys as they are."""
    if isinstance(key, enum.Enum):
        return _name_of(key.value, form)
    if isinstance(key, str):
        return str.__str__(key)
    if isinstance(key, (dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal)):
        return key if isinstance(key, dt.datetime) else _plain(key, form)
    return key


def _prepare_at(value: Any, form: ValueForm, depth: int, segment: str) -> Any:
    try:
        return _prepare(value, form, depth)
    except _Refused as refused:
        refused.path.append(segment)
        raise


def _segment(key: Any) -> str:
    is_short_name = isinstance(key, str) and len(key) <= 100 and key.isidentifier()
    return f".{key}" if is_short_name else f"[{in_short(key)}]"


def _refuse(value: Any, form: ValueForm, hint: str) -> NoReturn:
    what = "UNDEFINED" if value is UNDEFINED else type(value).__name__ + _repeated(value, form)
    raise _Refused(f"{form.name} has no form for {what}: {hint}")


def _repeated(value: Any, form: ValueForm) -> str:
    """The value with a blank before it, shortened; nothing of a secret."""
    if form.secret:
        return ""
    return f" {in_short(value, 60)}"


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


def load_arguments(items: list[bytes], form: ValueForm) -> list[Any]:
    """What events deliver whose arguments are these CBOR items, up to the first that is damaged.

    Small ones are decoded together, which takes a fraction of the time.
    """
    together = _load_together(items) if len(items) > 1 else None
    trees = map(load_cbor, items) if together is None else together
    values: list[Any] = []
    try:
        for tree in trees:
            values.append(revive_arguments(tree, form))  # noqa: PERF401 - as many as can be read
    except ProtocolError:
        pass
    return values


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
        for item in tree.values():
            if type(item) not in _AS_THEY_ARE:
                return {
                    key: item if type(item) in _AS_THEY_ARE else _revive(item, markers, depth)
                    for key, item in tree.items()
                }
        return tree
    if tree is cbor2.undefined:
        return None
    if kind is _SetItems:
        return _as_set([_revive_key(item, markers, depth) for item in tree])
    if kind is _Pairs:
        pairs: list[Any] = [None] * len(tree)
        pairs[::2] = [_revive_key(key, markers, depth) for key in tree[::2]]
        pairs[1::2] = [_revive(item, markers, depth) for item in tree[1::2]]
        return _as_map(pairs)
    if kind is cbor2.CBORTag:
        return cbor2.CBORTag(tree.tag, _revive(tree.value, markers, depth))
    if kind is tuple:  # what a tag holds cannot be changed
        return [_revive(item, markers, depth) for item in tree]
    if isinstance(tree, Mapping):
        return {key: _revive(item, markers, depth) for key, item in tree.items()}
    return tree


_KEY_LEVELS = 8


def _revive_key(tree: Any, markers: bool, depth: int) -> Any:
    """An item of a set, or a key of a map.

    Its hash takes all that it holds, on each level of sets and maps anew. So a level counts more
    here, except that of an object, which Python does not hash.
    """
    kind = type(tree)
    if kind in _AS_THEY_ARE:
        return tree
    return _revive(tree, markers, depth if kind is dict else depth + _KEY_LEVELS)


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
        return _as_set([_revive_key(item, True, depth) for item in content])
    return [name, _revive(content, True, depth)]


def _as_set(items: list[Any]) -> Any:
    """A set, or the list of its items where Python cannot hash one of them."""
    try:
        hashables = [_hashable(item) for item in items]
        if check_keys(hashables, for_set=True):
            # The table of a set of a dict has its final size from the beginning, also in copies.
            return set(dict.fromkeys(hashables))
        return set(hashables)
    except (TypeError, RuntimeError):  # cbor2 raises the latter for what it cannot hash
        return items


def _as_key(tree: Any) -> Any:
    """A key of a map: a tuple for a list, a frozenset for a set, tuples of two for a dict."""
    if isinstance(tree, dict):
        tree = list(tree.items())
    if isinstance(tree, list):
        return tuple(_as_key(item) for item in tree)
    return frozenset(tree) if isinstance(tree, set) else tree


def _as_map(pairs: list[Any]) -> dict[Any, Any]:
    """A dict of a list in which keys and values alternate."""
    try:
        keys = [_as_key(key) for key in pairs[::2]]
        check_keys(keys)
        return dict(zip(keys, pairs[1::2], strict=True))
    except (TypeError, RuntimeError) as exc:
        raise ProtocolError(f"Python has no hash for the key of a map: {exc}") from exc


class _SetItems(list[Any]):
    """The items of a CBOR set, not yet revived."""

    __slots__ = ()


class _Pairs(list[Any]):
    """Keys and values of a CBOR map, alternating, not yet revived: not all keys are strings."""

    __slots__ = ()


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
    return _SetItems(items)


def _read_pairs(items: Any, immutable: bool) -> Any:
    if not isinstance(items, (list, tuple)) or len(items) % 2:
        raise ValueError("a key without a value")
    keys = items[::2]
    if all(type(key) is str for key in keys):
        return dict(zip(keys, items[1::2], strict=True))
    return _Pairs(items)


def _read_date(seconds: Any, immutable: bool) -> Any:
    if type(seconds) is not int and type(seconds) is not float:
        raise ValueError("a date that is not a number")
    if math.isnan(seconds):
        return None
    return _EPOCH + dt.timedelta(milliseconds=round(seconds * 1000))


def _read_untouched(value: Any, immutable: bool) -> Any:
    if type(value) is cbor2.CBORSimpleValue:  # it might be the marker of `_load_together`
        raise ValueError("a tag around a simple value")
    return value


def _reader_of_typed_array(code: str) -> Any:
    def read(data: Any, immutable: bool) -> Any:
        return [number for (number,) in struct.iter_unpack(code, data)]

    return read


def _reader_of_tag(tag: int) -> Any:
    def read(value: Any, immutable: bool) -> Any:
        return cbor2.CBORTag(tag, value)

    return read


_PAIRS = 0x52495645
"""The tag that `_with_pairs` gives to maps; nothing else uses it."""
_PAIRS_HEAD = b"\xda" + _PAIRS.to_bytes(4, "big")

_SEMANTIC_DECODERS: dict[int, Any] = {
    # cbor2 would build regular expressions, decimals, addresses and cyclic structures from
    # these; JavaScript sends none of them on purpose.
    **{tag: _reader_of_tag(tag) for tag in (0, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100)},
    **{tag: _reader_of_tag(tag) for tag in (256, 260, 261, 1004, 43000, 55799)},
    1: _read_date,
    64: _read_untouched,
    **{tag: _reader_of_typed_array(code) for tag, code in _TYPED_ARRAYS.items()},
    258: _read_set,
    259: _read_untouched,
    _PAIRS: _read_pairs,
}

_READING: dict[str, Any] = {
    "semantic_decoders": _SEMANTIC_DECODERS,
    "str_errors": "strict",
    "strict_hashable_types": True,
}
"""How cbor2 reads whatever a server sends."""


def dump_cbor(tree: Any) -> bytes:
    """A prepared tree as CBOR."""
    if type(tree) is list and len(tree) == 1:
        # As the arguments of most calls. For each list, cbor2 asks whether it is a Mapping.
        return b"\x81" + cbor2.dumps(tree[0])
    return cbor2.dumps(tree)


def load_cbor(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The tree of a CBOR item, for `revive`.

    Raises:
        ProtocolError: when the bytes are not one CBOR item, or hold too many small ones.
    """
    if len(data) > _FREE_CONTAINERS:
        _check_density(data)
    try:
        try:
            return _load_cbor(data, max_depth)
        except cbor2.CBORError:
            # Perhaps a map has a key that is no string: cbor2 refuses those, since their hashes
            # can be chosen. An array of keys and values is built without hashes.
            return _load_cbor(_with_pairs(data), 2 * max_depth)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise ProtocolError(f"not CBOR: {exc} in {quote(data)}") from exc


def _load_cbor(data: bytes, max_depth: int) -> Any:
    if len(data) > _COPIED_BYTES or 0xFF in data:
        file = io.BytesIO(data)
        tree = cbor2.CBORDecoder(file, max_depth=max_depth, **_READING).decode()
        rest = len(data) - file.tell()
        if rest:
            raise ValueError(f"{rest} bytes left over")
        return tree
    # As the only item of an array that 0xff ends: `loads` does not say what it left over, and is
    # faster than a decoder, where the copy costs little.
    items = cbor2.loads(b"\x9f%b\xff" % data, max_depth=max_depth + 1, **_READING)
    if len(items) != 1:
        raise ValueError(f"{len(items)} items in the place of one")
    return items[0]


def _load_together(items: list[bytes]) -> list[Any] | None:
    """The trees of several CBOR items, decoded in one step; None where that cannot be done.

    A marker stands behind each item. Nothing but its own two bytes is read as one, and the items
    do not have these bytes. So a marker in each second place proves that each item was read from
    its own bytes.
    """
    count = len(items)
    joined = _MARKER.join(items) + _MARKER
    # To look for one byte takes a small part of the time. No text has it.
    if _MARKER[:1] in b"".join(items) and joined.count(_MARKER) != count:
        return None
    try:
        trees = cbor2.loads(b"\x9f%b\xff" % joined, max_depth=MAX_DEPTH + 1, **_READING)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        return None
    markers = trees[1::2]
    if len(trees) != 2 * count or markers.count(_MARK) != count:
        return None
    # A simple value is equal to its number.
    if list(map(type, markers)).count(cbor2.CBORSimpleValue) != count:
        return None
    found: list[Any] = trees[::2]
    return found


_MARK = cbor2.CBORSimpleValue(0xE5)
_MARKER = b"\xf8\xe5"


_COPIED_BYTES = 65_536
_FREE_CONTAINERS = 65_536
_BYTES_PER_CONTAINER = 8
"""A message may hold this many arrays, maps, tags and simple values, and one more for each so
many bytes: Python needs up to 100 times the memory that CBOR needs for a small one."""

_CONTAINERS = bytes((*range(0x80, 0xDC), *range(0xE0, 0xF4), 0xF8))


def _check_density(data: bytes) -> None:
    """Refuse a message of many tiny containers."""
    if _size_without_strings(data) <= _FREE_CONTAINERS:
        return
    most = _FREE_CONTAINERS + len(data) // _BYTES_PER_CONTAINER
    # Not more than there are bytes that look like one, also within texts and numbers.
    if len(data) - len(data.translate(None, _CONTAINERS)) <= most:
        return
    for count, _ in enumerate(_headers(data, _skipping(_TO_CONTAINER))):
        if count == most:
            raise _too_dense(len(data), most)


def _size_without_strings(data: bytes) -> int:
    """The length of a message without its strings, so far as these are among its first items.

    Most long messages are a few long strings, and to look at each of their bytes takes longer than
    everything else.
    """
    size = len(data)
    at = 0
    to_string = _skipping(_TO_STRING, b"{0,64}")
    for _ in range(_FIRST_STRINGS):
        found = to_string.match(data, at)
        assert found is not None
        header = _LONG_STRING.match(data, found.end())
        if header is None:
            break
        length = int.from_bytes(data[header.start() + 1 : header.end()], "big")
        at = header.end() + length
        if at > len(data):
            break
        size -= length
    return size


_FIRST_STRINGS = 64


def _check_json_density(data: bytes) -> None:
    most = _FREE_CONTAINERS + len(data) // _BYTES_PER_CONTAINER
    if data.count(b"[") + data.count(b"{") <= most:
        return
    length = len(data)
    data = _JSON_STRING.sub(b"", data)
    if data.count(b"[") + data.count(b"{") > most:
        raise _too_dense(length, most)


_JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def _too_dense(length: int, most: int) -> ProtocolError:
    return ProtocolError(
        f"a message of {length} bytes with more than {most} arrays, maps and tags: "
        "it would take too much memory"
    )


def _with_pairs(data: bytes) -> bytes:
    """The same item with an array of keys and values in the place of every map."""
    parts: list[bytes] = []
    kept = 0
    for at, end in _headers(data, _skipping(_TO_MAP)):
        short = data[at] & 0x1F
        parts.append(data[kept:at])
        if short == _WITHOUT_END:
            parts.append(_PAIRS_HEAD + b"\x9f")
        else:
            count = short if short < 24 else int.from_bytes(data[at + 1 : end], "big")
            parts.append(_PAIRS_HEAD + b"\x9b" + (2 * count).to_bytes(8, "big"))
        kept = end
    parts.append(data[kept:])
    return b"".join(parts)


_WITHOUT_END = 31


def _headers(data: bytes, skipped: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Where the items' headers are that `skipped` does not skip; up to the first malformed one."""
    at = 0
    while True:
        found = skipped.match(data, at)
        assert found is not None
        at = found.end()
        if at == len(data):
            return
        kind, short = data[at] & 0xE0, data[at] & 0x1F
        end = at + 1 + (1 << short - 24 if 24 <= short < 28 else 0)
        if kind < 0x40 or end > len(data) or 28 <= short < _WITHOUT_END:
            return
        if kind >= 0x80:
            yield at, end
            at = end
        else:
            at = end + int.from_bytes(data[at + 1 : end], "big")
            if at > len(data) or end == at:
                return


@cache
def _skipping(kinds: int, times: bytes = b"*") -> re.Pattern[bytes]:
    """A pattern that skips strings of up to 23 bytes, and items of the first `kinds` of `_KINDS`.

    It is made when a message first needs it, because that takes a millisecond.
    """
    skipped = [
        b"[%b].{%d}" % (b"".join(kind[length] for kind in _KINDS[:kinds]), length)
        for length in (0, 1, 2, 4, 8)
    ]
    texts = [b"[\\x%02x\\x%02x].{%d}" % (0x40 + n, 0x60 + n, n) for n in range(1, 24)]
    return re.compile(b"(?:%b)%b+" % (b"|".join((*skipped, *texts)), times), re.DOTALL)


_LEAVES = {
    0: rb"\x00-\x17\x20-\x37\x40\x60\xf4-\xf7\x5f\x7f\xff",
    1: rb"\x18\x38",
    2: rb"\x19\x39\xf9",
    4: rb"\x1a\x3a\xfa",
    8: rb"\x1b\x3b\xfb",
}
_ARRAYS_AND_TAGS = {
    0: rb"\x80-\x97\x9f\xc0-\xd7\xe0-\xf3",
    1: rb"\x98\xd8\xf8",
    2: rb"\x99\xd9",
    4: rb"\x9a\xda",
    8: rb"\x9b\xdb",
}
_MAPS = {
    0: rb"\xa0-\xb7\xbf",
    1: rb"\xb8",
    2: rb"\xb9",
    4: rb"\xba",
    8: rb"\xbb",
}
_KINDS = (_LEAVES, _ARRAYS_AND_TAGS, _MAPS)
"""The first bytes of items, by how many bytes of the header follow; strings are left out."""
_TO_CONTAINER, _TO_MAP, _TO_STRING = 1, 2, 3
_LONG_STRING = re.compile(rb"[\x58\x78].|[\x59\x79].{2}|[\x5a\x7a].{4}|[\x5b\x7b].{8}", re.DOTALL)


def dump_json(tree: Any) -> bytes:
    """A prepared tree as JSON in UTF-8."""
    return msgspec.json.encode(tree)


def dump_ascii_json(tree: Any) -> str:
    """A prepared tree as JSON in printable ASCII, for headers."""
    text = dump_json(tree).decode()
    return re.sub(r"[^ -~]+", _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex(" ", 2)
    return "\\u" + units.replace(" ", "\\u")


def load_json(data: bytes | str) -> Any:
    """The tree of a JSON text, for `revive`.

    Raises:
        ProtocolError: when the text is not JSON, or holds too many small arrays and objects.
    """
    if len(data) > _FREE_CONTAINERS:
        _check_json_density(data if isinstance(data, bytes) else data.encode())
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(f"not JSON: {exc} in {quote(data)}") from exc


def javascript_numbers(tree: Any, text: bytes | str) -> Any:
    """The tree of a JSON text that JavaScript wrote: an integer beyond 2**53 is a float.

    JavaScript writes the digits that distinguish a number from its neighbours, and zeros.
    """
    digits = (text.encode() if isinstance(text, str) else text).translate(_DIGITS_ALONE)
    return _javascript_numbers(tree, 0) if _LONG in digits else tree


_DIGITS_ALONE = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG = b"0" * len(str(_SAFE))


def _javascript_numbers(tree: Any, depth: int) -> Any:
    kind = type(tree)
    if kind is int:
        return float(tree) if _SAFE < abs(tree) < 2**1023 else tree
    if depth <= MAX_DEPTH + 3:  # `revive` refuses what is deeper; messages are maps in maps
        if kind is list:
            return [_javascript_numbers(item, depth + 1) for item in tree]
        if kind is dict:
            return {key: _javascript_numbers(item, depth + 1) for key, item in tree.items()}
    return tree


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
