"""Words that are alike."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str], *, before: str = "") -> str | None:
    """``did you mean ...?`` with those that are most alike, None where none is.

    `before` is written before each of them.
    """
    from difflib import get_close_matches

    # In lower case, because names differ by case most often.
    lower: dict[str, str] = {}
    for one in known:
        if one != name:
            lower.setdefault(one.lower(), one)
    found = [lower[match] for match in get_close_matches(name.lower(), lower, n=3)]
    return f"did you mean {' or '.join(before + one for one in found)}?" if found else None
