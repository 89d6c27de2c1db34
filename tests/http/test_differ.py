"""Our readers against h11; `python -m tests.http.differ` compares as many as one likes."""

from __future__ import annotations

from .differ import differences


def test_our_readers_agree_with_h11() -> None:
    found, taken = differences(20_000)
    assert found == []
    assert taken > 4_000
