"""What arrived at the server, in order, as values to assert on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from .._checks import check_function, check_instance, check_size
from .._io.waiting import Signal

__all__ = [
    "ActionCalled",
    "ActorCreated",
    "ActorDestroyed",
    "ActorRef",
    "Connected",
    "Disconnected",
    "Log",
    "MessageQueued",
    "Record",
    "Refused",
    "Requested",
    "SocketClosed",
    "SocketOpened",
    "Subscribed",
    "Unsubscribed",
]


@dataclass(frozen=True, slots=True)
class ActorRef:
    """Which actor: its name, key and id."""

    name: str
    key: tuple[str, ...]
    id: str

    def __str__(self) -> str:
        return f"{self.name}{list(self.key)!r}"


@dataclass(frozen=True, slots=True)
class Record:
    """Something that happened at the server.

    Attributes:
        at: When, in seconds of `anyio.current_time`.
        actor: The actor it happened to.
    """

    at: float
    actor: ActorRef


@dataclass(frozen=True, slots=True)
class ActorCreated(Record):
    """An actor was created; `input` is None also when the client gave none."""

    input: Any


@dataclass(frozen=True, slots=True)
class ActorDestroyed(Record):
    """An actor was destroyed: by itself, by the test or by a client."""


@dataclass(frozen=True, slots=True)
class Connected(Record):
    """A connection was accepted."""

    connection_id: str
    params: Any


@dataclass(frozen=True, slots=True)
class Refused(Record):
    """A connection was refused: by the actor's hooks, or because the test wanted it."""

    params: Any
    group: str
    code: str


@dataclass(frozen=True, slots=True)
class Disconnected(Record):
    """A connection ended.

    Attributes:
        connection_id: Which.
        code: The close code that was sent first, by whichever side; None: it broke off.
        reason: Its reason.
        by_client: Whether the client closed it, or went away.
    """

    connection_id: str
    code: int | None
    reason: str
    by_client: bool


@dataclass(frozen=True, slots=True)
class Subscribed(Record):
    """A connection asked for an event."""

    connection_id: str
    event: str


@dataclass(frozen=True, slots=True)
class Unsubscribed(Record):
    """A connection gave a subscription back."""

    connection_id: str
    event: str


@dataclass(frozen=True, slots=True)
class ActionCalled(Record):
    """An action was called, also one that does not exist, or that a fault answers.

    `connection_id` is None for a call over HTTP, and for an action that was scheduled.
    """

    action: str
    args: tuple[Any, ...]
    connection_id: str | None


@dataclass(frozen=True, slots=True)
class MessageQueued(Record):
    """A message came for a queue; `waits` says whether the sender waits for its completion."""

    queue: str
    body: Any
    waits: bool


@dataclass(frozen=True, slots=True)
class Requested(Record):
    """A raw HTTP request (`ActorHandle.fetch`); `path` with its query string."""

    method: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SocketOpened(Record):
    """A raw WebSocket (`ActorHandle.websocket`) was opened; `path` with its query string."""

    connection_id: str
    path: str


@dataclass(frozen=True, slots=True)
class SocketClosed(Record):
    """A raw WebSocket ended; the attributes are those of `Disconnected`."""

    connection_id: str
    code: int | None
    reason: str
    by_client: bool


R = TypeVar("R", bound=Record)


class Log(Sequence[Record]):
    """The records so far, the oldest first: a sequence that grows."""

    def __init__(self, note: Callable[[Record], None] = lambda record: None) -> None:
        self._note = note
        self._records: list[Record] = []
        self._growth = Signal()

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...

    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(tuple(self._records))

    def __repr__(self) -> str:
        return f"<Log of {len(self)} records>"

    def of(
        self, kind: type[R], *, where: Callable[[R], bool] | None = None, since: int = 0
    ) -> list[R]:
        """The records of one type.

        Args:
            kind: The type: `ActionCalled`, say.
            where: Only those that it is true for.
            since: Leave out that many from the beginning: an earlier ``len(log)``.

        Raises:
            TypeError, ValueError: an argument cannot be used.
        """
        check_instance("kind", kind, type, none=False)
        check_function("where", where)
        check_size("since", since, least=0)
        return [
            record
            for record in self._records[since:]
            if isinstance(record, kind) and (where is None or where(record))
        ]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._records.clear()

    def _append(self, record: Record) -> None:
        self._records.append(record)
        self._note(record)
        self._growth.set()
        self._growth = Signal()

    async def _grown(self) -> None:
        """Wait for the next record."""
        await self._growth.wait()

    def _describe(self, limit: int = 20) -> str:
        """The last records, a line each."""
        if not self._records:
            return "nothing has arrived"
        lines = [repr(record) for record in self._records[-limit:]]
        if len(self._records) > limit:
            lines.insert(0, f"... {len(self._records) - limit} before")
        return "\n".join(lines)
