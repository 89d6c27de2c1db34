"""What a connection sends: action calls and subscriptions, encoded when they leave.

They wait in the outbox across reconnects, and the server that is back may be one of another
version, which takes other bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from .._errors import ActorError, ConnectionLostError
from .._io.stream import Backend, Waiter, check_loop
from .._websocket.connection import Pump
from .._websocket.outbox import Outbox
from ..protocol.encodings import Codec
from ..protocol.lifecycle import is_masked
from ..protocol.messages import Raw

__all__ = ["OutgoingCall", "OutgoingProbe", "OutgoingSubscription", "Sender"]


_NO_SUCH_ACTION = "rivet-anyio: does this actor still run?"


class Sender:
    """What one connection sends, through all its sessions.

    An object of its own, as `Incoming` is: each look at an attribute of `Connection` costs several
    times as much, for its ``__getattr__``, and every name there is one less for actions.

    Attributes:
        codec: What writes messages: that of the newest session, which knows the server's dialect.
        outbox: What waits to be written.
        pump: That of the open session; None between sessions.
        issued: How many calls there were; their ids are below.
        in_flight: Calls that were written and are not answered, by their ids.
        is_open: Whether calls are taken.
        subscriptions: Those that wait to be written, by their events' names.
        new_waiter: Makes what a call waits with.
        when_idle: Called when no call is in flight any more.

    Args:
        closed_error: Makes what calls raise that are not taken.
    """

    __slots__ = (
        "_backend",
        "_checkpoint_if_cancelled",
        "_closed_error",
        "codec",
        "in_flight",
        "is_open",
        "is_probing",
        "issued",
        "new_waiter",
        "outbox",
        "pump",
        "subscriptions",
        "when_idle",
    )

    codec: Codec
    _backend: Backend
    new_waiter: Callable[[], Waiter]
    _checkpoint_if_cancelled: Callable[[], Awaitable[None]]

    def __init__(self, closed_error: Callable[[], BaseException]) -> None:
        self._closed_error = closed_error
        self.is_open = False
        self.is_probing = False
        self.when_idle: Callable[[], None] | None = None
        self.outbox = Outbox()
        self.pump: Pump | None = None
        self.issued = 0
        self.in_flight: dict[int, OutgoingCall] = {}
        self.subscriptions: dict[str, OutgoingSubscription] = {}

    def begin(self, backend: Backend, codec: Codec) -> None:
        """Take calls from here on, in this event loop; `codec` is for those before any session."""
        self._backend = backend
        self.new_waiter = backend.waiter
        self._checkpoint_if_cancelled = backend.checkpoint_if_cancelled
        self.codec = codec
        self.is_open = True

    async def call(self, name: str, args: tuple[Any, ...]) -> Raw:
        """Send a call and wait for its answer; raises as `Connection.action`.

        Cancellation: a call that has not left is never sent.
        """
        if not self.is_open:
            raise self._closed_error()
        check_loop(self._backend, "this connection")
        await self._checkpoint_if_cancelled()
        call = OutgoingCall(self, self.issued, name, args)
        self.issued += 1
        outbox = self.outbox
        if outbox.is_full:
            await outbox.room()
            if not self.is_open:
                raise self._closed_error()
        if self.pump is None or self.in_flight:
            # Calls that come together leave together.
            outbox.put(call)
        else:
            self.pump.send(call)
        try:
            await call.settled.wait()
        except BaseException:
            if not outbox.discard(call):
                self.in_flight.pop(call.id, None)
                self._settled()
            raise
        if call.error is not None:
            raise call.error
        assert call.output is not None
        return call.output

    def subscribe(self, name: str, wanted: bool) -> None:
        """Ask for the events of this name, or for no more of them."""
        waiting = self.subscriptions.pop(name, None)
        if waiting is not None and self.outbox.discard(waiting):
            return  # it asks for the opposite, and the server has what is wanted already
        item = self.subscriptions[name] = OutgoingSubscription(self, name, wanted)
        self.outbox.put(item)

    def probe(self, when_stopped: Callable[[], None]) -> None:
        """Find out whether the actor behind the connection still runs.

        Args:
            when_stopped: Called when it does not, and no call is in flight any more.
        """
        if not self.is_probing:
            self.is_probing = True
            self.outbox.put(OutgoingProbe(self, when_stopped))

    def session_opened(self, names: Iterable[str]) -> None:
        """Send what waited, after subscriptions to these names."""
        assert self.pump is not None
        self.when_idle = None
        calls = [item for item in self.outbox.items if isinstance(item, OutgoingCall)]
        self.subscriptions = {name: OutgoingSubscription(self, name, True) for name in names}
        self.outbox.replace([*self.subscriptions.values(), *calls])
        self.pump.begin_sending()

    def session_lost(self, cause: BaseException | None) -> None:
        """What was written may have run; the rest waits on."""
        calls, self.in_flight = list(self.in_flight.values()), {}
        for call in calls:
            call.fail(_lost_call(call, cause))

    def answered(self, id: int, output: Raw) -> bool:
        """Settle a call; whether there is one that waits for it."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.output = output
            call.settled.set()
        self._settled()
        return call is not None

    def refused(self, id: int, error: BaseException) -> None:
        """As `answered`, with an error."""
        call = self.in_flight.pop(id, None)
        if call is not None:
            call.fail(error)
        self._settled()

    def _settled(self) -> None:
        if self.when_idle is not None and not self.in_flight:
            self.when_idle()

    def give_up_waiting(self, new_error: Callable[[], BaseException]) -> None:
        """Send nothing that still waits."""
        for item in self.outbox.items:
            if isinstance(item, OutgoingCall):
                item.fail(new_error())
        self.outbox.close()


