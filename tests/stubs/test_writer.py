"""The writer alone: names, unions and tags, without a compiler."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rivet_anyio import ConfigError, TypedActor
from rivet_anyio.stubs import stubs_from_typescript
from rivet_anyio.stubs._description import (
    ActionShape,
    ActorShape,
    AnyType,
    ArrayType,
    EventShape,
    Field,
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
from rivet_anyio.stubs._writer import write_module

from .test_stubs import load

NUMBER, STRING, NULL = PlainType("number"), PlainType("string"), PlainType("null")


def result_of(type: Type, *objects: ObjectShape) -> str:
    action = ActionShape("get", (), type)
    source = write_module(RegistryShape((ActorShape("one", actions=(action,)),), objects), "One.")
    exec(compile(source, "stubs.py", "exec"), {"__name__": "stubs"})
    return source.partition("def get(self) -> ")[2].partition(": ...")[0]


def union(*items: Type) -> UnionType:
    return UnionType(items, "the union")


@pytest.mark.parametrize(
    ("type", "written"),
    [
        (union(STRING, NULL), "str | None"),
        (union(NUMBER, STRING, PlainType("boolean")), "Number | str | bool"),
        (union(LiteralType("a"), LiteralType(2), NULL), 'Literal["a", 2] | None'),
        (union(STRING, PlainType("date")), "Any"),
        (union(STRING, LiteralType("a")), "Any"),
        (union(NUMBER, PlainType("bigint")), "Any"),
        (union(LiteralType(1.5), STRING), "Any"),
        (union(LiteralType(True), STRING), "Any"),
        (union(SetType(NUMBER), TupleType((STRING,))), "Any"),
        (union(MapType(STRING, NUMBER), STRING), "dict[str, Number] | str"),
        (union(MapType(STRING, NUMBER), MapType(NUMBER, STRING)), "Any"),
        (union(AnyType(), NULL), "Any"),
        (LiteralType(1.5), "Number"),
        (LiteralType('say "it"'), "Literal['say \"it\"']"),
        (TupleType(()), "tuple[()]"),
        (MapType(TupleType((STRING,)), NUMBER), "dict[Any, Number]"),
    ],
)
def test_types(type: Type, written: str) -> None:
    assert result_of(type) == written


def tagged(name: str, tag: Type, optional: bool = False) -> ObjectShape:
    return ObjectShape(name, (Field("kind", tag, optional), Field("x", NUMBER)))


def test_unions_of_objects_need_a_tag() -> None:
    a, b = RefType(0), RefType(1)
    one, two = LiteralType("one"), LiteralType("two")
    assert result_of(union(a, b), tagged("A", one), tagged("B", two)) == "A | B"
    assert result_of(union(a, b), tagged("A", one), tagged("B", one)) == "Any"
    assert result_of(union(a, b), tagged("A", one), tagged("B", two, optional=True)) == "Any"
    assert result_of(union(a, b), tagged("A", one), tagged("B", STRING)) == "Any"
    assert result_of(union(a, MapType(STRING, STRING)), tagged("A", one)) == "Any"
    assert result_of(union(a, NULL), tagged("A", one)) == "A | None"


def test_names_are_python_names_and_different() -> None:
    shape = ActorShape(
        "my-actor.2",
        events=(EventShape("count", NUMBER), EventShape("日本", NUMBER), EventShape("2nd", STRING)),
        queues=(QueueShape("count", STRING, AnyType()),),
        actions=(
            ActionShape("count", (), NUMBER),
            ActionShape("getURL", (Parameter("self", STRING), Parameter("class", STRING)), NULL),
            ActionShape("get_url", (), NULL),
            ActionShape("resolve", (), NULL),
            ActionShape("import", (), NULL),
            ActionShape("$", (Parameter("...", STRING),), NULL),
            ActionShape('a"b\n', (), NULL),
        ),
    )
    source = write_module(RegistryShape((shape, ActorShape("myActor2"))), "Odd.")
    names: dict[str, object] = {"__name__": "stubs"}
    exec(compile(source, "stubs.py", "exec"), names)
    assert {"MyActor2", "MyActor2_"} <= set(names)
    for line in (
        "count: Event[Number]",
        "count_: Queue[str, Any]\n",
        '@action("count")',
        "async def resolve_(self) -> None: ...",
        '@action("getURL")',
        "async def get_url(self, self_: str, class_: str) -> None: ...",
        '@action("get_url")',
        "async def import_(self) -> None: ...",
        'n2nd: Event[str] = event(name="2nd")',
    ):
        assert line in source


def test_three_names_that_are_one_in_python() -> None:
    names = ("get_url", "getURL", "getUrl", "get-url")
    actor = ActorShape("a", actions=tuple(ActionShape(name, (), NULL) for name in names))
    source = write_module(RegistryShape((actor,)), "Alike.")
    exec(compile(source, "stubs.py", "exec"), {"__name__": "stubs"})
    written = re.findall(r"async def (\w+)", source)
    assert written == ["get_url", "get_url_", "get_url_2", "get_url_3"]


@pytest.mark.parametrize("doc", ['Says "hello"', 'Two\nlines"', "back\\", 'a """b""" c'])
def test_docstrings_are_text(doc: str) -> None:
    actor = ActorShape("a", actions=(ActionShape("say", (), NULL, doc),))
    source = write_module(RegistryShape((actor,)), "Said.")
    names: dict[str, Any] = {"__name__": "stubs"}
    exec(compile(source, "stubs.py", "exec"), names)
    assert names["A"].say.__doc__.split() == doc.replace('"""', "'''").split()


