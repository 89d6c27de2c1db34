"""What a live state is, driven in any order by a Hypothesis machine, without a loop.

The machine plays an actor that others write to, the network, and the task that takes what was
received. The actor keeps its history. What is shown is always a part of that history, in order,
and its end once nothing is under way.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rivet_anyio import Gap, NamedEvent, ProtocolError, Versions
from rivet_anyio._connection.events import EventBuffer, Unreadable
from rivet_anyio._live import Fold

BUFFER_SIZE = 3


class State(NamedTuple):
    """A state of the actor: its number, and what it consists of."""

    number: int
    changes: tuple[int, ...]


VERSIONS = Versions[State](lambda state: state.number, lambda event: event[0])


def apply(state: State, event: tuple[int, int]) -> State:
    number, change = event
    return State(number, (*state.changes, change))


def new_buffer() -> EventBuffer:
    return EventBuffer(
        ("changed", "moved"),
        since=0.0,
        buffer_size=BUFFER_SIZE,
        buffer_bytes=1 << 20,
        overflow="drop_oldest",
        gaps="mark",
        unsubscribe=lambda buffer: None,
        abandon=lambda buffer: None,
    )


STEPS = (
    *(["write"] * 3),
    *(["run_actor"] * 3),
    *(["receive"] * 6),
    *(["run_client"] * 8),
    "announce",
    "receive_garbage",
    "lose",
    "set_back",
    "restart",
    "lose_silently",
    "rest",
)
"""What may happen next, the ordinary more often; each takes how often."""


class Machine(RuleBasedStateMachine):
    """Everybody takes some steps at a time."""

    @initialize(numbered=st.booleans())
    def begin(self, numbered: bool) -> None:
        self.numbered = numbered
        self.history = [State(0, ())]
        self.announced: State | None = None
        self.changes = 0
        self.fold = Fold({"changed": apply, "moved": apply}, VERSIONS if numbered else None)
        self.buffer = new_buffer()
        self.channel: list[Any] = []  # what the server sent and the client has not received
        self.is_up = True
        self.call = ""  # where the call for a snapshot is
        self.reading: State | None = None  # what the action has read
        self.answer: State | None = None  # what the client has received
        self.dropped = 0
        self.is_silent = False  # whether an event was lost of which nobody was told
        self.shown = -1  # the place of the last state in the history
        self.given = 0
        self.settle()

    @rule(steps=st.binary(min_size=200, max_size=200))
    def run(self, steps: bytes) -> None:
        """Each byte is a step and how often; drawing them by themselves takes far longer."""
        for byte in steps:
            getattr(self, STEPS[byte % len(STEPS)])(1 + byte // len(STEPS) % 6)

    # The actor

    def write(self, count: int) -> None:
        for _ in range(count):
            self.announce(count)
            self.change()

    def announce(self, count: int) -> None:
        """The event leaves, and the state is changed only later."""
        self.change()
        self.changes += 1
        event = self.history[-1].number + 1, self.changes
        self.announced = apply(self.history[-1], event)
        if self.is_up:
            self.channel.append((NamedEvent(("changed", "moved")[count % 2], event), 10))
        if not self.numbered:
            self.change()

    def change(self) -> None:
        if self.announced is not None:
            self.history.append(self.announced)
            self.announced = None

    def run_actor(self, count: int) -> None:
        """Its action reads the state; with numbers, it may await before it returns that."""
        if self.call == "asked":
            self.reading, self.call = self.history[-1], "reading"
            if self.numbered and count < 3:
                return
        if self.call == "reading":
            self.channel.append(self.reading)
            self.call = "answered"

    # The network

    def receive(self, count: int, item: Unreadable | None = None) -> None:
        for message in self.channel[:count]:
            if not isinstance(message, State):
                self.buffer.push(item or message)
                continue
            self.answer = message
            if self.numbered:
                if self.buffer.forget_gaps():
                    self.fold.gap()
            else:
                self.buffer.clear()
                self.dropped = self.buffer.dropped
        del self.channel[:count]

    def receive_garbage(self, _: int) -> None:
        # The snapshot after it may be of the moment before the change that it announced.
        self.is_silent |= self.announced is not None
        self.receive(1, Unreadable(ProtocolError("garbage"), 10))

    def lose(self, count: int, back: int = 0) -> None:
        """The connection is lost and comes back, and things happen meanwhile."""
        self.receive(count // 2)
        self.channel.clear()
        self.is_up = False
        self.change()
        if self.answer is None:
            self.call = ""
        if back:
            self.history.append(self.history[max(0, len(self.history) - 1 - back)])
        self.write(count % 4)
        self.run_client(count % 3)
        self.buffer.begin_gap(0.0)
        self.is_up = True
        self.write(count % 5)
        self.run_client(count % 4)
        self.receive(len(self.channel))
        self.buffer.end_gap(1.0, 1)

    def set_back(self, count: int) -> None:
        """As `lose`, and the actor's last changes are gone."""
        self.lose(count, count)

    def restart(self, count: int) -> None:
        """The actor starts anew behind the connection, without its last changes.

        A call that is not answered is delivered again. Its answer may come inside the gap.
        """
        self.change()
        self.receive(len(self.channel))
        self.history.append(self.history[max(0, len(self.history) - count)])
        if self.call == "reading":
            self.call = "asked"
        self.buffer.begin_gap(0.0)
        self.is_up = False  # the server has no subscription yet
        self.write(count % 3)
        self.is_up = True
        for _ in range(count):
            self.write(count % 2)
            self.run_actor(count)
            self.receive(count % 4)
            self.run_client(count % 3)
        self.receive(len(self.channel))
        self.buffer.end_gap(1.0, 0)

    def lose_silently(self, _: int) -> None:
        if self.numbered and self.channel and not isinstance(self.channel[0], State):
            del self.channel[0]
            self.is_silent = True

    # The client's task

    def run_client(self, count: int) -> None:
        for _ in range(count):
            if not self.fold.wants_snapshot:
                if self.buffer.items:
                    self.take()
            elif self.answer is not None:
                self.fold.snapshot(self.answer, self.dropped)
                self.answer, self.call = None, ""
            elif not self.call and self.is_up:
                self.call = "asked"
            self.check()

    def take(self) -> None:
        item: Any = self.buffer.pop()
        if isinstance(item, Gap):
            self.fold.gap()
        elif isinstance(item, Unreadable):
            self.fold.unreadable()
        else:
            self.fold.event(item[0].name, item[0].value, self.buffer.dropped)

    # What holds

    def check(self) -> None:
        """What is shown is a state that the actor had, and later than the one before."""
        waiting = {id(items): items for items in (self.buffer.items, self.buffer._newest)}
        events = [item for items in waiting.values() for item in items if isinstance(item, tuple)]
        assert self.buffer.event_count == len(events)
        assert self.buffer.byte_count == sum(item[1] for item in events)
        if self.fold.number == self.given:
            return
        if self.fold.value == self.announced:
            self.change()
        states = self.history[self.shown + 1 :]
        assert self.fold.value in states, (self.fold.value, states)
        self.shown += 1 + states.index(self.fold.value)
        self.given = self.fold.number

    def settle(self) -> None:
        """Let everything that is under way arrive."""
        self.change()
        steps = 0
        while self.channel or self.buffer.items or self.fold.wants_snapshot:
            steps += 1
            assert steps < 1000, "it does not come to an end"
            self.run_client(1)
            self.run_actor(6)
            self.receive(1)
        assert self.fold.value == self.history[-1]

    def rest(self, count: int) -> None:
        if count < 3:
            self.come_to_rest()

    @rule()
    def come_to_rest(self) -> None:
        if self.is_silent:
            self.write(1)  # Else nobody knows that an event before it was lost silently.
            self.is_silent = False
        self.settle()

    def teardown(self) -> None:
        if hasattr(self, "fold"):
            self.come_to_rest()


