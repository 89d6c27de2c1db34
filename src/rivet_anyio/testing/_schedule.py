"""Schedules of faults: found at random, played in order, and made as small as they can be."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

import anyio

from .._checks import check_choice, check_function, check_instance, check_seconds, check_size
from .._text import in_short
from ._arming import armed
from ._replay import replay_text
from ._seeds import many_runs
from ._server import ActorServer
from ._simulate import check_backends, simulate
from ._timeline import collecting

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["Fault", "FaultName", "explore_faults", "fault_schedules", "play_faults"]

FaultName = Literal[
    "cut", "close", "refuse", "lose_request", "lose_reply", "stall", "outage", "restart", "crash"
]
"""What `play_faults` can do: see `Fault`."""

_ALL: tuple[FaultName, ...] = get_args(FaultName)
_LASTING = ("stall", "outage", "restart", "crash")
_MOST_SECONDS = 1e9  # three decades


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule.

    Attributes:
        name: ``"cut"`` breaks all connections, ``"close"`` closes the WebSockets with code 1001,
            ``"refuse"`` refuses the next connection, ``"lose_request"`` and ``"lose_reply"`` lose
            the next call before and after it ran, ``"stall"`` holds what the server sends,
            ``"outage"`` is a server that is away, ``"restart"`` a restart, ``"crash"`` one that
            loses what was not saved.
        after: Seconds after the fault before it, or the beginning.
        seconds: How long it lasts; only those do that are something for a while.
    """

    name: FaultName
    after: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        check_choice("name", self.name, _ALL)
        check_seconds("after", self.after, zero=True)
        check_seconds("seconds", self.seconds, zero=True)


async def play_faults(server: ActorServer, schedule: Iterable[Fault]) -> None:
    """Let the faults of a schedule happen, one after the other.

    Those that find no occasion do not fail the test.

    Args:
        server: The server.
        schedule: The faults.

    Cancellation: what lasts ends.
    """
    network, faults = server.network, server.faults
    for fault in schedule:
        await anyio.sleep(fault.after)
        match fault.name:
            case "cut":
                network._cut()
            case "close":
                for connection in server.connections:
                    connection.drop(1001)
            case "refuse":
                network._refuse(1, is_optional=True)
            case "lose_request":
                faults._lose_next(request=True)
            case "lose_reply":
                faults._lose_next(request=False)
            case "stall":
                with network.to_client._hold(fault=armed("stall", is_optional=True)):
                    await anyio.sleep(fault.seconds)
            case "outage":
                with network._outage(is_optional=True):
                    await anyio.sleep(fault.seconds)
            case "restart":
                await server.restart(downtime=fault.seconds)
            case "crash":
                await server.restart(downtime=fault.seconds, unsaved="lost")


def fault_schedules(
    *, names: Collection[FaultName] = _ALL, most: int = 10, within: float = 10.0
) -> SearchStrategy[list[Fault]]:
    """A strategy of Hypothesis: lists of faults for `play_faults`.

    Args:
        names: Which faults there can be.
        most: How many there are at most.
        within: The most seconds before a fault, and the most that one lasts.

    Raises:
        RuntimeError: Hypothesis is not installed.
    """
    check_size("most", most)
    check_seconds("within", within, most=_MOST_SECONDS)
    if isinstance(names, str) or not isinstance(names, Collection):
        raise TypeError(f"names is a list of names of faults, not {in_short(names)}")
    if not names:
        raise ValueError(f"names has one fault at least, not {in_short(names)}")
    for name in names:
        check_choice("names", name, _ALL)
    st = _hypothesis().strategies
    tenths: SearchStrategy[float] = st.integers(0, max(1, round(within * 10))).map(lambda n: n / 10)

    def faults_named(name: FaultName) -> SearchStrategy[Fault]:
        seconds = tenths if name in _LASTING else st.just(0.0)
        faults: SearchStrategy[Fault] = st.builds(Fault, st.just(name), tenths, seconds)
        return faults

    schedules: SearchStrategy[list[Fault]] = st.lists(
        st.sampled_from(list(names)).flatmap(faults_named), max_size=most
    )
    return schedules


def explore_faults(
    main: Callable[[Any], Awaitable[object]],
    *,
    schedules: SearchStrategy[Any] | None = None,
    examples: int = 100,
    seed: int = 0,
    backends: Iterable[str] = ("asyncio", "trio"),
) -> None:
    """Simulate a program with many schedules of faults, and make the first that fails small.

    Hypothesis finds and shrinks them. The program takes a schedule and gives it to `play_faults`,
    beside what is tested.

    Args:
        main: An async function of one argument, a schedule.
        schedules: Where schedules come from, a strategy of Hypothesis; None: `fault_schedules()`.
        examples: How many are tried on each backend. Shrinking tries more.
        seed: For the schedules, and for `simulate`.
        backends: On which backends.

    Raises:
        BaseException: what the program raised with the smallest schedule, with a note that says
            how to run it again.
        RuntimeError: Hypothesis is not installed; or in an async function, since this runs event
            loops of its own.
        TypeError, ValueError: an argument cannot be used; there is no backend.
    """
    check_function("main", main, none=False)
    check_size("examples", examples)
    check_instance("seed", seed, int, none=False)
    backends = check_backends(backends)
    if schedules is None:
        schedules = fault_schedules()
    with many_runs():
        for backend in backends:
            _Search(main, seed, backend).run(schedules, examples)


class _Search:
    """The search for a schedule that fails, and for the smallest that fails likewise."""

    def __init__(self, main: Callable[[Any], Awaitable[object]], seed: int, backend: str) -> None:
        self._main = main
        self._seed = seed
        self._backend = backend
        self._kind: type[BaseException] | None = None
        self._runs = 0

    def run(self, schedules: SearchStrategy[Any], examples: int) -> None:
        hypothesis = _hypothesis()
        settings = hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        try:
            smallest = hypothesis.find(
                schedules, self._fails, settings=settings, random=random.Random(self._seed)
            )
        except hypothesis.errors.NoSuchExample:
            return
        replay = replay_text(self._main, (smallest,), seed=self._seed, backend=self._backend)
        try:
            simulate(self._main, smallest, seed=self._seed, backend=self._backend)
        except BaseException as exc:
            exc.add_note(
                f"the smallest schedule that fails on {self._backend}, found in {self._runs} runs; "
                f"to see only this: {replay}"
            )
            raise
        raise AssertionError(
            f"{self._kind} was raised with the schedule {smallest!r}, and not when it ran again: "
            "assert_deterministic may say why"
        )

    def _fails(self, schedule: Sequence[Any]) -> bool:
        """Whether a schedule fails as the first one did that failed."""
        self._runs += 1
        try:
            with collecting():  # a report is about the smallest schedule only
                simulate(self._main, schedule, seed=self._seed, backend=self._backend)
        except Exception as exc:
            self._kind = self._kind or type(exc)
            return type(exc) is self._kind
        return False


def _hypothesis() -> Any:
    try:
        import_module("hypothesis.strategies")
        return import_module("hypothesis")
    except ImportError as exc:
        raise RuntimeError(
            "schedules of faults come from Hypothesis, which is not installed: pip install "
            "hypothesis"
        ) from exc
