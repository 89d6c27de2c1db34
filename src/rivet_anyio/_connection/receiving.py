"""What one socket receives: events go to their streams, answers to their calls."""

from __future__ import annotations

from collections.abc import Sequence

from .._errors import ActorError, ProtocolError, again
from .._gateway.backoffs import Backoffs
from .._io.waiting import Signal
from .._log import logger
from .._observe import AttemptObserver
from .._websocket.connection import CLOSE_FRAME_SECONDS, WebSocketConnection
from ..protocol.codec import Codec
from ..protocol.messages import ActionResponse, Event, Init, ServerError, actor_error
from ..protocol.session import Session
from .events import EventSink, Unreadable, Value
from .state import ConnectionState

__all__ = ["Receiver"]


class Receiver:
    """The sink of one socket.

    Attributes:
        received: Whether the actor has sent anything after Init.
        refusal: The error that the server sent in place of Init.
        socket: The socket; to be set before the first message.

    Args:
        state: The connection's.
        session: Of this socket.
        attempt: Observes the attempt, which ends with Init.
        backoffs: What notes Init: the delays of the client's connections.
        over_http: The codec of calls over HTTP, which learns from Init how the server writes.
    """

    __slots__ = (
        "_attempt",
        "_backoffs",
        "_early",
        "_over_http",
        "_session",
        "_state",
        "received",
        "refusal",
        "socket",
    )

    socket: WebSocketConnection

    def __init__(
        self,
        state: ConnectionState,
        session: Session,
        attempt: AttemptObserver | None,
        backoffs: Backoffs,
        over_http: Codec,
    ) -> None:
        self.received = False
        self.refusal: ActorError | None = None
        self._state = state
        self._session = session
        self._early = session.early
        self._attempt = attempt
        self._backoffs = backoffs
        self._over_http = over_http

    def take(self, messages: list[str | bytes]) -> int:
        """Take the first of these messages, and return how many: see `Sink`."""
        if self.refusal is not None:
            return len(messages)  # nothing counts any more
        state = self._state
        if state.abandoned:
            state.reap()
        # With a stream that blocks, reading may have to pause after any event.
        if len(messages) > 1 and not state.blocking and (taken := self._take_events(messages)):
            return taken
        self._take_one(messages[0])
        return 1

    def _take_events(self, messages: list[str | bytes]) -> int:
        """Take the events that come first and can be read together; how many."""
        names, values = self._session.events(messages, self._state.sinks)
        if not names:
            return 0
        self.received = True
        sizes = list(map(len, messages[: len(names)]))
        items: list[Value] = list(zip(values, sizes, strict=True))
        if self._state.observer is None and names.count(names[0]) == len(names):
            for sink in self._reach(names[0]):
                sink.push_all(items, sum(sizes))
        else:
            for name, item in zip(names, items, strict=True):
                self._push(name, item)
        return len(names)

    def _take_one(self, data: str | bytes) -> None:
        state = self._state
        message = self._session.receive(data, state.sinks)
        # In the order of how often they come.
        if isinstance(message, ActionResponse):
            self.received = True
            if not state.answered(message.id, message.output):
                self._session.check_answer(message, issued=state.issued)
        elif isinstance(message, tuple):
            self.received = True
            name, value = message
            self._push(name, (value, len(data)))
        elif isinstance(message, Event):
            self.received = True
            if message.name in state.sinks:
                self._push(message.name, _read(message, len(data)))
        elif message is not None:
            self._take_other(message)

    def _push(self, name: str, item: Value | Unreadable) -> None:
        for sink in self._reach(name):
            sink.push(item)
            if isinstance(item, Unreadable):  # each stream raises an error of its own
                item = Unreadable(again(item.error), item.size)

    def _reach(self, name: str) -> Sequence[EventSink]:
        """Where an event of this name goes; an observer hears of it."""
        state = self._state
        if state.observer is not None and name in state.sinks:
            state.observer.event(name)
        sinks = state.sinks.get(name, ())
        return sinks if len(sinks) == 1 else tuple(sinks)  # one that overflows leaves them

    def is_full(self) -> bool:
        """Whether a stream with ``overflow="block"`` is full.

        While none is, deliver what came before Init: the socket asks after Init, and reads on only
        when all of that is delivered.
        """
        if self._state.abandoned:
            self._state.reap()
        while not self._is_blocked():
            if not self._early or self._session.init is None:
                return False
            self._take_one(self._early.pop(0))
        return True

    def _is_blocked(self) -> bool:
        blocking = self._state.blocking
        return bool(blocking) and any(buffer.is_full for buffer in blocking)

    def notify_when_free(self, signal: Signal) -> None:
        """Set the signal when a stream that is full has capacity again."""
        for buffer in self._state.blocking:
            if buffer.is_full:
                buffer.notify_when_free(signal)

    def _take_other(self, message: Init | ServerError) -> None:
        """Take Init, or an error."""
        state = self._state
        self._session.check_answer(message, issued=state.issued)
        if isinstance(message, Init):
            logger.info("connected to actor %s, attempt %d", message.actor_id, state.attempts + 1)
            if self._attempt is not None:
                self._attempt.end(None)
            self._backoffs.reached()
            self._over_http.dialect = self._session.codec.dialect
            socket = self.socket
            state.opened(message, socket.last_received, socket.last_message)
            return
        error = actor_error(message.body)
        if message.action_id is not None:
            state.refused(message.action_id, error)
        elif self._session.init is None:
            self.refusal = error
            self.socket.hurry(CLOSE_FRAME_SECONDS)  # the server may leave it open
        else:
            logger.warning("the actor reported an error: %s.%s", error.group, error.code)
            state.reported(error)


def _read(event: Event, size: int) -> Value | Unreadable:
    try:
        return event.args.load_arguments(), size
    except ProtocolError as error:
        return Unreadable(error, size)
