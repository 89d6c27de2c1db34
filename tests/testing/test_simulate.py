"""`simulate` and `explore`: one seed, one run."""

from __future__ import annotations

import gc
import random

import anyio
import pytest

from rivet_anyio.testing import DeadlockError, explore, simulate

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
    assert note == (
        f"seed {seed} on {backend}; to see only this: "
        f"simulate(race, seed={seed}, backend={backend!r})"
    )
    with pytest.raises(AssertionError):
        simulate(race, ends, seed=seed, backend=backend)
    assert ends == ["second", "first"]


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
    with pytest.raises(ZeroDivisionError):
        simulate(main, seed=1, backend=backend)
    assert random.random() == expected
    assert gc.isenabled()


def test_what_waits_for_ever_is_told(backend: str) -> None:
    with pytest.raises(DeadlockError):
        simulate(anyio.sleep_forever, seed=1, backend=backend)
    with pytest.raises(ValueError, match="backend is"):
        simulate(turns, seed=1, backend="uvloop")
