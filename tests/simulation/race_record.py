"""What the race of losses writes down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from zlib import crc32

from rivet_anyio import Gap, Live
from rivet_anyio._connection.events import Gaps, Overflow

from .race_observer import Counting

__all__ = ["About", "Board", "Call", "Copy", "Digest", "Item", "Race", "Seen", "Source"]

Digest = tuple[int, int]
"""How many of the events that count, and a checksum of them."""

Item = tuple[float, str, "Gap | list[int]"]
"""When it was taken, its name, and its place in `Board.sent`; or a gap."""


@dataclass
class Board:
    """What an actor sent: when, and under which name. It outlives the actor."""

    sent: list[tuple[float, str]] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=lambda: [(0, 0)])

    def send(self, name: str, now: float) -> tuple[int, int]:
        """An event's place, and its number among those that count."""
        index = len(self.sent)
        self.sent.append((now, name))
        if name in ("a", "b", "c"):
            count, checksum = self.digests[-1]
            self.digests.append((count + 1, crc32(b"%d" % index, checksum)))
        return index, len(self.digests) - 1


@dataclass
class About:
    """A connection: when it was back, and whether a slow reader may keep its events waiting."""

    may_block: bool
    returns: list[float] = field(default_factory=list)


@dataclass
class Followed:
    """Events of one actor that somebody followed.

    From `promised_at` on, every event is delivered, counted as dropped, or lies in a gap.
    """

    key: str
    names: tuple[str, ...]
    promised_at: float | None
    items: list[Item] = field(default_factory=list)
    dropped: int = 0
    ended_at: float | None = None
    ended_by: BaseException | None = None


@dataclass
class Source(Followed):
    """A source of a feed."""


class Seen(Followed):
    """A stream of a connection; `items` has also what was left in it, so many events."""

    def __init__(
        self,
        key: str,
        names: tuple[str, ...],
        overflow: Overflow,
        gaps: Gaps,
        size: int,
        opened_at: float,
        about: About,
    ) -> None:
        super().__init__(key, names, None)
        self.overflow: Overflow = overflow
        self.gaps: Gaps = gaps
        self.size = size
        self.opened_at = opened_at
        self.about = about
        self.left = 0
        self.has_ended = False
        self.gap_count = 0


@dataclass
class Copy:
    """A live state, and what it showed when."""

    key: str
    way: str
    shown: list[tuple[float, Digest]] = field(default_factory=list)
    state: Live[Digest] | None = None


@dataclass
class Call:
    """A call that may be repeated for so many seconds."""

    number: int
    seconds: float
    began_at: float
    ended_at: float | None = None
    is_answered: bool = False
    error: Exception | None = None


@dataclass
class Race:
    """One run."""

    version: str
    boards: dict[str, Board] = field(default_factory=lambda: {"x": Board(), "y": Board()})
    seen: list[Seen] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    put: set[int] = field(default_factory=set)
    params: list[int | None] = field(default_factory=list)
    strikes_at: list[float] = field(default_factory=list)
    kills_at: list[float] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    observer: Counting = field(default_factory=Counting)
    is_refusing: bool = False
    is_calm: bool = False
    is_over: bool = False
    calm_at: float = 0.0
    tasks_left: int = 0
