"""Writes a Python module of typed actors from a description."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence

from .._typed.actor import RESERVED
from .._typed.members import renamed
from ._description import (
    ActionShape,
    ActorShape,
    AnyType,
    ArrayType,
    EventShape,
    LiteralType,
    MapType,
    ObjectShape,
    Parameter,
    PlainType,
    QueueShape,
    RefType,
    RegistryShape,
    SetType,
    TupleType,
    Type,
    UnionType,
)

__all__ = ["write_module"]

Member = ActionShape | EventShape | QueueShape

_WIDTH = 100
_BODY = "        raise NotImplementedError"
_PLAIN = {
    "number": "Number",
    "bigint": "int",
    "string": "str",
    "boolean": "bool",
    "null": "None",
    "bytes": "bytes",
    "date": "dt.datetime",
}
_TEXTS = ("str", "bytes", "dt.datetime")
_ARRAYS = (ArrayType, TupleType, SetType)
_TYPE_NAMES = {"bool", "bytes", "dict", "dt", "int", "list", "set", "str", "tuple"}
_MODULE_NAMES = {"TypedActor", "Any", "Event", "Literal", "Number", "Queue", "TypeAlias"}
_HEAD = '''\
# mypy: disable-error-code="empty-body"
"""{title}

Written by rivet-anyio. What is `Any` is not known; a comment says why, and a better type may be
written in its place.
"""
'''


class _Names:
    """Python names for those of another language, each used once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, name: str) -> str:
        """This name, or one like it that is free."""
        if keyword.iskeyword(name) or name in self._taken:
            name += "_"
        free, number = name, 2
        while free in self._taken:
            free, number = f"{name}{number}", number + 1
        self._taken.add(free)
        return free


def _words(name: str) -> list[str]:
    """The words of a name, of what may stand in a Python name."""
    plain = unicodedata.normalize("NFKC", name)  # as Python reads names
    known = "".join(char if f"a{char}".isidentifier() else " " for char in plain)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", known)
    return spaced.replace("_", " ").split()


def _snake(name: str) -> str:
    return _begun("_".join(_words(name)).lower(), "n")


def _pascal(name: str) -> str:
    return _begun("".join(word[0].upper() + word[1:] for word in _words(name)), "N")


def _begun(text: str, letter: str) -> str:
    """The text, behind a letter where it cannot begin a name."""
    begun = text if text.isidentifier() else letter + text
    return unicodedata.normalize("NFKC", begun)


def _literal(value: object) -> str:
    """A Python literal, with double quotes as formatters have them."""
    if not isinstance(value, str):
        return repr(value)
    text = repr(value)
    if text[0] == "'" and '"' not in text:
        return f'"{text[1:-1]}"'
    return text


def _in_docstring(text: str) -> str:
    """Text as it stands between triple quotes."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


def _comment(text: str) -> str:
    """Text that fits into one comment."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()


def _types_in(annotations: Iterable[str]) -> set[str]:
    """The names that no member may have: in the class, it would stand for these types."""
    code = re.sub(r"""(["']).*?\1""", "", " ".join(annotations))
    return _TYPE_NAMES.intersection(re.findall(r"\w+", code))


