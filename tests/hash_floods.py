"""Lists whose items make a set or a dict slow, and types that make one of them.

``python -m tests.hash_floods TYPE ITEMS`` converts the items, and prints what became of them.
"""

from __future__ import annotations

import decimal
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pydantic

from rivet_anyio import ProtocolError
from rivet_anyio._convert import convert

from .protocol.bombs import _far_apart

__all__ = ["FLOODS", "main"]

PRIME = 2**61 - 1
COUNT = 150_000


class Nested(msgspec.Struct):
    names: list[str]
    ids: frozenset[int] | None


@dataclass
class Plain:
    ids: set[Any]


class Model(pydantic.BaseModel):
    ids: set[int]
    counts: dict[int, int] = {}


TYPES: dict[str, Any] = {
    "set[int]": set[int],
    "set": set,
    "frozenset[tuple[int, int]]": frozenset[tuple[int, int]],
    "list[set[int]]": list[set[int]],
    "Annotated": Annotated[set[int], msgspec.Meta(min_length=1)],
    "Struct": Nested,
    "dataclass": Plain,
    "model": Model,
    "dict of models": dict[str, list[Model]],
    "set[UUID]": set[uuid.UUID],
    "dict[Decimal, int]": dict[decimal.Decimal, int],
    "Mapping[UUID, Any]": Mapping[uuid.UUID, Any],
}


def integers() -> list[int]:
    return [PRIME * (number + 9) for number in range(COUNT)]


def texts() -> list[str]:
    return [str(number) for number in integers()]


def uuids() -> list[str]:
    return [str(uuid.UUID(int=number)) for number in integers()]


FLOODS: dict[str, tuple[str, Callable[[], Any]]] = {
    "integers": ("set[int]", integers),
    "integers and a text": ("set[int]", lambda: [*integers(), "x"]),
    "integers in a bare set": ("set", integers),
    "pairs": ("frozenset[tuple[int, int]]", lambda: [[n, 1] for n in integers()]),
    "the second list": ("list[set[int]]", lambda: [[1, 2, 3], integers()]),
    "small lists": ("list[set[int]]", lambda: [integers()[:200]] * 1000),
    "with conditions": ("Annotated", integers),
    "in a Struct": ("Struct", lambda: {"names": ["a"] * COUNT, "ids": integers()}),
    "in a dataclass": ("dataclass", lambda: {"ids": integers()}),
    "in a model": ("model", lambda: {"ids": integers()}),
    "texts in a model": ("model", lambda: {"ids": texts()}),
    "keys in a model": ("model", lambda: {"ids": [], "counts": dict.fromkeys(texts(), 1)}),
    "in models in lists": ("dict of models", lambda: {"a": [{"ids": integers()}]}),
    "UUIDs": ("set[UUID]", uuids),
    "decimals as keys": ("dict[Decimal, int]", lambda: dict.fromkeys(texts(), 1)),
    "UUIDs as keys": ("Mapping[UUID, Any]", lambda: {key: [1] for key in uuids()}),
    "integers far apart": ("set[int]", lambda: _far_apart(18)),
}


def main(name: str) -> None:
    type, items = FLOODS[name]
    try:
        convert(items(), TYPES[type], "result")
    except ProtocolError as error:
        assert len(str(error)) < 2000
        print("refused")
    else:
        print("converted")


if __name__ == "__main__":
    main(sys.argv[1])
