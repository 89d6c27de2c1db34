"""Answers that go wrong because the test wants it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .._checks import check_instance, check_name, check_seconds, check_size
from .._errors import ActorError
from ..protocol.keys import Key, parse_key
from ._records import ActorRef

__all__ = ["ActionPlan", "ConnectFault", "Faults"]


@dataclass
class _Rule:
    """A fault that waits for its next occasion."""

    actor: str | None
    key: tuple[str, ...] | None
    action: str | None
    left: int
    what: str
    times: int
    where: str

    def __str__(self) -> str:
        return f"{self.what}, armed at {self.where}"

    def takes(self, ref: ActorRef, action: str | None = None) -> bool:
        return (
            self.left > 0
            and self.actor in (None, ref.name)
            and self.key in (None, ref.key)
            and self.action in (None, action)
        )


@dataclass
class _ActionFault(_Rule):
    error: ActorError | None = None
    delay: float = 0.0
    loses_reply: bool = False


@dataclass
class ConnectFault(_Rule):
    """How a connection is refused: by an error, or by an HTTP status."""

    error: ActorError | None = None
    status: int = 503
    retry_after: int | None = None


@dataclass
class ActionPlan:
    """What goes wrong with one call."""

    error: ActorError | None = None
    delay: float = 0.0
    loses_reply: bool = False


class Faults:
    """What goes wrong next, in an `ActorServer`.

    Every method arms a fault for the next occasions, `times` of them. `actor`, `key` and the
    action's name narrow down which; None means any. Bytes go wrong in `ActorServer.network`.

    An actor or an action that does not exist is an error at once. A fault that never happened
    fails the test: see `ActorServer`'s `unused_faults`.
    """

    def __init__(
        self, knows: Callable[[str | None, str | None], None], note: Callable[[str], None]
    ) -> None:
        self._knows = knows
        self._note = note
        self._actions: list[_ActionFault] = []
        self._connects: list[ConnectFault] = []

    def fail_action(
        self,
        action: str | None,
        error: ActorError,
        *,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Answer with an error instead of running the action.

        Args:
            action: The action's name; None: any.
            error: A `UserError`, or any `ActorError`: one of the server's own, say
                ``ActorError("guard", "actor_ready_timeout", "")``.
            times: How often, at least once.
            actor: Only actors of this name.
            key: Only actors of this key.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            LookupError: no actor has this name, or no such action.
        """
        check_instance("error", error, ActorError, none=False)
        self._add("fail_action", action, times, actor, key, error=error)

    def delay_action(
        self,
        action: str | None,
        seconds: float,
        *,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Wait for some time before the action runs; the arguments are those of `fail_action`."""
        check_seconds("seconds", seconds, zero=True)
        self._add("delay_action", action, times, actor, key, delay=seconds)

    def lose_reply(
        self,
        action: str | None,
        *,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Run the action, then break the connection off instead of answering.

        The arguments are those of `fail_action`.
        """
        self._add("lose_reply", action, times, actor, key, loses_reply=True)

    def refuse_connects(
        self,
        times: int = 1,
        *,
        error: ActorError | None = None,
        status: int = 503,
        retry_after: int | None = None,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Refuse the next connections, which their clients may try again.

        Args:
            times: How many, at least one.
            error: Refuse as the actor would, with this error; None: with an HTTP status.
            status: That status, from 400 to 599.
            retry_after: Seconds for its ``Retry-After``.
            actor: Only connections to actors of this name.
            key: Only connections to actors of this key.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            LookupError: no actor has this name.
        """
        check_size("times", times)
        check_instance("error", error, ActorError)
        check_size("status", status, least=400, most=599)
        check_size("retry_after", retry_after, least=0, none=True)
        parts = self._check(actor, key, None)
        what = _described("refuse_connects", None, actor, parts)
        self._note(f"armed {what}, times={times}")
        where = _calling_line()
        self._connects.append(
            ConnectFault(actor, parts, None, times, what, times, where, error, status, retry_after)
        )

    def _add(
        self,
        method: str,
        action: str | None,
        times: int,
        actor: str | None,
        key: Key | None,
        **effect: Any,
    ) -> None:
        check_size("times", times)
        parts = self._check(actor, key, action)
        what = _described(method, action, actor, parts)
        self._note(f"armed {what}, times={times}")
        where = _calling_line()
        self._actions.append(
            _ActionFault(actor, parts, action, times, what, times, where, **effect)
        )

    def _check(
        self, actor: str | None, key: Key | None, action: str | None
    ) -> tuple[str, ...] | None:
        if action is not None:
            check_name("action", action)
        if actor is not None:
            check_name("actor", actor)
        parts = None if key is None else parse_key(key)
        self._knows(actor, action)
        return parts

    def clear(self) -> None:
        """Disarm what is armed."""
        self._actions.clear()
        self._connects.clear()

    @property
    def _unused(self) -> list[str]:
        """What never happened, a text each."""
        rules = (*self._actions, *self._connects)
        return [str(rule) for rule in rules if rule.left == rule.times]

    def _plan_action(self, ref: ActorRef, action: str) -> ActionPlan:
        """What goes wrong with this call; the server asks this."""
        plan = ActionPlan()
        for rule in self._actions:
            if not rule.takes(ref, action):
                continue
            rule.left -= 1
            self._note(f"fired {rule.what} at {ref} {action!r}")
            plan.delay += rule.delay
            plan.error = plan.error or rule.error
            plan.loses_reply = plan.loses_reply or rule.loses_reply
        return plan

    def _plan_connect(self, ref: ActorRef) -> ConnectFault | None:
        """How this connection is refused, if it is; the server asks this."""
        for rule in self._connects:
            if rule.takes(ref):
                rule.left -= 1
                self._note(f"fired {rule.what} at {ref}")
                return rule
        return None


def _described(
    method: str, action: str | None, actor: str | None, key: tuple[str, ...] | None
) -> str:
    """A fault as it was written."""
    args = [] if action is None else [repr(action)]
    args += [] if actor is None else [f"actor={actor!r}"]
    args += [] if key is None else [f"key={list(key)!r}"]
    return f"{method}({', '.join(args)})"


def _calling_line() -> str:
    """Where in the test a method of `Faults` was called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
