"""Hundreds of faults under a program that calls and listens, and every promise kept.

A run that failed is repeated with ``pytest tests/faults --fault-seed=N --faults=K``.
"""

from __future__ import annotations

import random
import tracemalloc

import anyio
import pytest

from tests.servers import Server

from .accounting import violations
from .conftest import impatient
from .leftovers import held, held_memory, nothing_left_since
from .proxy import running_proxy
from .schedule import FAULTS, disturb, plan
from .workload import Workload

_SEEDS = {"2.0.33": 33, "2.2.1": 21, "2.3.19": 19}
_COUNTS = {"2.0.33": 40, "2.2.1": 200, "2.3.19": 40}
_HELD_BYTES = 64 * 1024


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", range(metafunc.config.getoption("--fault-runs")))


@pytest.mark.timeout(240)
async def test_nothing_is_lost_in_silence(
    any_server: Server,
    key: list[str],
    run: int,
    anyio_backend_name: str,
    pytestconfig: pytest.Config,
    caplog: pytest.LogCaptureFixture,
) -> None:
    seed = pytestconfig.getoption("--fault-seed") or _SEEDS[any_server.version]
    seed += run + (1000 if anyio_backend_name == "trio" else 0)
    count = pytestconfig.getoption("--faults") or _COUNTS[any_server.version]
    print(f"--fault-seed={seed} --faults={count} on {anyio_backend_name}, {any_server.version}")
    chance = random.Random(seed)
    encoding = chance.choice(["bare", "cbor", "json"])
    tracemalloc.start()
    try:
        before, memory = await held(), held_memory()
        found = []
        with running_proxy(any_server.port) as proxy:
            async with impatient(proxy.endpoint, encoding) as client:
                workload = Workload(client.ledger.get_or_create(key), chance)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(workload.run)
                    await disturb(proxy, workload, seed, count)
                    workload.stop()
        async with impatient(any_server.endpoint) as direct:
            log = await direct.ledger.get_or_create(key).log()
        # 2.3 begins actions that come together in any order.
        in_order = not any_server.version.startswith("2.3.")
        found += violations(log, workload.histories, in_order=in_order)
        found += await nothing_left_since(before)
        report = workload.report()
        print(dict(report))
        # pytest keeps every record, and a record its error.
        caplog.clear()
        del workload
        grown = held_memory() - memory
    finally:
        tracemalloc.stop()
    assert not found, "\n".join(found)
    assert grown < _HELD_BYTES
    # The faults have met something, and something was done between them.
    assert report["gaps"] > count / 4
    assert report["returned"] > count


def test_a_seed_says_what_happens() -> None:
    assert plan(5, 300) == plan(5, 300) != plan(6, 300)
    assert set(plan(5, len(FAULTS))) == set(FAULTS)
