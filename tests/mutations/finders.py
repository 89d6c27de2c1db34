"""What looks for bugs without knowing them: state machines, simulations, random input.

    python -m tests.mutations.finders NAME SECONDS MODULE

This goes on with other seeds until something fails or the seconds are over, which count what the
processor does. In place of a name, pytest's ids of tests with commas between may be given: then
these run once. The exit code says what came of it: `FOUND` or `NOT_FOUND`. Any other means that
something else went wrong, as where the module cannot be imported: `ending` puts it into words.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

__all__ = ["COPY", "FINDERS", "FOUND", "LATE_SECONDS", "NOT_FOUND", "ending", "is_example"]

FOUND, NOT_FOUND = 10, 0
COPY = "RIVET_ANYIO_COPY"
"""The environment variable with the directory that the package must come from."""

LATE_SECONDS = 20
"""How long after its time a finder is hung: it looks at the time between two seeds."""

Step = Callable[[int], None]
"""One part of the search, by its seed; it raises what it finds."""

_BROKEN = 1
_PASSED, _FAILED = int(pytest.ExitCode.OK), int(pytest.ExitCode.TESTS_FAILED)
_EXAMPLES = 25
"""How many examples of Hypothesis one step has."""


def is_example(finder: str) -> bool:
    """Whether this is pytest's id of a test, which knows what it looks for."""
    return "/" in finder


def ending(code: int) -> str:
    """How a process ended, by the exit code that `subprocess` has: a signal is below 0."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _machine(place: str, steps: int | None = None) -> Callable[[], Step]:
    """A state machine, with as many steps as in its own tests."""

    def load() -> Step:
        machine: Any = _load(place)
        options = settings(
            max_examples=_EXAMPLES,
            stateful_step_count=steps or machine.TestCase.settings.stateful_step_count,
        )
        return lambda seed: run_state_machine_as_test(
            hypothesis.seed(seed)(machine), settings=options
        )

    return load


def _property(place: str, **arguments: Any) -> Callable[[], Step]:
    """A test by Hypothesis that is no machine."""

    def load() -> Step:
        test = _load(place)
        return lambda seed: hypothesis.seed(seed)(test)(**arguments)

    return load


def _values() -> Step:
    """Values as they travel, in one form after another."""
    test, forms = (
        _load("tests.protocol.test_values:test_there_and_back"),
        _load("tests.protocol.test_values:CARRIED"),
    )
    names = list(forms)
    return lambda seed: hypothesis.seed(seed)(test)(names[seed % len(names)])


def _writings() -> Step:
    """What is written, as another implementation reads it."""
    test = _load("tests.conformance.test_differential:test_what_is_written")
    ours = _load("tests.conformance.framers:OURS")
    return lambda seed: hypothesis.seed(seed)(test)(ours)


def _differ(place: str, examples: int = 500) -> Callable[[], Step]:
    """Two readers of the same random input."""

    def load() -> Step:
        differences = _load(place)

        def step(seed: int) -> None:
            found: Any = differences(examples, seed * examples)
            found = found[0] if isinstance(found, tuple) else found
            assert not found, found[0]

        return step

    return load


def _program(place: str) -> Callable[[], Step]:
    """A program that draws everything from a `Random`, in virtual time on either backend."""

    def load() -> Step:
        from rivet_anyio.testing import simulate

        program = _load(place)

        def step(seed: int) -> None:
            backend = ("asyncio", "trio")[seed % 2]
            simulate(program, Random(seed), seed=seed, backend=backend)

        return step

    return load


def _drawn(place: str) -> Callable[[], Step]:
    """A function that draws everything from a `Random`."""

    def load() -> Step:
        draw = _load(place)
        return lambda seed: draw(Random(seed))

    return load


def _simulation(play: str, wrong: str, **arguments: Any) -> Callable[[], Step]:
    """A simulation by seeds, on both backends in turn."""

    def load() -> Step:
        from rivet_anyio.testing import simulate

        run, judge = _load(play), _load(wrong)
        run = partial(run, **arguments)

        def step(seed: int) -> None:
            backend = ("asyncio", "trio")[seed % 2]
            broken = judge(simulate(run, seed, seed=seed, backend=backend))
            assert not broken, "\n".join(map(str, broken))

        return step

    return load


FINDERS: dict[str, Callable[[], Step]] = {
    "connection": _machine("tests.connection.test_state:ConnectionMachine"),
    "client": _machine("tests.simulation.test_machine:Machine", steps=50),
    "live": _machine("tests.live.test_fold:Machine"),
    "feed": _machine("tests.watch.test_sources:Feeding"),
    "exchange": _machine("tests.http.test_exchange:Machine"),
    "pool": _machine("tests.http.test_pool:PoolMachine"),
    "simulation": _simulation(
        "tests.simulation.model:play", "tests.simulation.invariants:broken", hours=1.0
    ),
    "race": _simulation("tests.simulation.race:race", "tests.simulation.race_rules:wrong_of"),
    "deaths": _simulation(
        "tests.simulation.deaths:play_deaths", "tests.simulation.deaths:missing_outside_gaps"
    ),
    "buffers": _drawn("tests.connection.buffers:fill"),
    "outbox": _program("tests.connection.test_capacity:crowd"),
    "checks": _program("tests.connection.test_host_checks:watch"),
    "errands": _program("tests.simulation.errands:run"),
    "handshakes": _program("tests.watch.test_handshake_limit:crowd"),
    "values": _values,
    "keys": _property("tests.protocol.test_keys:test_there_and_back"),
    "readings of bare": _property("tests.protocol.test_reading:test_bare"),
    "readings of trees": _property("tests.protocol.test_reading:test_trees"),
    "shared requests": _property("tests.test_shared:test_schedules", backend="asyncio"),
    "writings": _writings,
    "frames": _differ("tests.conformance.differ:differences"),
    "answers": _differ("tests.http.differ:differences"),
}


def _search(name: str, seconds: float) -> int:
    if is_example(name):
        return _run_tests(name.split(","))
    step = FINDERS[name]()
    for seed in count():
        if time.process_time() > seconds:
            break
        try:
            step(seed)
        except BaseException as error:
            traceback.print_exc()
            took = time.process_time()
            print(f"seed {seed}, {took:.1f} s of the processor: {_shown(error)}")
            return FOUND
    return NOT_FOUND


def _shown(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = (str(error).strip() or str(where.line)).splitlines()[0]
    return f"{type(error).__name__} in {where.name}: {text:.150}"


def _run_tests(ids: list[str]) -> int:
    """`FOUND` if one of them fails."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--timeout=50",
        "-p",
        "no:cacheprovider",
        *ids,
    ]
    code = subprocess.run(command, check=False).returncode
    if code not in (_PASSED, _FAILED):
        print(f"pytest: {ending(code)}")
        return _BROKEN
    return NOT_FOUND if code == _PASSED else FOUND


def main() -> int:
    name, seconds, module = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    import rivet_anyio

    place, copy = Path(rivet_anyio.__file__), os.environ.get(COPY)
    assert copy is None or place.is_relative_to(copy), f"the package comes from {place}"
    import_module(module)
    settings.register_profile(
        "mutations",
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    if not is_example(name):
        settings.load_profile("mutations")
        logging.disable(logging.CRITICAL)
        if sys.platform != "win32":
            import resource

            most = int(seconds + LATE_SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (most, most + 10))
    return _search(name, seconds)


if __name__ == "__main__":
    sys.exit(main())