class _Types:
    """Types as annotations; collects what could not be said."""

    def __init__(self, objects: Sequence[ObjectShape]) -> None:
        self.objects = objects
        self.used: set[int] = set()
        self.tags: dict[int, tuple[str, str]] = {}
        names = _Names(_MODULE_NAMES)
        self._reserve = names
        self._names: dict[int, str] = {}

    def class_name(self, name: str) -> str:
        """A name for a class of the module."""
        return self._reserve.take(_pascal(name))

    def name(self, number: int) -> str:
        """The name of an object's class."""
        if number not in self._names:
            self._names[number] = self.class_name(self.objects[number].name)
        self.used.add(number)
        return self._names[number]

    def write(self, type: Type, notes: list[str], what: str) -> str:
        """The annotation; `notes` gets a line for what becomes Any."""
        match type:
            case AnyType(why):
                if why:
                    notes.append(f"{what}: Any for {why}")
                return "Any"
            case PlainType(name):
                return _PLAIN[name]
            case LiteralType(value):
                if isinstance(value, float):
                    return "Number"
                return f"Literal[{_literal(value)}]"
            case ArrayType(item):
                return f"list[{self.write(item, notes, what)}]"
            case TupleType(items):
                inner = ", ".join(self.write(item, notes, what) for item in items)
                return f"tuple[{inner or '()'}]"
            case SetType(item):
                return f"set[{self.write(item, notes, what)}]"
            case MapType(key, value):
                return f"dict[{self._key(key, notes, what)}, {self.write(value, notes, what)}]"
            case RefType(number):
                return self.name(number)
            case UnionType():
                return self._union(type, notes, what)

    def _key(self, key: Type, notes: list[str], what: str) -> str:
        """The type of a dict's keys; objects cannot be."""
        if isinstance(key, (PlainType, LiteralType)) or (
            isinstance(key, UnionType)
            and all(isinstance(item, (PlainType, LiteralType)) for item in key.items)
        ):
            return self.write(key, notes, what)
        return "Any"

    def _union(self, union: UnionType, notes: list[str], what: str) -> str:
        """A union that msgspec can distinguish, or Any."""
        items = [item for item in union.items if item != PlainType("null")]
        if not self._is_checkable(items):
            notes.append(f"{what}: Any for {union.text}")
            return "Any"
        literals = [item for item in items if isinstance(item, LiteralType)]
        texts = [self.write(item, notes, what) for item in items if item not in literals]
        if literals:
            texts.append(f"Literal[{', '.join(_literal(item.value) for item in literals)}]")
        if len(items) < len(union.items):
            texts.append("None")
        if "Any" in texts:
            return "Any"
        return " | ".join(dict.fromkeys(texts))

    def _is_checkable(self, items: Sequence[Type]) -> bool:
        """Whether msgspec can distinguish the members."""
        literals = {type(item.value) for item in items if isinstance(item, LiteralType)}
        if not literals <= {str, int}:
            return False
        plain = {_PLAIN[item.name] for item in items if isinstance(item, PlainType)}
        texts = len(plain & set(_TEXTS)) + (str in literals)
        numbers = len(plain & {"int", "Number"}) + (int in literals)
        arrays = sum(isinstance(item, _ARRAYS) for item in items)
        maps = sum(isinstance(item, MapType) for item in items)
        objects = [item.object for item in items if isinstance(item, RefType)]
        if texts > 1 or numbers > 1 or arrays > 1 or maps > 1 or (maps and objects):
            return False
        return len(objects) < 2 or self._tag(objects)

    def _tag(self, objects: Sequence[int]) -> bool:
        """Find the property that distinguishes the objects, and remember it."""
        for field in self.objects[objects[0]].fields:
            tags: dict[int, tuple[str, str]] = {}
            for number in objects:
                for other in self.objects[number].fields:
                    if (
                        other.name == field.name
                        and not other.optional
                        and isinstance(other.type, LiteralType)
                        and isinstance(other.type.value, str)
                    ):
                        tags[number] = (field.name, other.type.value)
            different = len(set(tags.values())) == len(objects)
            if different and all(self.tags.get(n, tag) == tag for n, tag in tags.items()):
                self.tags.update(tags)
                return True
        return False


class _Block:
    """The members of one class, with the server's names by rule or one by one."""

    def __init__(self, names: Iterable[str], taken: Iterable[str]) -> None:
        pythonic = _Names(taken)
        self._names = {name: pythonic.take(_snake(name)) for name in dict.fromkeys(names)}
        self.camel = any(
            name != python and renamed(python, "camel") == name
            for name, python in self._names.items()
        )

    def __call__(self, name: str) -> tuple[str, str | None]:
        """The Python name, and the server's where the rule does not give it."""
        python = self._names[name]
        rule = renamed(python, "camel" if self.camel else None)
        return python, None if rule == name else _literal(name)


def write_module(shape: RegistryShape, title: str) -> str:
    """A module that defines a class for every actor.

    Args:
        shape: The description.
        title: The first line of its docstring.
    """
    types = _Types(shape.objects)
    classes = {actor.name: types.class_name(actor.name) for actor in shape.actors}
    while True:
        # Unions decide which objects have tags, so all is written anew until that is settled.
        tags = dict(types.tags)
        actors = [_write_actor(actor, classes[actor.name], types) for actor in shape.actors]
        objects = _write_objects(types)
        if types.tags == tags:
            break
    body = "\n\n\n".join([*objects, *actors])
    return "\n".join([_heading(title, body), "\n", body, ""])


