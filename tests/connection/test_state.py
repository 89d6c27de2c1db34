"""The state of a connection, driven in any order by a Hypothesis machine, without a loop.

The machine plays the user's tasks, the supervisor, the socket and the server. The server keeps its
own account: which calls reached it, which names are subscribed, which events it sent. It handles
messages in order and takes its time. It may refuse subscriptions: by closing where an engine stands
before it, otherwise by an error.
Where an engine stands before it, its host may die and be started anew behind the socket, and the
actor may sleep; checks ask for the record of that, and their answers take their time, too.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import pairwise
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
from rivet_anyio._connection.events import EventBuffer, NamedEvent
from rivet_anyio._connection.outcome import Ended
from rivet_anyio._connection.state import ActionRequest, Call, ConnectionState, Phase, Probe
from rivet_anyio._connection.status import Status
from rivet_anyio._websocket.outbox import Outgoing
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.messages import Init, RawTree
from rivet_anyio.protocol.starts import Start, StartState
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
    "forbidden": ActorError("auth", "forbidden"),
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

    def wait_until(self, at: float) -> Awaitable[None]:
        raise AssertionError("nothing waits here")


class FakeServer:
    """What reached the server, what it has handled, and what it has to send."""

    def __init__(self) -> None:
        self.has_engine = True
        self.ran: list[int] = []
        self.inbox: list[tuple[str, Any]] = []
        self.sent: list[int | None] = []  # the answers that it can send, and errors without a call
        self.subscribed: set[str] = set()
        self.kinds: list[str] = []
        self.refused: set[str] = set()
        self.has_closed = False
        self.has_stopped = False  # its actor has, and the socket stays
        self.dies_of_unsubscribing = False
        self.wanted_at_stop: set[str] = set()
        self.start = 1
        self.state = StartState.RUNNING  # ASLEEP, or DEAD, which its record may not say yet
        self.is_noticed = False

    @property
    def record(self) -> Start:
        """What the management API says."""
        if self.state is StartState.DEAD and self.is_noticed:
            return Start(StartState.DEAD)
        if self.state is StartState.ASLEEP:
            return Start(StartState.ASLEEP)
        return started(self.start)

    @property
    def is_running(self) -> bool:
        return self.state is StartState.RUNNING

    def wake(self, *, keeps_subscriptions: bool = True) -> None:
        """Start the actor anew, unless it runs."""
        if not self.is_running:
            if not keeps_subscriptions and self.state is StartState.DEAD:
                self.subscribed.clear()
            self.state = StartState.RUNNING
            self.start += 1

    def die(self) -> None:
        """The host dies: a gateway delivers again what was not answered."""
        self.state, self.is_noticed = StartState.DEAD, False
        again = [("call", id) for id in self.sent if id is not None]
        self.sent = [id for id in self.sent if id is None]
        self.inbox[:0] = again

    def begin_session(self) -> None:
        self.inbox.clear()
        self.sent.clear()
        self.subscribed.clear()
        self.kinds.clear()
        self.has_closed = self.has_stopped = False

    def take(self, payload: str | bytes) -> None:
        body = json.loads(payload)["body"]
        self.kinds.append(body["tag"])
        if body["tag"] == "ActionRequest":
            id = body["val"]["id"]
            number = int(id[1]) if isinstance(id, list) else id
            self.ran.append(number)
            self.inbox.append(("call", number))
        else:
            kind = "subscribe" if body["val"]["subscribe"] else "unsubscribe"
            name = body["val"]["eventName"]
            if kind == "unsubscribe" and self.has_stopped and self.dies_of_unsubscribing:
                assert name not in self.wanted_at_stop, "the server dies, and nobody asked"
            self.inbox.append((kind, name))

    def handle(self) -> None:
        """Handle one message."""
        kind, what = self.inbox.pop(0)
        if kind == "call":
            self.sent.append(what)
        elif self.has_stopped:
            pass  # Nobody handles it.
        elif kind == "unsubscribe":
            self.subscribed.discard(what)
        elif what not in self.refused:
            self.subscribed.add(what)
        elif self.has_engine:
            self.has_closed = True
            self.inbox.clear()
        else:
            self.sent.append(None)

    @property
    def will_have(self) -> set[str]:
        """The names that are subscribed once everything is handled."""
        names = set(self.subscribed)
        for kind, name in self.inbox:
            if kind == "subscribe":
                names.add(name)
            elif kind == "unsubscribe":
                names.discard(name)
        return names


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
    last_received: float = 0.0
    limit_seconds: float | None = None

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
        while self.writes and (batch := self.state.outbox.take()):
            for item, payload in batch:
                self.server.take(payload)
                item.sent()

    def retire(self, error: RivetError, *, seconds: float) -> None:
        assert 0 < seconds < 60
        self.is_retired = True

    def limit(self, error: RivetError, *, seconds: float) -> None:
        assert self.is_open
        self.limit_seconds = seconds

    def unlimit(self) -> None:
        self.limit_seconds = None

    def fail(self, error: RivetError) -> None:
        self.error = self.error or error

    def close(self, code: int, reason: str, *, seconds: float) -> None:
        self.close_seconds = seconds


@dataclass(eq=False)
class Stream:
    """A stream's buffer, what it was promised, and what it received."""

    buffer: EventBuffer
    is_promised: bool = False
    sent: dict[int, float] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = set(self.buffer.sinks)
        self.since = self.buffer.since

    def drain(self) -> None:
        while self.buffer.items:
            item = self.buffer.pop()
            if isinstance(item, Gap):
                self.items.append(item)
                continue
            assert isinstance(item, tuple)
            value = item[0]
            if self.buffer.is_named:
                assert isinstance(value, NamedEvent) and value.name in self.names
                value = value.value
            self.items.append(value)


