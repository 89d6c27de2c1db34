"""What the codes and reasons of close frames mean."""

from __future__ import annotations

import pytest

from rivet_anyio.protocol.closes import close_error, code_error


@pytest.mark.parametrize(
    "reason, found",
    [
        ("actor.not_found#ray1", ("actor", "not_found", "ray1")),
        ("actor.invalid_request", ("actor", "invalid_request", None)),
        ("user.no#", ("user", "no", None)),
        ("guard.a.b#r", ("guard", "a", "r")),
        ("", None),
        ("Disposed", None),
        ("kicked out. bye", None),
        (".code", None),
        ("group.", None),
        ("#ray", None),
    ],
)
def test_close_reasons(reason: str, found: tuple[str, str, str | None] | None) -> None:
    error = close_error(reason)
    assert (None if error is None else (error.group, error.code, error.ray_id)) == found


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("forbidden", "user"),
        ("no-access2", "user"),
        ("internal_error", "internal"),
        ("stopping", "actor"),
        ("not_found", "actor"),
        ("Internal error during initialization", None),
        ("", None),
        ("a.b", None),
    ],
)
def test_codes_alone(reason: str, group: str | None) -> None:
    error = code_error(reason)
    assert (error and error.group) == group
    assert error is None or error.code == reason
