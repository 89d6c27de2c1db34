"""What happened, in one order: at the server, in its clients, in the network."""

from __future__ import annotations

import dataclasses
import reprlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import anyio

from .._errors import ActorError
from .._observe import Call, PoolFigures, Subject
from ._records import Record

__all__ = [
    "Timeline",
    "TimelineObserver",
    "collect_also",
    "collecting",
    "collecting_failures",
    "shown",
]

_LINES = 5000
"""How many lines are kept."""

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 40
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 4

started: list[Timeline] | None = None
"""Those that began while `collecting`."""


def shown(value: Any) -> str:
    """A value, in short."""
    return _REPR.repr(value)


@contextmanager
def collecting() -> Generator[list[Timeline]]:
    """Inside this block, the timelines of all servers that are entered are collected."""
    global started
    before, started = started, []
    try:
        yield started
    finally:
        started = before


def collect_also(timelines: Iterable[Timeline]) -> None:
    """Whoever is `collecting` gets these, too."""
    if started is not None:
        started.extend(timelines)


@contextmanager
def collecting_failures() -> Generator[None]:
    """Of the servers that are entered inside this block, whoever collects outside it gets the
    timelines only if the block raises.
    """
    collected: list[Timeline] = []
    try:
        with collecting() as collected:
            yield
    except BaseException:
        collect_also(collected)
        raise


class Timeline:
    """Lines in the order in which they were added, the last of them."""

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=_LINES)
        self._count = 0
        self._began = 0.0

    def begin(self) -> None:
        """The server has been entered."""
        self._began = anyio.current_time()
        if started is not None:
            started.append(self)

    def add(self, who: str, text: str) -> None:
        """Something happened."""
        try:
            at = anyio.current_time()
        except (
            Exception
        ):  # A fault is armed, and no event loop runs: AnyIO's error depends on its version.
            at = self._began
        self._count += 1
        self._lines.append((at, who, text))

    def add_record(self, record: Record) -> None:
        """Something was recorded."""
        fields = [
            shown(getattr(record, field.name))
            for field in dataclasses.fields(record)
            if field.name not in ("at", "actor")
        ]
        name = type(record).__name__
        self.add("server", f"{record.actor} {name} {' '.join(fields)}".rstrip())

    def entries(self) -> list[str]:
        """The lines that were kept."""
        return [f"{at - self._began:10.3f} {who:<8} {what}" for at, who, what in self._lines]

    def describe(self, limit: int | None = None) -> str:
        """The last lines, of which there can be a limit."""
        text = self.entries()[-limit:] if limit else self.entries()
        if len(text) < self._count:
            text.insert(0, f"... {self._count - len(text)} before")
        return "\n".join(text)


def _whom(subject: Subject) -> str:
    return subject.actor if subject.key is None else f"{subject.actor}{list(subject.key)!r}"


def _error(error: BaseException) -> str:
    if isinstance(error, ActorError):
        return f"{error.group}.{error.code}"
    if not isinstance(error, Exception):
        return type(error).__name__  # the text of a cancellation has addresses of objects
    return f"{type(error).__name__}: {str(error)[:100]}".rstrip(": ")


class TimelineObserver:
    """Notes what a client does."""

    def __init__(self, timeline: Timeline, who: str) -> None:
        self._timeline = timeline
        self._who = who

    def _add(self, text: str) -> None:
        self._timeline.add(self._who, text)

    @contextmanager
    def call(self, call: Call) -> Generator[Mapping[str, str]]:
        what = f"{_whom(call.subject)} {call.operation} {call.name!r} by {call.protocol}"
        self._add(f"{what} ...")
        try:
            yield {}
        except BaseException as error:
            self._add(f"{what}: {_error(error)}")
            raise
        self._add(f"{what}: done")

    def connection(self, subject: Subject) -> _ConnectionObserver:
        return _ConnectionObserver(self._add, _whom(subject))

    def context(self) -> Mapping[str, str]:
        return {}

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        return lambda: None


class _ConnectionObserver:
    def __init__(self, add: Callable[[str], None], whom: str) -> None:
        self._add_line = add
        self._whom = whom
        self._attempts = 0
        self._failed_at: float | None = None

    def _add(self, text: str) -> None:
        self._add_line(f"{self._whom} {text}")

    def background(self) -> None:
        pass

    def attempt(self) -> _AttemptObserver:
        now = anyio.current_time()
        delay = "" if self._failed_at is None else f" after {now - self._failed_at:.3f} s"
        self._attempts += 1
        self._add(f"attempt {self._attempts} to connect{delay}")
        return _AttemptObserver(self)

    def failed(self, error: BaseException) -> None:
        """An attempt failed, or the connection that it made was lost."""
        self._failed_at = anyio.current_time()
        self._add(f"not connected: {_error(error)}")

    def connected(self) -> None:
        self._attempts = 0
        self._failed_at = None
        self._add("connected")

    def event(self, name: str) -> None:
        self._add(f"event {name!r} delivered")

    def dropped(self, name: str) -> None:
        self._add(f"event {name!r} dropped by a full stream")

    def gap(self, name: str) -> None:
        self._add(f"gap in {name!r}")


class _AttemptObserver:
    def __init__(self, connection: _ConnectionObserver) -> None:
        self._connection = connection
        self._is_over = False

    def current(self) -> AbstractContextManager[Mapping[str, str]]:
        return _nothing()

    def end(self, error: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            if error is not None:
                self._connection.failed(error)


@contextmanager
def _nothing() -> Generator[Mapping[str, str]]:
    yield {}
