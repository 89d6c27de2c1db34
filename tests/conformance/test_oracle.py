"""The same streams every time, a small part of what `nox -s differ` reads."""

from __future__ import annotations

from .differ import differences


def test_ours_and_wsproto_agree() -> None:
    assert differences(3000, seed=1_000_000) == []
