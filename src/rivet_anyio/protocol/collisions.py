"""Keys of dicts and sets that were chosen to be slow in Python's tables.

Keys with the same hash are each compared with all others, and keys with other hashes can be chosen
so that each is tried in thousands of slots of the table. Only numbers, and what is made of them,
can be chosen so: the hashes of texts and bytes are secret.
"""

from __future__ import annotations

import sys
from typing import Any

from .._errors import ProtocolError

__all__ = ["check_keys", "check_set"]

_MOST_ALIKE = 64
"""How many different keys may share a hash. 34 floats do, and 17 integers of 64 bits."""

_FREE_KEYS = 1024
"""Up to so many keys that are no texts, no choice of keys costs much more than reading them."""

_STEPS_PER_KEY = 32
"""How many places may be taken, on average, where a key is tried after all of its hash is used up.
13 are for multiples of large powers of two, none for most keys."""

_HASH_BITS = (1 << sys.hash_info.width) - 1
_LINEAR = 10
"""A set tries so many slots in a row, and then jumps."""


def check_keys(keys: list[Any], *, for_set: bool = False) -> bool:
    """Refuse keys of a dict that were chosen to be slow.

    Args:
        keys: The keys, in their order.
        for_set: Whether a set is made of the dict.

    Returns:
        Whether the keys are so many that all slots were counted.

    Raises:
        ProtocolError: they are slow.
        TypeError: one has no hash.
    """
    if _are_many(keys):
        _check_probes(keys, for_set)
        return True
    _check_alike(keys)
    return False


def check_set(items: list[Any]) -> None:
    """Refuse items that are slow to add to a set one after the other.

    Raises:
        ProtocolError: they are slow.
        TypeError: one has no hash.
    """
    if _are_many(items):
        if _fits(items, _bits_of_dict(len(items))):
            return
        _grow(_without_equals(items, list(map(hash, items))))
    else:
        _check_alike(items)


def _are_many(keys: list[Any]) -> bool:
    return len(keys) > _FREE_KEYS and len(keys) - list(map(type, keys)).count(str) > _FREE_KEYS


def _check_alike(keys: list[Any]) -> None:
    if len(keys) > _MOST_ALIKE and len(keys) - len(set(map(hash, keys))) > _MOST_ALIKE:
        _without_equals(keys, list(map(hash, keys)))


def _without_equals(keys: list[Any], hashes: list[int]) -> list[int]:
    """The hashes of the keys, without those of keys that are equal to one before.

    Raises:
        ProtocolError: when too many different keys have the same hash.
    """
    repeats = bytearray(len(keys))
    alike: list[Any] = []
    last = None
    # Sorted, since a dict of the hashes could be slow itself.
    for at in sorted(range(len(keys)), key=hashes.__getitem__):
        if hashes[at] != last:
            last = hashes[at]
            alike = []
        if keys[at] in alike:
            repeats[at] = 1
            continue
        alike.append(keys[at])
        if len(alike) > _MOST_ALIKE:
            raise ProtocolError(
                f"more than {_MOST_ALIKE} of the {len(keys)} keys of one Map or Set have the "
                "same hash in Python: somebody chose them to cost time"
            )
    return [found for found, repeated in zip(hashes, repeats, strict=True) if not repeated]


