"""What one socket receives: events go to their streams, answers to their calls."""

from __future__ import annotations

from .._errors import ActorError, ProtocolError, again
from .._gateway.backoffs import Backoffs
from .._io.waiting import Signal
from .._log import logger
from .._observe import AttemptObserver
from .._websocket.connection import WebSocketConnection
from ..protocol.codec import Codec
from ..protocol.messages import ActionResponse, Event, Init, ServerError, actor_error
from ..protocol.session import Session
from .events import Unreadable, Value
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
        state = self._state
        if state.abandoned:
            state.reap()
        at, end = 0, len(messages)
        while at < end:
            # With a stream that blocks, reading may have to pause after any event.
            taken = 0 if state.blocking else self._take_events(messages[at:] if at else messages)
            if taken:
                at += taken
                continue
            self._take_one(messages[at])
            at += 1
            if self.is_full():
                break
        return at

    def _take_events(self, messages: list[str | bytes]) -> int:
        """Take the events that come first and can be read together; how many."""
        names, values = self._session.events(messages, self._state.sinks)
        if not names:
            return 0
        self.received = True
        sizes = list(map(len, messages[: len(names)]))
        items: list[Value] = list(zip(values, sizes, strict=True))
        if names.count(names[0]) == len(names):
            self._push(names[0], items, sum(sizes))
        else:
            for name, item in zip(names, items, strict=True):
                self._push(name, [item], item[1])
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
            self._push(name, [(value, len(data))], len(data))
        elif isinstance(message, Event):
            self.received = True
            if message.name in state.sinks:
                self._push_event(message, len(data))
        elif message is not None:
            self._take_other(message)

    def _push_event(self, event: Event, size: int) -> None:
        """Hand an event to its streams that was read the long way."""
        try:
            value = event.args.load_arguments()
        except ProtocolError as error:
            if self._state.observer is not None:
                self._state.observer.event(event.name)
            for sink in tuple(self._state.sinks[event.name]):
                sink.push(Unreadable(again(error), size))  # each stream raises one of its own
        else:
            self._push(event.name, [(value, size)], size)

    def _push(self, name: str, items: list[Value], size: int) -> None:
        """Hand events of one name to their streams, if it has any left."""
        state = self._state
        sinks = state.sinks.get(name)
        if sinks is None:
            return
        if state.observer is not None:
            for _ in items:
                state.observer.event(name)
        for sink in sinks if len(sinks) == 1 else tuple(sinks):  # one that overflows leaves them
            sink.push_all(items, size)

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
        else:
            logger.warning("the actor reported an error: %s.%s", error.group, error.code)
            state.reported(error)
