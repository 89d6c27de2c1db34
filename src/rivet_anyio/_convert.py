"""Values into the user's types and back: by msgspec, or by pydantic where a type is pydantic's.

pydantic is never imported here: a type can only be pydantic's when the program imported it.
"""

from __future__ import annotations

import collections.abc as abc
import datetime as dt
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin, get_type_hints

import cbor2
import msgspec

from ._errors import ProtocolError
from ._text import in_short
from .protocol.collisions import check_set
from .protocol.objects import UNDEFINED, jsonable, plain_form

__all__ = ["Converter", "Misfit", "check_result_type", "convert", "converter_for"]

_NATIVE = (bytes, bytearray, memoryview, dt.datetime)
_SCALARS = (int, str, float, bool)


class Misfit(ValueError):
    """A value that is not of a type; says where in the value.

    Attributes:
        secretly: The same without anything of the value.
    """

    def __init__(self, text: str, secretly: str) -> None:
        super().__init__(text)
        self.secretly = secretly


class Converter(Protocol):
    """What converts between one type and plain values; `converter_for` makes it."""

    def load(self, value: Any) -> Any:
        """What arrived, as the type.

        Raises:
            Misfit: it is not of this type.
        """
        ...

    def dump(self, value: Any, native: bool) -> Any:
        """A value of the type, as it is sent.

        Args:
            value: The value; its plain form is taken, too.
            native: Whether bytes and datetimes stay themselves; else they are as in JSON.

        Raises:
            Misfit: it is not of this type.
            TypeError: something in it has no plain form.
        """
        ...


def convert(value: Any, type: Any, what: str) -> Any:
    """The value as `type`; `Any` leaves it as it is.

    Raises:
        ProtocolError: when the value is not of this type; `what` says where it came from.
        TypeError: when nothing can be converted to this type.
    """
    if type is Any:
        return value
    converter = converter_for(type)
    if isinstance(value, (list, tuple, dict, set)) and (hashed := _hashed_in(type)):
        _check_hashes(value, hashed)
    try:
        return converter.load(value)
    except Misfit as exc:
        raise ProtocolError(f"{what}: {exc}") from exc.__cause__


def _check_hashes(value: Any, hashed: tuple[_Items, ...]) -> None:
    """Refuse what would be slow to put into the sets and dicts of a type.

    Which list becomes which of them is not known here, so each long one is tried for all.

    Raises:
        ProtocolError: it was chosen to be slow.
    """
    pending = [value]
    while pending:
        part = pending.pop()
        if len(part) > _FEW:
            for items in hashed:
                check_set(items.load(list(part)))
        if isinstance(part, dict):
            pending += [item for item in part.values() if isinstance(item, (list, dict, set))]
        elif not isinstance(part, set):
            pending += [item for item in part if isinstance(item, (list, dict, set))]


_FEW = 64
"""As many items are in a table at once, however their hashes were chosen."""


class _Items:
    """Converts the items of sets and the keys of dicts, as far as they are of a type."""

    def __init__(self, item: Converter, items: Converter) -> None:
        self._item = item
        self._items = items

    def load(self, items: list[Any]) -> list[Any]:
        """Those that are of the type and have a hash."""
        try:
            loaded = self._items.load(items)
        except Misfit:
            loaded = []
            for item in items:
                try:
                    loaded.append(self._item.load(item))
                except Misfit:
                    if isinstance(self._item, _ByMsgspec):  # it stops here, too
                        break
        return [item for item in loaded if _has_hash(item)]


def _has_hash(item: Any) -> bool:
    try:
        hash(item)
    except TypeError:
        return False
    return True


def _hashed_in(type: Any) -> tuple[_Items, ...]:
    """What converts sets' items and dicts' keys in a type, where their hashes can be chosen."""
    return _known_hashed(type) if _has_hash(type) else _find_hashed(type)


def _find_hashed(type: Any) -> tuple[_Items, ...]:
    found: dict[Any, None] = {}
    is_of_pydantic = False
    for part in _walk(type, into_models=True):
        is_of_pydantic = is_of_pydantic or _is_of_pydantic(part)
        origin = get_origin(part) or part
        if not isinstance(origin, type_) or hasattr(part, "__total__"):  # a TypedDict
            continue
        if issubclass(origin, (abc.Set, abc.Mapping)):
            first = get_args(part)[:1] or (Any,)
            if first[0] not in (str, bytes):
                found[first[0] if not isinstance(first[0], TypeVar) else Any] = None
    makers: list[Callable[[Any], Converter]] = [converter_for]
    pydantic = sys.modules.get("pydantic")
    unknown: tuple[Any, ...] = (TypeError, NameError)
    if is_of_pydantic and pydantic is not None:
        makers.append(partial(_ByPydantic, pydantic=pydantic))
        unknown = (*unknown, pydantic.errors.PydanticUserError)
    converters = []
    for make in makers:
        for item in found:
            try:
                converters.append(_Items(make(item), make(types.GenericAlias(list, item))))
            except unknown:  # the other one converts it
                pass
    return tuple(converters)


