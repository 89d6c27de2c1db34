"""What is left to chance, drawn from a seed: on asyncio, on Trio, and in the module `random`."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import anyio

from .._checks import check_instance
from ._internals import callback_owner, ready_handles, trio_scheduling
from ._time import VirtualTimeLoop, virtual_options

__all__ = ["Step", "many_runs", "seeded", "seeded_options", "virtual_backend"]

_COUNTED = re.compile(r"Task-\d+$")
"""The name of a task that has none: asyncio counts on from run to run."""

Step = tuple[float, str, int, str]
"""What ran: the time, the library, the number of the task, and a name."""


def virtual_backend(backend: str, *, seed: int | None = None) -> tuple[str, dict[str, Any]]:
    """A backend of AnyIO with virtual time, as its pytest plugin takes it.

    Return it from the fixture ``anyio_backend``; make a new one for every run.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.
        seed: Draw from it what `simulate` draws from its seed, while the event loop exists; None:
            draw nothing. The fixture `rivet_seed` gives one.

    Returns:
        The backend and its options.

    Raises:
        ValueError: for another backend.
        TypeError: `seed` is not a whole number.
    """
    check_instance("seed", seed, int)
    options = virtual_options(backend)
    if seed is not None:
        options |= seeded_options(backend, seed)
    return backend, options


def seeded_options(
    backend: str, seed: int, watch: Callable[[Step], None] | None = None
) -> dict[str, Any]:
    """Options of a backend that make a seed decide; they stand beside those of virtual time.

    Args:
        backend: ``"asyncio"`` or ``"trio"``.
        seed: The seed.
        watch: Called with everything that runs, just before.

    Raises:
        RuntimeError: a seed cannot decide anything here.
    """
    if backend == "asyncio":
        return {"loop_factory": partial(_ShuffledLoop, seed, watch)}
    trio_scheduling()  # Trio logs what its instruments raise
    instruments: list[Any] = [_SeedingInstrument(seed)]
    if watch is not None:
        instruments.append(_WatchingInstrument(watch))
    return {"instruments": instruments}


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Inside this block, `random` and Trio draw from the seed, and the garbage collector rests.

    It would begin after so many allocations, and run finalizers at another time in each run.
    """
    with ExitStack() as stack:
        stack.enter_context(_seeded_random(seed))
        if "trio" in sys.modules:
            stack.enter_context(_seeded_trio(seed))
        was_enabled = gc.isenabled()
        _collect()
        gc.disable()
        try:
            yield
        finally:
            if was_enabled:
                gc.enable()


@contextmanager
def many_runs() -> Generator[None]:
    """Inside this block, only one run of many begins with a collection, which takes its time.

    The garbage collector rests between the runs, too.
    """
    global _runs
    before, _runs = _runs, 0
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _runs = before
        if was_enabled:
            gc.enable()


_runs: int | None = None
"""How many runs there were inside of `many_runs`; None: outside."""

_RUNS_PER_COLLECTION = 25


def _collect() -> None:
    global _runs
    if _runs is None:
        gc.collect()
        return
    if _runs % _RUNS_PER_COLLECTION == 0:
        gc.collect()
    _runs += 1


@contextmanager
def _seeded_random(seed: int) -> Generator[None]:
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def _seeded_trio(seed: int) -> Generator[None]:
    """Trio shuffles by itself; like Hypothesis, take its chance into our hands."""
    run, chance = trio_scheduling()
    state, was_deterministic = chance.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    chance.seed(seed)
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        chance.setstate(state)
        run._ALLOW_DETERMINISTIC_SCHEDULING = was_deterministic


class _ShuffledLoop(VirtualTimeLoop):
    """What is ready at one moment runs in an order drawn from the seed.

    asyncio serves first who came first, which says little: who comes first is up to others. A
    task is ready once at a time, so its own steps keep their order.
    """

    def __init__(self, seed: int, watch: Callable[[Step], None] | None = None) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._watch = watch
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._count = 0
        self._borrowed = ExitStack()
        self._borrowed.enter_context(_seeded_random(seed))

    def close(self) -> None:
        self._borrowed.close()
        super().close()

    def _run_once(self) -> None:
        ready = ready_handles(self)
        batch = self._in_order(ready)
        if len(batch) > 1:
            self._chance.shuffle(batch)
            ready.clear()
            ready.extend(batch)
        if self._watch is not None:
            for handle in batch:
                self._watch(self._step(handle))
        super()._run_once()  # type: ignore[misc]

    def _in_order(self, ready: Iterable[Any]) -> list[Any]:
        """The same order whatever the addresses of tasks are: sets of them were walked through."""
        tasks: list[tuple[int, Any]] = []
        others: list[Any] = []
        for handle in ready:
            owner = callback_owner(handle)
            if isinstance(owner, asyncio.Task):
                tasks.append((self._number(owner), handle))
            else:
                others.append(handle)
        tasks.sort(key=_first)
        return [*(handle for _, handle in tasks), *others]

    def _number(self, task: asyncio.Task[Any]) -> int:
        """A task is seen first when it is to begin, in the order in which tasks were made."""
        number = self._numbers.get(task)
        if number is None:
            number = self._numbers[task] = self._count
            self._count += 1
        return number

    def _step(self, handle: Any) -> Step:
        owner = callback_owner(handle)
        if isinstance(owner, asyncio.Task):
            name = owner.get_name()
            if _COUNTED.match(name):
                name = getattr(owner.get_coro(), "__qualname__", "?")
            return self.time(), "task", self._number(owner), name
        return self.time(), "callback", 0, type(owner).__name__


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


class _SeedingInstrument:
    """A `trio.abc.Instrument`: Trio looks at the methods only."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._borrowed = ExitStack()

    def before_run(self) -> None:
        self._borrowed.enter_context(_seeded_random(self._seed))
        self._borrowed.enter_context(_seeded_trio(self._seed))

    def after_run(self) -> None:
        self._borrowed.close()


class _WatchingInstrument:
    def __init__(self, watch: Callable[[Step], None]) -> None:
        self._watch = watch
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._count = 0

    def before_task_step(self, task: Any) -> None:
        if task not in self._numbers:
            self._numbers[task] = self._count
            self._count += 1
        self._watch((anyio.current_time(), "task", self._numbers[task], task.name))
