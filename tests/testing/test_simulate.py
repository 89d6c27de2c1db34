"""`simulate` and `explore`: one seed, one run."""

from __future__ import annotations

import functools
import gc
import math
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import anyio
import pytest

from rivet_anyio import ConnectError, ConnectionLostError
from rivet_anyio.testing import (
    ActorServer,
    DeadlockError,
    Fault,
    assert_deterministic,
    explore,
    explore_faults,
    fault_schedules,
    play_faults,
    run_virtual,
    simulate,
    virtual_backend,
)
from rivet_anyio.testing._internals import trio_scheduling
from rivet_anyio.testing._seeds import many_runs

from .actors import ACTORS

BACKENDS = ["asyncio", "trio"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def turns() -> list[object]:
    """Who came when: by taking turns, by deadlines, and by cancellation."""
    order: list[object] = []

    async def take(name: int) -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            order.append(name)
        try:
            await anyio.sleep(random.random() if name % 2 else 60)
            order.append((name, anyio.current_time()))
        finally:
            order.append(-name)

    async with anyio.create_task_group() as tasks:
        for name in range(1, 9):
            tasks.start_soon(take, name)
        await anyio.sleep(5)
        tasks.cancel_scope.cancel()
    return order


def test_one_seed_is_one_run(backend: str) -> None:
    runs = [simulate(turns, seed=7, backend=backend) for _ in range(5)]
    assert all(run == runs[0] for run in runs)
    assert runs[0] != simulate(turns, seed=8, backend=backend)


def test_all_orders_come(backend: str) -> None:
    with many_runs():
        firsts = {tuple(simulate(turns, seed=seed, backend=backend)[:2]) for seed in range(60)}
    assert len(firsts) > 30, "of 56 there are"


async def race(ends: list[str]) -> None:
    """A bug that needs an unlucky order: the second may come first."""

    async def end(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        ends.append(name)

    ends.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end, "first")
        tasks.start_soon(end, "second")
    assert ends == ["first", "second"]


def test_explore_tells_how_to_see_it_again(backend: str) -> None:
    ends: list[str] = []
    with pytest.raises(AssertionError) as caught:
        explore(race, ends, seeds=range(100), backends=[backend])
    (note,) = caught.value.__notes__
    seed = int(note.split()[1])
    before = "[]" if seed == 0 else "['first', 'second']"
    assert note == (
        f"seed {seed} on {backend}; to see only this: "
        f"simulate(race, {before}, seed={seed}, backend={backend!r})"
    )
    with pytest.raises(AssertionError):
        eval(note.partition("only this: ")[2])


class Mood(Enum):
    GOOD = 1


@dataclass(frozen=True)
class Plan:
    steps: list[int]
    mood: Mood = Mood.GOOD


async def fail(*args: object, **options: object) -> None:
    raise ZeroDivisionError(repr((args, options)))


@pytest.mark.parametrize(
    ("main", "args"),
    [
        (fail, ()),
        (fail, (1, -2.5, True, None, "it's", b"\0", ..., range(3))),
        (fail, (math.inf, -math.inf)),
        (fail, ([], (), (1,), {1}, set(), frozenset({2}), {"a": [1]})),
        (fail, (Plan([1, 2]), Mood.GOOD, Plan, fail, [Fault("cut", 1.5)])),
        (functools.partial(fail, 5, limit=3), ([1],)),
    ],
)
def test_the_note_can_be_pasted(main: Any, args: tuple[Any, ...]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        explore(main, *args, seeds=[3], backends=["asyncio"])
    (note,) = caught.value.__notes__
    with pytest.raises(ZeroDivisionError) as again:
        eval(note.partition("only this: ")[2])
    assert str(again.value) == str(caught.value)


@pytest.mark.parametrize("args", [(object(),), ([lambda: 1],), (random.Random(1).random,)])
def test_what_cannot_be_pasted_says_what_to_do(args: tuple[Any, ...]) -> None:
    for main in (fail, lambda *args: fail()):
        with pytest.raises(ZeroDivisionError) as caught:
            explore(main, *args, seeds=[3], backends=["trio"])
        (note,) = caught.value.__notes__
        assert "explore the same program with seeds=[3], backends=['trio']" in note


def test_explore_runs_all() -> None:
    seen: list[float] = []

    async def look() -> None:
        seen.append(random.random())

    explore(look, seeds=range(5))
    assert len(seen) == 10 and len(set(seen)) == 5


def test_what_it_borrows_is_given_back(backend: str) -> None:
    async def main() -> None:
        assert not gc.isenabled()
        raise ZeroDivisionError

    random.seed(5)
    expected = random.random()
    random.seed(5)
    _, chance = trio_scheduling()
    state = chance.getstate()
    with pytest.raises(ZeroDivisionError):
        simulate(main, seed=1, backend=backend)
    assert random.random() == expected
    assert chance.getstate() == state, (
        "else Trio would run its tasks in one order in each test that follows"
    )
    assert gc.isenabled()


def test_what_waits_for_ever_is_told(backend: str) -> None:
    with pytest.raises(DeadlockError):
        simulate(anyio.sleep_forever, seed=1, backend=backend)
    with pytest.raises(ValueError, match="backend is"):
        simulate(turns, seed=1, backend="uvloop")


def test_a_backend_with_a_seed(backend: str) -> None:
    def run(seed: int) -> list[object]:
        name, options = virtual_backend(backend, seed=seed)
        if name == "trio":
            import trio

            return trio.run(turns, **options)
        return anyio.run(turns, backend=name, backend_options=options)

    random.seed(5)
    expected = random.random()
    random.seed(5)
    first = run(7)
    assert random.random() == expected, "it is given back"
    assert first == run(7) != run(8)
    assert first == simulate(turns, seed=7, backend=backend)
    with pytest.raises(TypeError, match="seed"):
        virtual_backend(backend, seed="7")  # type: ignore[arg-type]


async def count_visits(ask: str | None = None) -> None:
    """Asks something that no seed decides, if it is told to."""
    async with ActorServer(ACTORS) as server, server.client() as client:
        counter = client.counter.get_or_create("c")

        async def visit() -> None:
            await anyio.sleep(random.random())
            by = os.urandom(2)[0] if ask == "os.urandom" else 1
            await counter.increment(by)
            if ask == "clock" and time.perf_counter_ns() // 256 % 2:
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(visit)
        if ask == "error":
            raise ZeroDivisionError("the same")
        if ask == "another error":
            SEEN.add(len(SEEN))
            raise ZeroDivisionError(len(SEEN))


SEEN: set[int] = set()


def test_what_is_deterministic(backend: str) -> None:
    assert_deterministic(count_visits, seed=3, backends=[backend])
    with pytest.raises(ZeroDivisionError, match="the same"):
        assert_deterministic(count_visits, "error", backends=[backend])


async def give_up() -> None:
    """Cancel a call and an attempt to connect that are under way."""
    server = ActorServer(ACTORS)
    async with server, server.client() as client:
        counter = client.counter.get_or_create()
        server.faults.delay_action("increment", 30)
        with anyio.move_on_after(10):
            await counter.increment()
        with server.network.outage(), anyio.move_on_after(10):
            async with counter.connect(wait_for_server=True):
                pass


def test_a_cancellation_is_deterministic(backend: str) -> None:
    assert_deterministic(give_up, backends=[backend])


@pytest.mark.parametrize(
    ("ask", "found"),
    [
        ("os.urandom", "event . of the timeline was .* in the first run, .* in the second"),
        ("clock", r"step \d+ was .* in the first run|event"),
        ("another error", "the outcome was 'ZeroDivisionError: "),
    ],
)
def test_what_is_not(ask: str, found: str, backend: str) -> None:
    with pytest.raises(AssertionError, match=f"seed 4 on {backend} is not one run: ") as caught:
        for _ in range(20):  # the clock may say the same twice
            assert_deterministic(count_visits, ask, seed=4, backends=[backend])
    assert caught.match(found)
    assert f"simulate(count_visits, {ask!r}, seed=4, backend={backend!r}), twice" in str(
        caught.value
    )


def test_the_step_that_is_not_names_the_program(backend: str) -> None:
    async def sleep_longer() -> None:
        seconds.append(len(seconds) + 1)
        await anyio.sleep(seconds[-1])

    seconds: list[float] = []
    with pytest.raises(AssertionError, match=r"was '1.0+ s task \d+ the program' in the first"):
        assert_deterministic(sleep_longer, backends=[backend])


def test_what_cannot_be_written_is_cut_short() -> None:
    async def fail(names: object) -> None:
        raise LookupError

    class Names:
        def __repr__(self) -> str:
            return "n" * 1000

    with pytest.raises(LookupError) as caught:
        explore(fail, Names(), seeds=[5])
    assert caught.value.__notes__[0].endswith(f" ({'n' * 97}... cannot be written as Python)")


async def pay_five_times(schedule: list[Fault]) -> None:
    """Pays again what may have been paid."""
    async with (
        ActorServer(ACTORS) as server,
        server.client() as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(play_faults, server, schedule)
        counter = client.counter.get_or_create("c")
        for _ in range(5):
            await anyio.sleep(1)
            while True:
                try:
                    await counter.increment()
                    break
                except (ConnectError, ConnectionLostError):
                    await anyio.sleep(1)
        count = await counter.getCount()
        tasks.cancel_scope.cancel()
    assert count == 5, f"{count} payments"


async def wait_for_trouble(schedule: list[Fault]) -> None:
    await anyio.sleep(1)
    assert sum(fault.seconds for fault in schedule if fault.name == "outage") < 2, "too long"


@pytest.mark.parametrize("backend", ["asyncio"])
def test_a_schedule_that_fails_is_made_small(backend: str) -> None:
    schedules = fault_schedules(names=["cut", "outage"], most=2, within=3)
    with pytest.raises(AssertionError, match="too long") as caught:
        explore_faults(
            wait_for_trouble, schedules=schedules, examples=20, seed=1, backends=[backend]
        )
    note = caught.value.__notes__[-1]
    assert f"the smallest schedule that fails on {backend}, found in " in note
    replay = note.partition("only this: ")[2]
    assert "[Fault(name='outage', after=0.0, seconds=2.0)]" in replay
    with pytest.raises(AssertionError, match="too long"):
        eval(replay)


def test_a_schedule_that_fails_is_made_small_as_long_as_it_fails_likewise(backend: str) -> None:
    """With one fault this fails, too, but otherwise."""
    has_failed = False

    async def pay(schedule: list[Fault]) -> None:
        nonlocal has_failed
        if len(schedule) >= 2:
            has_failed = True
            raise ConnectError("two faults")
        if schedule and has_failed:
            raise LookupError("one fault")

    with pytest.raises(ConnectError, match="two faults"):
        explore_faults(pay, seed=1, backends=[backend])


def test_schedules_that_do_not_fail(backend: str) -> None:
    names: Any = ("refuse", "outage", "lose_request")
    schedules = fault_schedules(names=names, most=4, within=3)
    explore_faults(pay_five_times, schedules=schedules, examples=5, backends=[backend])


def test_every_fault_can_be_played(backend: str) -> None:
    async def main() -> None:
        everything: Any = ["cut", "close", "refuse", "lose_request", "lose_reply", "stall"]
        everything += ["outage", "restart", "crash"]
        async with ActorServer(ACTORS) as server:
            await play_faults(server, [Fault(name, 1, 2) for name in everything])
            assert anyio.current_time() == 9 + 4 * 2
            text = server.timeline()
            for said in ("break", "refuses", "lose_request", "hold", "outage", "restarts"):
                assert said in text

    simulate(main, seed=1, backend=backend)
    wrong: Any = "boom"
    for refused in (
        lambda: Fault(wrong),
        lambda: Fault("cut", -1),
        lambda: fault_schedules(names=[wrong]),
        lambda: fault_schedules(most=0),
        lambda: explore_faults(pay_five_times, examples=0),
    ):
        with pytest.raises(ValueError):
            refused()


def test_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(RuntimeError, match="pip install hypothesis"):
        explore_faults(pay_five_times)


@pytest.mark.parametrize("virtual", BACKENDS)
def test_where_an_event_loop_runs(virtual: str) -> None:
    """The error says so, and not that a seed failed."""

    async def nothing() -> None:
        pytest.fail("it ran")

    async def main() -> None:
        calls: list[Callable[[], object]] = [
            lambda: run_virtual(nothing),
            lambda: simulate(nothing, seed=1, backend="trio"),
            lambda: explore(nothing),
            lambda: explore_faults(lambda schedule: nothing()),
            lambda: assert_deterministic(nothing),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match="from a synchronous test") as caught:
                call()
            assert not hasattr(caught.value, "__notes__")

    run_virtual(main, backend=virtual)
