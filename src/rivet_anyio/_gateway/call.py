"""One call to an actor over HTTP, repeated where that is safe.

Repeated are calls that met an error from before the actor's code: a stale id, an actor that is
starting or moving. Everything else, lost connections included, goes to the caller at once.

Actors up to RivetKit 2.2 do not sign their answers, so their own code can answer with any error.
What such a server answers is trusted only as far as the management API confirms it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .._errors import ActorError, RivetError
from .._http.transport import HttpAnswer
from ..protocol.management import ActorInfo, scheduling_error
from ..protocol.verdicts import Verdict, is_host_loss, is_scheduling, judge, may_ask_again
from .attempts import Attempts, OneAttempt
from .context import Core
from .errors import call_error, is_from_gateway
from .resolve import Target, find_by_id
from .server import Server

__all__ = ["Failed", "call_actor", "explained", "failed", "is_gone"]


T = TypeVar("T")


@dataclass(frozen=True)  # `isinstance` takes longer for a msgspec Struct
class Failed(Generic[T]):
    """An attempt that met an error.

    Attributes:
        error: The error.
        from_gateway: Whether it is certain that the actor's code did not answer.
        may_repeat: Whether this call may be sent again once that is certain.
        answer: What to return when the actor's own code gave this answer; None raises the error.
    """

    error: ActorError
    from_gateway: bool
    may_repeat: bool = True
    answer: T | None = None


def failed(answer: HttpAnswer, server: Server, params: str | None) -> Failed[Any]:
    """The error in an answer to an action or to a message for a queue.

    Raises:
        TransportError, ProtocolError: as `call_error`.
    """
    return Failed(call_error(answer, server.codec, params), is_from_gateway(server, answer.headers))


async def call_actor(
    core: Core,
    target: Target,
    attempt: Callable[[Server, str], Awaitable[T | Failed[T]]],
    *,
    replaceable: bool = True,
    once: OneAttempt | None = None,
) -> T:
    """Resolve the actor and make attempts until one has an outcome.

    Args:
        core: The client.
        target: The actor.
        attempt: Sends the call to an actor id; returns the outcome, or the error it met.
        replaceable: Whether it may go to another actor of the same key when this one is gone.
        once: The caller repeats the call, which may run more than once.

    Raises:
        ActorError: what the last attempt met.
    """
    attempts = once or Attempts(core.options.retry, core.time)
    while True:
        server = await core.server()
        try:
            actor_id = await target.resolve(core, server)
        except ActorError as unresolved:
            if target.creation is None or not may_ask_again(unresolved):
                raise
            await attempts.wait(unresolved)
            continue
        record = target.found
        outcome = await attempt(server, actor_id)
        if not isinstance(outcome, Failed):
            return outcome
        refusal: Failed[T] = outcome
        error = refusal.error
        verdict = judge(error, from_gateway=refusal.from_gateway)
        if verdict is Verdict.FINAL:
            if server.version is None and error.actor is None and error.code == "internal_error":
                # RivetKit 2.0 and 2.1 answer this for an actor that is gone, too.
                target.forget(actor_id)
            return _own(refusal)
        if verdict is Verdict.STALE:
            known_gone = refusal.from_gateway and error.code != "not_found"
            gone = known_gone or await is_gone(core, server, actor_id, record)
            if gone is None and once is not None:
                await once.wait(error)  # raises: the caller repeats a call that may run twice
            if not gone:
                return _own(refusal)
            target.forget(actor_id)
            # An action can destroy its actor and then say anything, but RivetKit 2.2 names the id.
            may_run = once is not None or refusal.from_gateway or actor_id in error.message
            if target.is_fixed or not (refusal.may_repeat and replaceable and may_run):
                raise error
        elif not refusal.may_repeat:
            raise error
        else:
            error, is_final = await explained(core, server, actor_id, error)
            if is_final:
                raise error
        await attempts.wait(error, at_once=verdict is Verdict.STALE)


def _own(outcome: Failed[T]) -> T:
    """What becomes of an answer that the actor's own code gave."""
    if outcome.answer is None:
        raise outcome.error
    return outcome.answer


async def is_gone(
    core: Core, server: Server, actor_id: str, record: ActorInfo | None
) -> bool | None:
    """Whether there is no such actor any more; None where the management API cannot say.

    Args:
        core: The client.
        server: The server to ask.
        actor_id: The actor.
        record: What the server said of it before the call. Up to RivetKit 2.2 an id is made of
            name and key, so another caller may have created an actor of the same id meanwhile.
    """
    try:
        actor = await find_by_id(core, server, actor_id)
    except RivetError:
        return None
    if actor is None or actor.destroyed_at is not None:
        return True
    is_dated = server.version is not None and server.version.keeps_creation_times
    if record is None or record.actor_id != actor_id or not is_dated:
        return False
    return actor.created_at != record.created_at


async def explained(
    core: Core, server: Server, actor_id: str, error: ActorError
) -> tuple[ActorError, bool]:
    """An error with the reason why the actor did not start, where the management API knows it.

    Returns:
        The error, and whether the reason says that another attempt has no point.
    """
    if is_scheduling(error):
        try:
            actor = await find_by_id(core, server, actor_id)
        except RivetError:
            return error, False
        if actor is not None and actor.error is not None:
            reason = scheduling_error(error, actor)
            reason.__cause__ = error
            return reason, not is_host_loss(actor.error)
    return error, False