class OutgoingCall:
    """An action on its way: waiting to be written, written, or settled."""

    __slots__ = (
        "_args",
        "_dialect",
        "_payload",
        "_sender",
        "error",
        "id",
        "name",
        "output",
        "settled",
        "size",
    )

    def __init__(self, sender: Sender, id: int, name: str, args: tuple[Any, ...]) -> None:
        self.id = id
        self.name = name
        self.settled = sender.new_waiter()
        self.error: BaseException | None = None
        self.output: Raw | None = None
        self._sender = sender
        self._args = args
        codec = sender.codec
        self._dialect = codec.dialect
        self._payload = codec.action_message(id, name, args)
        self.size = len(self._payload)

    def take(self) -> str | bytes | None:
        codec = self._sender.codec
        if codec.dialect is not self._dialect:
            try:
                self._payload = codec.action_message(self.id, self.name, self._args)
            except Exception as exc:  # it runs the code of its arguments
                self.fail(exc)
                return None
        self._sender.in_flight[self.id] = self
        return self._payload

    def take_back(self) -> None:
        self._sender.in_flight.pop(self.id, None)

    def sent(self) -> None:
        """Nobody waits for that: an action waits for its answer."""

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.settled.set()


class OutgoingProbe(OutgoingCall):
    """A call of an action that cannot exist: an actor that has stopped has another answer."""

    __slots__ = ("_when_stopped",)

    def __init__(self, sender: Sender, when_stopped: Callable[[], None]) -> None:
        super().__init__(sender, sender.issued, _NO_SUCH_ACTION, ())
        sender.issued += 1
        self._when_stopped = when_stopped

    def fail(self, error: BaseException) -> None:
        self._sender.is_probing = False
        if isinstance(error, ActorError) and is_masked(error):
            self._sender.when_idle = self._when_stopped
        super().fail(error)


class OutgoingSubscription:
    """A wish to hear of an event, or not to any more, on its way."""

    size = 64

    def __init__(self, sender: Sender, name: str, subscribe: bool) -> None:
        self._sender = sender
        self._name = name
        self._subscribe = subscribe

    def take(self) -> str | bytes | None:
        self._sender.subscriptions.pop(self._name, None)
        return self._sender.codec.subscription_message(self._name, self._subscribe)

    def take_back(self) -> None:
        """Nothing came of it."""

    def sent(self) -> None:
        """Nobody waits for that."""


def _lost_call(call: OutgoingCall, cause: BaseException | None) -> ConnectionLostError:
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
