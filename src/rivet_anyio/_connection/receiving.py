"""What a session hears: events go to their streams, answers to calls, the rest to the connection.

An object of its own because events pass here at any rate: each look at an attribute of
`Connection` costs several times as much, for its ``__getattr__``.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from .._errors import ProtocolError
from .._observe import ConnectionObserver
from ..protocol.messages import ActionResponse, Event, Init, ServerError
from ..protocol.session import Session
from .events import EventBuffer, Unreadable, Value
from .sending import Sender

__all__ = ["Incoming"]


class Incoming:
    """The sink of one session's pump.

    Attributes:
        heard: Whether the actor has said anything since it opened the connection.

    Args:
        session: What reads messages.
        sender: Hears of answers.
        buffers: Who waits for events, by their names.
        blocking: Those of them that may stop the reader.
        abandoned: Streams that became garbage wait here, for `sweep`.
        sweep: Unsubscribes those.
        other: Takes every other message.
        observer: Hears of events.
    """

    __slots__ = (
        "_abandoned",
        "_blocking",
        "_buffers",
        "_early",
        "_observer",
        "_other",
        "_sender",
        "_session",
        "_sweep",
        "heard",
    )

    def __init__(
        self,
        session: Session,
        sender: Sender,
        *,
        buffers: dict[str, list[EventBuffer]],
        blocking: list[EventBuffer],
        abandoned: list[EventBuffer],
        sweep: Callable[[], None],
        other: Callable[[Init | ServerError], None],
        observer: ConnectionObserver | None,
    ) -> None:
        self.heard = False
        self._session = session
        self._sender = sender
        self._buffers = buffers
        self._blocking = blocking
        self._abandoned = abandoned
        self._early = session.early
        self._sweep = sweep
        self._other = other
        self._observer = observer

    def message(self, data: str | bytes) -> None:
        """Take a message from the pump."""
        if self._abandoned:
            self._sweep()
        message = self._session.receive(data, self._buffers)
        item: Value | Unreadable
        # In the order of how often they come.
        if isinstance(message, tuple):
            name, value = message
            item = (value, len(data))
        elif isinstance(message, ActionResponse):
            self.heard = True
            if not self._sender.answered(message.id, message.output):
                self._session.check_answer(message, issued=self._sender.issued)
            return
        elif isinstance(message, Event):
            self.heard = True
            if message.name not in self._buffers:
                return
            name, item = message.name, _read(message, len(data))
        else:
            if message is not None:
                self._other(message)
            return
        self.heard = True
        buffers = self._buffers[name]
        if self._observer is not None:
            self._observer.event(name)
        if len(buffers) == 1:
            buffers[0].push(item)
        else:
            for buffer in tuple(buffers):  # one that overflows leaves them
                buffer.push(item)

    def full(self) -> anyio.Event | None:
        """Tell the pump whether a blocking stream has room.

        As long as there is, deliver what came before Init: the pump asks after every message, and
        reads on only when all of that is delivered.
        """
        if self._abandoned:
            self._sweep()
        while True:
            for buffer in self._blocking:
                room = buffer.holds_reader()
                if room is not None:
                    return room
            if not self._early or self._session.init is None:
                return None
            self.message(self._early.popleft())


def _read(event: Event, size: int) -> Value | Unreadable:
    try:
        return event.args.load_arguments(), size
    except ProtocolError as error:
        return Unreadable(error, size)
