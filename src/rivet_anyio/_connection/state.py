"""Everything that a connection knows, through all its sockets. No await, no I/O, no clock.

A connection outlives its sockets: each is opened, lost and replaced, while callers and streams
stay. One object owns all of that. Three parts drive it, always in one step of the event loop:

- the user's tasks: `call`, `give_up`, `subscribe`, `unsubscribe`, `leave`;
- the supervisor (link.py): `attempt_begins`, `socket_opens`, `attempt_ended`, `retry_later`,
  `finish`;
- the reader of the socket (receiving.py): `opened`, `answered`, `refused`, `reported`.

It commands the socket of the moment through `Socket`, and nothing calls back into it.

| phase        | entered by                                     | what a new call does          |
|--------------|------------------------------------------------|-------------------------------|
| NEW          |                                                | raises ClosedError            |
| CONNECTING   | `enter`, `attempt_begins`                      | waits in the outbox           |
| CONNECTED    | `opened`: the server said Init                 | is written, or waits there   |
| DISCONNECTED | `retry_later`: an attempt failed or was lost   | waits in the outbox           |
| LEAVING      | `leave`: the user's block ends                 | raises ClosedError            |
| CLOSED       | `finish`                                       | raises what ended it          |

The rules:

1. A call is in exactly one of three places: in the outbox, in flight, or settled. Every step that
   moves one says where to; an exception on the way settles it.
2. Taking an item to write it marks it in flight in the same step in which its first byte may
   leave. It goes back only if no byte left. What was in flight when a socket ended may have run,
   and is never sent again.
3. What can fail because of what the user gave fails in the user's own call.
4. Init is one step: subscriptions leave and the calls that waited behind them, then gaps are known
   to the streams, then the status is ``connected``. So no answer and no event comes before its gap,
   and whoever sees the status and calls comes after the subscriptions.
5. A stream's subscription follows its name: the first stream of a name subscribes, the last one
   unsubscribes. A wish that has not left and its opposite cancel each other out.
6. RivetKit 2.1 and 2.2 keep the socket of an actor that stopped. From its first answer that says
   so, no call is taken from the outbox; those in flight have `STOPPED_SECONDS`; then the socket is
   left, and the calls that waited go to the next one. RivetKit 2.1 answers like any failing action
   instead: then a probe, the call of an action that cannot exist, finds out.
7. Nothing here raises because of what the server sent; nothing is forgotten without being settled,
   delivered, counted, or reported as a gap.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ref

from .._errors import ActorError, ClosedError, ConnectionLostError, RivetError, again, outside_block
from .._io.stream import Waiter
from .._io.waiting import Signal
from .._observe import ConnectionObserver
from .._websocket.outbox import Outbox, Outgoing
from ..protocol.dialect import Dialect
from ..protocol.encodings import Codec
from ..protocol.lifecycle import is_masked, is_stopped
from ..protocol.messages import Init, Raw
from .events import EventBuffer, Gap
from .outcome import Ended, is_final
from .status import Status, StatusChange, StatusStream

__all__ = ["Call", "ConnectionState", "Phase", "Socket"]

STOPPED_SECONDS = 5.0
"""How long calls in flight may still be answered after the actor said that it stopped."""

_SUBSCRIPTION_SIZE = 64
_NO_SUCH_ACTION = "rivet-anyio: does this actor still run?"


class Socket(Protocol):
    """The WebSocket of the moment, as far as the state commands it."""

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
    CONNECTED = enum.auto()
    DISCONNECTED = enum.auto()
    LEAVING = enum.auto()
    CLOSED = enum.auto()


_STATUSES = {
    Phase.CONNECTING: Status.CONNECTING,
    Phase.CONNECTED: Status.CONNECTED,
    Phase.DISCONNECTED: Status.DISCONNECTED,
    Phase.CLOSED: Status.CLOSED,
}


class ConnectionState:
    """See the module.

    Attributes:
        phase: See the module.
        change: The last status change.
        changed: Set, and replaced, at each status change.
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
        buffers: The streams' halves that take events, by the events' names.
        abandoned: Those of them whose streams became garbage, for `reap`.
        blocking: Those of them that may pause the reader.
        observer: Is told of events, gaps and Init.

    Args:
        creates: Whether an actor that is gone is created anew.
    """

    __slots__ = (
        "_creates",
        "_has_been_open",
        "_is_stopped",
        "_lost_at",
        "_masks_stops",
        "_new_waiter",
        "_opened_at",
        "_probe",
        "_socket",
        "_watchers",
        "_wishes",
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
        "observer",
        "outbox",
        "phase",
        "settled_first",
    )

    codec: Codec
    _new_waiter: Callable[[], Waiter]

    def __init__(self, *, creates: bool) -> None:
        self._creates = creates
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
        self._is_stopped = self._masks_stops = False
        self._probe: Call | None = None
        self.outbox = Outbox()
        self.in_flight: dict[int, Call] = {}
        self.issued = 0
        self.is_open = False
        self.buffers: dict[str, list[EventBuffer]] = {}
        self.blocking: list[EventBuffer] = []
        self.abandoned: list[EventBuffer] = []
        self._wishes: dict[str, Subscription] = {}
        self._watchers: set[ref[StatusStream]] = set()
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

    def leave(self, seconds: float) -> float:
        """The block is left: close the socket; return how long that may take, in seconds."""
        if self.phase is Phase.CLOSED:
            return 0.0
        was_connected = self.phase is Phase.CONNECTED
        self.phase = Phase.LEAVING
        self._refuse_waiting(
            lambda: ClosedError("the connection's block was left: the action did not run")
        )
        if not was_connected or self._socket is None:
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
            self._watchers.add(ref(stream, self._watchers.discard))
        return stream

    # The user's tasks: calls

    def call(self, name: str, args: tuple[Any, ...]) -> Call:
        """A call that nothing has been done with; raises TypeError for what cannot travel."""
        call = Call(self, self.issued, name, args, self._new_waiter())
        self.issued += 1
        return call

    def send(self, call: Call) -> None:
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

    # The user's tasks: subscriptions

    def subscribe(self, buffer: EventBuffer) -> None:
        """Let a buffer take the events of its name."""
        self.reap()
        buffers = self.buffers.setdefault(buffer.name, [])
        buffers.append(buffer)
        if buffer.can_block:
            self.blocking.append(buffer)
        if len(buffers) == 1:
            self._wish(buffer.name, True)

    def unsubscribe(self, buffer: EventBuffer) -> None:
        """Let a buffer take no more events."""
        buffers = self.buffers.get(buffer.name, [])
        if buffer not in buffers:
            return
        buffers.remove(buffer)
        if buffer.can_block:
            self.blocking.remove(buffer)
        if not buffers:
            del self.buffers[buffer.name]
            self._wish(buffer.name, False)

    def abandon(self, buffer: EventBuffer) -> None:
        """As `unsubscribe`, from any thread: it is done at the next `reap`."""
        self.abandoned.append(buffer)

    def reap(self) -> None:
        """Unsubscribe the streams that became garbage."""
        while self.abandoned:
            self.unsubscribe(self.abandoned.pop())

    def _wish(self, name: str, subscribe: bool) -> None:
        """Ask the server, if it has said Init; else Init brings all subscriptions at once."""
        if self.phase is not Phase.CONNECTED:
            return
        opposite = self._wishes.pop(name, None)
        if opposite is not None:
            self.outbox.discard(opposite)
            return
        wish = self._wishes[name] = Subscription(self, name, subscribe)
        self.outbox.put(wish)
        self._notify()

    def wish_left(self, name: str) -> None:
        """A subscription is being written."""
        self._wishes.pop(name, None)

    def wish_returned(self, wish: Subscription) -> None:
        """A subscription was not written after all."""
        self._wishes[wish.name] = wish

    def wish_failed(self, name: str, error: Exception) -> None:
        """A subscription cannot be written: its streams end, and no others."""
        self._wishes.pop(name, None)
        for buffer in self.buffers.pop(name, ()):
            if buffer.can_block:
                self.blocking.remove(buffer)
            buffer.end(error)

    # The supervisor

    def attempt_begins(self) -> None:
        """An attempt to connect begins; until the first Init all of them are one to the user."""
        if self.phase is not Phase.CONNECTING:
            self._set_phase(Phase.CONNECTING)

    def socket_opens(self, socket: Socket, codec: Codec, *, masks_stops: bool) -> None:
        """The handshake succeeded; nothing may leave before Init.

        Args:
            socket: The socket.
            codec: Writes messages for this server.
            masks_stops: Whether this server may answer like any failing action that the actor
                has stopped.
        """
        self._socket = socket
        self.codec = codec
        self._is_stopped = False
        self._masks_stops = masks_stops

    def attempt_ended(self, ended: Ended) -> bool:
        """An attempt failed, or its connection was lost; whether another one has a point."""
        self._socket = None
        if ended.opened:
            self._has_been_open = True
            if ended.healthy:
                self.failures = 0
            self._lose(ended.cause, ended.last_message)
        return not is_final(ended, has_been_open=self._has_been_open, creates=self._creates)

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
        for buffers in self.buffers.values():
            for buffer in buffers:
                buffer.end(failure)
        self.buffers.clear()
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
        if self.phase is Phase.CONNECTED:
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
        for wish in self._wishes.values():
            self.outbox.discard(wish)
        self._wishes = {name: Subscription(self, name, True) for name in self.buffers}
        self.outbox.put_first(self._wishes.values())
        self._socket.start_sending()
        if self._lost_at is not None:
            self._push_gaps(self._lost_at, now)
        self.attempts = 0
        self._set_phase(Phase.CONNECTED)
        self.settled_first.set()

    def answered(self, id: int, output: Raw) -> bool:
        """A call was answered; whether somebody waits for that."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.output = output
            call.settled.set()
        if self._is_stopped:
            self._leave_stopped()
        return call is not None

    def refused(self, id: int, error: ActorError) -> None:
        """A call was answered by an error."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.fail(error)
        was_probe = call is not None and call is self._probe
        if was_probe:
            self._probe = None
        if is_stopped(error) or (was_probe and is_masked(error)):
            self._stopped()
        elif is_masked(error) and self._masks_stops:
            self._ask_whether_stopped()
        self._leave_stopped()

    def reported(self, error: ActorError) -> None:
        """The actor reported an error that belongs to no call."""
        self._set_change(StatusChange(self.change.status, error))

    # Inside

    def _stopped(self) -> None:
        """The actor has stopped: its socket takes no call any more."""
        if self._socket is not None and not self._is_stopped:
            self._is_stopped = True
            self._socket.retire(_stopped_error(), seconds=STOPPED_SECONDS)

    def _ask_whether_stopped(self) -> None:
        if self._probe is None and self.is_open and not self._is_stopped:
            self._probe = self.call(_NO_SUCH_ACTION, ())
            self.outbox.put(self._probe)
            self._notify()

    def _leave_stopped(self) -> None:
        if self._is_stopped and not self.in_flight and self._socket is not None:
            self._socket.fail(_stopped_error())

    def _lose(self, cause: BaseException, last_message: float) -> None:
        """The open connection is gone: what was written may have run, the rest waits on."""
        if self._lost_at is None:
            self._lost_at = max(last_message, self._opened_at)
        self._lose_calls(cause)

    def _lose_calls(self, cause: BaseException | None) -> None:
        if self._probe is not None:
            self.outbox.discard(self._probe)
            self._probe = None
        calls, self.in_flight = list(self.in_flight.values()), {}
        for call in calls:
            call.fail(_lost_call(call, cause))

    def _refuse_waiting(self, new_error: Callable[[], BaseException]) -> None:
        """Take no calls any more, and send none that waits."""
        self.is_open = False
        for item in self.outbox.items:
            if isinstance(item, Call):
                item.fail(new_error())
        self._wishes.clear()
        self.outbox.close()

    def _push_gaps(self, lost_at: float, now: float) -> None:
        for buffers in self.buffers.values():
            for buffer in buffers:
                buffer.push_gap(Gap(max(lost_at, buffer.since), now, self.attempts))
                if self.observer is not None:
                    self.observer.gap(buffer.name)
        self._lost_at = None

    def _notify(self) -> None:
        if self._socket is not None:
            self._socket.notify()

    def _set_phase(self, phase: Phase, error: BaseException | None = None) -> None:
        if self.phase is Phase.LEAVING and phase is not Phase.CLOSED:
            return
        self.phase = phase
        self._set_change(StatusChange(_STATUSES[phase], error))

    def _set_change(self, change: StatusChange) -> None:
        self.change = change
        for watcher in tuple(self._watchers):
            stream = watcher()
            if stream is not None:
                stream.push(change)
        changed, self.changed = self.changed, Signal()
        changed.set()


class Call:
    """An action call: in the outbox, in flight, or settled with an output or an error."""

    __slots__ = (
        "_args",
        "_dialect",
        "_payload",
        "_state",
        "error",
        "id",
        "name",
        "output",
        "settled",
        "size",
    )

    def __init__(
        self, state: ConnectionState, id: int, name: str, args: tuple[Any, ...], waiter: Waiter
    ) -> None:
        self.id = id
        self.name = name
        self.settled = waiter
        self.error: BaseException | None = None
        self.output: Raw | None = None
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
        state.in_flight[self.id] = self
        return self._payload

    def take_back(self) -> None:
        del self._state.in_flight[self.id]

    def sent(self) -> None:
        """Nobody waits for that: an action waits for its answer."""

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.settled.set()


class Subscription:
    """A wish for the events of a name, or for no more of them, that has not left."""

    __slots__ = ("_state", "_subscribe", "name")

    size = _SUBSCRIPTION_SIZE

    def __init__(self, state: ConnectionState, name: str, subscribe: bool) -> None:
        self.name = name
        self._state = state
        self._subscribe = subscribe

    def take(self) -> str | bytes:
        payload = self._state.codec.subscription_message(self.name, self._subscribe)
        self._state.wish_left(self.name)
        return payload

    def take_back(self) -> None:
        self._state.wish_returned(self)

    def sent(self) -> None:
        """Nobody waits for that."""

    def fail(self, error: Exception) -> None:
        self._state.wish_failed(self.name, error)


def _stopped_error() -> RivetError:
    return ConnectionLostError("the actor behind the connection has stopped")


def _lost_call(call: Call, cause: BaseException | None) -> ConnectionLostError:
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
