"""What is known of a registry, wherever it was learned: the form between readers and the writer."""

from __future__ import annotations

import msgspec

__all__ = [
    "ActionShape",
    "ActorShape",
    "AnyType",
    "ArrayType",
    "EventShape",
    "Field",
    "LiteralType",
    "MapType",
    "ObjectShape",
    "Parameter",
    "PlainType",
    "QueueShape",
    "RefType",
    "RegistryShape",
    "SetType",
    "TupleType",
    "Type",
    "UnionType",
]


class _Shape(msgspec.Struct, frozen=True, rename="camel"):
    """Base of all parts of a description."""


class AnyType(_Shape, frozen=True, tag_field="kind", tag="any"):
    """A value of which nothing is known; `why` says why, empty where that is no news."""

    why: str = ""


class PlainType(_Shape, frozen=True, tag_field="kind", tag="plain"):
    """number, bigint, string, boolean, null, bytes or date."""

    name: str


class LiteralType(_Shape, frozen=True, tag_field="kind", tag="literal"):
    """One text, number or truth value."""

    value: str | int | float | bool


class ArrayType(_Shape, frozen=True, tag_field="kind", tag="array"):
    """Any number of items of one type."""

    item: Type


class TupleType(_Shape, frozen=True, tag_field="kind", tag="tuple"):
    """An array of fixed length."""

    items: tuple[Type, ...]


class SetType(_Shape, frozen=True, tag_field="kind", tag="set"):
    """A JavaScript Set."""

    item: Type


class MapType(_Shape, frozen=True, tag_field="kind", tag="map"):
    """A JavaScript Map, or an object whose keys are data."""

    key: Type
    value: Type


class UnionType(_Shape, frozen=True, tag_field="kind", tag="union"):
    """One of several types; `text` is what TypeScript calls it."""

    items: tuple[Type, ...]
    text: str


class RefType(_Shape, frozen=True, tag_field="kind", tag="ref"):
    """An object of `RegistryShape.objects`, by its place there."""

    object: int


Type = (
    AnyType
    | PlainType
    | LiteralType
    | ArrayType
    | TupleType
    | SetType
    | MapType
    | UnionType
    | RefType
)


class Field(_Shape, frozen=True):
    """A property of an object."""

    name: str
    type: Type
    optional: bool = False


class ObjectShape(_Shape, frozen=True):
    """An object with known properties, and the name that TypeScript or its place gives it."""

    name: str
    fields: tuple[Field, ...]


class Parameter(_Shape, frozen=True):
    """A parameter of an action; `default` where it is a literal."""

    name: str
    type: Type
    optional: bool = False
    rest: bool = False
    default: LiteralType | PlainType | None = None


class ActionShape(_Shape, frozen=True):
    """An action."""

    name: str
    parameters: tuple[Parameter, ...]
    result: Type
    doc: str = ""


class EventShape(_Shape, frozen=True):
    """An event, and its argument; a tuple where it has several."""

    name: str
    type: Type


class QueueShape(_Shape, frozen=True):
    """A queue, its messages and what they are completed with."""

    name: str
    message: Type
    response: Type


class ActorShape(_Shape, frozen=True):
    """An actor; `notes` say what is not known of it."""

    name: str
    params: Type = AnyType()
    input: Type = AnyType()
    actions: tuple[ActionShape, ...] = ()
    events: tuple[EventShape, ...] = ()
    queues: tuple[QueueShape, ...] = ()
    notes: tuple[str, ...] = ()


class RegistryShape(_Shape, frozen=True):
    """All actors, and the objects that their types name."""

    actors: tuple[ActorShape, ...]
    objects: tuple[ObjectShape, ...] = ()