def _heading(title: str, body: str) -> str:
    code = re.sub(r"^ *#.*$", "", body, flags=re.M)

    def uses(pattern: str) -> bool:
        return re.search(pattern, code) is not None

    typing = [name for name in ("Any", "Literal") if uses(rf"\b{name}\b")]
    rivet = [name for name in ("Event", "Queue", "TypedActor") if uses(rf"\b{name}\b")]
    rivet += [name for name in ("action", "event", "queue") if uses(rf"(@| = ){name}\(")]
    lines = [_HEAD.format(title=_in_docstring(title)), "from __future__ import annotations", ""]
    if uses(r"\bdt\."):
        lines.append("import datetime as dt")
    number = uses(r"\bNumber\b")
    typing += ["TypeAlias"] * number
    if typing:
        lines.append(f"from typing import {', '.join(typing)}")
    if lines[-1]:
        lines.append("")
    if uses(r"\bmsgspec\."):
        lines += ["import msgspec", ""]
    lines.append(f"from rivet_anyio import {', '.join(rivet)}")
    if number:
        lines += ["", "# JavaScript has one kind of number.", "Number: TypeAlias = int | float"]
    return "\n".join(lines)


def _write_objects(types: _Types) -> list[str]:
    """The classes of all objects that are used, also by other objects."""
    written: dict[int, str] = {}
    while missing := sorted(types.used - set(written)):
        for number in missing:
            written[number] = _write_object(number, types)
    return [written[number] for number in sorted(written)]


def _write_object(number: int, types: _Types) -> str:
    shape = types.objects[number]
    tag = types.tags.get(number)
    fields = [field for field in shape.fields if tag is None or field.name != tag[0]]
    nameless = [field for field in fields if re.search(r'["\\\x00-\x1f]', field.name)]
    fields = [field for field in fields if field not in nameless]
    annotations = [types.write(field.type, [], "") for field in fields]
    names = _Block((field.name for field in fields), _types_in(annotations))
    options = ["kw_only=True"]
    if names.camel:
        options.append('rename="camel"')
    if any(field.optional for field in fields):
        options.append("omit_defaults=True")
    if tag is not None:
        options += [f"tag_field={_literal(tag[0])}", f"tag={_literal(tag[1])}"]
    lines = [f"class {types.name(number)}(msgspec.Struct, {', '.join(options)}):"]
    lines += [
        f"    # {_comment(repr(field.name))} is left out: msgspec has no such name."
        for field in nameless
    ]
    for field in fields:
        name, given = names(field.name)
        notes: list[str] = []
        annotation = types.write(field.type, notes, name)
        if field.optional and "None" not in annotation.split(" | ") and annotation != "Any":
            annotation += " | None"
        parts = [*["default=None"] * (field.optional and given is not None)]
        parts += [f"name={given}"] * (given is not None)
        default = f" = msgspec.field({', '.join(parts)})" if parts else ""
        if field.optional and given is None:
            default = " = None"
        lines += [f"    # {_comment(note)}" for note in notes]
        lines.append(f"    {name}: {annotation}{default}")
    if not fields:
        lines.append("    pass")
    return "\n".join(lines)


