"""Everything that a connection knows, through all its sockets. No await, no I/O, no clock.

A connection outlives its sockets: each is opened, lost and replaced, while callers and streams
stay. One object owns all of that. Four parts drive it, always in one step of the event loop:

- the user's tasks: `call`, `give_up`, `subscribe`, `unsubscribe`, `miss_events`, `leave`;
- the supervisor (link.py): `attempt_begins`, `socket_opens`, `attempt_ended`, `retry_later`,
  `finish`;
- the reader of the socket (receiving.py): `opened`, `answered`, `refused`, `reported`;
- the checks of hosts (host_checked_socket.py): `checked`.

It commands the socket of the moment through `Socket`, and nothing calls back into it.

| phase         | entered by                                     | what a new call does         |
|---------------|------------------------------------------------|------------------------------|
| NEW           |                                                | raises ClosedError           |
| CONNECTING    | `enter`, `attempt_begins`                      | waits in the outbox          |
| RESUBSCRIBING | `opened` after a loss; `checked`: a restart    | waits in the outbox          |
| CONNECTED     | `opened`, or the answer that ends RESUBSCRIBING| is written, or waits there   |
| DISCONNECTED  | `retry_later`: an attempt failed or was lost   | waits in the outbox          |
| LEAVING       | `leave`: the user's block ends                 | raises ClosedError           |
| CLOSED        | `finish`                                       | raises what ended it         |

The rules:

1. A call is in exactly one of three places: in the outbox, in flight, or settled. Every step that
   moves one says where to; an exception on the way settles it.
2. Taking an item to write it marks it in flight in the same step in which its first byte may
   leave. It goes back only if no byte left. What was in flight when a socket ended may have run,
   and is never sent again.
3. What can fail because of what the user gave fails in the user's own call.
4. A subscription is confirmed by the first answer to anything that was written after it: servers
   handle the messages of a connection in order. Where nobody calls, a probe asks, the call of an
   action that cannot exist. Its answer is nobody's.
5. The first Init is one step: subscriptions leave, then the calls that waited, then the status is
   ``connected``. After a loss, or `miss_events`, subscriptions leave alone. Once they are
   confirmed, gaps go to the streams, then the status is ``connected``, then calls leave. A server
   that does not confirm in `confirm_seconds` loses its socket; the second attempt in a row has
   twice as long, the eighth and all later ones eight times. Events that come before that stand
   behind the gap. Those that find no capacity are missing in it, the oldest first, and so are all
   those of a stream of several names: other names may have been subscribed later.
6. A name is subscribed as long as a stream wants it. A request that has not left and its opposite
   cancel each other out. RivetKit 2.1 and 2.2 end, with all their actors, when a subscription does
   whose actor has stopped. There a probe asks first, and until it is answered the name stays
   subscribed.
7. A server refuses a subscription without saying which: RivetKit 2.1 and 2.2 by an error that
   belongs to no call, 2.3 by closing the connection. Then all that are not confirmed become
   suspects, and each is subscribed again by itself, with a probe behind it. Only the streams of the
   name that meets the error again end with it. New subscriptions wait behind the suspects.
8. RivetKit 2.1 and 2.2 keep the socket of an actor that stopped. From its first answer that says
   so, no call is taken from the outbox; those in flight have `STOPPED_SECONDS`; then the socket is
   left, and the calls that waited go to the next one. RivetKit 2.1 answers like any failing action
   instead: then a probe finds out.
9. RivetKit 2.3 keeps the socket of an actor whose host died, and moves it to the next start without
   another Init. `checked` brings what the management API says; protocol/starts.py has the rules.
   After a restart the subscriptions leave once more, as after a loss. Their gap begins with the
   last message before the last check that saw the old start. Calls in flight wait on: the gateway
   repeats them. Suspects wait until what left before is handled. After a death the socket is left.
   A loss may come after a restart that no check has seen: unless the record from before the new
   socket has the old start, its gap begins as early.
10. Nothing here raises because of what the server sent; nothing is forgotten without being settled,
    delivered, counted, or reported as a gap.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from .._errors import ActorError, ClosedError, ConnectionLostError, RivetError, again, outside_block
from .._io.backend import Waiter
from .._io.waiting import Signal
from .._log import logger
from .._observe import ConnectionObserver
from .._websocket.outbox import Outbox, Outgoing
from ..protocol.codec import Codec
from ..protocol.dialect import Dialect
from ..protocol.messages import Init, Raw
from ..protocol.starts import Change, Start, StartState, change_between
from ..protocol.verdicts import (
    PROBE,
    Verdict,
    is_masked,
    is_stopped,
    is_stopping,
    is_transient,
    judge,
)
from .events import EventBuffer, EventSink
from .outcome import Ended, is_final
from .status import Status, StatusChange, StatusStream

__all__ = ["ActionRequest", "Call", "ConnectionState", "Phase", "Probe", "Socket"]

STOPPED_SECONDS = 5.0
"""How long calls in flight may still be answered after the actor said that it stopped."""

_SUBSCRIPTION_SIZE = 64


class Socket(Protocol):
    """The WebSocket of the moment, as far as the state commands it."""

    @property
    def last_received(self) -> float:
        """When bytes were last read."""
        ...

    def start_sending(self) -> None:
        """Let the outbox be written, now and from now on."""
        ...

    def send(self, item: Outgoing) -> None:
        """Write an item at once, or put it into the outbox."""
        ...

    def notify(self) -> None:
        """Something was put into the outbox."""
        ...

    def retire(self, error: RivetError, *, seconds: float) -> None:
        """Take nothing from the outbox any more, and fail with this error in `seconds`."""
        ...

    def limit(self, error: RivetError, *, seconds: float) -> None:
        """Fail with this error in `seconds`, unless `unlimit` is called before."""
        ...

    def unlimit(self) -> None:
        """Forget the limit."""
        ...

    def fail(self, error: RivetError) -> None:
        """End with this error."""
        ...

    def close(self, code: int, reason: str, *, seconds: float) -> None:
        """Begin the closing handshake."""
        ...


class Phase(enum.Enum):
    """See the module."""

    NEW = enum.auto()
    CONNECTING = enum.auto()
    RESUBSCRIBING = enum.auto()
    CONNECTED = enum.auto()
    DISCONNECTED = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


_LONGEST_CONFIRMATION = 8
"""How many times `confirm_seconds` a confirmation may take at most."""

_OPEN = (Phase.RESUBSCRIBING, Phase.CONNECTED)

_STATUSES = {
    Phase.CONNECTING: Status.CONNECTING,
    Phase.RESUBSCRIBING: Status.CONNECTING,
    Phase.CONNECTED: Status.CONNECTED,
    Phase.DISCONNECTED: Status.DISCONNECTED,
    Phase.CLOSED: Status.CLOSED,
}


class ConnectionState:
    """See the module.

    Attributes:
        phase: See the module.
        change: The last status change.
        changed: Set, and replaced, at each status change, and when a subscription was confirmed
            or ended.
        settled_first: Set when the first attempts have led to Init or to the end.
        failure: Why the connection failed for good.
        init: The last Init.
        attempts: Attempts since the connection was last open.
        failures: Attempts in a row that led to no healthy connection.
        codec: Writes messages: that of the newest socket, which knows the server's dialect.
        outbox: What waits to be written.
        in_flight: Calls that were written and are not answered, by their ids.
        issued: How many calls there were; their ids are below.
        is_open: Whether calls are taken.
        buffers: The streams' halves that take events.
        sinks: Where events go, by their names.
        abandoned: The buffers whose streams became garbage, for `reap`.
        blocking: The buffers that may pause the reader.
        notify_of_call: Called when a call leaves, if there is one to be.
        observer: Sees events, gaps and Init.

    Args:
        creates: Whether an actor that is gone is created anew.
        confirm_seconds: How long a server may take to confirm subscriptions after a loss.
        waits: Whether a server that is away is waited for before the first Init, too.
    """

    __slots__ = (
        "_asks_first",
        "_confirm_seconds",
        "_confirmed",
        "_creates",
        "_fence",
        "_has_been_open",
        "_is_stopped",
        "_lost_at",
        "_masks_stops",
        "_new_waiter",
        "_next_start",
        "_opened_at",
        "_places",
        "_probe",
        "_refusal",
        "_requests",
        "_socket",
        "_start",
        "_start_seen",
        "_suspects",
        "_tested",
        "_unwanted",
        "_waits",
        "_watchers",
        "abandoned",
        "attempts",
        "blocking",
        "buffers",
        "change",
        "changed",
        "codec",
        "failure",
        "failures",
        "in_flight",
        "init",
        "is_open",
        "issued",
        "notify_of_call",
        "observer",
        "outbox",
        "phase",
        "settled_first",
        "sinks",
        "subscribed",
    )

    codec: Codec
    _new_waiter: Callable[[], Waiter]

    def __init__(self, *, creates: bool, confirm_seconds: float, waits: bool = False) -> None:
        self._creates = creates
        self._waits = waits
        self._confirm_seconds = confirm_seconds
        self.phase = Phase.NEW
        self.change = StatusChange(Status.CONNECTING)
        self.changed = Signal()
        self.settled_first = Signal()
        self.failure: BaseException | None = None
        self.init: Init | None = None
        self.attempts = self.failures = 0
        self._has_been_open = False
        self._opened_at = 0.0
        self._lost_at: float | None = None
        self._socket: Socket | None = None
        self._is_stopped = self._masks_stops = self._asks_first = False
        self.outbox = Outbox()
        self.in_flight: dict[int, ActionRequest] = {}
        self.issued = 0
        self.is_open = False
        self.buffers: dict[EventBuffer, None] = {}
        self.sinks: dict[str, list[EventSink]] = {}
        self.blocking: list[EventBuffer] = []
        self.abandoned: list[EventBuffer] = []
        self._requests: dict[str, SubscriptionRequest] = {}  # those in the outbox
        self.subscribed = 0  # how many subscriptions were written
        self._confirmed = 0  # those up to this one are confirmed, or were lost
        self._places: dict[str, int] = {}  # the number of a name's subscription on this socket
        self._probe: Probe | None = None  # the last one that is not answered
        # Names to be unsubscribed once a probe is answered, but none of those that had left before.
        self._unwanted: dict[str, list[ActionRequest]] = {}
        self._suspects: dict[str, None] = {}
        self._tested: str | None = None  # the suspect that is subscribed by itself
        self._fence = 0  # suspects are tested when the subscriptions up to this one are settled
        self._refusal: ActorError | None = None  # the error that made suspects
        self._start: Start | None = None  # of the actor, as the last check saw it
        self._start_seen = 0.0  # when the last message before that check came
        self._next_start: Start | None = None  # as the record said before the newest socket
        self.notify_of_call: Callable[[], None] | None = None
        self._watchers: dict[ref[StatusStream], None] = {}
        self.observer: ConnectionObserver | None = None

    # The user's tasks: the block

    def enter(self, codec: Codec, new_waiter: Callable[[], Waiter]) -> None:
        """The block is entered: calls are taken.

        Args:
            codec: Writes messages until a socket brings its own.
            new_waiter: Makes what a call waits with.
        """
        self.codec = codec
        self._new_waiter = new_waiter
        self.is_open = True
        self.phase = Phase.CONNECTING

    def miss_events(self, now: float) -> None:
        """From now until the first confirmation, events may be missing, as after a loss."""
        self._lost_at = now

    def leave(self, seconds: float) -> float:
        """The block is left: close the socket; return how long that may take, in seconds."""
        if self.phase is Phase.CLOSED:
            return 0.0
        has_socket = self.phase in _OPEN
        self.phase = Phase.LEAVING
        self._refuse_waiting(
            lambda: ClosedError("the connection's block was left: the action did not run")
        )
        if not has_socket or self._socket is None:
            return 0.0
        self._socket.close(1000, "Disposed", seconds=seconds)
        return seconds

    def closed_error(self) -> BaseException:
        """What is raised where the connection cannot be used."""
        if self.failure is not None:
            return again(self.failure)
        return outside_block("the connection", entered=self.phase is not Phase.NEW)

    def watch(self, check_loop: Callable[[], None]) -> StatusStream:
        """A stream of the status changes from now on."""
        stream = StatusStream(self.change, check_loop)
        if self.phase is not Phase.CLOSED:
            watchers = self._watchers
            watchers[ref(stream, lambda gone: watchers.pop(gone, None))] = None
        return stream

    # The user's tasks: calls

    def call(self, name: str, args: tuple[Any, ...]) -> Call:
        """A call that nothing has been done with; raises TypeError for what cannot travel."""
        return Call(self, self._new_id(), name, args, self._new_waiter())

    def send(self, call: ActionRequest) -> None:
        """Write a call, or put it into the outbox."""
        if self._socket is None or self.in_flight:
            # Calls that come together leave together.
            self.outbox.put(call)
            self._notify()
        else:
            self._socket.send(call)

    def give_up(self, call: Call) -> None:
        """Nobody waits for this call any more: it is not sent if it has not left."""
        if not self.outbox.discard(call):
            self.in_flight.pop(call.id, None)
            self._leave_stopped()

    def _new_id(self) -> int:
        self.issued += 1
        return self.issued - 1

    # The user's tasks: subscriptions

    def subscribe(self, buffer: EventBuffer) -> None:
        """Let a buffer take the events of its names."""
        self.reap()
        self.buffers[buffer] = None
        if buffer.can_block:
            self.blocking.append(buffer)
        if self.phase is Phase.RESUBSCRIBING:
            # One that is full must not stop the reader before it has read the confirmation.
            buffer.begin_gap(buffer.since)
        for name, sink in buffer.sinks.items():
            sinks = self.sinks.setdefault(name, [])
            sinks.append(sink)
            if len(sinks) == 1:
                self._request(name, True)

    def unsubscribe(self, buffer: EventBuffer) -> None:
        """Let a buffer take no more events."""
        if buffer not in self.buffers:
            return
        for name in self._remove(buffer):
            self._request(name, False)
        self._ask_for_unwanted()

    def abandon(self, buffer: EventBuffer) -> None:
        """As `unsubscribe`, from any thread: it is done at the next `reap`."""
        self.abandoned.append(buffer)

    def reap(self) -> None:
        """Unsubscribe the streams that became garbage."""
        while self.abandoned:
            self.unsubscribe(self.abandoned.pop())

    def has_subscriptions(self, buffer: EventBuffer) -> bool:
        """Whether the subscriptions of all names of a buffer are confirmed; else see to it."""
        if all(0 < self._places.get(name, 0) <= self._confirmed for name in buffer.sinks):
            return True
        if self.phase is Phase.CONNECTED and not self._is_stopped and not self._suspects:
            self._ask()
        return False

    def _remove(self, buffer: EventBuffer) -> list[str]:
        """Forget a buffer; returns the names that nobody wants any more."""
        del self.buffers[buffer]
        if buffer.can_block:
            self.blocking.remove(buffer)
        unwanted = []
        for name, sink in buffer.sinks.items():
            sinks = self.sinks[name]
            sinks.remove(sink)
            if not sinks:
                del self.sinks[name]
                unwanted.append(name)
        self._notify_changed()
        return unwanted

    def _request(self, name: str, subscribe: bool) -> None:
        """Ask the server, if it has said Init; else Init brings all subscriptions at once."""
        if self.phase not in _OPEN:
            return
        opposite = self._requests.pop(name, None)
        if opposite is not None:
            self.outbox.discard(opposite)
            if opposite.subscribe and name == self._tested:
                self._tested = None
                self._test_next()
            elif subscribe and name not in self._places:
                # It was a suspect when nobody wanted it any more.
                self._suspects[name] = None
                self._test_next()
            return
        if subscribe and name in self._unwanted:
            del self._unwanted[name]
            if name in self._places:
                return
        if subscribe and (self._suspects or self._tested):
            self._suspects[name] = None
            return
        self._suspects.pop(name, None)
        if self._asks_first and not subscribe:
            calls = self.in_flight.values()
            self._unwanted[name] = [call for call in calls if isinstance(call, Probe)]
        else:
            self._put_request(name, subscribe)

    def _put_request(self, name: str, subscribe: bool) -> None:
        request = self._requests[name] = SubscriptionRequest(self, name, subscribe)
        self._put(request)

    def request_left(self, name: str, subscribe: bool) -> None:
        """A request is being written."""
        self._requests.pop(name, None)
        self._places.pop(name, None)
        if subscribe:
            self.subscribed += 1
            self._places[name] = self.subscribed

    def end_streams(self, name: str, error: Exception) -> None:
        """A name cannot be subscribed: its streams end, and no others."""
        request = self._requests.pop(name, None)
        if request is not None:
            self.outbox.discard(request)
        self._places.pop(name, None)
        for buffer in [buffer for buffer in self.buffers if name in buffer.sinks]:
            for unwanted in self._remove(buffer):
                if unwanted != name:
                    self._request(unwanted, False)
            buffer.end(error)
        self._ask_for_unwanted()

    # The supervisor

    def attempt_begins(self) -> None:
        """An attempt to connect begins; until the first Init all of them are one to the user."""
        if self.phase is not Phase.CONNECTING:
            self._set_phase(Phase.CONNECTING)

    def socket_opens(
        self,
        socket: Socket,
        codec: Codec,
        *,
        masks_stops: bool,
        asks_first: bool,
        start: Start | None = None,
    ) -> None:
        """The handshake succeeded; nothing may leave before Init.

        Args:
            socket: The socket.
            codec: Writes messages for this server.
            masks_stops: Whether this server may answer like any failing action that the actor
                has stopped.
            asks_first: Whether this server may not survive the end of a subscription whose actor
                has stopped.
            start: The actor's start by a record from before the handshake, None without one.
        """
        self._socket = socket
        self._next_start = start
        self.codec = codec
        self._is_stopped = False
        self._masks_stops = masks_stops
        self._asks_first = asks_first

    def attempt_ended(self, ended: Ended) -> bool:
        """An attempt failed, or its connection was lost; whether another one has a point."""
        self._socket = None
        is_explained = False
        if ended.opened:
            self._has_been_open = True
            if ended.healthy:
                self.failures = 0
            is_explained = self._suspect_after(ended.cause)
            self._lose(ended.cause, ended.last_message)
        if is_explained:
            return True
        return not is_final(
            ended,
            has_been_open=self._has_been_open,
            creates=self._creates,
            waits=self._waits,
        )

    def retry_later(self, cause: BaseException) -> None:
        """There will be another attempt after a delay."""
        self.failures += 1
        self.attempts += 1
        self._set_phase(Phase.DISCONNECTED, cause)

    def finish(self, failure: BaseException | None) -> None:
        """Nothing happens on this connection any more; everybody who waits learns why."""
        if self.phase is Phase.CLOSED:
            return
        self.failure = failure
        self._socket = None
        self._set_phase(Phase.CLOSED, failure)
        self._watchers.clear()
        self._lose_calls(failure)
        self._refuse_waiting(self.closed_error)
        for buffer in self.buffers:
            buffer.end(failure)
        self.buffers.clear()
        self.sinks.clear()
        self.blocking.clear()
        self.settled_first.set()

    # The reader

    def opened(self, init: Init, now: float, last_message: float) -> None:
        """The server said Init, for the first time on this socket or again.

        Args:
            init: What it said.
            now: The time.
            last_message: When the last message came before it.
        """
        assert self._socket is not None
        if self.phase in _OPEN:
            # The 2.3 gateway keeps the socket when the actor's host died, and what was asked of
            # the actor before is never answered.
            moved = ConnectionLostError("the actor was moved and began the connection anew")
            self._lose(moved, last_message)
            if self._is_stopped:
                self._leave_stopped()
                return
        if self.phase is Phase.LEAVING:
            return
        self.init = init
        self._opened_at = now
        self._is_stopped = False
        if self.observer is not None:
            self.observer.connected()
        self._compare_starts(now)
        self._subscribe_all()

    @property
    def knows_start(self) -> bool:
        """Whether `checked` or a record has said in which start the actor is."""
        return self._start is not None

    def checked(self, start: Start, last_message: float) -> None:
        """The management API says in which start the actor is.

        Args:
            start: The start.
            last_message: When the last message had come when the API was asked.
        """
        if self._socket is None or self.phase not in _OPEN:
            return
        change = change_between(self._start, start)
        if change is Change.DEATH:
            self._socket.fail(_dead_error())
            return
        if change is Change.RESTART:
            self._subscribe_after_restart()
        if start.state is not StartState.UNKNOWN:
            # No gap begins in the one before: `EventBuffer` sees to that.
            self._start, self._start_seen = start, last_message

    def answered(self, id: int, output: Raw) -> bool:
        """A call was answered; whether somebody waits for that."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.settle(output)
            if call.place > self._confirmed:
                self._confirm(call.place)
            if type(call) is Probe:
                self._probe_answered(call)
        if self._is_stopped:
            self._leave_stopped()
        return call is not None

    def refused(self, id: int, error: ActorError) -> None:
        """A call was answered by an error."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.fail(error)
        is_probe = isinstance(call, Probe)
        is_masking = self._masks_stops and is_masked(error)
        if is_stopped(error) or (is_probe and (is_masking or is_stopping(error))):
            self._stopped()
        elif is_masking:
            self._ask_whether_stopped()
        elif call is not None:
            if call.place > self._confirmed:
                self._confirm(call.place)
            if isinstance(call, Probe):
                self._probe_answered(call)
        self._leave_stopped()

    def reported(self, error: ActorError) -> None:
        """The actor reported an error that belongs to no call."""
        if self._tested is not None:
            if self._tested in self._places:
                self._refuse(self._tested, error)
                # It was allowed once on this socket, perhaps.
                self._request(self._tested, False)
                self._ask_for_unwanted()
                return
        elif self._fence > self._confirmed:
            return  # one more of those that were not confirmed
        elif self.subscribed > self._confirmed:
            for name in self._unconfirmed():
                del self._places[name]
                if name in self.sinks:
                    self._suspects[name] = None
            for name in [name for name, request in self._requests.items() if request.subscribe]:
                self.outbox.discard(self._requests.pop(name))  # its refusal would look like theirs
                self._suspects[name] = None
            self._fence = self.subscribed
            self._refusal = error
            self._ask()
            return
        self._set_change(StatusChange(self.change.status, error))

    # Inside

    def _compare_starts(self, now: float) -> None:
        """A socket has opened: the loss before it may have been the second one."""
        start, self._next_start = self._next_start, None
        if start is not None and start.state not in (StartState.RUNNING, StartState.ASLEEP):
            start = None
        before = self._start
        is_same = start is not None and change_between(before, start) is Change.NONE
        if before is not None and self._lost_at is not None and not is_same:
            self._lost_at = min(self._lost_at, self._start_seen)
        self._start, self._start_seen = start, now

    def _subscribe_after_restart(self) -> None:
        """The actor was started anew behind the socket."""
        if not self.buffers:
            return
        if self._lost_at is None:
            self._lost_at = self._start_seen
        self._lose_subscriptions()
        # What left on this socket may still be refused, and no suspect is to blame for that.
        self._fence = self.subscribed
        self._lose_probe()
        # An old one that is answered late says nothing of the new subscriptions.
        self.in_flight = {
            id: call for id, call in self.in_flight.items() if not isinstance(call, Probe)
        }
        self._subscribe_all()

    def _subscribe_all(self) -> None:
        """Subscriptions leave, then calls; where events may be missing, once that is confirmed."""
        assert self._socket is not None
        for request in self._requests.values():
            self.outbox.discard(request)
        self._requests.clear()
        self._suspects = {name: None for name in self._suspects if name in self.sinks}
        for name in self.sinks:
            if name not in self._suspects:
                request = self._requests[name] = SubscriptionRequest(self, name, True)
                self.outbox.put_first(request)
        if self._lost_at is None or not self.buffers:
            self._socket.start_sending()
            self._resume()
        else:
            self._begin_gaps(self._lost_at)
            self._set_phase(Phase.RESUBSCRIBING)
            self.outbox.is_paused = True
            if self._requests or self._confirmed < self._fence:
                self._ask()
            else:
                self._test_next()
            self._socket.start_sending()
            # Each attempt in a row has longer, since a server may take long for each name.
            seconds = self._confirm_seconds * max(1, min(self.attempts, _LONGEST_CONFIRMATION))
            self._socket.limit(_unconfirmed_error(), seconds=seconds)

    def _stopped(self) -> None:
        """The actor has stopped: its socket takes no call any more."""
        if self._socket is not None and not self._is_stopped:
            self._is_stopped = True
            self._socket.retire(_stopped_error(), seconds=STOPPED_SECONDS)

    def _ask_whether_stopped(self) -> None:
        if self._probe is None and self.is_open and not self._is_stopped:
            self._ask()

    def _leave_stopped(self) -> None:
        if self._is_stopped and not self.in_flight and self._socket is not None:
            self._socket.fail(_stopped_error())

    def _ask(self) -> None:
        """Let a probe follow everything that is to be written now, unless one does already."""
        probe = self._probe
        if probe is not None and not self.outbox.discard(probe):
            if probe.place == self.subscribed and not self._requests:
                return
            probe = None
        self._probe = probe or Probe(self, self._new_id(), PROBE, ())
        self._put(self._probe)

    def _ask_for_unwanted(self) -> None:
        """Let a probe find out whether the actor runs, if subscriptions are to end."""
        if self._unwanted:
            self._ask()

    def _put(self, item: Outgoing) -> None:
        if self.phase is Phase.RESUBSCRIBING:
            self.outbox.put_first(item)
        else:
            self.outbox.put(item)
        if self._socket is not None:
            self._socket.notify()

    def _unconfirmed(self) -> list[str]:
        """The names whose subscriptions have left and are not confirmed."""
        return [name for name, place in self._places.items() if place > self._confirmed]

    def _confirm(self, place: int) -> None:
        """The subscriptions up to this one are confirmed, unless they were refused."""
        self._confirmed = place
        self._test_next()
        self._notify_changed()

    def _probe_answered(self, probe: Probe) -> None:
        if probe is self._probe:
            self._probe = None
        # Each probe follows the subscriptions that Init brought.
        if self.phase is Phase.RESUBSCRIBING and not self._suspects and self._tested is None:
            self._resume()
        for name in [name for name, before in self._unwanted.items() if probe not in before]:
            del self._unwanted[name]
            self._put_request(name, False)
        self._ask_for_unwanted()

    def _resume(self) -> None:
        """The server has all subscriptions: gaps end, and calls leave."""
        assert self._socket is not None
        self._socket.unlimit()
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            until = self._socket.last_received
            self._end_gaps(until)
            self._start_seen = max(self._start_seen, until)  # these gaps have what was lost before
        self.attempts = 0
        self._set_phase(Phase.CONNECTED)
        self.settled_first.set()
        if self.outbox.is_paused:
            self.outbox.is_paused = False
            self._socket.notify()

    def _test_next(self) -> None:
        """Subscribe the next suspect, by itself, when nothing else is on its way."""
        if self._confirmed < self._fence:
            return
        if self._tested is not None:
            request = self._requests.get(self._tested)
            waits = request is not None and request.subscribe
            if waits or self._places.get(self._tested, 0) > self._confirmed:
                return
            self._tested = None
        if self._suspects:
            self._tested = next(iter(self._suspects))
            del self._suspects[self._tested]
            self._put_request(self._tested, True)
            self._ask()
        elif self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            self._set_change(StatusChange(self.change.status, refusal))

    def _suspect_after(self, cause: BaseException) -> bool:
        """Whether a subscription that was refused may be why the socket was closed."""
        is_refusal = (
            isinstance(cause, ActorError)
            and not is_transient(cause)
            and judge(cause) is Verdict.FINAL
        )
        if not is_refusal:
            return False
        tested = self._tested
        if tested is not None and tested in self._places:
            assert isinstance(cause, ActorError)
            self._tested = None
            self._refuse(tested, cause)
            return True
        self._suspects.update(dict.fromkeys(self._unconfirmed()))
        return self.subscribed > self._confirmed or bool(self._suspects)

    def _refuse(self, name: str, error: ActorError) -> None:
        logger.warning("events %r: the actor refuses the subscription: %s", name, str(error))
        self._refusal = None
        self.end_streams(name, error)

    def _lose(self, cause: BaseException, last_message: float) -> None:
        """The open connection is gone: what was written may have run, the rest waits on."""
        if self._lost_at is None:
            self._lost_at = max(last_message, self._opened_at)
        self.outbox.is_paused = False
        self._lose_subscriptions()
        self._confirmed, self._fence = self.subscribed, 0  # what left here is refused no more
        self._lose_calls(cause)

    def _lose_subscriptions(self) -> None:
        self._places.clear()
        self._unwanted.clear()
        self._refusal = None
        if self._tested is not None:
            self._suspects[self._tested] = None
            self._tested = None

    def _lose_probe(self) -> None:
        if self._probe is not None:
            self.outbox.discard(self._probe)
            self._probe = None

    def _lose_calls(self, cause: BaseException | None) -> None:
        self._lose_probe()
        calls, self.in_flight = list(self.in_flight.values()), {}
        for call in calls:
            call.fail(_lost_call(call, cause))

    def _refuse_waiting(self, new_error: Callable[[], BaseException]) -> None:
        """Take no calls any more, and send none that waits."""
        self.is_open = False
        for item in self.outbox.items:
            if isinstance(item, ActionRequest):
                item.fail(new_error())
        self._requests.clear()
        self.outbox.close()

    def _begin_gaps(self, lost_at: float) -> None:
        for buffer in self.buffers:
            buffer.begin_gap(max(lost_at, buffer.since))

    def _end_gaps(self, now: float) -> None:
        for buffer in self.buffers:
            if buffer.end_gap(now, self.attempts) and self.observer is not None:
                self.observer.gap(buffer.name)

    def _notify(self) -> None:
        if self._socket is not None:
            self._socket.notify()

    def _set_phase(self, phase: Phase, error: BaseException | None = None) -> None:
        if self.phase is Phase.LEAVING and phase is not Phase.CLOSED:
            return
        self.phase = phase
        change = StatusChange(_STATUSES[phase], error)
        if phase is not Phase.RESUBSCRIBING or change != self.change:
            self._set_change(change)

    def _set_change(self, change: StatusChange) -> None:
        self.change = change
        for watcher in tuple(self._watchers):
            stream = watcher()
            if stream is not None:
                stream._push(change)
        self._notify_changed()

    def _notify_changed(self) -> None:
        changed, self.changed = self.changed, Signal()
        changed.set()


class ActionRequest:
    """The call of an action: in the outbox, in flight, or settled."""

    __slots__ = ("_args", "_dialect", "_payload", "_state", "id", "name", "place", "size")

    def __init__(self, state: ConnectionState, id: int, name: str, args: tuple[Any, ...]) -> None:
        self.id = id
        self.name = name
        self.place = 0  # how many subscriptions were written before it
        self._state = state
        self._args = args
        codec = state.codec
        self._dialect: Dialect = codec.dialect
        self._payload = codec.action_message(id, name, args)
        self.size = len(self._payload)

    def take(self) -> str | bytes:
        state = self._state
        codec = state.codec
        if codec.dialect is not self._dialect:
            # The server that is back is of another version, which takes other bytes.
            self._payload = codec.action_message(self.id, self.name, self._args)
        self.place = state.subscribed
        state.in_flight[self.id] = self
        if state.notify_of_call is not None:
            state.notify_of_call()
        return self._payload

    def take_back(self) -> None:
        del self._state.in_flight[self.id]

    def sent(self) -> None:
        """Nobody waits for that: an action waits for its answer."""

    def settle(self, output: Raw) -> None:
        """The server answered."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """The server answered with an error, or there will be no answer."""
        raise NotImplementedError


class Call(ActionRequest):
    """A call that a task waits for: settled with an output or an error.

    Attributes:
        settled: Set when it is.
        error: The error.
        output: The output.
        note: Called in the step in which the output is received: what the buffers have then came
            before it.
    """

    __slots__ = ("error", "note", "output", "settled")

    def __init__(
        self, state: ConnectionState, id: int, name: str, args: tuple[Any, ...], waiter: Waiter
    ) -> None:
        super().__init__(state, id, name, args)
        self.settled = waiter
        self.error: BaseException | None = None
        self.output: Raw | None = None
        self.note: Callable[[], None] | None = None

    def settle(self, output: Raw) -> None:
        self.output = output
        if self.note is not None:
            self.note()
        self.settled.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.settled.set()


class Probe(ActionRequest):
    """A call of an action that cannot exist: its answer says that all before it was handled."""

    __slots__ = ()

    def settle(self, output: Raw) -> None:
        """Nobody waits for it."""

    def fail(self, error: BaseException) -> None:
        """Nobody waits for it."""


class SubscriptionRequest:
    """A request for the events of a name, or for no more of them, that has not left."""

    __slots__ = ("_state", "name", "subscribe")

    size = _SUBSCRIPTION_SIZE

    def __init__(self, state: ConnectionState, name: str, subscribe: bool) -> None:
        self.name = name
        self.subscribe = subscribe
        self._state = state

    def take(self) -> str | bytes:
        payload = self._state.codec.subscription_message(self.name, self.subscribe)
        self._state.request_left(self.name, self.subscribe)
        return payload

    def take_back(self) -> None:
        raise AssertionError("subscriptions are written by the writer, which takes nothing back")

    def sent(self) -> None:
        """Nobody waits for that: a subscription waits for its confirmation."""

    def fail(self, error: Exception) -> None:
        self._state.end_streams(self.name, error)


def _stopped_error() -> RivetError:
    return ConnectionLostError("the actor behind the connection has stopped")


def _dead_error() -> RivetError:
    return ConnectionLostError("the host of the actor behind the connection has died")


def _unconfirmed_error() -> RivetError:
    return ConnectionLostError("the server did not confirm the subscriptions in time")


def _lost_call(call: ActionRequest, cause: BaseException | None) -> ConnectionLostError:
    """What a call raises that was written, and whose answer will not come."""
    code = cause.code if isinstance(cause, ConnectionLostError) else None
    reason = cause.reason if isinstance(cause, ConnectionLostError) else ""
    why = f": {cause}" if cause is not None else ""
    lost = ConnectionLostError(
        f"the connection was lost while action {call.name!r} was under way, "
        f"so it may have run{why}",
        code=code,
        reason=reason,
    )
    lost.__cause__ = cause
    return lost
