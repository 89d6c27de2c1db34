"""No value costs more than a small multiple of its length, in time or in memory."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from rivet_anyio import ProtocolError
from rivet_anyio.protocol.values import (
    COMPAT_CBOR,
    PLAIN_CBOR,
    dump_cbor,
    dump_json,
    load_cbor,
    load_json,
    prepare,
    revive,
)

from .bombs import BOMBS

_RANDOM = random.Random(1)
_MEMORY_PER_BYTE = 60
_SECONDS = 60
"""Each takes 1 s at most; what grows with the square of the length takes minutes."""


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.protocol.bombs", name, str(_MEMORY_PER_BYTE)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    if "far apart" in name:
        assert done.stdout == ("list\n" if "few" in name else "refused\n")


@pytest.mark.parametrize(
    "count, item",
    [
        (65_535, "a0"),
        (65_535, "80"),
        (65_535, "e0"),
        (60_000, "820102"),
    ],
)
def test_many_small_containers_are_read(count: int, item: str) -> None:
    data = b"\x9a" + count.to_bytes(4, "big") + bytes.fromhex(item) * count
    assert len(revive(load_cbor(data), COMPAT_CBOR)) == count


def test_texts_and_bytes_are_not_taken_for_containers() -> None:
    value = [
        "日本語" * 100_000,
        "ü" * 100,
        b"\x80" * 1_000_000,
        [0.1] * 50_000,
        {"é": ["ß"] * 40_000},
    ]
    assert load_cbor(dump_cbor(value)) == value


def test_the_limit_of_containers_is_named() -> None:
    data = b"\x9a\x00\x02\x00\x00" + b"\xa0" * 0x20000
    with pytest.raises(ProtocolError, match=r"131077 bytes with more than 81920 arrays"):
        load_cbor(data)


@pytest.mark.parametrize("before, behind", [(0, 200_000), (200_000, 0), (100_000, 100_000)])
@pytest.mark.parametrize("strings", [1, 3, 100])
@pytest.mark.parametrize("string", [dump_cbor("x" * 1000), dump_cbor(b"\xa0" * 1000)])
def test_long_strings_hide_no_containers(
    string: bytes, strings: int, before: int, behind: int
) -> None:
    items = strings + before + behind
    data = b"\x9a" + items.to_bytes(4, "big")
    data += b"\xa0" * before + string * strings + b"\xa0" * behind
    with pytest.raises(ProtocolError, match="more than"):
        load_cbor(data)


@pytest.mark.parametrize("length", ["7affffffff", "7bffffffffffffffff", "5a00020001"])
def test_a_string_that_is_announced_too_long(length: str) -> None:
    with pytest.raises(ProtocolError, match="not CBOR: premature end"):
        load_cbor(b"\x82" + bytes.fromhex(length) + b"\xa0" * 0x20000)


def test_the_bytes_of_long_strings_are_not_looked_at() -> None:
    long = bytes(_RANDOM.randbytes(1_000_000))
    values: list[Any] = [long, [long], {"a": 1, "b": {"c": [1.5, "\xfc" * 70_000, long, None]}}]
    for value in values:
        data = dump_cbor(value)
        called: list[str] = []

        def note(_frame: object, _kind: str, argument: Any, called: list[str] = called) -> None:
            called.append(getattr(argument, "__name__", ""))

        sys.setprofile(note)
        try:
            read = load_cbor(data)
        finally:
            sys.setprofile(None)
        assert read == value
        assert "match" in called and "translate" not in called


@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("more", [b"\x00", b"\x60", b"\x80", b"\xff"])
def test_what_stands_behind_an_item_is_refused(size: int, more: bytes) -> None:
    data = dump_cbor(["x" * size])
    assert load_cbor(data) == ["x" * size]
    for wrong in (data + more, data[:-1], b""):
        with pytest.raises(ProtocolError, match="not CBOR"):
            load_cbor(wrong)


@pytest.mark.parametrize(
    "value",
    [
        {1: "one", None: "yes", "text": {"a": [1]}},
        {(1, (2, 3)): {-1: {2.5: None}}},
        dict.fromkeys(range(1000), "x"),
        dict.fromkeys((2**64 + n for n in range(300)), 0),
        {n * 2.0**40: [{n: n}] for n in range(300)},
        {b"\xff": 1, 2: "\xff"},
    ],
    ids=repr,
)
def test_maps_of_other_keys(value: dict[object, object]) -> None:
    assert revive(load_cbor(dump_cbor(prepare(value, PLAIN_CBOR, "v"))), PLAIN_CBOR) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("a1 a1 61 61 01 03", {(("a", 1),): 3}),
        ("a1 d90102 82 01 02 03", {frozenset({1, 2}): 3}),
        ("a1 82 01 82 02 03 04", {(1, (2, 3)): 4}),
        ("bf 01 02 ff", {1: 2}),
        ("a1 f6 a1 f5 81 f4", {None: {True: [False]}}),
        ("a2 01 02 01 03", {1: 3}),
    ],
)
def test_keys_of_other_kinds(text: str, value: object) -> None:
    assert revive(load_cbor(bytes.fromhex(text)), PLAIN_CBOR) == value


@pytest.mark.parametrize(
    "text", ["0102", "01ff", "81 01 ff", "f6 f6", "a0 00", "ff", "", "a1 01 02 03"]
)
def test_one_item_and_nothing_else(text: str) -> None:
    with pytest.raises(ProtocolError):
        load_cbor(bytes.fromhex(text))


def test_equal_items_are_no_collision() -> None:
    data = b"\xd9\x01\x02\x99\x03\xe8" + b"\x82\x00\x00" * 1000
    assert revive(load_cbor(data), PLAIN_CBOR) == {(0, 0)}


@pytest.mark.parametrize(
    "keys",
    [
        [_RANDOM.getrandbits(64) for _ in range(50_000)],
        range(50_000),
        range(-150_000, 0, 3),
        [1000 * n for n in range(50_000)],
        [(37 * n + 1_700_000_000_000 << 22) + (n % 7 << 12) for n in range(50_000)],
        [_RANDOM.random() for _ in range(50_000)],
        [n / 2**17 for n in range(100_000)],
        [n << 44 for n in range(87_000)],
        [(n // 200, n % 200) for n in range(50_000)],
        [*range(5000), *(2**61 - 1 + n for n in range(5000)), *map(str, range(5000))],
    ],
    ids=lambda keys: str(keys[-1]),
)
def test_many_keys_keep_their_order(keys: list[Any]) -> None:
    value = dict.fromkeys(keys, 0)
    read = revive(load_cbor(dump_cbor(prepare([value, set(keys)], PLAIN_CBOR, "v"))), PLAIN_CBOR)
    assert read == [value, set(keys)]
    assert list(read[0]) == list(value)


def test_a_set_fills_its_table_as_expected() -> None:
    numbers = [_RANDOM.getrandbits(64) >> _RANDOM.randrange(40) << 7 for _ in range(5000)]
    hashes = list(dict.fromkeys(map(hash, numbers)))
    table: list[int | None] = [None] * (1 << (2 * len(hashes)).bit_length())
    for found in hashes:
        slot, perturb = found % len(table), found % 2**64
        while True:
            tried = range(slot, slot + 10 if slot + 10 <= len(table) else slot + 1)
            free = next((at for at in tried if table[at] is None), None)
            if free is not None:
                table[free] = found
                break
            perturb >>= 5
            slot = (5 * slot + perturb + 1) % len(table)
    assert list(map(hash, set(dict.fromkeys(hashes)))) == [at for at in table if at is not None]


def test_sets_in_sets() -> None:
    def nested(levels: int) -> bytes:
        return b"\xd9\x01\x02\x81" * levels + b"\x01"

    read = revive(load_cbor(nested(10)), PLAIN_CBOR)
    for _ in range(9):
        (read,) = read
    assert read == {1}
    with pytest.raises(ProtocolError, match="nests deeper than 120 levels"):
        revive(load_cbor(nested(40)), PLAIN_CBOR)


def test_objects_in_sets_may_nest_deeply() -> None:
    value: Any = {"name": "leaf", "children": []}
    for _ in range(35):
        value = {"name": "node", "children": value}
    data = dump_cbor(value).replace(b"hchildren", b"hchildren\xd9\x01\x02\x81", 35)
    read = revive(load_cbor(data), PLAIN_CBOR)
    for _ in range(35):
        (read,) = read["children"]
    assert read["name"] == "leaf"


@pytest.mark.parametrize("item", [b"[]", b"{}", b"[[]]"])
def test_the_limit_holds_in_json(item: bytes) -> None:
    def text(count: int) -> bytes:
        return b"[" + b",".join([item] * count) + b"]"

    assert len(load_json(text(20_000))) == 20_000
    for data in (text(200_000), text(200_000).decode()):
        with pytest.raises(ProtocolError, match="arrays, maps and tags"):
            load_json(data)


def test_brackets_in_json_strings_are_no_arrays() -> None:
    value = ["[{" * 100_000, '"[\\"' * 50_000]
    assert load_json(dump_json(value)) == value
