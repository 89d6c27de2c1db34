"""What one row of the table says: the server's frames, and what the client makes of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from rivet_anyio._websocket.framing import Close, Frame

from .wire import Sent

__all__ = ["CUT", "LIMIT", "OPEN", "Case", "End", "Group", "Outcome", "Violation", "case"]

LIMIT = 16 * 1024 * 1024
"""The longest message that a case's client accepts, unless the case says otherwise."""


class Violation(NamedTuple):
    """The server broke the protocol: a ProtocolError, and a close frame with this code."""

    code: int


class _NoEnd(enum.Enum):
    OPEN = "open"
    CUT = "cut"


OPEN = _NoEnd.OPEN
"""Nothing has ended: what the server sends next is read as if nothing had been before."""
CUT = _NoEnd.CUT
"""The server's bytes stop inside a frame or message: the client waits for the rest."""

End = Close | Violation | _NoEnd


class Outcome(NamedTuple):
    """What comes of a case: messages and control frames in order, and the end."""

    got: tuple[Frame, ...]
    end: End


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table.

    Attributes:
        name: Unique.
        sent: What the server sends.
        got: What comes out, in order, without a close frame.
        end: How it ends: with the server's `Close`, which the client answers with the same code
            (1000 when there was none), with a `Violation`, or not: `OPEN` or `CUT`.
        also: Another end that the RFC allows, and maybe another client has.
        limit: The client's max_message_size.
        note: What the RFC leaves to the client.
    """

    name: str
    sent: tuple[Sent, ...]
    got: tuple[Frame, ...] = ()
    end: End = OPEN
    also: End | None = None
    limit: int = LIMIT
    note: str = ""

    @property
    def allowed(self) -> tuple[Outcome, ...]:
        """The outcomes that the RFC allows."""
        ends = (self.end,) if self.also is None else (self.end, self.also)
        return tuple(Outcome(self.got, end) for end in ends)


def case(
    name: str,
    *sent: Sent,
    got: tuple[Frame, ...] | list[Frame] = (),
    end: End = OPEN,
    also: End | None = None,
    limit: int = LIMIT,
    note: str = "",
) -> Case:
    """A row, with the server's frames as arguments."""
    return Case(name, sent, tuple(got), end, also, limit, note)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together, and the section of RFC 6455 that they come from."""

    title: str
    rfc: str
    cases: tuple[Case, ...]