class ConnectionMachine(RuleBasedStateMachine):
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.server = FakeServer()
        self.state = ConnectionState(creates=True, confirm_seconds=30.0)
        self.socket: FakeSocket | None = None
        self.all_calls: list[Call] = []
        self.waiters: dict[int, FakeWaiter] = {}
        self.may_have_run: set[int] = set()
        self.streams: list[Stream] = []
        self.received_at = self.now
        self.away_since: float | None = None
        self.sessions = self.failures = 0
        self.events = 0
        self.ever_refused: set[str] = set()
        self.seen_start = 0  # the start that the state knows of, and when it was the present one
        self.seen_at = self.now
        self.asked: tuple[FakeSocket, Start, float] | None = None
        self.waits_on: set[int] = set()  # calls that were in flight when the actor was restarted

    # The user

    @initialize(misses_events=st.booleans(), has_engine=st.booleans(), dies=st.booleans())
    def enter(self, misses_events: bool, has_engine: bool, dies: bool) -> None:
        self.server.has_engine = has_engine
        self.server.dies_of_unsubscribing = dies and not has_engine
        with pytest.raises(ClosedError):
            raise self.state.closed_error()
        if misses_events:
            self.state.miss_events(self.now)
            self.away_since = self.now
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
    @rule(names=st.sampled_from(NAMES) | st.sampled_from([("a", "b"), ("c", "b"), ("a", "b", "c")]))
    def subscribe(self, names: str | tuple[str, ...]) -> None:
        buffer = EventBuffer(
            names,
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

    @precondition(lambda self: self.socket is not None and self.streams)
    @rule(index=INDEX)
    def open_again(self, index: int) -> None:
        """A stream is closed, and another one of its names is opened before anything can leave."""
        assert self.socket is not None
        buffer = self.streams[index % len(self.streams)].buffer
        if names := tuple(buffer.sinks):
            was_blocked = self.socket.is_blocked
            self.block(True)
            self.unsubscribe(index, False)
            self.subscribe(names if buffer.is_named else names[0])
            self.block(was_blocked)

    @precondition(lambda self: self.streams)
    @rule(index=INDEX)
    def wait_for_confirmation(self, index: int) -> None:
        """Somebody waits for the subscriptions of a stream; whoever does it again asks no more."""
        stream = self.streams[index % len(self.streams)]
        buffer = stream.buffer
        if buffer.ended:
            return
        assert self.state.has_subscriptions(buffer) == self.is_confirmed(stream)
        before = self.state.issued
        self.state.has_subscriptions(buffer)
        assert self.state.issued == before

    @rule(name=st.sampled_from(NAMES), is_refused=st.booleans())
    def refuse(self, name: str, is_refused: bool) -> None:
        """The actor allows or forbids a name from now on."""
        if is_refused:
            self.server.refused.add(name)
            self.ever_refused.add(name)
        else:
            self.server.refused.discard(name)

    # The supervisor and the socket

    @precondition(lambda self: self.can_attempt)
    @rule(has_record=st.booleans())
    def connect(self, has_record: bool = True) -> None:
        if self.state.phase is Phase.DISCONNECTED:
            self.state.attempt_begins()
        self.socket = FakeSocket(self.state, self.server)
        self.server.begin_session()
        start = self.server.record if has_record else None
        asks_first = self.server.dies_of_unsubscribing
        self.state.socket_opens(
            self.socket, CODEC, masks_stops=True, asks_first=asks_first, start=start
        )

    @property
    def can_attempt(self) -> bool:
        return self.socket is None and self.state.phase in (Phase.CONNECTING, Phase.DISCONNECTED)

    @precondition(lambda self: self.socket is not None)
    @rule(is_moved=st.booleans())
    def say_init(self, is_moved: bool) -> None:
        assert self.socket is not None
        is_moved = is_moved and self.server.has_engine
        if self.socket.has_ended or (self.socket.is_open and not is_moved):
            return
        self.open(is_moved)
        if self.is_read:
            # The first check comes before an engine knows of any death.
            self.ask_for_record()
            self.check(is_starting=False)

    def open(self, is_moved: bool) -> None:
        assert self.socket is not None
        self.tick()
        self.sessions += 1
        if is_moved:
            self.server.die()
        self.server.wake()
        self.note_away(self.socket.is_open)
        self.server.begin_session()
        self.socket.last_received = self.now
        was_lost = self.away_since is not None and bool(self.state.buffers)
        waiting = [item for item in self.state.outbox.items if isinstance(item, Call)]
        self.state.opened(Init("actor", f"conn{self.sessions}"), self.now, self.received_at)
        self.received_at = self.now
        self.waits_on = set()
        self.seen_start, self.seen_at = self.server.start, self.now
        if self.state.phase is Phase.RESUBSCRIBING:
            assert was_lost and self.socket.limit_seconds
            assert self.state.outbox.is_paused
        if self.state.phase is Phase.CONNECTED:
            assert not was_lost
            self.away_since = None
        if not self.socket.writes:
            return
        if self.state.phase is Phase.CONNECTED:
            assert self.server.will_have == set(self.state.sinks)
            assert not self.state.outbox.items
            assert "ActionRequest" not in self.server.kinds[: len(self.state.sinks)]
        if self.state.phase is Phase.RESUBSCRIBING:
            assert self.server.kinds[-1:] == ["ActionRequest"]
            assert self.server.kinds.count("ActionRequest") == 1
            assert all(call in self.state.outbox.items for call in waiting)

    def note_away(self, was_open: bool) -> None:
        if was_open and self.away_since is None:
            self.away_since = self.seen_at if self.has_unseen_start else self.received_at

    @precondition(lambda self: self.socket is not None)
    @rule(is_blocked=st.booleans())
    def block(self, is_blocked: bool) -> None:
        """The peer stops reading, or goes on."""
        assert self.socket is not None
        if self.socket.is_open:
            self.socket.is_blocked = is_blocked
            self.socket.notify()

    @precondition(lambda self: self.socket is not None)
    @rule(is_healthy=st.booleans())
    def lose(self, is_healthy: bool = True) -> None:
        """The socket ends, for whatever reason."""
        assert self.socket is not None
        self.lose_by(self.socket.error or LOST, is_healthy)

    def lose_by(self, cause: Exception, is_healthy: bool = True) -> None:
        assert self.socket is not None
        opened = self.socket.is_open
        in_flight = list(self.state.in_flight.values())
        waiting = [item for item in self.state.outbox.items if isinstance(item, Call)]
        suspects = set(self.state._suspects)
        if self.state._tested is not None and cause is not ERRORS["forbidden"]:
            suspects.add(self.state._tested)
        self.tick()
        self.note_away(opened)
        self.socket = None
        self.server.begin_session()
        if self.state.phase is Phase.LEAVING:
            self.state.finish(None)
            return
        ended = Ended(cause, opened, last_message=self.received_at, healthy=is_healthy)
        if not self.state.attempt_ended(ended):
            assert not opened and self.sessions == 0
            self.state.finish(cause)
            return
        self.state.retry_later(cause)
        self.failures = 1 if opened and is_healthy else self.failures + 1
        assert self.state.failures == self.failures
        suspects &= self.state.sinks.keys()
        assert suspects <= self.state._suspects.keys(), "a suspect is forgotten"
        for call in in_flight:
            if isinstance(call, Call):
                assert isinstance(call.error, ConnectionLostError) or not opened
        for call in waiting:
            assert not is_settled(call) and call in self.state.outbox.items
        assert self.state.phase is Phase.DISCONNECTED
        if opened:
            assert not any(self.is_confirmed(stream) for stream in self.streams)

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

    @precondition(lambda self: self.sessions and self.server.has_engine)
    @rule(how=st.sampled_from(["die", "notice", "wake", "wake without subscriptions", "sleep"]))
    def change_start(self, how: str) -> None:
        """Something becomes of the actor behind its gateway."""
        server = self.server
        if how == "die" and server.is_running and not self.has_slept:
            server.die()
        elif how == "notice":
            server.is_noticed = True
        elif how == "sleep" and not self.has_unseen_start:
            if not server.inbox and not server.sent:
                server.state = StartState.ASLEEP
        elif how.startswith("wake"):
            server.is_noticed = True
            server.wake(keeps_subscriptions=how == "wake")

    @precondition(lambda self: self.can_refuse)
    @rule(keeps_subscriptions=st.booleans(), during_check=st.booleans())
    def restart(self, keeps_subscriptions: bool, during_check: bool) -> None:
        """The host dies, what it sends is lost, and the actor is started anew."""
        if during_check:
            self.ask_for_record()
        self.server.die()
        self.event_of_each_name()
        self.server.wake(keeps_subscriptions=keeps_subscriptions)
        self.event_of_each_name()
        if during_check:
            self.check(is_starting=False)

    @precondition(lambda self: self.can_refuse and self.state.is_open and len(self.streams) < 5)
    @rule(name=st.sampled_from(NAMES))
    def restart_in_a_test(self, name: str) -> None:
        """The actor is started anew while the names are tested of which it refuses one."""
        self.refuse(name, True)
        self.subscribe(NAMES)
        for _ in range(2):
            self.come_back()
            if self.can_refuse and not self.state._tested:
                self.keep_up()
        if self.can_refuse:
            self.restart(True, False)
            self.look()

    @property
    def can_refuse(self) -> bool:
        """Whether the actor is there, behind a gateway that closes over a subscription."""
        return self.is_live and self.server.has_engine and not self.has_slept

    def event_of_each_name(self) -> None:
        for name in NAMES:
            self.event(name)

    @precondition(lambda self: self.state.is_open and len(self.streams) < 5)
    @rule(names=st.sampled_from(NAMES) | st.just(NAMES), calls=st.booleans())
    def listen(self, names: str | tuple[str, ...], calls: bool) -> None:
        """A stream is opened and confirmed, and gets an event."""
        if not self.is_live:
            self.come_back()
        if not self.is_live:
            return
        self.subscribe(names)
        if calls:
            self.call()
        self.wait_for_confirmation(-1)
        self.keep_up()
        self.what_is_confirmed_is_subscribed()
        self.event_of_each_name()

    @precondition(lambda self: self.is_read)
    @rule()
    def look(self) -> None:
        """A check whose answer comes at once."""
        self.ask_for_record()
        self.check(is_starting=False)

    @precondition(lambda self: self.is_read)
    @rule()
    def ask_for_record(self) -> None:
        assert self.socket is not None
        self.asked = self.socket, self.server.record, self.received_at

    @precondition(lambda self: self.asked is not None)
    @rule(is_starting=st.integers(0, 3).map(lambda drawn: drawn == 3))
    def check(self, is_starting: bool) -> None:
        """The record comes that was asked for, if its socket is still there.

        Of an actor that is being started it says nothing, and no check has seen anything.
        """
        assert self.asked is not None
        (socket, record, last_message), self.asked = self.asked, None
        if is_starting:
            record = Start(StartState.UNKNOWN)
        if socket is not self.socket or not self.is_read or self.state.phase is Phase.LEAVING:
            return
        before = self.state.phase
        statuses = self.state.change
        self.tick()
        known = self.state._start
        is_running = record.state is StartState.RUNNING
        is_restart = is_running and known not in (None, record, Start(StartState.ASLEEP))
        in_flight = [call.id for call in self.state.in_flight.values() if isinstance(call, Call)]
        self.state.checked(record, last_message)
        if record.state is StartState.DEAD:
            assert self.socket.error is not None
        elif is_restart and self.state.buffers:
            assert self.state.phase is Phase.RESUBSCRIBING and self.socket.limit_seconds
            self.away_since = self.seen_at if self.away_since is None else self.away_since
            self.waits_on = set(in_flight)
            assert not any(isinstance(self.state.in_flight.get(id), Probe) for id in in_flight)
        else:
            assert (self.state.phase, self.state.change) == (before, statuses)
        if is_running:
            self.seen_start = self.start_of(record)
        if record.state in (StartState.RUNNING, StartState.ASLEEP):
            self.seen_at = max(self.seen_at, last_message)

    def start_of(self, record: Start) -> int:
        return next(n for n in range(1, self.server.start + 1) if started(n) == record)

    @property
    def has_slept(self) -> bool:
        """Whether the last check saw it asleep: a death before the next one would be missed."""
        return self.state._start == Start(StartState.ASLEEP)

    @property
    def has_unseen_start(self) -> bool:
        """Whether the state cannot know that events are missing, until the next check."""
        return not self.server.is_running or self.server.start != self.seen_start

    @precondition(lambda self: self.is_live and self.server.inbox)
    @rule(count=st.integers(1, 4))
    def handle(self, count: int) -> None:
        """The server handles some of what reached it, and may close the connection over it."""
        for _ in range(count):
            if self.server.inbox:
                self.server.handle()
        if self.server.has_closed:
            self.lose_by(ERRORS["forbidden"])

    @precondition(lambda self: self.is_live and not self.server.has_engine)
    @rule()
    def stop(self) -> None:
        """The actor stops, and its socket stays open, as up to RivetKit 2.2."""
        self.server.has_stopped = True
        self.server.wanted_at_stop = set(self.state.sinks)

    @precondition(lambda self: self.is_live and self.server.sent)
    @rule(index=INDEX, how=st.sampled_from(["output", "error", "stopped", "masked"]))
    def answer(self, index: int, how: str) -> None:
        """Send an answer. Errors that belong to no call come before the answers after them."""
        if self.server.has_stopped and how != "stopped":
            how = "masked"
        place = index % len(self.server.sent)
        while None in self.server.sent[: place + 1]:
            self.report()
            place -= 1
        if place >= 0 and self.is_read:
            self.send_answer(self.server.sent.pop(place), how)

    @precondition(lambda self: self.is_read)
    @rule()
    def keep_up(self) -> None:
        """The server handles and answers everything."""
        while self.is_live and self.server.inbox:
            self.handle(1)
        while self.is_live and self.server.sent:
            self.answer(0, "output")

    @rule()
    def come_back(self) -> None:
        """The socket ends, and another one gets as far as Init."""
        if self.socket is not None:
            self.lose()
        if self.can_attempt:
            self.connect()
            self.say_init(False)

    def report(self) -> None:
        assert self.socket is not None
        self.server.sent.remove(None)
        self.receive_message()
        self.state.reported(ERRORS["forbidden"])

    def receive_message(self) -> None:
        assert self.socket is not None
        self.tick()
        self.received_at = self.socket.last_received = self.now

    def send_answer(self, id: int | None, how: str) -> None:
        assert id is not None and self.socket is not None
        call = self.state.in_flight.get(id)
        if call is None:
            return
        self.receive_message()
        is_probe = isinstance(call, Probe)
        was_away = self.state.phase is Phase.RESUBSCRIBING
        if how == "output":
            assert self.state.answered(id, OUTPUT)
            assert is_probe or (isinstance(call, Call) and call.output is not None)
        else:
            error = ERRORS[how]
            self.state.refused(id, error)
            assert is_probe or (isinstance(call, Call) and call.error is error)
            if how == "masked":
                if is_probe:
                    how = "stopped"
                elif self.state.is_open and not self.socket.is_retired:
                    assert self.probes
        if how == "stopped":
            assert self.socket.is_retired
        if self.socket.is_retired and not self.state.in_flight:
            assert self.socket.error is not None
        if was_away and self.state.phase is Phase.CONNECTED:
            assert is_probe and self.socket.limit_seconds is None
            assert not self.state.outbox.is_paused
            self.away_since = None
            for stream in self.streams:
                is_new = not stream.is_promised or stream.buffer.ended
                assert is_new or self.is_confirmed(stream)
        self.what_is_confirmed_is_subscribed()

    @property
    def probes(self) -> int:
        """How many probes wait or are in flight."""
        pending = [*self.state.in_flight.values(), *self.state.outbox.items]
        return sum(isinstance(item, Probe) for item in pending)

    @invariant()
    def one_probe_waits_at_most(self) -> None:
        assert sum(isinstance(item, Probe) for item in self.state.outbox.items) <= 1

    @precondition(lambda self: self.server.state is not StartState.ASLEEP)
    @rule(name=st.sampled_from(NAMES))
    def event(self, name: str) -> None:
        """The actor broadcasts; those who are subscribed get it, if their socket is there.

        A host that dies goes on for a while, and nothing of that arrives.
        """
        if self.server.has_stopped:
            return
        self.tick()
        self.events += 1
        reaches = self.is_live and name in self.server.subscribed
        for stream in self.streams:
            is_wanted = name in stream.names and not stream.buffer.ended
            # Nothing is promised once the block is left.
            if is_wanted and stream.is_promised and self.state.is_open:
                stream.sent[self.events] = self.now
        if reaches:
            self.now -= 1
            self.receive_message()
            for sink in tuple(self.state.sinks.get(name, ())):
                sink.push_all([(self.events, 10)], 10)

    @property
    def is_read(self) -> bool:
        """Whether the socket is there, open, and still read."""
        socket = self.socket
        return socket is not None and socket.is_open and not socket.has_ended

    @property
    def is_live(self) -> bool:
        """Whether, in addition, the actor runs at the other end."""
        return self.is_read and self.server.is_running

    def is_confirmed(self, stream: Stream) -> bool:
        places, confirmed = self.state._places, self.state._confirmed
        return all(0 < places.get(name, 0) <= confirmed for name in stream.names)

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
        settled = self.is_read and self.socket is not None and self.socket.writes
        if self.has_unseen_start or self.server.has_stopped:
            return
        if settled and self.state.phase is Phase.CONNECTED and not self.is_testing:
            refused = self.server.sent.count(None)
            unknown = set(self.state.sinks) ^ (self.server.will_have - self.state._unwanted.keys())
            assert len(unknown) <= refused and unknown <= self.ever_refused

    @property
    def is_testing(self) -> bool:
        return bool(self.state._suspects) or self.state._tested is not None

    @invariant()
    def what_is_confirmed_is_subscribed(self) -> None:
        for stream in self.streams:
            if self.is_confirmed(stream) and not stream.buffer.ended:
                if self.is_read and not self.has_unseen_start:
                    assert stream.names <= self.server.subscribed
                stream.is_promised = True

    @invariant()
    def only_streams_of_refused_names_end(self) -> None:
        for stream in self.streams:
            if stream.buffer.ended and self.state.phase is not Phase.CLOSED:
                assert stream.buffer.end_error is ERRORS["forbidden"]
                assert not self.ever_refused.isdisjoint(stream.names)

    @invariant()
    def calls_wait_while_gaps_last(self) -> None:
        if self.state.phase is Phase.RESUBSCRIBING:
            assert all(
                isinstance(call, Probe) or call.id in self.waits_on
                for call in self.state.in_flight.values()
            )

    @invariant()
    def the_reader_goes_on_while_gaps_last(self) -> None:
        """It waits for the confirmation, whatever stream is full."""
        if self.state.phase is Phase.RESUBSCRIBING:
            assert not any(stream.buffer.is_full for stream in self.streams)

    @invariant()
    def subscriptions_that_wait_are_bounded(self) -> None:
        others = [i for i in self.state.outbox.items if not isinstance(i, ActionRequest)]
        assert len(others) <= len(NAMES)

    def check_stream(self, stream: Stream) -> None:
        """Each event was received, counted as dropped, or lies in a gap, which has its place."""
        stream.drain()
        received = [item for item in stream.items if not isinstance(item, Gap)]
        assert received == sorted(set(received))
        gaps = [item for item in stream.items if isinstance(item, Gap)]
        assert stream.buffer.gap_count >= len(gaps)
        assert all(gap.since >= stream.since for gap in gaps)
        assert all(one.until <= next.since for one, next in pairwise(gaps))
        told = [(gap.since, gap.until) for gap in gaps]
        if self.away_since is not None:
            told.append((self.away_since, self.now))
        elif self.socket is not None and self.socket.error is not None:
            told.append((self.received_at, self.now))  # the supervisor will hear of it
        if self.has_unseen_start:
            told.append((self.seen_at, self.now))
        missing = [number for number in stream.sent if number not in received]
        outside = [
            number
            for number in missing
            if not any(since <= stream.sent[number] <= until for since, until in told)
        ]
        if not stream.buffer.ended:
            assert len(outside) <= stream.buffer.dropped, (outside, told)
        # The gap of a restart may come late.
        if not stream.buffer.dropped and self.server.start == 1:
            for before, after in pairwise(stream.items):
                if not isinstance(before, Gap) and not isinstance(after, Gap):
                    assert not any(before < number < after for number in missing)

    def settle(self) -> None:
        """Whatever happened, all of it can come to its end."""
        for _ in range(60):
            if self.state.phase is Phase.CLOSED:
                return
            if self.can_attempt:
                self.connect()
            if self.socket is None:
                return
            if self.socket.has_ended:
                self.lose()
                continue
            if not self.socket.is_open:
                self.say_init(False)
            self.block(False)
            if self.is_read:
                self.server.is_noticed = True
                self.ask_for_record()
                self.check(is_starting=False)
                if self.server.state is StartState.ASLEEP:
                    self.server.wake()
                self.keep_up()
            if self.server.has_stopped and self.socket is not None:
                self.lose()
        assert not self.has_unseen_start or self.server.record == self.state._start
        assert self.is_read and self.state.phase is Phase.CONNECTED
        assert not self.state.in_flight and not self.state.outbox.items and not self.is_testing
        assert self.server.subscribed == set(self.state.sinks)

    def teardown(self) -> None:
        self.settle()
        self.what_is_confirmed_is_subscribed()
        for stream in self.streams:
            self.check_stream(stream)
        if self.state.phase is not Phase.CLOSED:
            self.state.leave(1.0)
            self.state.finish(None)
        assert all(is_settled(call) for call in self.all_calls)
        assert not self.state.in_flight and not self.state.outbox.items
        assert not self.state.buffers and not self.state.sinks


def started(number: int) -> Start:
    return Start(StartState.RUNNING, dt.datetime(2026, 1, 1, 0, 0, number % 60, number, dt.UTC))


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
    state = ConnectionState(creates=True, confirm_seconds=30.0)
    stream = state.watch(lambda: None)
    state.enter(CODEC, FakeWaiter)
    state.attempt_begins()
    assert [change.status for change in stream._changes] == [Status.CONNECTING]


class Driven:
    """A state that a test drives step by step, at a server that handles and answers at once."""

    def __init__(self) -> None:
        self.state = ConnectionState(creates=True, confirm_seconds=30.0)
        self.state.enter(CODEC, FakeWaiter)
        self.socket = FakeSocket(self.state, FakeServer())

    def subscribe(
        self, name: str | tuple[str, ...], *, since: float = 0.0, size: int = 9
    ) -> EventBuffer:
        buffer = EventBuffer(
            name,
            since=since,
            buffer_size=size,
            buffer_bytes=100,
            overflow="block",
            gaps="mark",
            unsubscribe=self.state.unsubscribe,
            abandon=self.state.abandon,
        )
        self.state.subscribe(buffer)
        return buffer

    def connect(self, now: float, start: Start | None = None, *, asks_first: bool = False) -> None:
        self.socket = FakeSocket(self.state, FakeServer(), last_received=now)
        self.state.socket_opens(
            self.socket, CODEC, masks_stops=True, asks_first=asks_first, start=start
        )
        self.state.opened(Init("actor", "conn"), now, now)

    def lose(self, cause: Exception, now: float) -> bool:
        if not self.state.attempt_ended(Ended(cause, opened=True, last_message=now)):
            return False
        self.state.retry_later(cause)
        self.state.attempt_begins()
        return True

    def answer(self, now: float) -> None:
        """Answer the newest call."""
        self.socket.last_received = now
        self.state.answered(self.state.issued - 1, OUTPUT)

    def is_in(self, phase: Phase) -> bool:
        return self.state.phase is phase


def test_a_stream_of_the_time_before_a_confirmation_does_not_stop_the_reader() -> None:
    driven = Driven()
    driven.subscribe("a")
    driven.connect(1.0)
    driven.lose(LOST, 1.0)
    driven.connect(2.0)
    assert driven.is_in(Phase.RESUBSCRIBING)
    buffer = driven.subscribe("b", since=3.0, size=1)
    for value in range(3):
        buffer.push((value, 1))
    assert not buffer.is_full, "the reader would wait, and never read the confirmation"
    driven.answer(4.0)
    assert driven.is_in(Phase.CONNECTED)
    assert list(buffer.items) == [Gap(3.0, 4.0, 1), (2, 1)] and buffer.is_full


def test_the_time_before_the_first_confirmation_can_be_a_gap() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.state.miss_events(1.0)
    driven.connect(2.0)
    assert driven.is_in(Phase.RESUBSCRIBING) and not driven.state.settled_first.is_set()
    buffer.push((7, 1))
    driven.lose(LOST, 3.0)
    driven.connect(4.0)
    buffer.push((8, 1))
    driven.answer(5.0)
    assert driven.is_in(Phase.CONNECTED) and driven.state.settled_first.is_set()
    assert list(buffer.items) == [Gap(1.0, 5.0, 1), (8, 1)]


def test_a_gap_begins_with_the_loss_or_with_the_stream() -> None:
    driven = Driven()
    old = driven.subscribe("a")
    driven.connect(1.0)
    driven.lose(LOST, 2.0)
    new = driven.subscribe("a", since=3.0)
    driven.connect(4.0)
    driven.answer(5.0)
    assert [*old.items, *new.items] == [Gap(2.0, 5.0, 1), Gap(3.0, 5.0, 1)]


def test_a_gap_does_not_begin_in_the_one_before() -> None:
    """Where the reader had paused, what it reads counts as old as the time before the pause."""
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    for lost_at, until in ((2.0, 5.0), (3.0, 7.0)):
        driven.lose(LOST, lost_at)
        driven.connect(lost_at)
        driven.answer(until)
        if lost_at == 2.0:
            buffer.push((1, 1))
    assert list(buffer.items) == [Gap(2.0, 5.0, 1), (1, 1), Gap(5.0, 7.0, 1)]


def test_gaps_end_when_the_last_suspect_is_confirmed() -> None:
    driven = Driven()
    buffers = [driven.subscribe(name) for name in "abc"]
    driven.connect(1.0)
    assert driven.lose(ERRORS["forbidden"], 1.0)
    driven.connect(2.0)
    for now in (3.0, 4.0, 5.0):
        assert driven.is_in(Phase.RESUBSCRIBING)
        assert not any(buffer.items for buffer in buffers)
        driven.answer(now)
    assert driven.is_in(Phase.CONNECTED)
    assert [list(buffer.items) for buffer in buffers] == [[Gap(1.0, 5.0, 1)]] * 3


def test_a_restart_is_a_gap_from_the_last_message_before_the_last_check() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    driven.state.checked(started(1), 1.0)
    driven.socket.last_received = 9.0
    driven.state.checked(started(1), 5.0)
    driven.state.checked(started(2), 9.0)
    assert driven.is_in(Phase.RESUBSCRIBING) and driven.socket.error is None
    driven.answer(10.0)
    assert driven.is_in(Phase.CONNECTED)
    assert list(buffer.items) == [Gap(5.0, 10.0, 0)]
    assert driven.socket.server.kinds.count("SubscriptionRequest") == 2
    driven.state.checked(started(2), 11.0)
    driven.state.checked(started(3), 12.0)
    driven.answer(13.0)
    assert list(buffer.items) == [Gap(5.0, 13.0, 0)], "nothing came between the two"


def test_a_restart_that_no_check_has_seen_is_a_gap_from_when_the_start_was_known() -> None:
    driven = Driven()
    buffer = driven.subscribe("a", since=1.0)
    driven.connect(10.0, start=started(1))
    driven.lose(LOST, 30.0)
    driven.connect(31.0, start=started(2))
    driven.answer(32.0)
    assert list(buffer.items) == [Gap(10.0, 32.0, 1)]


def test_a_loss_soon_after_a_gap_begins_behind_it() -> None:
    """What was lost by a death before the first gap's end lies in that."""
    driven = Driven()
    driven.subscribe("a", since=0.0)
    driven.connect(1.0)
    driven.state.checked(started(1), 1.0)
    driven.state.checked(started(2), 2.0)
    driven.answer(4.0)
    driven.lose(LOST, 5.0)
    buffer = driven.subscribe("b", since=0.5)
    driven.connect(6.0)
    driven.answer(7.0)
    assert list(buffer.items) == [Gap(4.0, 7.0, 1)]


def test_after_a_restart_a_subscription_is_not_confirmed_by_what_was_asked_before() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    driven.state.checked(started(1), 1.0)
    assert not driven.state.has_subscriptions(buffer)
    probe = driven.state.issued - 1
    call = driven.state.call("act", ())
    driven.state.send(call)
    driven.socket.is_blocked = True
    driven.state.checked(started(2), 2.0)
    assert not driven.state.has_subscriptions(buffer)
    driven.state.answered(probe, OUTPUT)
    driven.state.answered(call.id, OUTPUT)
    assert call.output is OUTPUT, "a gateway delivers again what the old start did not answer"
    assert driven.is_in(Phase.RESUBSCRIBING) and not driven.state.has_subscriptions(buffer)
    driven.socket.is_blocked = False
    driven.socket.notify()
    driven.answer(3.0)
    assert driven.is_in(Phase.CONNECTED) and driven.state.has_subscriptions(buffer)


def test_a_death_ends_the_socket_and_the_gap_begins_before_it() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    driven.state.checked(started(1), 2.0)
    driven.state.checked(Start(StartState.DEAD), 8.0)
    assert driven.socket.error is not None
    driven.lose(driven.socket.error, 8.0)
    driven.connect(9.0)
    driven.answer(10.0)
    assert list(buffer.items) == [Gap(2.0, 10.0, 1)], "it may have been the second death"


def test_a_restart_without_streams_changes_nothing() -> None:
    driven = Driven()
    driven.connect(1.0)
    for number in (1, 2):
        driven.state.checked(started(number), 1.0)
    assert driven.is_in(Phase.CONNECTED)
    buffer = driven.subscribe("a", since=3.0)
    driven.lose(LOST, 4.0)
    driven.connect(5.0)
    driven.answer(6.0)
    assert list(buffer.items) == [Gap(3.0, 6.0, 1)]


def test_an_error_that_may_hide_a_stop_confirms_nothing() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    call = driven.state.call("act", ())
    driven.state.send(call)
    driven.state.refused(call.id, ERRORS["masked"])
    assert not driven.state.has_subscriptions(buffer)


def test_a_suspect_that_was_lost_while_it_was_tested_is_tested_again() -> None:
    driven = Driven()
    for name in "ab":
        driven.subscribe(name)
    driven.connect(1.0)
    assert driven.lose(ERRORS["forbidden"], 1.0)
    driven.connect(2.0)
    assert driven.lose(LOST, 3.0)
    driven.connect(4.0)
    assert driven.socket.server.kinds == ["SubscriptionRequest", "ActionRequest"], "one at a time"


def test_a_stopped_socket_is_left_with_its_last_call() -> None:
    """Whether that is answered, or nobody waits for it any more."""
    for is_cancelled in (True, False):
        driven = Driven()
        driven.connect(1.0)
        calls = [driven.state.call("get", ()) for _ in range(2)]
        for call in calls:
            driven.state.send(call)
        driven.state.refused(calls[0].id, ERRORS["stopped"])
        assert driven.socket.is_retired and driven.socket.error is None
        if is_cancelled:
            driven.state.give_up(calls[1])
        else:
            driven.state.answered(calls[1].id, OUTPUT)
        assert driven.socket.error is not None


def test_a_second_init_on_a_stopped_socket_leaves_it() -> None:
    driven = Driven()
    driven.connect(1.0)
    calls = [driven.state.call("get", ()) for _ in range(2)]
    for call in calls:
        driven.state.send(call)
    driven.state.refused(calls[0].id, ERRORS["stopped"])
    driven.state.opened(Init("actor", "moved"), 2.0, 1.5)
    assert isinstance(calls[1].error, ConnectionLostError)
    assert driven.socket.error is not None and driven.state.init == Init("actor", "conn")


def test_a_suspect_that_is_wanted_again_is_tested() -> None:
    """Nobody wanted it for a moment, in which nothing could leave."""
    driven = Driven()
    buffers = {name: driven.subscribe(name) for name in "ab"}
    driven.connect(1.0)
    assert driven.lose(ERRORS["forbidden"], 1.0)
    driven.connect(2.0)
    (tested,) = driven.state._places
    (other,) = buffers.keys() - {tested}
    driven.socket.is_blocked = True
    driven.state.unsubscribe(buffers.pop(other))
    buffers[other] = driven.subscribe(other, since=3.0)
    driven.socket.is_blocked = False
    driven.socket.notify()
    for now in (4.0, 5.0):
        assert driven.is_in(Phase.RESUBSCRIBING)
        driven.answer(now)
    assert driven.is_in(Phase.CONNECTED)
    assert driven.socket.server.will_have == {"a", "b"}
    assert all(driven.state.has_subscriptions(buffer) for buffer in buffers.values())


def test_a_check_that_was_asked_for_before_a_second_init() -> None:
    """What it says of the time before lies in the gap of that Init."""
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    driven.state.checked(started(1), 1.0)
    driven.state.opened(Init("actor", "conn"), 4.0, 3.0)
    driven.answer(5.0)
    buffer.push((7, 1))
    driven.state.checked(started(2), 2.0)
    driven.state.checked(started(3), 8.0)
    driven.answer(9.0)
    assert list(buffer.items) == [Gap(1.0, 5.0, 0), (7, 1), Gap(5.0, 9.0, 0)]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("left_before", ["suspect", "other"])
def test_no_suspect_is_blamed_for_what_left_before_a_restart(
    left_before: str, wanted: bool
) -> None:
    """The old start, or the new one, may refuse it after another name is under test."""
    driven = Driven()
    buffers = {name: driven.subscribe(name) for name in "ab"}
    driven.connect(1.0)
    assert driven.lose(ERRORS["forbidden"], 1.0)
    if left_before == "other":
        buffers["c"] = driven.subscribe("c")
    driven.connect(2.0)
    driven.state.checked(started(1), 2.0)
    (left,) = driven.state._places
    if not wanted:
        driven.state.unsubscribe(buffers.pop(left))
    driven.state.checked(started(2), 3.0)
    assert driven.lose(ERRORS["forbidden"], 3.0), "it may be allowed when it is asked for again"
    assert not any(buffer.ended for buffer in buffers.values())
    driven.connect(4.0)
    while driven.is_in(Phase.RESUBSCRIBING):
        driven.answer(5.0)
    assert all(driven.state.has_subscriptions(buffer) for buffer in buffers.values())


def test_what_left_before_a_restart_is_confirmed_before_suspects_are_tested() -> None:
    driven = Driven()
    buffers = [driven.subscribe(name) for name in "ab"]
    driven.connect(1.0)
    assert driven.lose(ERRORS["forbidden"], 1.0)
    driven.connect(2.0)
    driven.state.checked(started(1), 2.0)
    driven.state.checked(started(2), 3.0)
    for now in (4.0, 5.0, 6.0):
        assert driven.is_in(Phase.RESUBSCRIBING)
        driven.answer(now)
    assert driven.is_in(Phase.CONNECTED)
    assert driven.socket.server.kinds == [
        *("SubscriptionRequest", "ActionRequest"),  # the first suspect
        "ActionRequest",  # whether that was handled
        *("SubscriptionRequest", "ActionRequest") * 2,
    ]
    assert [list(buffer.items) for buffer in buffers] == [[Gap(1.0, 6.0, 1)]] * 2


def test_what_was_lost_with_its_socket_is_not_refused_by_the_next() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    driven.state.unsubscribe(buffer)
    driven.lose(LOST, 1.0)
    driven.connect(2.0)
    assert not driven.lose(ActorError("user", "no"), 2.0)


def test_a_probe_that_was_lost_is_asked_again() -> None:
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0)
    assert not driven.state.has_subscriptions(buffer)
    driven.state.unsubscribe(buffer)
    driven.lose(LOST, 1.0)
    driven.connect(2.0)
    call = driven.state.call("act", ())
    driven.state.send(call)
    driven.state.refused(call.id, ERRORS["masked"])
    assert [type(item) for item in driven.state.in_flight.values()] == [Probe]


