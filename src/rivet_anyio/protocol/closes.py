"""What the codes and reasons of close frames mean.

RFC 6455, section 7.4, gives codes below 3000 their meaning. RivetKit and its gateway close with
1011 and name an error in the reason.
"""

from __future__ import annotations

from typing import Final

from .._errors import ActorError, ConnectionLostError, RivetError

__all__ = [
    "ERROR_CLOSE",
    "FINISHED",
    "NO_CODE",
    "RESTARTING",
    "close_as_error",
    "close_as_loss",
    "close_error",
    "code_error",
]

ERROR_CLOSE: Final = 1011
"""With it, RivetKit and its gateway name an error in the reason; other codes are the actor's."""
NO_CODE: Final = 1005
"""Stands for a close frame without a code."""
FINISHED: Final = (1000, 1001, NO_CODE)
"""The peer has said all that it had to say."""
RESTARTING: Final = (1012, 1013)
"""The server is about to be back. Clients that it closes so return spread over a second."""

_GROUPS_OF_CODES: Final = {
    "internal_error": "internal",
    "stopping": "actor",
    "not_found": "actor",
    "incoming_too_long": "message",
    "malformed": "message",
}
"""Where RivetKit 2.0 raises the codes of its own that can end a connection."""


def close_as_error(code: int, reason: str) -> RivetError:
    """What a close frame means: an error of the server, or a loss with code and reason."""
    error = close_error(reason) if code != 1000 else None
    return error or close_as_loss(code, reason)


def close_as_loss(code: int, reason: str) -> ConnectionLostError:
    """What a close frame means whose reason is the actor's own."""
    return ConnectionLostError(
        f"the server closed the connection with {code}{f': {reason}' if reason else ''}",
        code=None if code == NO_CODE else code,
        reason=reason,
    )


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


def code_error(reason: str) -> ActorError | None:
    """The error in a close reason that is a code alone, None for any other reason.

    RivetKit 2.0 refuses connections so. A code that is none of its own is the actor's.
    """
    if not reason.replace("_", "").replace("-", "").isalnum():
        return None
    group = _GROUPS_OF_CODES.get(reason, "user")
    return ActorError(group, reason, f"connection refused: {reason}")
