"""The state of a connection, driven in any order by a Hypothesis machine, without a loop.

The machine plays the user's tasks, the supervisor, the socket and the server. The server keeps its
own account: which calls reached it, which names are subscribed, which events it sent.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from rivet_anyio import ActorError, ClosedError, ConnectionLostError, Gap, RivetError
from rivet_anyio._connection.events import EventBuffer
from rivet_anyio._connection.outcome import Ended
from rivet_anyio._connection.state import Call, ConnectionState, Phase
from rivet_anyio._connection.status import Status
from rivet_anyio._websocket.outbox import Outgoing
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.messages import Init, RawTree
from rivet_anyio.protocol.values import PLAIN_JSON

NAMES = ("a", "b", "c")
BUFFER_SIZE = 4
INDEX = st.integers(0, 9)
CODEC = codec_for("json", Dialect.PLAIN)
LOST = ConnectionLostError("lost")
OUTPUT = RawTree("done", PLAIN_JSON)
ERRORS = {
    "error": ActorError("user", "no"),
    "stopped": ActorError("actor", "stopping"),
    "masked": ActorError("rivetkit", "internal_error"),
}


class FakeWaiter:
    """Wakes nobody, and knows whether it was set."""

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        assert not self.is_set, "settled twice"
        self.is_set = True

    def wait(self) -> Awaitable[None]:
        raise AssertionError("nothing waits here")


class FakeServer:
    """What reached the server, and what it has to send."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.subscribed: set[str] = set()
        self.kinds: list[str] = []

    def take(self, payload: str | bytes) -> None:
        body = json.loads(payload)["body"]
        self.kinds.append(body["tag"])
        if body["tag"] == "ActionRequest":
            id = body["val"]["id"]
            self.ran.append(int(id[1]) if isinstance(id, list) else id)
        elif body["val"]["subscribe"]:
            self.subscribed.add(body["val"]["eventName"])
        else:
            self.subscribed.discard(body["val"]["eventName"])


@dataclass
class FakeSocket:
    """A socket that writes at once, unless it is blocked."""

    state: ConnectionState
    server: FakeServer
    is_blocked: bool = False
    is_open: bool = False
    is_retired: bool = False
    close_seconds: float | None = None
    error: RivetError | None = None

    @property
    def writes(self) -> bool:
        return not (not self.is_open or self.is_retired or self.is_blocked or self.has_ended)

    @property
    def has_ended(self) -> bool:
        return self.error is not None or self.close_seconds is not None

    def start_sending(self) -> None:
        self.is_open = True
        self.notify()

    def send(self, item: Outgoing) -> None:
        is_free = self.state.outbox.is_idle and self.is_open and not self.is_retired
        if not is_free or self.has_ended:
            self.state.outbox.put(item)
            self.notify()
            return
        payload = item.take()
        assert payload is not None
        if self.is_blocked:
            item.take_back()
            self.state.outbox.put(item)
        else:
            self.server.take(payload)
            item.sent()

    def notify(self) -> None:
        while self.writes and self.state.outbox.items:
            for item, payload in self.state.outbox.take():
                self.server.take(payload)
                item.sent()

    def retire(self, error: RivetError, *, seconds: float) -> None:
        assert 0 < seconds < 60
        self.is_retired = True

    def fail(self, error: RivetError) -> None:
        self.error = self.error or error

    def close(self, code: int, reason: str, *, seconds: float) -> None:
        self.close_seconds = seconds


@dataclass(eq=False)
class Stream:
    """A stream's buffer, and what it should have received."""

    buffer: EventBuffer
    missed: list[float] = field(default_factory=list)
    expected: int = 0
    received: int = 0
    gaps: list[Gap] = field(default_factory=list)

    def drain(self) -> None:
        while self.buffer.items:
            item = self.buffer.pop()
            if isinstance(item, Gap):
                self.gaps.append(item)
            else:
                self.received += 1


class ConnectionMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.server = FakeServer()
        self.state = ConnectionState(creates=True)
        self.socket: FakeSocket | None = None
        self.all_calls: list[Call] = []
        self.waiters: dict[int, FakeWaiter] = {}
        self.may_have_run: set[int] = set()
        self.streams: list[Stream] = []
        self.received_at = self.now
        self.sessions = 0

    # The user

    @initialize()
    def enter(self) -> None:
        with pytest.raises(ClosedError):
            raise self.state.closed_error()
        self.state.enter(CODEC, FakeWaiter)

    def tick(self) -> None:
        self.now += 1.0

    @precondition(lambda self: self.state.is_open)
    @rule(target=calls)
    def call(self) -> Call:
        call = self.state.call("act", (1,))
        self.all_calls.append(call)
        self.state.send(call)
        return call

    @rule(call=consumes(calls))
    def cancel(self, call: Call) -> None:
        was_sent = call.id in self.server.ran
        self.state.give_up(call)
        assert call not in self.state.outbox.items and call.id not in self.state.in_flight
        if not is_settled(call):
            call.fail(RivetError("cancelled"))
        if not was_sent:
            assert call.id not in self.server.ran
            self.may_have_run.add(-call.id - 1)

    @precondition(lambda self: self.state.is_open)
    @rule(name=st.sampled_from(NAMES))
    def subscribe(self, name: str) -> None:
        buffer = EventBuffer(
            name,
            since=self.now,
            buffer_size=BUFFER_SIZE,
            buffer_bytes=1 << 20,
            overflow="drop_oldest",
            gaps="mark",
            unsubscribe=self.state.unsubscribe,
            abandon=self.state.abandon,
        )
        self.state.subscribe(buffer)
        self.streams.append(Stream(buffer))

    @precondition(lambda self: self.streams)
    @rule(index=INDEX, as_garbage=st.booleans())
    def unsubscribe(self, index: int, as_garbage: bool) -> None:
        stream = self.streams[index % len(self.streams)]
        if as_garbage:
            self.state.abandon(stream.buffer)
            self.state.reap()
        else:
            self.state.unsubscribe(stream.buffer)
        self.streams.remove(stream)
        self.check_stream(stream)

    # The supervisor and the socket

    @precondition(lambda self: self.can_attempt)
    @rule()
    def connect(self) -> None:
        if self.state.phase is Phase.DISCONNECTED:
            self.state.attempt_begins()
        self.socket = FakeSocket(self.state, self.server)
        self.server.subscribed.clear()
        self.state.socket_opens(self.socket, CODEC, masks_stops=True)

    @property
    def can_attempt(self) -> bool:
        return self.socket is None and self.state.phase in (Phase.CONNECTING, Phase.DISCONNECTED)

    @precondition(lambda self: self.socket is not None)
    @rule(is_moved=st.booleans())
    def say_init(self, is_moved: bool) -> None:
        assert self.socket is not None
        if self.socket.is_open and not is_moved:
            return
        if self.socket.has_ended:
            return
        self.tick()
        self.sessions += 1
        if self.socket.is_open:
            self.server.subscribed.clear()
        self.server.kinds.clear()
        self.state.opened(Init("actor", f"conn{self.sessions}"), self.now, self.received_at)
        self.received_at = self.now
        if self.state.phase is Phase.CONNECTED and self.socket.writes:
            assert self.server.subscribed == set(self.state.buffers)
            assert not self.state.outbox.items
            assert "ActionRequest" not in self.server.kinds[: len(self.state.buffers)]

    @precondition(lambda self: self.socket is not None)
    @rule(is_blocked=st.booleans())
    def block(self, is_blocked: bool) -> None:
        """The peer stops reading, or goes on."""
        assert self.socket is not None
        if self.socket.is_open:
            self.socket.is_blocked = is_blocked
            self.socket.notify()

    @precondition(lambda self: self.socket is not None)
    @rule()
    def lose(self) -> None:
        """The socket ends, for whatever reason."""
        assert self.socket is not None
        opened, cause = self.socket.is_open, self.socket.error or LOST
        in_flight = list(self.state.in_flight.values())
        waiting = [item for item in self.state.outbox.items if isinstance(item, Call)]
        self.tick()
        self.socket = None
        self.server.subscribed.clear()
        if self.state.phase is Phase.LEAVING:
            self.state.finish(None)
            return
        ended = Ended(cause, opened, last_message=self.received_at, healthy=opened)
        if not self.state.attempt_ended(ended):
            assert not opened and self.sessions == 0
            self.state.finish(cause)
            return
        self.state.retry_later(cause)
        for call in in_flight:
            assert isinstance(call.error, ConnectionLostError) or not opened
        for call in waiting:
            assert not is_settled(call) and call in self.state.outbox.items
        assert self.state.phase is Phase.DISCONNECTED

    @precondition(lambda self: self.state.phase is not Phase.CLOSED and self.state.issued > 3)
    @rule()
    def leave(self) -> None:
        if self.state.phase is Phase.LEAVING:
            return
        seconds = self.state.leave(5.0)
        assert not self.state.is_open and not self.state.outbox.items
        if seconds:
            assert self.socket is not None and self.socket.close_seconds == seconds
        else:
            self.socket = None
            self.state.finish(None)

    # The server

    @precondition(lambda self: self.unanswered)
    @rule(index=INDEX, how=st.sampled_from(["output", "error", "stopped", "masked"]))
    def answer(self, index: int, how: str) -> None:
        id = self.unanswered[index % len(self.unanswered)]
        self.tick()
        self.received_at = self.now
        call = self.state.in_flight[id]
        if how == "output":
            assert self.state.answered(id, OUTPUT)
            assert call.output is not None
        else:
            error = ERRORS[how]
            is_probe = call not in self.all_calls
            self.state.refused(id, error)
            assert call.error is error
            if how == "masked":
                assert self.socket is not None
                if is_probe:
                    how = "stopped"
                elif self.state.is_open and not self.socket.is_retired:
                    assert self.probes == 1
        assert self.socket is not None
        if how == "stopped":
            assert self.socket.is_retired
        if self.socket.is_retired and not self.state.in_flight:
            assert self.socket.error is not None

    @property
    def probes(self) -> int:
        """How many calls ask whether the actor has stopped."""
        pending = [*self.state.in_flight.values(), *self.state.outbox.items]
        return sum(isinstance(item, Call) and item not in self.all_calls for item in pending)

    @invariant()
    def one_probe_is_enough(self) -> None:
        assert self.probes <= 1

    @property
    def unanswered(self) -> list[int]:
        return sorted(self.state.in_flight) if self.is_read else []

    @rule(name=st.sampled_from(NAMES))
    def event(self, name: str) -> None:
        """The actor broadcasts; those who are subscribed get it, if their socket is there."""
        if self.is_in_transit:
            return
        self.tick()
        reaches = self.is_read and name in self.server.subscribed
        if reaches:
            self.received_at = self.now
            if name not in self.state.buffers:
                reaches = False
        for stream in self.streams:
            if stream.buffer.name == name and not stream.buffer.ended:
                if reaches:
                    stream.expected += 1
                elif self.sessions:
                    stream.missed.append(self.now)
        if reaches:
            for buffer in tuple(self.state.buffers[name]):
                buffer.push((1, 10))

    @property
    def is_read(self) -> bool:
        """Whether the socket is there, open, and still read."""
        socket = self.socket
        return socket is not None and socket.is_open and not socket.has_ended

    @property
    def is_in_transit(self) -> bool:
        """Whether subscriptions have not reached the server: events then are another test's."""
        return self.state.phase is Phase.CONNECTED and bool(self.state.outbox.items)

    @precondition(lambda self: self.streams)
    @rule(index=INDEX)
    def receive(self, index: int) -> None:
        self.streams[index % len(self.streams)].drain()

    # What always holds

    @invariant()
    def each_call_is_in_one_place(self) -> None:
        waiting = [item for item in self.state.outbox.items if isinstance(item, Call)]
        assert len(set(waiting)) == len(waiting)
        for call in self.all_calls:
            places = [
                call in waiting,
                self.state.in_flight.get(call.id) is call,
                is_settled(call),
            ]
            assert sum(places) == 1, (call.id, places)

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert len(set(self.server.ran)) == len(self.server.ran)
        assert not any(-id - 1 in self.may_have_run for id in self.server.ran)

    @invariant()
    def what_waits_has_not_left(self) -> None:
        for item in self.state.outbox.items:
            if isinstance(item, Call):
                assert item.id not in self.server.ran

    @invariant()
    def buffers_are_bounded(self) -> None:
        for stream in self.streams:
            assert stream.buffer.event_count <= BUFFER_SIZE

    @invariant()
    def the_server_knows_what_is_wanted(self) -> None:
        settled = self.socket is not None and self.socket.writes
        if settled and self.state.phase is Phase.CONNECTED:
            assert self.server.subscribed == set(self.state.buffers)

    @invariant()
    def subscriptions_that_wait_are_bounded(self) -> None:
        others = [item for item in self.state.outbox.items if not isinstance(item, Call)]
        assert len(others) <= len(NAMES)

    def check_stream(self, stream: Stream) -> None:
        """Each event was received, counted as dropped, or lies in a gap."""
        stream.drain()
        assert stream.received + stream.buffer.dropped == stream.expected
        is_away = self.state.phase is not Phase.CONNECTED or not self.is_read
        told = [(gap.since, gap.until) for gap in stream.gaps]
        if is_away:
            told.append((self.received_at, self.now))
        for at in stream.missed:
            assert any(since <= at <= until for since, until in told), (at, told)

    def teardown(self) -> None:
        for stream in self.streams:
            self.check_stream(stream)
        if self.state.phase is not Phase.CLOSED:
            self.state.leave(1.0)
            self.state.finish(None)
        assert all(is_settled(call) for call in self.all_calls)
        assert not self.state.in_flight and not self.state.outbox.items and not self.state.buffers


def is_settled(call: Call) -> bool:
    return call.output is not None or call.error is not None


TestConnection: Any = ConnectionMachine.TestCase
TestConnection.settings = settings(
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
)


def test_a_second_attempt_to_open_for_the_first_time_is_no_change_of_status() -> None:
    state = ConnectionState(creates=True)
    stream = state.watch(lambda: None)
    state.enter(CODEC, FakeWaiter)
    state.attempt_begins()
    assert [change.status for change in stream._changes] == [Status.CONNECTING]
