"""Simulation: virtual time, and every order and every chance from one seed.

Programs must not rely on the order in which ready tasks run, and servers and networks choose among
far more orders than a test happens to see. Here a seed chooses, so that what fails once fails
again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from .._checks import check_function, check_instance
from .._text import in_short
from ._replay import replay_text
from ._seeds import Step, many_runs, seeded, seeded_options
from ._time import refuse_event_loop, run_virtual, virtual_options
from ._timeline import collecting_failures

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["check_backends", "explore", "simulate", "simulate_watched"]

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
        RuntimeError: in an async function: this runs an event loop of its own.
        Exception: what it raised.
    """
    check_instance("seed", seed, int, none=False)
    return simulate_watched(main, args, seed=seed, backend=backend, watch=None)


def simulate_watched(
    main: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    *,
    seed: int,
    backend: str,
    watch: Callable[[Step], None] | None,
) -> T:
    """As `simulate`; `watch` is called with everything that runs, just before."""
    virtual_options(backend)  # raises for another backend
    options = seeded_options(backend, seed, watch)
    with seeded(seed):
        return run_virtual(main, *args, backend=backend, options=options)


def check_backends(backends: Iterable[str]) -> tuple[str, ...]:
    """The names of backends, one at least, for programs that run one after the other.

    Raises:
        RuntimeError: an event loop runs already.
        TypeError, ValueError: there is no backend, or another.
    """
    refuse_event_loop()
    if isinstance(backends, str) or not isinstance(backends, Iterable):
        raise TypeError(f"backends is a list of names of backends, not {in_short(backends)}")
    names = tuple(backends)
    if not names:
        raise ValueError("backends is empty: nothing would be run")
    for name in names:
        virtual_options(name)  # raises for another backend
    return names


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
        TypeError, ValueError: an argument cannot be used; there is no seed, or no backend.
        RuntimeError: in an async function: this runs event loops of its own.
    """
    check_function("main", main, none=False)
    backends = check_backends(backends)
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds is an iterable of whole numbers, not {in_short(seeds)}")
    seed: int | None = None
    with many_runs():
        for seed in seeds:
            for backend in backends:
                # Now: the program may change its arguments.
                replay = replay_text(main, args, seed=seed, backend=backend)
                try:
                    with collecting_failures():
                        simulate(main, *args, seed=seed, backend=backend)
                except BaseException as exc:
                    exc.add_note(f"seed {seed} on {backend}; to see only this: {replay}")
                    raise
    if seed is None:
        raise ValueError("seeds is empty: nothing was run")