@pytest.mark.parametrize("closes", [True, False])
def test_a_refusal_ends_the_streams_of_its_name_alone(closes: bool) -> None:
    """Two names are suspects; the first is refused again, the second is not."""
    error = ERRORS["forbidden"]
    driven = Driven()
    refused, allowed = driven.subscribe("a"), driven.subscribe("b")
    driven.connect(1.0)
    if closes:
        for now in (1.0, 2.0):
            assert driven.lose(error, now)
            driven.connect(now)
    else:
        driven.state.reported(error)
        driven.answer(2.0)
        driven.state.reported(error)
    assert refused.ended and refused.end_error is error
    for _ in range(2):
        driven.answer(3.0)
    assert driven.is_in(Phase.CONNECTED) and not allowed.ended
    assert driven.state.has_subscriptions(allowed)


def test_a_slow_confirmation_has_longer_with_each_attempt() -> None:
    """A server that takes long for each name would never be connected to again."""
    driven = Driven()
    driven.subscribe("a")
    driven.connect(1.0)
    limits: list[float] = []
    for attempt in range(10):
        driven.lose(LOST, 1.0 + attempt)
        driven.connect(1.5 + attempt)
        limits.append(driven.socket.limit_seconds or 0.0)
    assert limits == [limits[0] * times for times in (1, 2, 3, 4, 5, 6, 7, 8, 8, 8)]
    driven.answer(20.0)
    driven.lose(LOST, 21.0)
    driven.connect(22.0)
    assert driven.socket.limit_seconds == limits[0]


