"""Does an actor answer, in every encoding, over HTTP and over a WebSocket?"""

from __future__ import annotations

from typing import get_args

import anyio

from ..._actions import ActionCaller
from ..._errors import ActorError, RivetError
from ...protocol.codec import Encoding
from .._advice import find_alike
from .._options import Common, Target
from .findings import Findings

__all__ = ["NO_ACTION", "UNKNOWN", "check_actor"]

UNKNOWN = (("actor", "action_not_found"), ("action", "not_found"))
"""What servers answer to `NO_ACTION`."""
NO_ACTION = "rivet-anyio asks for an action that does not exist"


async def check_actor(
    findings: Findings, common: Common, target: Target, *, seconds: float
) -> None:
    """Find the actor; then call an action that it does not have: nothing of it runs but hooks.

    Raises:
        Stop: when there is no such actor.
    """
    try:
        async with common.client() as client:
            with anyio.fail_after(seconds):
                actor_id = await target.handle(client).resolve()
    except TimeoutError:
        await findings.stop(
            "actor", f"not found within {seconds:g} s", "Look into the server's log."
        )
    except ActorError as error:
        if (error.group, error.code) != ("actor", "not_found"):
            await findings.stop("actor", str(error), "Look into the server's log.")
        alike = await find_alike(common, target.place, creates=False)
        await findings.stop(
            "actor",
            f"there is no actor {target.place}{f': {alike}' if alike else ''}",
            f"Correct it ('rivet-anyio list {target.place.name}' shows which there are), or add "
            "--create to create it.",
        )
    else:
        await findings.ok("actor", f"{target.place} is {actor_id}")
    for encoding in get_args(Encoding):
        await _check_encoding(findings, common, target, encoding, seconds)


async def _check_encoding(
    findings: Findings, common: Common, target: Target, encoding: Encoding, seconds: float
) -> None:
    way = "HTTP"
    times: list[str] = []
    try:
        async with common.client(encoding=encoding) as client:
            handle = target.handle(client)
            with anyio.fail_after(seconds):
                times.append(f"HTTP {await _time(handle):.0f} ms")
            way = "WebSocket"
            with anyio.fail_after(seconds):
                async with handle.connect() as connection:
                    times.append(f"WebSocket {await _time(connection):.0f} ms")
    except TimeoutError:
        await findings.fail(
            encoding,
            f"no answer by {way} within {seconds:g} s",
            "The actor may be busy or hang in a hook: look into the server's log.",
        )
    except RivetError as error:
        fix = "Look into the server's log: the actor does not start, or one of its hooks fails."
        if isinstance(error, ActorError) and error.group in ("user", "auth"):
            fix = "The actor refuses the connection: give it the --params that it expects."
        await findings.fail(encoding, f"by {way}: {error}", fix)
    else:
        await findings.ok(encoding, f"a round trip by {' and by '.join(times)}")


async def _time(caller: ActionCaller) -> float:
    """Milliseconds until the answer that there is no such action.

    Raises:
        RivetError: any other answer.
    """
    began = anyio.current_time()
    try:
        await caller.action(NO_ACTION)
    except ActorError as error:
        if (error.group, error.code) not in UNKNOWN:
            raise
    return (anyio.current_time() - began) * 1000