@lru_cache(1024)
def _known_hashed(type: Any) -> tuple[_Items, ...]:
    return _find_hashed(type)


def check_result_type(type: Any) -> None:
    """Raise `TypeError` for a ``type=`` to which nothing can be converted."""
    if type is not Any:
        try:
            converter_for(type)
        except (TypeError, NameError) as exc:
            hint = "; give a type, such as int or list[str]" if isinstance(exc, TypeError) else ""
            raise TypeError(f"type={_name(type)}: {exc}{hint}") from exc


def converter_for(type: Any) -> Converter:
    """What converts this type.

    Raises:
        TypeError: nothing can be converted to it.
        NameError: it names what is not defined yet.
    """
    return _known_converter(type) if _has_hash(type) else _new_converter(type)


@lru_cache(1024)
def _known_converter(type: Any) -> Converter:
    return _new_converter(type)


def _new_converter(type: Any) -> Converter:
    if "pydantic" not in sys.modules or not any(map(_is_of_pydantic, _parts(type))):
        return _ByMsgspec(type)
    pydantic = sys.modules["pydantic"]
    try:
        return _ByPydantic(type, pydantic)
    except pydantic.errors.PydanticSchemaGenerationError as exc:
        # msgspec knows Structs and attrs classes, and leaves the models in them to pydantic.
        try:
            return _ByMsgspec(type, with_models=True)
        except TypeError as why:
            reason = str(exc).partition(". Set ")[0]
            raise TypeError(
                f"pydantic: {reason}; msgspec: {why}: use models and dataclasses only, or Structs "
                "with models as their fields"
            ) from None
    except pydantic.errors.PydanticUserError as exc:
        raise TypeError(_one_line(exc)) from exc


def _parts(type: Any) -> Iterator[Any]:
    """The classes that a type is made of, their fields' too, and what ``Annotated`` says of it."""
    for part in _walk(type):
        origin = get_origin(part)
        if origin is Annotated:
            yield from part.__metadata__
        elif origin is None and isinstance(part, type_):
            yield part


def _walk(type: Any, *, into_models: bool = False) -> Iterator[Any]:
    """All types that a type is made of, with their parameters; `into_models`: of pydantic, too."""
    pending = [type]
    seen: dict[int, Any] = {}
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        origin = get_origin(part)
        if origin is Annotated:
            pending.append(part.__origin__)
        elif origin is not None:
            pending += get_args(part)
            if origin.__module__ not in _OWN_PARTS:
                pending.append(origin)
        elif isinstance(part, type_):
            if into_models or not _is_of_pydantic(part):
                pending += _field_types(part)
        else:
            pending += [getattr(part, name) for name in _ALIASES if hasattr(part, name)]


type_ = type
_OWN_PARTS = ("builtins", "collections", "collections.abc")
"""Where classes are that hold nothing but what their parameters say."""
_ALIASES = ("__value__", "__supertype__")
"""Where ``type X = ...`` and ``NewType`` have what they stand for."""


def _field_types(cls: type[Any]) -> list[Any]:
    if not any(hasattr(cls, name) for name in _WITH_FIELDS):
        return []
    try:
        return list(get_type_hints(cls, include_extras=True).values())
    except (NameError, AttributeError, TypeError):
        return []


_WITH_FIELDS = (
    *("__struct_fields__", "__dataclass_fields__", "__attrs_attrs__"),
    *("__total__", "_fields"),  # TypedDict, NamedTuple
    "__pydantic_validator__",
)


def _is_of_pydantic(part: Any) -> bool:
    """Whether this class, or this metadata of ``Annotated``, is for pydantic to interpret."""
    if hasattr(part, "__get_pydantic_core_schema__") or hasattr(part, "__pydantic_validator__"):
        return True
    cls = part if isinstance(part, type) else type(part)
    return cls.__module__.partition(".")[0] in ("pydantic", "pydantic_core", "annotated_types")