def test_no_member_hides_a_type(tmp_path: Path) -> None:
    """A type checker and msgspec look names up in the class first."""
    listed = ObjectShape(
        "Listed",
        (
            Field("list", ArrayType(STRING)),
            Field("bytes", NUMBER),
            Field("raw", PlainType("bytes"), optional=True),
            Field("set", NUMBER),
        ),
    )
    shape = ActorShape(
        "shelf",
        events=(EventShape("str", STRING),),
        actions=(
            ActionShape("list", (), RefType(0)),
            ActionShape("tuple", (), TupleType((NUMBER,))),
            ActionShape("dt", (Parameter("list", ArrayType(NUMBER)),), PlainType("date")),
            ActionShape("bool", (), LiteralType("bool")),
        ),
    )
    source = write_module(RegistryShape((shape,), (listed,)), "Shelf.")
    for line in (
        "list_: list[str]\n",
        "bytes_: Number\n",
        "raw: bytes | None = None",
        "set: Number",
        "str_: Event[str]\n",
        "async def tuple_(self) -> tuple[Number]: ...",
        "async def dt_(self, list: list[Number]) -> dt.datetime: ...",
        "async def list_(self) -> Listed: ...",
        'async def bool(self) -> Literal["bool"]: ...',
    ):
        assert line in source, source
    module = load(source, tmp_path)
    actions = {name for kind, name in module.Shelf._rivet_names.items() if kind[0] == "action"}
    assert actions == {"list", "tuple", "dt", "bool"}
    value = msgspec.convert({"list": ["a"], "bytes": 1, "set": 2}, module.Listed)
    assert msgspec.to_builtins(value) == {"list": ["a"], "bytes": 1, "set": 2}


def test_fields_that_msgspec_cannot_name_are_told() -> None:
    shape = ObjectShape("Odd", (Field('a"b', STRING), Field("c\\d", STRING), Field("e", STRING)))
    action = ActionShape("get", (), RefType(0))
    source = write_module(RegistryShape((ActorShape("one", actions=(action,)),), (shape,)), "Odd.")
    exec(compile(source, "stubs.py", "exec"), {"__name__": "stubs"})
    assert """    # 'a"b' is left out: msgspec has no such name.\n""" in source
    assert "    e: str\n" in source


@pytest.mark.parametrize("title", ["a\\users", "a\\u12", 'ends"', '"""', "a\\"])
def test_titles_are_text(title: str) -> None:
    source = write_module(RegistryShape((ActorShape("one"),)), title)
    made: dict[str, Any] = {"__name__": "stubs"}
    exec(compile(source, "stubs.py", "exec"), made)
    assert made["__doc__"].startswith(title.replace('"""', "'''"))


@pytest.mark.parametrize(
    "name", ["a²", "½", "\u0301x", "ﬁ", "ΐ", "a\u200db", "১৴", "---", "class", "ªµ"]
)
def test_names_that_python_does_not_have(name: str) -> None:
    """The server is asked for what it knows, whatever it is called here."""
    shape = ActorShape(name, actions=(ActionShape(name, (), AnyType()),))
    source = write_module(RegistryShape((shape,)), "One.")
    made: dict[str, Any] = {"__name__": "stubs"}
    exec(compile(source, "stubs.py", "exec"), made)
    (cls,) = (
        one
        for one in made.values()
        if isinstance(one, type) and issubclass(one, TypedActor) and one is not TypedActor
    )
    assert cls._rivet_name == name and list(cls._rivet_names.values()) == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="these programs are of Unix")
@pytest.mark.parametrize("program", ["true", "echo"])
def test_a_program_that_is_not_node(tmp_path: Path, program: str) -> None:
    registry = tmp_path / "registry.ts"
    registry.touch()
    with pytest.raises(ConfigError, match=f"{program} wrote no description of .*registry.ts"):
        stubs_from_typescript(registry, node=shutil.which(program))