def test_what_had_not_left_when_another_was_refused_is_tested_by_itself() -> None:
    """Else its own refusal would be taken for one more of the other's."""
    driven = Driven()
    driven.connect(1.0)
    refused = driven.subscribe("a")
    driven.socket.is_blocked = True
    others = [driven.subscribe(name) for name in "bc"]
    driven.state.reported(ERRORS["forbidden"])
    driven.socket.is_blocked = False
    driven.socket.notify()
    driven.answer(2.0)
    for buffer in (refused, others[0]):
        assert not buffer.ended
        driven.state.reported(ERRORS["forbidden"])
        assert buffer.ended
        driven.answer(3.0)
    driven.answer(4.0)
    assert driven.state.has_subscriptions(others[1]) and not others[1].ended


@pytest.mark.parametrize("has_stopped", [True, False])
def test_a_subscription_ends_only_if_the_actor_answers(has_stopped: bool) -> None:
    """RivetKit 2.1 and 2.2 end when a subscription does whose actor has stopped."""
    driven = Driven()
    buffer = driven.subscribe("a")
    driven.connect(1.0, asks_first=True)
    assert not driven.state.has_subscriptions(buffer)  # a probe leaves, and says nothing of later
    (early,) = driven.state.in_flight
    driven.state.unsubscribe(buffer)
    driven.state.answered(early, OUTPUT)
    assert driven.socket.server.kinds == ["SubscriptionRequest", *["ActionRequest"] * 2]
    (probe,) = driven.state.in_flight
    driven.state.refused(probe, ERRORS["stopped"] if has_stopped else ActorError("actor", "none"))
    assert driven.socket.is_retired == has_stopped
    assert driven.socket.server.will_have == ({"a"} if has_stopped else set())
    assert not driven.state.in_flight and not driven.state.outbox.items


