"""What the model writes down of one run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rivet_anyio import EventStream, Gap, Live, Status, StatusChange
from rivet_anyio._connection.events import Gaps, Overflow
from tests.faults.accounting import Appended, Call, History

from .ledger import Digest, Store

__all__ = ["Consumer", "Exit", "Mirror", "Run", "Visit"]


@dataclass
class Consumer:
    """One more event stream of a connection, as its user saw it.

    `begin` and `end` are its place in the connection's first stream: how many events that had
    been given when this one was opened, and at its end. `left` is what it held then.
    """

    name: str
    overflow: Overflow
    gaps: Gaps
    size: int
    begin: int
    first_call: int
    opened_at: float
    items: list[Appended | Gap] = field(default_factory=list)
    end: int = 0
    ended_at: float = 0.0
    left: int = 0
    unread: int = 0
    last_call: int = 0
    most: int = 0
    dropped: int = 0
    gap_count: int = 0
    ended_by: BaseException | None = None
    stream: EventStream[Any] | None = None


@dataclass
class Mirror:
    """A live state of a connection: what it showed, and whether it had what was awaited.

    `wrong` is how often it called itself current when it was not.
    """

    name: str
    shown: list[Digest] = field(default_factory=list)
    state: Live[Digest] | None = None
    refreshed: int = 0
    is_behind: bool = False
    wrong: int = 0

    def look(self) -> None:
        """Note whether the state calls itself current, and something waits or may be missing."""
        state = self.state
        if state is not None and state._stream is not None and state.is_current:
            is_there = state._link.state.change.status is Status.CONNECTED
            self.wrong += bool(state._stream.buffered or not is_there)


@dataclass
class Exit:
    """How long it took to leave a connection's block."""

    allowed: float
    took: float


@dataclass
class Visit:
    """One connection: its history, its other consumers, its states in time.

    `longest_delay` is the maximum of its backoff, `pending` how many calls are not settled, `deaf`
    which streams did not get an event, `kept` what was left of cancelled calls.
    """

    history: History = field(default_factory=History)
    consumers: list[Consumer] = field(default_factory=list)
    states: list[tuple[float, StatusChange]] = field(default_factory=list)
    gap_times: list[float] = field(default_factory=list)
    mirrors: list[Mirror] = field(default_factory=list)
    opened_at: float = 0.0
    exit: Exit | None = None
    longest_delay: float = 0.0
    pending: int = 0
    deaf: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass
class Run:
    """One run of the model.

    `reached` has the times at which a connection reached the server, where they share a client.
    """

    seed: int
    store: Store = field(default_factory=Store)
    visits: list[Visit] = field(default_factory=list)
    reached: list[float] = field(default_factory=list)
    posted: list[Call] = field(default_factory=list)
    trace: list[tuple[float, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    in_order: bool = True
    is_prompt: bool = True
    seconds: float = 0.0
    tasks_left: int = 0