def _check_probes(keys: list[Any], for_set: bool) -> None:
    """Fill tables as CPython does, and count the attempts to place a key.

    A dict grows to twice its size when two thirds of its slots are taken, and puts its keys into
    the new table in their order.

    The first 13 attempts are not counted: each uses 5 more bits of the hash. From then on, all keys
    take the same way through the table.
    """
    bits = _bits_of_dict(len(keys))
    if _fits(keys, bits):
        return
    hashes = list(map(hash, keys))
    if _has_repeats(hashes, bits):
        hashes = _without_equals(keys, hashes)
        bits = _bits_of_dict(len(hashes))
        _place(hashes, bits)
    while (usable := (1 << bits) // 3) > _FREE_KEYS:
        bits -= 1
        _place(hashes[:usable], bits)
    if for_set:
        _place_in_set(hashes, (2 * len(hashes)).bit_length())


def _fits(keys: list[Any], bits: int) -> bool:
    """Whether each key finds its first slot free, in all tables of a dict and of a set.

    So it is with integers that follow each other closely: ids from a counter, say. Integers as
    small as these are their own hashes.
    """
    if list(map(type, keys)).count(int) != len(keys):
        return False
    lowest, highest = min(keys), max(keys)
    while lowest > -_OWN_HASH and highest < _OWN_HASH and highest - lowest < 1 << bits:
        usable = (1 << bits) // 3
        if usable <= _FREE_KEYS:
            return True
        bits -= 1
        keys = keys[:usable]
        lowest, highest = min(keys), max(keys)
    return False


_OWN_HASH = sys.hash_info.modulus


def _grow(hashes: list[int]) -> None:
    """Fill the tables of a set that grows; each takes its first items in the order of the last."""
    bits = 3
    order: list[int] = []
    while True:
        full = -(-3 * ((1 << bits) - 1) // 5)
        order += hashes[len(order) : full]
        slots = _place_in_set(order, bits)
        if len(hashes) < full:
            return
        order = [found for _, found in sorted(zip(slots, order, strict=True))]
        bits = (full * (2 if full > 50_000 else 4)).bit_length()


def _bits_of_dict(count: int) -> int:
    return (3 * count - 1).bit_length() - 1


def _has_repeats(hashes: list[int], bits: int) -> bool:
    """Put keys into the table of a dict, as `_place`; stop where a hash is met again."""
    mask = (1 << bits) - 1
    table: list[int | None] = [None] * (mask + 1)
    left = _STEPS_PER_KEY * len(hashes)
    for found in hashes:
        slot = found & mask
        if table[slot] is not None:
            perturb = found & _HASH_BITS
            while (other := table[slot]) is not None:
                if other == found:
                    return True
                perturb >>= 5
                slot = (5 * slot + perturb + 1) & mask
                if not perturb:
                    left -= 1
                    if left < 0:
                        raise _slow_keys(len(hashes))
        table[slot] = found
    return False


def _place(hashes: list[int], bits: int) -> None:
    """Put different keys into the table of a dict.

    Args:
        hashes: The hashes of the keys.
        bits: The size of the table is 2 to the power of this.

    Raises:
        ProtocolError: when it takes too many attempts.
    """
    mask = (1 << bits) - 1
    table = bytearray(mask + 1)
    left = _STEPS_PER_KEY * len(hashes)
    for found in hashes:
        slot = found & mask
        if table[slot]:
            perturb = found & _HASH_BITS
            while perturb and table[slot]:
                perturb >>= 5
                slot = (5 * slot + perturb + 1) & mask
            while table[slot]:
                slot = (5 * slot + 1) & mask
                left -= 1
                if left < 0:
                    raise _slow_keys(len(hashes))
        table[slot] = 1


def _place_in_set(hashes: list[int], bits: int) -> list[int]:
    """Put different keys into the table of a set; as `_place`.

    Returns:
        The slot of each.
    """
    mask = (1 << bits) - 1
    table = bytearray(mask + 1)
    slots: list[int] = []
    left = _STEPS_PER_KEY * len(hashes)
    for found in hashes:
        slot = found & mask
        if table[slot]:
            perturb = found & _HASH_BITS
            while table[slot]:
                # In the last few slots, one is tried.
                if slot + _LINEAR <= mask + 1:
                    free = table.find(0, slot, slot + _LINEAR)
                    if free >= 0:
                        slot = free
                        break
                perturb >>= 5
                slot = (5 * slot + perturb + 1) & mask
                if not perturb:
                    left -= 1
                    if left < 0:
                        raise _slow_keys(len(hashes))
        table[slot] = 1
        slots.append(slot)
    return slots


def _slow_keys(count: int) -> ProtocolError:
    return ProtocolError(
        f"{count} keys of one Map or Set need more than {_STEPS_PER_KEY} attempts each to find "
        "their place in Python's table: somebody chose them to cost time"
    )