def test_one_question_for_all_names_of_a_stream() -> None:
    driven = Driven()
    buffer = driven.subscribe(("a", "b"))
    driven.connect(1.0, asks_first=True)
    driven.state.unsubscribe(buffer)
    driven.answer(2.0)
    assert driven.socket.server.will_have == set()
    assert driven.socket.server.kinds.count("ActionRequest") == 1


def test_a_refused_name_needs_no_end_of_its_subscription() -> None:
    """Of the other name of its stream, the server has the subscription."""
    driven = Driven()
    driven.subscribe(("a", "b"))
    driven.connect(1.0)
    driven.state.end_streams("a", ERRORS["forbidden"])
    assert ("unsubscribe", "b") in driven.socket.server.inbox
    assert ("unsubscribe", "a") not in driven.socket.server.inbox


def test_a_name_that_is_wanted_again_before_the_actor_answers() -> None:
    driven = Driven()
    driven.connect(1.0, asks_first=True)
    for _ in range(2):
        buffer = driven.subscribe("a")
        driven.state.has_subscriptions(buffer)
        driven.answer(2.0)
        driven.state.unsubscribe(buffer)
    buffer = driven.subscribe("a")
    driven.answer(3.0)
    assert driven.state.has_subscriptions(buffer)
    assert driven.socket.server.will_have == {"a"}
    assert driven.socket.server.kinds == ["SubscriptionRequest", *["ActionRequest"] * 3]
