"""One socket of a connection, as the checks of the actors' hosts see it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from .._io.tasks import SilentTasks
from .._websocket.connection import WebSocketConnection
from ..protocol.management import ActorInfo
from ..protocol.session import Session
from ..protocol.starts import start_of
from .state import ConnectionState

__all__ = ["CheckedSocket"]


class CheckedSocket:
    """A `CheckedSession`.

    Args:
        state: The connection.
        socket: Its socket.
        session: What came on the socket.
        tasks: The background of the connection's block.
    """

    __slots__ = ("_oldest", "_session", "_since", "_socket", "_state", "_tasks")

    def __init__(
        self,
        state: ConnectionState,
        socket: WebSocketConnection,
        session: Session,
        tasks: SilentTasks,
    ) -> None:
        self._tasks = tasks
        self._state = state
        self._socket = socket
        self._session = session
        self._oldest: int | None = None  # the id of the call that has waited longest
        self._since = 0.0

    @property
    def actor_id(self) -> str | None:
        init = self._session.init
        return None if init is None else init.actor_id

    @property
    def last_message(self) -> float:
        return self._socket.last_message

    def start(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.start(task)

    def notify_of_calls(self, notify: Callable[[], None] | None) -> None:
        self._state.notify_of_call = notify

    def seconds_waiting(self, now: float) -> float | None:
        oldest = next(iter(self._state.in_flight), None)
        if oldest is not self._oldest:
            self._oldest, self._since = oldest, now
        return None if oldest is None else now - self._since

    def checked(self, actor: ActorInfo, last_message: float) -> None:
        self._state.checked(start_of(actor), last_message)
