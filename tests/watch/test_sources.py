"""The pure part of a feed, driven in any order by a Hypothesis machine, without a loop.

The machine plays the connections: it pushes events, begins and ends gaps, and lets sources fail.
Its account of each source is the list of what must come, with what was dropped as gaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rivet_anyio import Client, ConnectionLostError, SourceEvent, SourceFailed, SourceGap
from rivet_anyio._connection.events import EventBuffer, Gap, Unreadable
from rivet_anyio._errors import ProtocolError
from rivet_anyio._watch import Source, Sources

SIZE = 3
KEYS = st.sampled_from("abcd")
HANDLE = Client("http://127.0.0.1:9", metadata_lookup=False).ticker.get("k")
LOST = ConnectionLostError("lost")
UNREADABLE = ProtocolError("cannot be read")


@dataclass
class Account:
    """A source, as the machine knows it.

    Attributes:
        due: What must come, in order: numbers of events, gaps, errors.
        dropped: How many events are missing before what is due.
    """

    source: Source
    buffer: EventBuffer
    due: list[Any] = field(default_factory=list)
    dropped: int = 0
    has_gap: bool = False
    in_gap: list[int] = field(default_factory=list)
    has_failed: bool = False

    def kept(self) -> int:
        return sum(not isinstance(one, Gap) for one in self.due)


class Feeding(RuleBasedStateMachine):
    """Sources come, deliver, fail and go."""

    def __init__(self) -> None:
        super().__init__()
        self.sources = Sources()
        self.accounts: dict[str, Account] = {}
        self.ended: list[Account] = []
        self.waited: dict[str, set[str]] = {}  # who was taken while a source was ready
        self.number = 0

    @precondition(lambda self: len(self.accounts) < 4)
    @rule(key=KEYS)
    def add(self, key: str) -> None:
        if key in self.accounts:
            return
        connection = HANDLE.connect()
        stream: Any = connection._link.events(
            ("tick",), Any, buffer_size=SIZE, overflow="drop_oldest", gaps="mark"
        )
        source = Source(self.sources, key, stream, connection)
        self.sources.add(source)
        self.accounts[key] = Account(source, stream._buffer)

    @precondition(lambda self: self.accounts)
    @rule(key=KEYS, count=st.integers(1, 6))
    def push(self, key: str, count: int) -> None:
        account = self.alive(key)
        if account is None:
            return
        for _ in range(count):
            self.number += 1
            account.buffer.sinks["tick"].push((self.number, 1))
            if account.has_gap:
                if account.kept() < SIZE:
                    account.in_gap = [*account.in_gap, self.number][account.kept() - SIZE :]
                continue
            if account.kept() == SIZE:
                # The oldest event makes way; gaps that are neighbours then are one.
                first = next(i for i, one in enumerate(account.due) if not isinstance(one, Gap))
                del account.due[first]
                account.dropped += 1
                if account.due[1:] and all(isinstance(one, Gap) for one in account.due[:2]):
                    account.due[:2] = [account.due[0]]
            account.due.append(self.number)

    def alive(self, key: str) -> Account | None:
        account = self.accounts.get(key)
        return None if account is None or account.has_failed else account

    @rule(key=KEYS)
    def begin_gap(self, key: str) -> None:
        account = self.alive(key)
        if account is not None:
            account.buffer.begin_gap(1.0)
            account.has_gap, account.in_gap = True, []

    @rule(key=KEYS)
    def end_gap(self, key: str) -> None:
        account = self.alive(key)
        if account is not None and account.has_gap:
            account.buffer.end_gap(2.0, 1)
            if not (account.due and isinstance(account.due[-1], Gap)):
                account.due.append(Gap(1.0, 2.0, 1))
            account.due += account.in_gap
            account.has_gap, account.in_gap = False, []

    @rule(key=KEYS)
    def send_nonsense(self, key: str) -> None:
        account = self.alive(key)
        if account is not None and not account.has_gap and account.kept() < SIZE:
            account.buffer.sinks["tick"].push(Unreadable(UNREADABLE, 1))
            account.due.append(UNREADABLE)

    @rule(key=KEYS, error=st.sampled_from((LOST, None)))
    def fail(self, key: str, error: Exception | None) -> None:
        account = self.alive(key)
        if account is not None:
            account.buffer.end(error)
            account.has_failed = True
            account.due.append(error or ConnectionLostError)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        if key in self.accounts:
            self.sources.remove(key)
            self.gone(key)

    def gone(self, key: str) -> None:
        account = self.accounts.pop(key)
        assert account.buffer.ended and not account.buffer.items
        assert account.source._leave.is_set()
        self.ended.append(account)
        self.waited.pop(key, None)

    @rule()
    def take_one(self) -> None:
        self.take()

    @rule(count=st.integers(2, 12))
    def take_several(self, count: int) -> None:
        for _ in range(count):
            self.take()

    def take(self) -> None:
        item = self.sources.take()
        if item is None:
            assert not any(account.due for account in self.accounts.values())
            return
        account = self.accounts[item.key]
        if account.dropped:
            assert isinstance(item, SourceGap) and item.dropped == account.dropped
            account.dropped = 0
            if isinstance(account.due[0], Gap):
                assert item.gap is not None
                account.due.pop(0)
            else:
                assert item.gap is None
        else:
            expected = account.due.pop(0)
            if isinstance(item, SourceEvent):
                assert (item.name, item.value) == ("tick", expected)
            elif isinstance(item, SourceGap):
                assert isinstance(expected, Gap) and item.gap is not None and not item.dropped
            else:
                assert isinstance(item, SourceFailed)
                assert item.error is expected or isinstance(item.error, ConnectionLostError)
                self.gone(item.key)
        self.check_order(item.key)

    def check_order(self, taken: str) -> None:
        """Nobody is taken twice while another one waits all the time."""
        self.waited.pop(taken, None)
        for key, account in self.accounts.items():
            if account.due and key != taken:
                seen = self.waited.setdefault(key, set())
                assert taken not in seen, f"{taken} was taken twice while {key} waited"
                seen.add(taken)

    @invariant()
    def what_is_due_is_noticed(self) -> None:
        for account in self.accounts.values():
            if account.due:
                assert self.sources
        assert self.accounts.keys() == self.sources.by_key.keys()

    @invariant()
    def memory_is_bounded(self) -> None:
        for account in self.accounts.values():
            assert account.buffer.event_count <= SIZE
        assert len(self.sources._ready) <= len(self.accounts)

    def teardown(self) -> None:
        arrival = self.sources.arrival()
        self.sources.clear()
        assert arrival.is_set()
        assert self.sources.take() is None and not self.sources
        assert all(account.buffer.ended for account in self.accounts.values())
        assert not self.sources.finished.is_set() or not (self.accounts or self.ended)
        for _ in [*self.accounts, *self.ended]:
            self.sources.task_ended()
        assert self.sources.finished.is_set()


TestFeeding = Feeding.TestCase
TestFeeding.settings = settings(max_examples=30, stateful_step_count=30)
