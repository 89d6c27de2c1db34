"""An observer that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

from rivet_anyio._observe import Call, PoolFigures, Subject

__all__ = ["Counting"]


class Counting:
    """Counts what a client reports. It observes the client and its connections.

    Attributes:
        counts: How often each thing was reported.
        open: Calls and attempts that have begun and not ended.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def call(self, call: Call) -> Generator[Mapping[str, str]]:
        self.counts["calls"] += 1
        self.open += 1
        try:
            yield {}
        finally:
            self.open -= 1

    def connection(self, subject: Subject) -> Counting:
        return self

    def context(self) -> Mapping[str, str]:
        return {}

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        return lambda: None

    def background(self) -> None:
        pass

    def attempt(self) -> Attempt:
        return Attempt(self)

    def connected(self) -> None:
        self.counts["connected"] += 1

    def event(self, name: str) -> None:
        self.counts["events"] += 1

    def dropped(self, name: str) -> None:
        self.counts["dropped"] += 1

    def gap(self, name: str) -> None:
        self.counts["gaps"] += 1


class Attempt:
    """An attempt to connect; only its first end counts."""

    def __init__(self, observer: Counting) -> None:
        self._observer = observer
        self._has_ended = False
        observer.open += 1

    @contextmanager
    def current(self) -> Generator[Mapping[str, str]]:
        assert not self._has_ended
        yield {}

    def end(self, error: BaseException | None) -> None:
        self._observer.open -= not self._has_ended
        self._has_ended = True
