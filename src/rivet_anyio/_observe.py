"""Where a client reports what it does: calls, attempts to connect, events.

An observer is handed frozen data and called from the event loop; it neither waits nor raises. A
client without one asks an attribute for None at these places and does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from ._text import in_short

__all__ = [
    "AttemptObserver",
    "Call",
    "ConnectionObserver",
    "Observer",
    "PoolFigures",
    "Subject",
    "check_observer",
    "joined",
    "merged",
    "place_of",
    "subject_at",
]


class Subject(msgspec.Struct, frozen=True):
    """Whom it is about.

    Attributes:
        address: The host of the configured endpoint.
        port: Its port.
        actor: The actor's name.
        key: The actor's key, None for one by id.
    """

    address: str
    port: int
    actor: str
    key: tuple[str, ...] | None


class Call(msgspec.Struct, frozen=True):
    """An action or a message for a queue.

    Attributes:
        subject: The actor it goes to.
        operation: What it is.
        name: The name of the action or of the queue.
        protocol: What carries it.
    """

    subject: Subject
    operation: Literal["action", "send", "send_and_wait"]
    name: str
    protocol: Literal["http", "websocket"]


class PoolFigures(NamedTuple):
    """How many sockets a client has, and how many callers wait for one.

    Attributes:
        open: Sockets that are in use, idle or upgraded.
        idle: Sockets that no request uses.
        waiting: Requests in the queue.
        dialling: Dials that are under way.
    """

    open: int
    idle: int
    waiting: int
    dialling: int


class AttemptObserver(Protocol):
    """Observes one attempt to open a WebSocket."""

    def current(self) -> AbstractContextManager[Mapping[str, str]]:
        """A block that is part of the attempt; yields headers for the handshake."""
        ...

    def end(self, error: BaseException | None) -> None:
        """The attempt is over; only the first call counts."""
        ...


class ConnectionObserver(Protocol):
    """Observes one connection."""

    def background(self) -> None:
        """The calling task is the connection's own: nothing of the user's task is current in it."""
        ...

    def attempt(self) -> AttemptObserver:
        """An attempt begins."""
        ...

    def connected(self) -> None:
        """The connection is open, for the first time or again."""
        ...

    def event(self, name: str) -> None:
        """An event came that a stream wants."""
        ...

    def dropped(self, name: str) -> None:
        """A stream dropped an event."""
        ...

    def gap(self, name: str) -> None:
        """A stream may have missed events."""
        ...


class Observer(Protocol):
    """Observes a client."""

    def call(self, call: Call) -> AbstractContextManager[Mapping[str, str]]:
        """A block that is the call, in the caller's task; yields headers for its requests."""
        ...

    def connection(self, subject: Subject) -> ConnectionObserver:
        """A connection is being entered by the calling task."""
        ...

    def context(self) -> Mapping[str, str]:
        """Headers for a request that is not observed itself."""
        ...

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        """A client of this URL has sockets of its own; call what is returned at its end.

        Args:
            url: The configured endpoint.
            count: May be called from any thread.
        """
        ...


def check_observer(observer: object) -> None:
    """Raise `TypeError` for anything but an observer or None."""
    methods = ("call", "connection", "context", "pool")
    if observer is not None and not all(
        callable(getattr(observer, name, None)) for name in methods
    ):
        raise TypeError(
            "observer needs the methods of rivet_anyio.types.Observer, as "
            f"rivet_anyio.otel.OpenTelemetry has them, not {in_short(observer)}"
        )


def subject_at(url: str, actor: str, key: tuple[str, ...] | None) -> Subject:
    """An actor at an endpoint."""
    return Subject(*place_of(url), actor, key)


def place_of(url: str) -> tuple[str, int]:
    """The host and the port of an endpoint."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def merged(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Headers with `others`, which replace those of the same name in whatever case."""
    names = {name.lower() for name in others}
    kept = {name: value for name, value in headers.items() if name.lower() not in names}
    return {**kept, **others}


def joined(headers: Mapping[str, str], others: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers, and behind them `others` of other names; only their ``User-Agent`` comes first.

    Some servers read an underscore in a name as a hyphen, so such names are the same here.
    """
    theirs = [(name, value) for name, value in others if name.lower() == "user-agent"]
    ours = {name.lower().replace("_", "-") for name in headers}
    kept = [(n, v) for n, v in headers.items() if not (theirs and n.lower() == "user-agent")]
    return [
        *kept,
        *theirs,
        *((n, v) for n, v in others if n.lower().replace("_", "-") not in ours),
    ]