class _ByMsgspec:
    """Converts a type by msgspec, models of pydantic in it by pydantic."""

    def __init__(self, type: Any, *, with_models: bool = False) -> None:
        self._type = type
        self._load_custom = _load_model if with_models else None
        try:
            msgspec.convert(None, type, dec_hook=_load_nothing)
        except msgspec.ValidationError:
            pass
        # msgspec makes a list of a set, but sets have a form of their own; so have models' sets.
        self._keeps_value = with_models
        if type not in _SCALARS:
            self._inspect(with_models)

    def _inspect(self, with_models: bool) -> None:
        """Look at all that the type is made of.

        Raises:
            TypeError: for a class that msgspec does not know.
        """
        # Only types that are no plain ones need it.
        import msgspec.inspect as inspect

        try:
            whole = inspect.type_info(self._type)
        except TypeError as exc:
            if "'<' not supported" not in str(exc):
                raise
            # Before 0.22, msgspec cannot describe a Literal of numbers and texts, but converts it.
            self._keeps_value = True
            return
        pending: list[Any] = [whole]
        seen: set[int] = set()
        while pending:
            part = pending.pop()
            match part:
                case inspect.SetType() | inspect.FrozenSetType():
                    self._keeps_value = True
                case inspect.CustomType(cls=cls) if cls not in (object, cbor2.CBORTag):
                    if not (with_models and _is_of_pydantic(cls)):
                        raise TypeError(
                            f"nothing says how a value becomes a `{cls.__qualname__}`: use a "
                            "msgspec Struct, a dataclass, an attrs class or a pydantic model"
                        )
                case inspect.DataclassType(cls=cls) if with_models and _is_of_pydantic(cls):
                    raise TypeError(f"`{cls.__qualname__}` is a dataclass of pydantic")
                case _:
                    pass
            if isinstance(part, (tuple, list)):
                pending += part
            elif isinstance(part, msgspec.Struct) and id(part) not in seen:
                seen.add(id(part))
                pending += [getattr(part, name) for name in part.__struct_fields__]

    def load(self, value: Any) -> Any:
        try:
            return msgspec.convert(value, self._type, dec_hook=self._load_custom)
        # Before 0.22, msgspec raises SystemError for an integer that is too large for a float.
        except (msgspec.ValidationError, SystemError) as exc:
            raise Misfit(str(exc), _INVALID.sub("", str(exc))) from exc

    def dump(self, value: Any, native: bool) -> Any:
        has_undefined = False

        def known(item: Any) -> Any:
            nonlocal has_undefined
            if item is UNDEFINED and native:
                has_undefined = True
                return None
            return _known_form(item)

        plain = msgspec.to_builtins(value, builtin_types=_NATIVE if native else (), enc_hook=known)
        self.load(plain)
        return value if native and (self._keeps_value or has_undefined) else plain


def _known_form(item: Any) -> Any:
    """What msgspec takes in place of an object that it does not know.

    Raises:
        TypeError: for what has no other form.
    """
    if isinstance(item, str):
        return str.__str__(item)
    if isinstance(item, int):
        return int.__int__(item)
    if isinstance(item, float):
        return float.__float__(item)
    if isinstance(item, Mapping):
        return dict(item)
    plain = plain_form(item)
    if plain is item:
        raise TypeError(f"a {type(item).__name__} has no plain form")
    return plain


def _load_nothing(cls: Any, value: Any) -> Any:
    raise ValueError


def _load_model(cls: Any, value: Any) -> Any:
    """What msgspec calls for classes that it does not know."""
    return converter_for(cls).load(value)


class _ByPydantic:
    """Converts a type by pydantic."""

    def __init__(self, type: Any, pydantic: types.ModuleType) -> None:
        self._type = type
        self._errors = pydantic.ValidationError
        self._adapter = pydantic.TypeAdapter(type)
        if not getattr(self._adapter, "pydantic_complete", True):
            self._adapter.rebuild(raise_errors=True)

    def load(self, value: Any) -> Any:
        try:
            return self._adapter.validate_python(value)
        except self._errors as exc:
            what = f"not of type `{_name(self._type)}`"
            text, secretly = _first(exc)
            raise Misfit(f"{what}: {text}", f"{what}: {secretly}") from exc

    def dump(self, value: Any, native: bool) -> Any:
        valid = self.load(value)
        try:
            tree = self._adapter.dump_python(valid, mode="python", by_alias=True, warnings="error")
            plain = jsonable(tree)
        except ValueError as exc:
            raise Misfit(_one_line(exc), f"not of type `{_name(self._type)}`") from exc
        if native:
            return plain
        return msgspec.to_builtins(plain, builtin_types=(), enc_hook=_known_form)


_INVALID = re.compile(
    r"(?<=^Invalid enum value) .*(?= - at `|$)|(?<=^Invalid value) .*(?= - at `|$)"
)


def _first(error: Any) -> tuple[str, str]:
    """The first of pydantic's complaints, written as msgspec writes its own; and without values."""
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
    at = f" - at `${path}`" if path else ""
    more = f", and {len(others)} more" if others else ""
    return f"{first['msg']}{at}{more}", f"{_kind(first['type'])}{at}{more}"


def _kind(code: str) -> str:
    """pydantic's own text of this kind of complaint, where it has nothing of a value; or the code.

    A validator's text may have the value in it.
    """
    try:
        text: str = sys.modules["pydantic_core"].PydanticKnownError(code).message()
    except (KeyError, TypeError):  # not pydantic's, or its text needs more
        return code
    return text


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _name(type: Any) -> str:
    """A type as it is written."""
    if isinstance(type, type_) and get_origin(type) is None:
        return type.__qualname__
    return in_short(type, 200)
