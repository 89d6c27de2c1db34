"""Values that were written to cost much more than they weigh, by name.

``python -m tests.protocol.bombs NAME LIMIT`` reads one of them in at most that many bytes of memory
beyond what it began with, and prints what became of it.
"""

from __future__ import annotations

import resource
import struct
import sys
from collections.abc import Callable

from rivet_anyio import ProtocolError
from rivet_anyio.protocol.values import COMPAT_CBOR, COMPAT_JSON, load_cbor, load_json, revive

__all__ = ["BOMBS", "main"]

_MEBIBYTE = 1 << 20
_PRIME = 2**61 - 1
"""Python's hash of a number is its remainder by this one."""


def _head(kind: int, count: int) -> bytes:
    return bytes((kind | 26,)) + count.to_bytes(4, "big")


def _bignum(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return b"\xc2" + _head(0x40, len(data)) + data


def _set(items: list[bytes]) -> bytes:
    return b"\xd9\x01\x02" + _head(0x80, len(items)) + b"".join(items)


def _map(keys: list[bytes]) -> bytes:
    return b"\xd9\x01\x03" + _head(0xA0, len(keys)) + b"\x00".join(keys) + b"\x00"


def _alike(count: int) -> list[bytes]:
    return [_bignum(_PRIME * (number + 9)) for number in range(count)]


def _arrays(count: int, width: int) -> list[bytes]:
    """Arrays of 64-bit integers, all with the same hash."""
    digits = [b"\x1b" + (1 + _PRIME * digit).to_bytes(8, "big") for digit in range(8)]
    return [
        bytes((0x80 + width,)) + b"".join(digits[number >> 3 * place & 7] for place in range(width))
        for number in range(count)
    ]


def _big_ints(count: int) -> bytes:
    return b",".join(b'["$BigInt","%d"]' % (_PRIME * (n + 9)) for n in range(count))


def _far_apart(bits: int = 14) -> list[int]:
    """Integers with different hashes, each of which meets many others in a dict's table.

    When all of a hash is used up, the slot after ``i`` is ``5 * i + 1``. The first integers take
    the beginning of that cycle, and the others come to it through slots that are taken.
    """
    size = 1 << bits
    cycle = [0]
    while len(cycle) < size:
        cycle.append((5 * cycle[-1] + 1) % size)
    place = [0] * size
    for at, slot in enumerate(cycle):
        place[slot] = at
    chosen = cycle[: size // 2]
    number = size
    while len(chosen) < size * 2 // 3:
        number += 1
        slot, perturb = number % size, number
        while perturb and place[slot] < len(chosen):
            perturb >>= 5
            slot = (5 * slot + perturb + 1) % size
        if place[slot] < len(chosen) // 3:
            chosen.append(number)
    return chosen


def _integers(numbers: list[int]) -> list[bytes]:
    return [b"\x1a" + number.to_bytes(4, "big") for number in numbers]


def _times(item: bytes, length: int = 4 * _MEBIBYTE) -> bytes:
    count = length // len(item)
    return _head(0x80, count) + item * count


def _nested(before: bytes, after: bytes, levels: int = 55) -> bytes:
    """A long array in many levels of something that needs its hash."""
    return before * levels + _times(b"\x18\x7f") + after * levels


BOMBS: dict[str, Callable[[], bytes]] = {
    "set of integers that collide": lambda: _set(_alike(40_000)),
    "map of integers that collide": lambda: _map(_alike(40_000)),
    "map without a tag": lambda: _map(_alike(40_000))[3:],
    "map without an end": lambda: b"\xbf" + _map(_alike(40_000))[8:] + b"\xff",
    "many small sets": lambda: _times(_set(_alike(200)), 2 * _MEBIBYTE),
    "many small maps": lambda: _times(_map(_alike(200)), 2 * _MEBIBYTE),
    "map of arrays that collide": lambda: _map(_arrays(32_768, 5)),
    "set of arrays that collide": lambda: _set(_arrays(32_768, 5)),
    "set of sets of integers": lambda: _set([_set(_alike(100))] * 500),
    "sets in sets": lambda: _nested(b"\xd9\x01\x02\x81", b""),
    "sets in sets that have no hash": lambda: _nested(b"\xd9\x01\x02\x82\xa0", b""),
    "sets in arrays in sets": lambda: _nested(b"\xd9\x01\x02\x81\x81", b""),
    "maps as keys of maps": lambda: _nested(b"\xa1", b"\x00"),
    "arrays as keys of maps": lambda: _nested(b"\xa1\x81", b"\x00"),
    "sets in sets in json": lambda: (
        b'["$Set",[{},' * 55 + b"[" + b"1," * _MEBIBYTE + b"1]" + b"]]" * 55
    ),
    "set of floats": lambda: _set(
        [b"\xfb" + struct.pack(">d", 2.0 ** (61 * n % 1000) * (1 + n)) for n in range(40_000)]
    ),
    "set in json": lambda: b'["$Set",[' + _big_ints(40_000) + b"]]",
    "arrays in a set in json": lambda: b'["$Set",[[' + _big_ints(40_000).replace(
        b"],[", b"]],[["
    ) + b"]]]",
    "map of integers far apart": lambda: _times(_map(_integers(_far_apart()))),
    "map of few integers far apart": lambda: _times(_map(_integers(_far_apart(10)))),
    "set of integers far apart": lambda: _times(_set(_integers(_far_apart()))),
    "map of floats far apart": lambda: _times(
        _map([b"\xfb" + struct.pack(">d", number) for number in _far_apart()])
    ),
    "map of BigInts far apart": lambda: _times(
        _map([_bignum(number + _PRIME * 9) for number in _far_apart()])
    ),
    "map of pairs far apart": lambda: _times(
        _map([item for number in _integers(_far_apart()) for item in (number, number)])
    ),
    "set far apart in json": lambda: b"[" + b",".join(
        [b'["$Set",%b]' % str(_far_apart()).encode()] * 16
    ) + b"]",
    "date of bytes": lambda: b"\xc1" + _head(0x40, 4 * _MEBIBYTE) + bytes(4 * _MEBIBYTE),
    "date of a list": lambda: b"\xc1" + _times(b"\x00"),
    "date of a bignum": lambda: b"\xc1" + _bignum(2 ** (8 * 4 * _MEBIBYTE) - 1),
    "bignum": lambda: _bignum(2 ** (8 * 4 * _MEBIBYTE) - 1),
    "empty maps": lambda: _times(b"\xa0"),
    "empty arrays": lambda: _times(b"\x80"),
    "empty sets": lambda: _times(b"\xd9\x01\x02\x80"),
    "small maps": lambda: _times(b"\xa1\x00\x00"),
    "small maps with undefined": lambda: _times(b"\xa1\x61a\xf7"),
    "tags": lambda: _times(b"\xc6\x00"),
    "deep arrays": lambda: b"\x81" * 60_000 + b"\x00",
    "deep maps": lambda: b"\xa1\x00" * 60_000 + b"\x00",
    "deep maps with tags": lambda: b"\xd9\x01\x03" * 60_000 + b"\x00",
    "arrays deep beyond counting": lambda: b"\x81" * (4 * _MEBIBYTE) + b"\x00",
    "simple values": lambda: _times(b"\xe0"),
    "small integers": lambda: _times(b"\x00"),
    "small floats": lambda: _times(b"\xf9\x3c\x00"),
    "texts": lambda: _times(b"\x62ab"),
    "text in pieces": lambda: b"\x7f" + b"\x60" * (4 * _MEBIBYTE) + b"\xff",
    "bytes as integers": lambda: b"\xd8\x48" + _head(0x40, 4 * _MEBIBYTE) + b"\x80" * (4 << 20),
    "text date": lambda: b"\xc0" + _head(0x60, 4 * _MEBIBYTE) + b"0" * (4 * _MEBIBYTE),
    "decimal": lambda: b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01",
    "shared values": lambda: b"\xd8\x1c\x82\xd8\x1d\x00\xd8\x1d\x00",
    "empty objects in json": lambda: b"[" + b"{}," * (2 * _MEBIBYTE) + b"{}]",
    "arrays in arrays in json": lambda: b"[" + b"[[]]," * _MEBIBYTE + b"[]]",
    "small objects in json": lambda: b"[" + b'{"":[]},' * _MEBIBYTE + b"{}]",
    "empty sets in json": lambda: b"[" + b'["$Set",[]],' * (_MEBIBYTE // 2) + b"{}]",
    "digits in json": lambda: b"9" * (4 * _MEBIBYTE),
    "BigInt in json": lambda: b'["$BigInt","' + b"9" * (4 * _MEBIBYTE) + b'"]',
    "BigInts in json": lambda: b"[" + b'["$BigInt","%b"],' % (b"9" * 4300) * 1000 + b"0]",
}  # fmt: skip


def main(name: str, memory_per_byte: int) -> None:
    data = BOMBS[name]()
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    limit = used + (64 * _MEBIBYTE) + memory_per_byte * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    load, form = (load_json, COMPAT_JSON) if "json" in name else (load_cbor, COMPAT_CBOR)
    try:
        value = revive(load(data), form)
    except ProtocolError as error:
        assert len(str(error)) < 2000
        print("refused")
    else:
        print(type(value).__name__)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
