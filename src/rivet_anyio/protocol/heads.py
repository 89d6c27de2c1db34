"""Heads: the beginnings of event messages, the same for all events of one name.

An event whose head came before needs no decoding but of its arguments. The first one of each name
is read the long way, which makes sure that there is nothing odd about its head.
"""

from __future__ import annotations

from typing import TypeVar

from .values import dump_cbor

__all__ = ["cbor_arguments_at", "is_cbor_head", "learn"]

T = TypeVar("T")

_MOST = 256

_BEFORE_CBOR_NAME = {
    before[0]: (before, before.index(b"eEvent"))
    for before in (
        b"\xb9\x00\x01dbody\xb9\x00\x02ctageEventcval\xb9\x00\x02dname",  # RivetKit up to 2.2
        b"\xa1dbody\xa2ctageEventcval\xa2dname",  # RivetKit 2.3
    )
}
_AFTER_CBOR_NAME = b"dargs"
_SHORT_TEXT = 0x60
"""What CBOR adds to the length of a short string; 24 says that the length comes next."""


def learn(heads: dict[bytes, T], head: bytes, known: T) -> None:
    """Remember what a head says; not too many of them, whatever a server sends."""
    if len(heads) >= _MOST:
        heads.clear()
    heads[head] = known


def cbor_arguments_at(data: bytes) -> int:
    """Where the arguments begin, if this is an event in cbor encoding as servers write them.

    Whether it is one, nothing but the head that ends there can say. 0: it is none.
    """
    known = _BEFORE_CBOR_NAME.get(data[0]) if data else None
    if known is None:
        return 0
    before, tag_at = known
    at = len(before)
    # The first byte of the tag is its length, and tells an event from an answer.
    if len(data) < at + 2 or data[tag_at] != before[tag_at]:
        return 0
    size = data[at] - _SHORT_TEXT
    if size == 24:
        size = data[at + 1] + 1
    return at + 1 + size + len(_AFTER_CBOR_NAME)


def is_cbor_head(head: bytes, name: str) -> bool:
    """Whether this is all that comes before the arguments of an event of this name."""
    after = dump_cbor(name) + _AFTER_CBOR_NAME
    return any(head == before + after for before, _ in _BEFORE_CBOR_NAME.values())
