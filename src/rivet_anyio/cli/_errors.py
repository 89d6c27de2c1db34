"""Errors as people and scripts see them."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

import click

from .._errors import ActorError, ConfigError, ConnectError, ConnectionLostError, ProtocolError
from .._text import escaped
from ._exit import Exit
from ._json import json_text
from ._stderr import to_stderr

__all__ = ["report"]


@dataclass(frozen=True, slots=True)
class _Report:
    code: Exit
    kind: str
    text: str
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    hint: str | None = None


def report(error: Exception, *, as_json: bool, verbose: bool) -> Exit:
    """Report an error on stderr; returns the exit code for it."""
    found = _describe(error)
    if verbose:
        to_stderr("".join(traceback.format_exception(error)).rstrip())
    if as_json:
        details = {name: value for name, value in found.details.items() if value is not None}
        if notes := getattr(error, "__notes__", None):
            details["notes"] = notes
        error_details = {"kind": found.kind, "message": found.text, **details}
        to_stderr(json_text({"error": error_details, "exit": found.code}))
        return found.code
    if isinstance(error, ActorError):
        name = f"{error.group}.{error.code}"
        to_stderr(escaped(f"error: {name}: {found.text}" if found.text else f"error: {name}"))
    else:
        to_stderr(f"error: {found.text}")
    for name, value in found.details.items():
        if value is not None and name not in ("group", "code"):
            to_stderr(f"  {name}: {escaped(value) if isinstance(value, str) else json_text(value)}")
    for hint in (*getattr(error, "__notes__", ()), found.hint):
        if hint:
            to_stderr(f"  {hint}")
    return found.code


def _describe(error: Exception) -> _Report:
    if isinstance(error, ActorError):
        return _actor_error(error)
    if isinstance(error, ConnectError):
        return _Report(
            Exit.CONNECT,
            "connect",
            str(error),
            {"status": error.status},
            "Nothing was sent. 'rivet-anyio doctor' finds out why.",
        )
    if isinstance(error, ConnectionLostError):
        return _Report(
            Exit.LOST,
            "lost",
            str(error),
            {"close_code": error.code, "close_reason": error.reason or None},
        )
    if isinstance(error, ProtocolError):
        return _Report(
            Exit.PROTOCOL,
            "protocol",
            str(error),
            hint="'rivet-anyio doctor' says whether this is a Rivet server.",
        )
    if isinstance(error, (ConfigError, TypeError, ValueError)):
        return _Report(Exit.USAGE, "usage", str(error))
    if isinstance(error, OSError):
        return _Report(Exit.FAILED, "system", str(error))
    text = f"{type(error).__name__}: {error}"
    return _Report(Exit.FAILED, "unexpected", text, hint="--verbose shows where.")


def _actor_error(error: ActorError) -> _Report:
    hint = None
    if (error.group, error.code) == ("actor", "not_found"):
        command = click.get_current_context(silent=True)
        if command is not None and any(
            option.name == "create" for option in command.command.params
        ):
            hint = "Add --create to create it."
    return _Report(
        Exit.ACTOR,
        "actor",
        error.message,
        {
            "group": error.group,
            "code": error.code,
            "metadata": error.metadata,
            "ray": error.ray_id,
        },
        hint,
    )
