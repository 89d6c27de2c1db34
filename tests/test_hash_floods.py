"""Converting costs a small multiple of what arrived, whatever hashes somebody chose."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from decimal import Decimal
from typing import Any

import pytest

from rivet_anyio import ProtocolError
from rivet_anyio._convert import convert
from rivet_anyio.protocol import collisions

from .hash_floods import COUNT, FLOODS, Model, Nested, integers

_SECONDS = 60
"""Each takes some seconds at most; what grows with the square of the length takes minutes."""
_RANDOM = random.Random(1)


@pytest.mark.parametrize("name", FLOODS)
def test_flood(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hash_floods", name],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = ("converted", "refused") if "far apart" in name else ("refused",)
    assert done.stdout.strip() in expected


def test_the_error_names_the_cause() -> None:
    with pytest.raises(ProtocolError, match=r"more than 64 of the 150000 keys .* same hash"):
        convert(integers(), set[int], "result of action 'x'")


@pytest.mark.parametrize(
    ("type", "items"),
    [
        (set[int], [_RANDOM.getrandbits(53) for _ in range(20_000)]),
        (frozenset[int], list(range(20_000))),
        (set[float], [_RANDOM.random() for _ in range(20_000)]),
        (set[int], {n << 20 for n in range(20_000)}),
        (set[Decimal], [str(n / 7) for n in range(5_000)]),
        (set[uuid.UUID], [str(uuid.UUID(int=_RANDOM.getrandbits(128))) for _ in range(5_000)]),
        (set[tuple[int, int]], [[n // 100, n % 100] for n in range(10_000)]),
        (set[int], [7] * 5_000),
        (set[str], [str(n) for n in integers()[:5_000]]),
    ],
)
def test_ordinary_items(type: Any, items: Any) -> None:
    assert len(convert(items, type, "x")) == len(set(map(str, items)))


def test_lists_beside_sets_may_hold_anything() -> None:
    read = convert({"names": ["a"] * 1000, "ids": list(range(1000))}, Nested, "x")
    assert read == Nested(["a"] * 1000, frozenset(range(1000)))
    assert len(convert({"ids": [str(n) for n in range(500)]}, Model, "x").ids) == 500
    assert len(convert(integers()[: COUNT // 10], list[int], "x")) == COUNT // 10


@pytest.mark.parametrize("count", [3, 100, 5_000, 60_000, 150_000])
def test_a_set_grows_as_expected(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation ends with the order in which CPython has the items."""
    numbers = [_RANDOM.getrandbits(61) >> _RANDOM.randrange(40) for _ in range(count)]
    hashes = list(dict.fromkeys(map(hash, numbers)))
    place = collisions._place_in_set
    last: list[tuple[list[int], list[int]]] = []

    def spy(given: list[int], bits: int) -> list[int]:
        slots = place(given, bits)
        last[:] = [(given[:], slots)]
        return slots

    monkeypatch.setattr(collisions, "_place_in_set", spy)
    collisions._grow(hashes)
    grown: set[int] = set()
    for found in hashes:
        grown.add(found)
    ((given, slots),) = last
    assert [found for _, found in sorted(zip(slots, given, strict=True))] == list(grown)
