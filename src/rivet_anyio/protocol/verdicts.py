"""Errors that mean "not now": which there are, and whether the action can have run.

Actors sleep, start, stop and move. The gateway and the runtime say so with errors of the groups
``actor`` and ``guard``; a call is repeated only after those that come before the actor's code.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from .._errors import ActorError

__all__ = [
    "PROBE",
    "Opening",
    "Verdict",
    "is_away",
    "is_destroyed",
    "is_host_loss",
    "is_impossible_id",
    "is_masked",
    "is_refusal",
    "is_reserved_elsewhere",
    "is_scheduling",
    "is_stopped",
    "is_stopping",
    "is_transient",
    "is_unplaced",
    "judge",
    "judge_opening",
    "may_ask_again",
]


PROBE: Final = "rivet-anyio: is everything before this done?"
"""An action that no actor has. A connection calls it for the time of the answer."""


_NOT_NOW = (408, 425, 429)


class Verdict(enum.Enum):
    """What an `ActorError` says about the call that met it."""

    STALE = "stale"
    """The actor id may lead nowhere any more: resolve again if it is gone."""
    NOT_READY = "not ready"
    """The actor cannot be reached at this moment: try again. The action did not run."""
    FINAL = "final"
    """An answer, or a loss after which the action may have run: never repeated."""


class Opening(enum.Enum):
    """What an `ActorError` in place of Init says about opening the connection again.

    Up to 2.2 an actor that refuses a connection can do so in the words of a gateway.
    """

    STALE = "stale"
    """The actor is gone."""
    UNSURE = "unsure"
    """The actor is gone, or exists and refuses."""
    NOT_READY = "not ready"
    """The actor cannot be reached at this moment: try again."""
    REFUSED = "refused"
    """The actor refuses."""
    AWAY = "away"
    """The server has no actor of this key yet, and cannot create one at this moment."""
    OTHER = "other"
    """It does not say."""


_STOPPING: Final = ("actor", "stopping")
_NOT_READY: Final = frozenset(
    {
        ("actor", "starting"),
        ("actor", "destroying"),
        ("actor", "not_ready"),
        ("actor", "not_registered"),
        ("guard", "actor_ready_timeout"),
        ("guard", "actor_runner_failed"),
        ("guard", "actor_wake_retries_exceeded"),
        ("guard", "rate_limit"),
        # The gateway's route was older than the actor; it finds the new one, or none.
        ("envoy", "actor_not_found"),
        ("envoy", "actor_generation_mismatch"),
    }
)
_UNPLACED: Final = frozenset(
    {
        ("namespace", "not_found"),
        ("actor", "no_runner_config_configured"),
        ("core", "internal_error"),
    }
)
_SCHEDULING: Final = frozenset(
    {"actor_ready_timeout", "actor_runner_failed", "actor_wake_retries_exceeded"}
)
_HOST_LOSSES: Final = frozenset(
    {
        "envoy_connection_lost",
        "envoy_no_response",
        "runner_connection_lost",
        "runner_draining_timeout",
        "runner_no_response",
    }
)
_REFUSING_GROUPS: Final = frozenset({"user", "auth"})
_MOVING: Final = frozenset(
    {
        "stopping",
        "stopped",
        "restarting",
        "not_configured",
        "dropped_reply",
        "aborted",
        "overloaded",
        "shutdown_timeout",
    }
)
"""Codes of the group ``actor`` that may come after an action began, but end sooner or later."""


def is_away(status: int) -> bool:
    """Whether an HTTP status says that the server, or a proxy before it, is away or too busy."""
    return status >= 500 or status in _NOT_NOW


def judge(error: ActorError, *, from_gateway: bool = True) -> Verdict:
    """Whether a call that met this error may be repeated.

    ``actor.stopping``, ``actor.dropped_reply`` and the gateway's tunnel errors may come after the
    action began, so they are final. An error that an actor instance signed (`ActorError.actor`)
    may have been passed on by the action's own code, from another actor that it called.

    Args:
        error: What the call met.
        from_gateway: Whether it is certain that the actor's code did not answer. It can answer
            with any error on servers up to 2.2, where nothing is signed. Of the errors here, those
            servers send ``actor.not_found`` alone before the actor's code.
    """
    group, code = error.group, error.code
    if error.actor is not None:
        return Verdict.FINAL
    if not from_gateway and (group, code) != ("actor", "not_found"):
        return Verdict.FINAL
    if (group, code) == ("actor", "not_found") or is_destroyed(error):
        return Verdict.STALE
    if (group, code) == ("guard", "actor_stopped_while_waiting"):
        metadata = error.metadata if isinstance(error.metadata, dict) else {}
        return Verdict.NOT_READY if metadata.get("phase") == "pre_request" else Verdict.FINAL
    return Verdict.NOT_READY if (group, code) in _NOT_READY else Verdict.FINAL


def may_ask_again(error: ActorError) -> bool:
    """Whether asking for an actor's id, which met this error, is worth another attempt.

    An engine, which has ray ids, answers without running the actor. Servers up to 2.2 start the
    actor first, whose own code can fail with any error.
    """
    if error.ray_id is None:
        return is_destroyed(error)
    return judge(error) is not Verdict.FINAL


def is_destroyed(error: ActorError) -> bool:
    """Whether the actor was destroyed while the request waited for it."""
    return error.group == "actor" and error.code.startswith("destroyed_")


def is_reserved_elsewhere(error: ActorError) -> bool:
    """Whether an actor of this key lives in another datacenter than the one that was asked for."""
    return (error.group, error.code) == ("actor", "key_reserved_in_different_datacenter")


def is_impossible_id(error: ActorError) -> bool:
    """Whether an engine was asked for an id that it cannot have given."""
    return (error.group, error.code) == ("validation", "invalid_input")


def is_unplaced(error: ActorError) -> bool:
    """Whether an engine could not look an actor up or create it.

    One that has just been started has no namespace and knows no host yet.
    """
    return error.actor is None and (error.group, error.code) in _UNPLACED


def is_scheduling(error: ActorError) -> bool:
    """Whether the management API may know why the actor could not start."""
    return error.group == "guard" and error.code in _SCHEDULING


def is_host_loss(reason: Any) -> bool:
    """Whether an actor's record says that its host was lost, which is no fault of the actor's.

    The actor starts on another host, or on this one when it is back. All other reasons last until
    somebody does something: the actor crashes as it starts, or there is no host with capacity.

    Args:
        reason: The `error` of the record.
    """
    return isinstance(reason, dict) and not _HOST_LOSSES.isdisjoint(reason)


def is_transient(error: ActorError) -> bool:
    """Whether opening a connection that met this error is worth another attempt.

    No action is under way before a connection is open, so more errors qualify than in `judge`.
    """
    group, code = error.group, error.code
    if group == "actor":
        return code in _MOVING or ("actor", code) in _NOT_READY
    if group == "guard":
        return not code.startswith(("query_", "invalid_", "missing_", "no_route"))
    return group in {"ws", "pegboard", "envoy"}


def judge_opening(error: ActorError, *, has_engine: bool, in_message: bool = False) -> Opening:
    """What an error that came in place of Init says about opening the connection again.

    Args:
        error: What the server answered.
        has_engine: Whether a gateway stands before the actors, as since 2.3.
        in_message: Whether the error came in a message. Gateways close the connection instead.
    """
    group, code = error.group, error.code
    from_gateway = error.ray_id is not None or (
        has_engine and not (in_message and group != "actor")
    )
    if judge(error) is Verdict.STALE:
        return Opening.STALE if from_gateway and not in_message else Opening.UNSURE
    if not is_transient(error):
        return Opening.OTHER
    return Opening.NOT_READY if from_gateway or (group, code) == _STOPPING else Opening.REFUSED


def is_stopped(error: ActorError) -> bool:
    """Whether an action's error says that nobody is behind its connection any more.

    RivetKit 2.2 keeps the connections of an actor that went to sleep or was destroyed, and
    answers like this from then on; for 2.1 see `is_masked`. 2.3 closes them or moves them to the
    actor's next start.
    """
    return is_stopping(error) and error.actor is None


def is_stopping(error: ActorError) -> bool:
    """Whether the actor stops, or an actor that it called: only the answer to a probe shows it."""
    return (error.group, error.code) == _STOPPING


def is_masked(error: ActorError) -> bool:
    """Whether an action's error may hide that nobody is behind its connection any more.

    RivetKit 2.1 answers like this where 2.2 answers ``actor.stopping``, and when the actor's code
    fails.
    """
    return (error.group, error.code) == ("rivetkit", "internal_error") and error.actor is None


def is_refusal(error: ActorError) -> bool:
    """Whether an open connection was closed by the actor's decision."""
    return error.group in _REFUSING_GROUPS
