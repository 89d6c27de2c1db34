"""Masking in C and without it."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio._websocket.masking import apply_mask_slowly, fastest_mask


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_ways_are_one(data: bytes, mask: bytes) -> None:
    expected = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
    assert fastest_mask() is not apply_mask_slowly
    assert fastest_mask()(data, mask) == apply_mask_slowly(data, mask) == expected


def test_a_process_without_descriptors_masks_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot import what is faster."""

    def fails() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("rivet_anyio._websocket.masking.mask_in_c", fails)
    assert fastest_mask() is apply_mask_slowly
    monkeypatch.undo()
    assert fastest_mask() is not apply_mask_slowly
