"""Hundreds of faults under a program that calls and listens, and every promise kept.

A run that failed is repeated with ``pytest tests/faults --fault-seed=N --faults=K``.
"""

from __future__ import annotations

import logging
import random
import tracemalloc
from functools import partial

import pytest

from rivet_anyio.protocol.codec import Encoding
from tests.servers import Server

from .leftovers import held, held_memory, nothing_left_since
from .schedule import FAULTS, disturb, plan
from .stage import stage

_SEEDS = {"2.0.33": 33, "2.1.3": 13, "2.2.1": 21, "2.3.19": 19}
_COUNTS = {"2.0.33": 40, "2.1.3": 40, "2.2.1": 100, "2.3.19": len(FAULTS)}
_HELD_BYTES = 16 * 1024


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", range(metafunc.config.getoption("--fault-runs")))


@pytest.mark.timeout(600)
async def test_every_promise_is_kept(
    any_server: Server,
    key: list[str],
    run: int,
    anyio_backend_name: str,
    pytestconfig: pytest.Config,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # pytest would keep every record, the record its error, and that everything else.
    caplog.set_level(logging.CRITICAL, logger="rivet_anyio")
    seed = pytestconfig.getoption("--fault-seed")
    if seed is None:
        seed = _SEEDS[any_server.version] + (1000 if anyio_backend_name == "trio" else 0)
    seed += run
    count = pytestconfig.getoption("--faults") or _COUNTS[any_server.version]
    print(f"--fault-seed={seed} --faults={count}: {any_server.version}, {anyio_backend_name}")
    chance = random.Random(seed)
    encoding: Encoding = chance.choice(["bare", "cbor", "json"])
    tracemalloc.start()
    try:
        before, memory = await held(), held_memory()
        async with stage(any_server, encoding) as on:
            found, report = await on.play(key, chance, partial(disturb, seed=seed, count=count))
        print(f"{encoding}: {dict(report)}")
        del on
        found += await nothing_left_since(before)
        grown = held_memory() - memory
    finally:
        tracemalloc.stop()
    assert not found, "\n".join(found)
    assert grown < _HELD_BYTES
    # The faults have met something, and something was done between them.
    assert report["gaps"] > count / 4
    assert report["returned"] > count / 2
    assert report["returned after a wait"] > count / 20


def test_a_seed_says_what_happens() -> None:
    assert plan(5, 300) == plan(5, 300) != plan(6, 300)
    assert set(plan(5, len(FAULTS))) == set(FAULTS)