Machine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=5, deadline=None, derandomize=True, database=None
)
TestMachine = Machine.TestCase


def numbered(*events: int, first: int = 0) -> Fold[State]:
    """A state by numbers, after a snapshot and events."""
    fold = Fold({"changed": apply}, VERSIONS)
    fold.snapshot(State(first, ()), 0)
    for number in events:
        fold.event("changed", (number, number), 0)
    return fold


def test_an_event_that_is_in_the_state_is_not_applied() -> None:
    fold = numbered(3, 4, 5, 6, first=5)
    assert fold.value == (6, (6,)) and not fold.wants_snapshot
    assert fold.number == 2


@pytest.mark.parametrize("events", [(2,), (1, 3), (1, 1), (1, 2, 1), (1, 2, 0), (-1, 0, 0)])
def test_numbers_that_want_a_snapshot(events: tuple[int, ...]) -> None:
    *before, last = events
    fold = numbered(*before)
    assert not fold.wants_snapshot
    fold.event("changed", (last, last), 0)
    assert fold.wants_snapshot


def test_numbers_begin_anew_after_a_gap() -> None:
    fold = numbered(1, 2, 3)
    fold.gap()
    fold.snapshot(State(1, (7,)), 0)
    assert [*fold.value.changes] == [7] and fold.number == 5
    fold.event("changed", (1, 7), 0)
    fold.event("changed", (2, 8), 0)
    assert [*fold.value.changes] == [7, 8] and not fold.wants_snapshot


def test_an_early_event_behind_a_snapshot_from_just_before_it() -> None:
    fold = numbered(2)
    assert fold.wants_snapshot
    fold.snapshot(State(1, (1,)), 0)
    assert fold.value == (2, (1, 2)) and not fold.wants_snapshot
    assert fold.refreshed == 1


def test_an_early_event_that_the_snapshot_has_or_does_not_reach() -> None:
    for number in (0, 3, 4):
        fold = numbered(3)
        fold.snapshot(State(number, (number,)), 0)
        assert fold.value == (number, (number,)) and not fold.wants_snapshot


class Stubborn:
    """It cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("state", "is_new"), [([1], False), ([2], True), (Stubborn(), True), (math.nan, True)]
)
def test_a_snapshot_that_equals_the_state_is_no_new_one(state: Any, is_new: bool) -> None:
    fold: Fold[Any] = Fold({}, None)
    fold.snapshot([1], 0)
    fold.gap()
    fold.snapshot(state, 0)
    assert fold.value is state
    assert fold.number == 1 + is_new


def test_a_snapshot_of_another_number_is_a_new_state() -> None:
    """Whatever its comparison says: numbers are more exact."""
    numbers = iter((1, 1, 2))
    fold: Fold[Any] = Fold({}, Versions(lambda state: next(numbers), abs_of))
    for number in (1, 1, 2):
        fold.snapshot("the same", 0)
        assert fold.number == number


@pytest.mark.parametrize("value", [None, "7", 7.5, True, math.nan, math.inf])
def test_a_number_that_is_not_whole(value: Any) -> None:
    fold: Fold[Any] = Fold({"changed": lambda state, event: event}, Versions(lambda s: s, abs_of))
    with pytest.raises(TypeError, match="of_state of Versions returns a whole number, not "):
        fold.snapshot(value, 0)
    fold.snapshot(6.0, 0)
    with pytest.raises(TypeError, match="of_event of Versions returns a whole number, not "):
        fold.event("changed", value, 0)
    fold.event("changed", 7.0, 0)
    assert fold.value == 7 and not fold.wants_snapshot


def abs_of(value: Any) -> Any:
    return value
