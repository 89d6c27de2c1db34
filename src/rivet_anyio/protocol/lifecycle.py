"""Errors that mean "not now": which there are, and whether the action can have run.

Actors sleep, start, stop and move. The gateway and the runtime say so with errors of the groups
``actor`` and ``guard``; a call is repeated only after those that come before the actor's code.
"""

from __future__ import annotations

import enum
from typing import Final

from .._errors import ActorError

__all__ = ["Verdict", "close_error", "is_refusal", "is_scheduling", "is_transient", "judge"]


class Verdict(enum.Enum):
    """What an `ActorError` says about the call that met it."""

    STALE = "stale"
    """The actor id leads nowhere any more: resolve again. The action did not run."""
    NOT_READY = "not ready"
    """The actor cannot be reached at this moment: try again. The action did not run."""
    FINAL = "final"
    """An answer, or a loss after which the action may have run: never repeated."""


_STALE: Final = frozenset({"not_found", "destroyed_during_creation"})
_STALE_PREFIX: Final = "destroyed_"
_NOT_READY: Final = frozenset(
    {
        ("actor", "starting"),
        ("actor", "stopping"),
        ("actor", "destroying"),
        ("actor", "not_configured"),
        ("actor", "not_ready"),
        ("actor", "restarting"),
        ("guard", "actor_ready_timeout"),
        ("guard", "actor_runner_failed"),
        ("guard", "actor_wake_retries_exceeded"),
        ("guard", "actor_stopped_while_waiting"),
        ("guard", "service_unavailable"),
        ("guard", "rate_limit"),
    }
)
_SCHEDULING: Final = frozenset({"actor_ready_timeout", "actor_runner_failed"})
_REFUSING_GROUPS: Final = frozenset({"user", "auth"})


def judge(error: ActorError) -> Verdict:
    """Whether a call that met this error may be repeated."""
    if error.group == "actor" and (error.code in _STALE or error.code.startswith(_STALE_PREFIX)):
        return Verdict.STALE
    if (error.group, error.code) in _NOT_READY:
        return Verdict.NOT_READY
    return Verdict.FINAL


def is_scheduling(error: ActorError) -> bool:
    """Whether the management API may know why the actor could not start."""
    return error.group == "guard" and error.code in _SCHEDULING


def is_transient(error: ActorError) -> bool:
    """Whether a connection that met this error is worth another attempt."""
    if judge(error) is Verdict.NOT_READY:
        return True
    if error.group == "actor":
        return error.code in {"stopped", "dropped_reply", "aborted", "overloaded"} or (
            error.code.endswith(("internal_error", "shutdown_timeout"))
        )
    if error.group == "guard":
        return not error.code.startswith(("query_", "invalid_", "missing_", "no_route"))
    return error.group in {"ws", "pegboard", "core", "connection"}


def is_refusal(error: ActorError) -> bool:
    """Whether an open connection was closed by the actor's decision."""
    return error.group in _REFUSING_GROUPS


def close_error(reason: str) -> ActorError | None:
    """The error in a close reason of the form ``group.code#ray``, None for any other reason."""
    main, _, ray_id = reason.partition("#")
    group, dot, rest = main.partition(".")
    code = rest.partition(".")[0]
    if not dot or not group or not code:
        return None
    if not (group.replace("_", "").isalnum() and code.replace("_", "").isalnum()):
        return None
    return ActorError(group, code, f"connection closed: {reason}", ray_id=ray_id or None)
