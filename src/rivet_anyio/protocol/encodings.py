"""Which encodings there are: one codec for each, in a module of its own.

A codec speaks one dialect. Answers in bare encoding name their version, so that codec corrects
itself; the two others speak the dialect they were made for.
"""

from __future__ import annotations

from collections.abc import Callable

from .bare_codec import BareCodec
from .cbor_codec import CborCodec
from .codec import Codec, Encoding
from .dialect import Dialect
from .json_codec import JsonCodec

__all__ = ["codec_for"]

_CODECS: dict[Encoding, Callable[[Dialect], Codec]] = {
    "bare": BareCodec,
    "cbor": CborCodec,
    "json": JsonCodec,
}


def codec_for(encoding: Encoding, dialect: Dialect) -> Codec:
    """The codec to begin with."""
    return _CODECS[encoding](dialect)
