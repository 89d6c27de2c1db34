"""Simulation: virtual time, and every order and every chance from one seed.

Programs must not rely on the order in which ready tasks run, and servers and networks choose among
far more orders than a test happens to see. Here a seed chooses, so that what fails once fails
again.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from .._checks import check_instance
from ._internals import callback_owner, ready_handles, trio_scheduling
from ._time import VirtualTimeLoop, run_virtual

__all__ = ["explore", "simulate"]

T = TypeVar("T")


def simulate(
    main: Callable[..., Awaitable[T]], *args: Any, seed: int, backend: str = "asyncio"
) -> T:
    """Run a program in virtual time, with everything that is left to chance drawn from a seed.

    The same seed gives the same run: tasks that are ready run in an order drawn from it,
    and so is what the program, and `Retry`, take from the module `random`. Threads, sets of
    strings, other clocks and `os.urandom` stay what they are: nothing the program does may depend
    on them. The garbage collector rests meanwhile.

    Args:
        main: An async function.
        args: Its arguments.
        seed: Any number.
        backend: ``"asyncio"`` or ``"trio"``; a seed means another run on each.

    Returns:
        What it returned.

    Raises:
        DeadlockError: when it would have waited for ever.
        ValueError: for another backend.
        Exception: what it raised.
    """
    check_instance("seed", seed, int, none=False)
    options = {"loop_factory": partial(_ShuffledLoop, seed)} if backend == "asyncio" else None
    with _seeded_random(seed), _resting_collector(), _seeded_trio(seed, backend):
        return run_virtual(main, *args, backend=backend, options=options)


def explore(
    main: Callable[..., Awaitable[object]],
    *args: Any,
    seeds: Iterable[int] = range(100),
    backends: Iterable[str] = ("asyncio", "trio"),
) -> None:
    """Simulate a program with many seeds, and stop at the first that fails.

    Args:
        main: An async function.
        args: Its arguments.
        seeds: The seeds.
        backends: On which backends.

    Raises:
        BaseException: what the program raised, with a note that says how to run it again.
    """
    backends = tuple(backends)
    for seed in seeds:
        for backend in backends:
            try:
                simulate(main, *args, seed=seed, backend=backend)
            except BaseException as exc:
                name = getattr(main, "__name__", repr(main))
                exc.add_note(
                    f"seed {seed} on {backend}; to see only this: "
                    f"simulate({name}, seed={seed}, backend={backend!r})"
                )
                raise


class _ShuffledLoop(VirtualTimeLoop):
    """What is ready at one moment runs in an order drawn from the seed.

    asyncio serves first who came first, which says little: who comes first is up to others. A
    task is ready once at a time, so its own steps keep their order.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._numbers: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self._count = 0

    def _run_once(self) -> None:
        ready = ready_handles(self)
        batch = self._in_order(ready)
        if len(batch) > 1:
            self._chance.shuffle(batch)
            ready.clear()
            ready.extend(batch)
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


def _first(pair: tuple[int, Any]) -> int:
    return pair[0]


@contextmanager
def _seeded_random(seed: int) -> Generator[None]:
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def _resting_collector() -> Generator[None]:
    """It begins after so many allocations, and finalizers would run at another time each run."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _seeded_trio(seed: int, backend: str) -> Generator[None]:
    """Trio shuffles by itself; like Hypothesis, take its chance into our hands."""
    if backend != "trio":
        yield
        return
    run, chance = trio_scheduling()
    state, was_deterministic = chance.getstate(), run._ALLOW_DETERMINISTIC_SCHEDULING
    chance.seed(seed)
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        chance.setstate(state)
        run._ALLOW_DETERMINISTIC_SCHEDULING = was_deterministic
