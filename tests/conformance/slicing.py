"""The ways in which a case's bytes may arrive."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

__all__ = ["at_every_byte", "in_two"]

_SHORT = 600
_EDGE = 64
_AROUND = 8


def at_every_byte(frames: Sequence[bytes]) -> list[bytes]:
    """One byte at a time; of what is long, only its edges and frames' beginnings."""
    data = b"".join(frames)
    bounds = [0, *_cuts(frames), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def in_two(frames: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Two pieces, cut at every byte; of what is long, only at its edges and frames' beginnings."""
    data = b"".join(frames)
    for cut in _cuts(frames):
        yield data[:cut], data[cut:]


def _cuts(frames: Sequence[bytes]) -> list[int]:
    size = sum(map(len, frames))
    if size <= _SHORT:
        return list(range(1, size))
    edges = {*range(1, _EDGE + 1), *range(size - _EDGE, size)}
    starts = list(itertools.accumulate(map(len, frames)))[:-1]
    # Of hundreds of frames, some: their number times their length would be too much.
    for start in starts[:: max(1, len(starts) // 8)]:
        edges.update(range(start - _AROUND, start + _AROUND + 1))
    return sorted(cut for cut in edges if 0 < cut < size)