def _write_actor(actor: ActorShape, class_name: str, types: _Types) -> str:
    notes: list[str] = [*actor.notes]
    params = types.write(actor.params, notes, "params")
    input = types.write(actor.input, notes, "input")
    members: list[Member] = [*actor.events, *actor.queues, *actor.actions]
    # One name for each kind and name at the server: they are different things in Python.
    python = _Names(RESERVED | _types_in(_annotations(actor, types)))
    names = {(type(one), one.name): python.take(_snake(one.name)) for one in members}
    camel = any(name != own and renamed(own, "camel") == name for (_, name), own in names.items())

    def named(member: Member) -> tuple[str, str | None]:
        own = names[type(member), member.name]
        rule = renamed(own, "camel" if camel else None)
        return own, None if rule == member.name else _literal(member.name)

    base = "TypedActor"
    if (params, input) != ("Any", "Any"):
        base += f"[{params}]" if input == "Any" else f"[{params}, {input}]"
    rename = ', rename="camel"' if camel else ""
    lines = [f"class {class_name}({base}, name={_literal(actor.name)}{rename}):"]
    lines += [f"    # {_comment(note)}" for note in notes]
    for event in actor.events:
        own, given = named(event)
        said: list[str] = []
        annotation = f"Event[{types.write(event.type, said, own)}]"
        value = f" = event(name={given})" if given else ""
        lines += [f"    # {_comment(note)}" for note in said]
        lines.append(f"    {own}: {annotation}{value}")
    for queue in actor.queues:
        own, given = named(queue)
        said = []
        body = types.write(queue.message, said, f"message for {own}")
        response = types.write(queue.response, said, f"response of {own}")
        value = f" = queue(name={given})" if given else ""
        lines += [f"    # {_comment(note)}" for note in said]
        lines.append(f"    {own}: Queue[{body}, {response}]{value}")
    for action in actor.actions:
        own, given = named(action)
        lines += ["", *_write_action(action, own, given, types)]
    if len(lines) == 1:
        lines.append("    pass")
    elif all(line.strip().startswith("#") for line in lines[1:]):
        lines += ["", "    pass"]
    return (
        "\n".join(lines).replace(":\n\n    async", ":\n    async").replace(":\n\n    @", ":\n    @")
    )


def _annotations(actor: ActorShape, types: _Types) -> Iterable[str]:
    """All types of an actor's members, in the order of the members."""
    shapes = [event.type for event in actor.events]
    for queue in actor.queues:
        shapes += [queue.message, queue.response]
    for action in actor.actions:
        shapes += [*(one.type for one in action.parameters), action.result]
    return (types.write(shape, [], "") for shape in shapes)


def _write_action(action: ActionShape, name: str, given: str | None, types: _Types) -> list[str]:
    notes: list[str] = []
    parameters = _write_parameters(action.parameters, types, notes)
    result = types.write(action.result, notes, "result")
    lines = [f"    # {_comment(note)}" for note in notes]
    if given is not None:
        lines.append(f"    @action({given})")
    doc = _docstring(action.doc)
    end = ":" if doc else ": ..."
    signature = f"    async def {name}({', '.join(['self', *parameters])}) -> {result}{end}"
    if len(signature) <= _WIDTH:
        lines.append(signature)
    else:
        lines.append(f"    async def {name}(")
        lines += [f"        {parameter}," for parameter in ["self", *parameters]]
        lines.append(f"    ) -> {result}{end}")
    return [*lines, *doc]


def _write_parameters(
    parameters: Sequence[Parameter], types: _Types, notes: list[str]
) -> list[str]:
    names = _Names({"self"})
    required = [index for index, one in enumerate(parameters) if not (one.optional or one.rest)]
    last_required = required[-1] if required else -1
    written: list[str] = []
    for index, parameter in enumerate(parameters):
        name = names.take(_snake(parameter.name))
        annotation = types.write(parameter.type, notes, name)
        if parameter.rest:
            written.append(f"*{name}: {annotation}")
            continue
        default = ""
        if parameter.optional and index > last_required:
            default = " = ..."
            match parameter.default:
                case LiteralType(value):
                    default = f" = {_literal(value)}"
                case PlainType():
                    default = " = None"
                case None:
                    pass
            if default == " = None" and annotation != "Any" and "None" not in annotation:
                annotation += " | None"
        written.append(f"{name}: {annotation}{default}")
    return written


def _docstring(doc: str) -> list[str]:
    """The lines of a body with a docstring; none for no text."""
    text = _in_docstring(doc).strip()
    if not text:
        return []
    lines = [line.strip() for line in text.splitlines()]
    if lines[-1].endswith('"'):
        lines[-1] += " "
    if len(lines) == 1:
        return [f'        """{lines[0]}"""', _BODY]
    return [
        f'        """{lines[0]}',
        *(f"        {line}" if line else "" for line in lines[1:]),
        '        """',
        _BODY,
    ]
