"""Answers that go wrong because the test wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from .._checks import check_choice, check_instance, check_name, check_seconds, check_size
from .._errors import ActorError
from ..protocol.keys import Key, parse_key
from ._arming import Armed, Moments, calling_place
from ._records import ActorRef

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["ConnectFault", "Faults", "ManagementRequest", "Plan"]

ManagementRequest = Literal[
    "*", "metadata", "get", "get_or_create", "create", "list", "names", "destroy", "sleep"
]
"""A request to the management API; ``"*"`` is any."""

_Kind = Literal["action", "queue", "fetch", "management"]


@dataclass(kw_only=True)
class _Where(Armed):
    """A fault of some actors."""

    actor: str | None
    key: tuple[str, ...] | None

    def is_for(self, name: str | None, key: tuple[str, ...] | None) -> bool:
        return self.left > 0 and self.actor in (None, name) and self.key in (None, key)


@dataclass(kw_only=True)
class _RequestFault(_Where):
    kind: _Kind
    pattern: str
    error: ActorError | None = None
    status: int | None = None
    retry_after: int | None = None
    delay: float = 0.0
    loses_request: bool = False
    loses_reply: bool = False

    @property
    def only_delays(self) -> bool:
        is_answer = self.error is not None or self.status is not None
        return not (is_answer or self.loses_request or self.loses_reply)


@dataclass(kw_only=True)
class ConnectFault(_Where):
    """How a connection is refused: by an error, or by an HTTP status."""

    error: ActorError | None = None
    status: int = 503
    retry_after: int | None = None


@dataclass
class Plan:
    """What goes wrong with one request."""

    error: ActorError | None = None
    status: int | None = None
    retry_after: int | None = None
    delay: float = 0.0
    loses_request: bool = False
    loses_reply: bool = False


class Faults:
    """What goes wrong next, in an `ActorServer`.

    Every method arms a fault for the next occasions, `times` of them. `actor`, `key` and the
    action's name narrow down which; None means any. Bytes go wrong in `ActorServer.network`.

    All delays that fit a request add up. Of the other faults, the one that was armed first happens,
    and the next one waits for another request.

    An actor, an action or a queue that does not exist is an error at once. A fault that never
    happened fails the test: see `ActorServer`'s `unused_faults`.
    """

    def __init__(
        self,
        knows: Callable[[str | None, str | None, str | None], None],
        note: Callable[[str], None],
    ) -> None:
        self._knows = knows
        self._note = note
        self._requests: list[_RequestFault] = []
        self._connects: list[ConnectFault] = []
        self._drops = Moments()

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
        self._add("fail_action", action, None, None, None, times, actor, key, error=error)

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
        self._add("delay_action", action, None, None, None, times, actor, key, delay=seconds)

    def lose_reply(
        self,
        action: str | None = None,
        *,
        queue: str | None = None,
        fetch: str | None = None,
        management: ManagementRequest | None = None,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Let a request do its work, then break the connection off instead of answering.

        It is an action, unless another kind of request is named.

        Args:
            action: The action's name; None: any.
            queue: Messages to this queue; ``"*"``: to any.
            fetch: Raw requests (`ActorHandle.fetch`) of this path, without its query; ``*`` stands
                for anything, ``"/orders/*"``.
            management: A request to the management API; ``"*"``: any. ``"get"`` finds an actor by
                its key or its id.
            times: How often, at least once.
            actor: Only actors of this name.
            key: Only actors of this key.

        Raises:
            TypeError, ValueError: an argument cannot be used.
            LookupError: no actor has this name, or no such action or queue.
        """
        self._add(
            "lose_reply", action, queue, fetch, management, times, actor, key, loses_reply=True
        )

    def lose_request(
        self,
        action: str | None = None,
        *,
        queue: str | None = None,
        fetch: str | None = None,
        management: ManagementRequest | None = None,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Break the connection off instead of doing anything: the request was lost before it ran.

        The arguments are those of `lose_reply`.
        """
        self._add(
            "lose_request", action, queue, fetch, management, times, actor, key, loses_request=True
        )

    def fail_request(
        self,
        error: ActorError,
        action: str | None = None,
        *,
        queue: str | None = None,
        fetch: str | None = None,
        management: ManagementRequest | None = None,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Answer with an error instead of doing anything; the others are those of `lose_reply`."""
        check_instance("error", error, ActorError, none=False)
        self._add("fail_request", action, queue, fetch, management, times, actor, key, error=error)

    def refuse_request(
        self,
        status: int = 503,
        action: str | None = None,
        *,
        queue: str | None = None,
        fetch: str | None = None,
        management: ManagementRequest | None = None,
        retry_after: int | None = None,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Answer with an HTTP status before the actor, as an overloaded gateway does.

        It is for requests over HTTP: an action that is called on a connection is left alone.

        Args:
            status: From 400 to 599.
            action: As `lose_reply`, and so are the others.
            retry_after: Seconds for its ``Retry-After``.
        """
        check_size("status", status, least=400, most=599)
        check_size("retry_after", retry_after, least=0, none=True)
        self._add(
            "refuse_request",
            action,
            queue,
            fetch,
            management,
            times,
            actor,
            key,
            status=status,
            retry_after=retry_after,
        )

    def delay_request(
        self,
        seconds: float,
        action: str | None = None,
        *,
        queue: str | None = None,
        fetch: str | None = None,
        management: ManagementRequest | None = None,
        times: int = 1,
        actor: str | None = None,
        key: Key | None = None,
    ) -> None:
        """Wait for some time before the request does anything; the others as `lose_reply`."""
        check_seconds("seconds", seconds, zero=True)
        self._add(
            "delay_request", action, queue, fetch, management, times, actor, key, delay=seconds
        )

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
        parts = self._check(actor, key, None, None)
        what = _described("refuse_connects", {"actor": actor, "key": parts})
        self._note(f"armed {what}, times={times}")
        self._connects.append(
            ConnectFault(
                what=what,
                where=calling_place(),
                times=times,
                left=times,
                actor=actor,
                key=parts,
                error=error,
                status=status,
                retry_after=retry_after,
            )
        )

    def _add(
        self,
        method: str,
        action: str | None,
        queue: str | None,
        fetch: str | None,
        management: str | None,
        times: int,
        actor: str | None,
        key: Key | None,
        *,
        is_optional: bool = False,
        **effect: Any,
    ) -> None:
        check_size("times", times)
        named = {"action": action, "queue": queue, "fetch": fetch, "management": management}
        given: list[Any] = [kind for kind, name in named.items() if name is not None]
        if len(given) > 1:
            raise TypeError(f"{method} takes one of {' and '.join(given)}, not both")
        kind: _Kind = given[0] if given else "action"
        if management is not None:
            check_choice("management", management, get_args(ManagementRequest))
        elif given:
            check_name(kind, named[kind])
        if fetch is not None and not fetch.startswith(("/", "*")):
            raise ValueError(f"fetch is a path that begins with '/', not {fetch!r}")
        parts = self._check(actor, key, action, queue)
        what = _described(method, {**named, "actor": actor, "key": parts})
        self._note(f"armed {what}, times={times}")
        self._requests.append(
            _RequestFault(
                what=what,
                where=calling_place(),
                times=times,
                left=times,
                is_optional=is_optional,
                actor=actor,
                key=parts,
                kind=kind,
                pattern=named[kind] or "*",
                **effect,
            )
        )

    def _check(
        self, actor: str | None, key: Key | None, action: str | None, queue: str | None
    ) -> tuple[str, ...] | None:
        if action is not None:
            check_name("action", action)
        if actor is not None:
            check_name("actor", actor)
        parts = None if key is None else parse_key(key)
        self._knows(actor, action, None if queue == "*" else queue)
        return parts

    def _lose_next(self, *, request: bool) -> None:
        """Lose the next call before it runs, or its answer, if there is one."""
        self._add(
            "lose_request" if request else "lose_reply",
            *(None, None, None, None, 1, None, None),
            is_optional=True,
            loses_request=request,
            loses_reply=not request,
        )

    def _note_drop(self, actor: str | None, key: tuple[str, ...] | None, count: int) -> None:
        """So many connections were dropped."""
        what = _described("drop_connections", {"actor": actor, "key": key})
        self._drops.note(what, has_effect=count > 0)

    def clear(self) -> None:
        """Disarm what is armed."""
        self._requests.clear()
        self._connects.clear()
        self._drops.clear()

    @property
    def _unused(self) -> list[str]:
        """What never happened, a text each."""
        armed = [fault for fault in (*self._requests, *self._connects) if fault.is_unused]
        return [str(fault) for fault in (*armed, *self._drops.unused)]

    def _plan(
        self,
        kind: _Kind,
        name: str,
        actor: str | None,
        key: tuple[str, ...] | None,
        *,
        over_http: bool = True,
    ) -> Plan:
        """What goes wrong with this request; the server asks this."""
        plan = Plan()
        is_settled = False
        for fault in self._requests:
            if not (fault.kind == kind and fault.is_for(actor, key)):
                continue
            if not (fault.pattern in ("*", name) or (kind == "fetch" and _fits(name, fault))):
                continue
            if fault.status is not None and not over_http:
                continue
            if not fault.only_delays:
                if is_settled:
                    continue
                is_settled = True
            fault.left -= 1
            whom = "" if actor is None else f" at {actor}{'' if key is None else list(key)}"
            self._note(f"fired {fault.what}{whom} {name!r}")
            plan.delay += fault.delay
            if not fault.only_delays:
                plan.error = fault.error
                plan.status, plan.retry_after = fault.status, fault.retry_after
                plan.loses_request, plan.loses_reply = fault.loses_request, fault.loses_reply
        return plan

    def _plan_connect(self, ref: ActorRef) -> ConnectFault | None:
        """How this connection is refused, if it is; the server asks this."""
        for fault in self._connects:
            if fault.is_for(ref.name, ref.key):
                fault.left -= 1
                self._note(f"fired {fault.what} at {ref}")
                return fault
        return None


def _fits(path: str, fault: _RequestFault) -> bool:
    return fnmatchcase(path, fault.pattern)


def _described(method: str, named: dict[str, Any]) -> str:
    """A fault as it was written."""
    args: list[str] = []
    for name, value in named.items():
        if name == "action" and value is not None:
            args.append(repr(value))
        elif value is not None:
            args.append(f"{name}={list(value) if name == 'key' else value!r}")
    return f"{method}({', '.join(args)})"
