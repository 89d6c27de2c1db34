"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rivet_anyio_pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from rivet_anyio.testing import Actor

pytest_plugins = ["rivet_anyio.testing.pytest_plugin"]

class Counter(Actor):
    count = 0

    async def increment(self, by=1):
        self.count += by
        self.context.broadcast("newCount", self.count)
        return self.count

@pytest.fixture
def rivet_actors():
    return {"counter": Counter}
"""

TESTS = """
import pytest
from rivet_anyio.testing import ActionCalled, collect

async def test_actions(rivet_server, rivet_client):
    counter = rivet_client.counter.get_or_create("a")
    async with counter.connect() as conn:
        counts = conn.events("newCount")
        assert await conn.increment(2) == 2
        assert await collect(counts, 1) == [2]
    assert rivet_server.actor("counter", "a").count == 2
    assert rivet_server.version == "2.3.19"

async def test_every_test_has_its_own_server(rivet_server, rivet_client):
    assert await rivet_client.counter.get_or_create("a").increment() == 1
    assert len(rivet_server.log.of(ActionCalled)) == 1
"""


@pytest.fixture(autouse=True)
def no_settings_of_others(pytester: pytest.Pytester) -> None:
    """Without a file of its own, such a run takes the settings of a folder above its own."""
    pytester.makeini("[pytest]")


@pytest.fixture
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    return pytester


def check(pytester: pytest.Pytester, *options: str, **outcomes: int) -> None:
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *options)
    result.assert_outcomes(**outcomes)


def test_under_anyio(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is named in conftest.py and found by pytest as well: twice is once."""
    install(run, monkeypatch)
    run.makepyfile("import pytest\npytestmark = pytest.mark.anyio\n" + TESTS)
    check(run, "-p", "no:trio", "-p", "no:asyncio", passed=4)


def test_under_anyio_in_auto_mode(run: pytest.Pytester) -> None:
    run.makepyfile(TESTS)
    check(run, "-p", "no:trio", "-p", "no:asyncio", "-o", "anyio_mode=auto", passed=4)


def test_under_pytest_trio(run: pytest.Pytester) -> None:
    seeded = """
import trio
seen = []

@pytest.mark.parametrize("again", range(4))
async def test_seeds(again, rivet_seed, rivet_client, autojump_clock):
    await rivet_client.counter.get_or_create("x").increment()
    order = []
    async def add(n):
        await trio.sleep(1)
        order.append(n)
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(add, n)
    seen.append(order)
    assert order == seen[0] and rivet_seed == 0
"""
    run.makepyfile("import pytest\npytestmark = pytest.mark.trio\n" + TESTS + seeded)
    check(run, "-p", "no:asyncio", passed=6)


def test_a_deadlock_under_pytest_trio(run: pytest.Pytester) -> None:
    """Its own clock knows nothing of what waits for ever, and pings would keep it busy."""
    run.makepyfile(
        """
        import anyio, pytest

        async def wait():
            await anyio.Event().wait()

        async def test_events(rivet_client, autojump_clock):
            conn = rivet_client.counter.get_or_create().connect()
            async with conn, conn.events("newCount") as counts:
                await counts.receive()

        async def test_tasks(rivet_server, autojump_clock):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)

        @pytest.fixture
        async def late(autojump_clock, rivet_server):
            yield
            await wait()

        async def test_clean_up(late, autojump_clock):
            pass

        async def test_the_next_one(rivet_client, autojump_clock):
            assert await rivet_client.counter.get_or_create().increment() == 1
        """
    )
    result = run.runpytest_subprocess(
        *("-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error", "-o", "trio_mode=true"),
        timeout=60,
    )
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["*DeadlockError*", "*the test in test_events *receive()"])
    result.stdout.fnmatch_lines(["*DeadlockError*", "*in wait *Event().wait()"])


def test_under_pytest_trio_in_trio_mode(run: pytest.Pytester) -> None:
    run.makepyfile(TESTS)
    check(run, "-p", "no:asyncio", "-o", "trio_mode=true", passed=2)


def test_in_virtual_time(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import anyio, pytest
        from rivet_anyio.testing import Connected, virtual_backend

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return virtual_backend(request.param)

        @pytest.mark.parametrize("n", range(3))
        async def test_an_hour(rivet_server, rivet_client, n):
            counter = rivet_client.counter.get_or_create()
            async with counter.connect() as conn:
                with rivet_server.network.outage():
                    await anyio.sleep(3600)
                assert await conn.increment() == 1
            assert anyio.current_time() > 3600

        async def test_time_begins_anew():
            assert anyio.current_time() == 0
        """
    )
    check(run, "-p", "no:trio", "-p", "no:asyncio", passed=8)


def test_a_deadlock_harms_no_other_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import anyio, pytest
        from rivet_anyio.testing import virtual_backend

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["asyncio", "trio"], scope="module")
        def anyio_backend(request):
            return virtual_backend(request.param)

        async def test_before(rivet_client):
            assert await rivet_client.counter.get_or_create().increment() == 1

        async def test_that_waits(rivet_client):
            async with rivet_client.counter.get_or_create().connect() as conn:
                await conn.next_event("never")

        async def test_between(rivet_client):
            assert await rivet_client.counter.get_or_create().increment() == 1

        async def test_whose_task_waits(rivet_client):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.Event().wait)

        async def test_whose_clean_up_waits(rivet_client):
            try:
                await anyio.Event().wait()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.Event().wait()

        @pytest.fixture
        async def waiting():
            yield
            await anyio.Event().wait()

        async def test_whose_fixture_waits(waiting):
            pass

        async def test_after(rivet_client):
            assert await rivet_client.counter.get_or_create().increment() == 1
            await anyio.sleep(3600)
        """
    )
    result = run.runpytest_subprocess(
        "-p", "no:trio", "-p", "no:asyncio", "-p", "no:cacheprovider", timeout=120
    )
    result.assert_outcomes(passed=8, failed=6, errors=2)
    result.stdout.fnmatch_lines(["*DeadlockError: every task waits*"])
    result.stdout.fnmatch_lines(['*test_a_deadlock*: await conn.next_event("never")*'])


def test_a_failure_shows_its_timeline(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import anyio, pytest
        from rivet_anyio.testing import ActorServer, virtual_backend

        pytestmark = pytest.mark.anyio

        @pytest.fixture(params=["asyncio", "trio"])
        def anyio_backend(request):
            return virtual_backend(request.param)

        async def test_that_passes(rivet_client):
            await rivet_client.counter.get_or_create("passes").increment(7)

        async def test_that_fails(rivet_server, rivet_client):
            counter = rivet_client.counter.get_or_create("fails")
            async with counter.connect() as conn:
                counts = conn.events("newCount", gaps="mark")
                await conn.increment()
                await anyio.sleep(10)
                rivet_server.faults.lose_reply("increment")
                with pytest.raises(Exception):
                    await conn.increment()
                with rivet_server.network.outage():
                    await anyio.sleep(60)
                await conn.wait_connected()
                rivet_server.faults.lose_reply("increment")  # follows from the failure
                assert await counts.receive() == "three"

        async def test_with_its_own_server(rivet_actors):
            async with ActorServer(rivet_actors) as server, server.client() as client:
                await client.counter.get_or_create("own").increment(5)
                for times in range(1000, 1201):
                    server.network.refuse(times)
                server.network.clear()
                assert False
        """
    )
    result = run.runpytest_subprocess("-p", "no:trio", "-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=4)
    text = result.stdout.str()
    assert text.count("- timeline of ActorServer -") == 4
    assert "refuses the next 1200 " in text and "refuses the next 1000 " not in text
    assert "'passes'" not in text
    result.stdout.fnmatch_lines(
        [
            "*0.000 server * counter?'fails'? ActionCalled 'increment' () 'connection0001'*",
            "*0.000 server * event 'newCount' (1,) sent to connection0001*",
            "*0.000 server * increment returned 1*",
            "*0.000 client 1 * action 'increment' by websocket: done*",
            "*10.000 fault * armed lose_reply('increment')*",
            "*10.000 fault * fired lose_reply('increment')*",
            "*10.000 client 1 * action 'increment' by websocket: ConnectionLostError*",
            "*network * outage begins*",
            "*client 1 * not connected: ConnectError*",
            "*client 1 * attempt 2 to connect after *",
            "*network * outage ends*",
            "*client 1 * gap in 'newCount'*",
        ]
    )


def test_a_failure_shows_the_timeline_of_its_own_run(run: pytest.Pytester) -> None:
    """Not those of the runs before it, which passed, or were on the way to a smaller schedule."""
    run.makepyfile(
        """
        import random
        from functools import partial
        import anyio
        from hypothesis import given, settings, strategies as st
        from rivet_anyio.testing import (
            ActorServer, assert_deterministic, explore, explore_faults, run_virtual, simulate
        )
        from conftest import Counter

        async def count(actor, is_right):
            async with ActorServer({"counter": Counter}) as server, server.client() as client:
                await client.counter.get_or_create(actor).increment()
                assert is_right()

        def test_explore():
            explore(count, "explored", lambda: random.random() < 0.9, seeds=range(3, 1000))

        async def play(schedule):
            await count(f"{len(schedule)} faults", lambda: len(schedule) < 3)

        def test_explore_faults():
            explore_faults(play, examples=50)

        async def draw():
            await count("drawn", lambda: False)

        def test_assert_deterministic():
            assert_deterministic(draw)

        def test_many():
            for number in range(20):
                run_virtual(count, f"number {number}", lambda: number < 19)
        """
    )
    result = run.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=4)
    sections: dict[str, list[str]] = {}
    for part in result.stdout.str().split("\n____")[1:]:
        name, *texts = re.split("\n-+ timeline of ActorServer -+\n", part)
        sections[name.split()[1]] = texts
    assert {name: len(texts) for name, texts in sections.items()} == {
        "test_explore": 1,
        "test_explore_faults": 1,
        "test_assert_deterministic": 1,
        "test_many": 5,
    }
    assert "3 faults" in sections["test_explore_faults"][0]
    assert [re.findall(r"number \d+", text)[0] for text in sections["test_many"]] == [
        f"number {number}" for number in range(15, 20)
    ]
    result.stdout.fnmatch_lines(["*15 timelines before*"])


def test_a_failure_shows_no_source_of_ours(run: pytest.Pytester) -> None:
    """What a test sees of `wait_for` and the like is the line of its own that called it."""
    run.makepyfile(
        """
        import anyio, pytest
        from rivet_anyio import TypedActor
        from rivet_anyio.testing import *
        from conftest import Counter

        @pytest.fixture
        def anyio_backend():
            return virtual_backend("asyncio")

        @pytest.mark.anyio
        async def test_wait_for(rivet_server):
            await rivet_server.wait_for(Connected)

        @pytest.mark.anyio
        async def test_collect(rivet_client):
            async with rivet_client.counter.get_or_create().connect() as conn:
                await collect(conn.events("newCount"), 1)

        @pytest.mark.anyio
        async def test_name(rivet_server):
            rivet_server.faults.lose_reply("incremnet")

        @pytest.mark.anyio
        async def test_own_server():
            async with ActorServer({"counter": Counter}) as server:
                server.faults.lose_reply("increment")

        def test_contract():
            class Other(TypedActor, name="counter"):
                pass
            check_contract({"counter": Counter}, Other)

        def test_limit():
            run_virtual(anyio.sleep, 5, limit=1)

        async def unlike():
            await anyio.sleep(unlike.seconds)
            unlike.seconds += 1
        unlike.seconds = 1

        def test_unlike():
            assert_deterministic(unlike)
        """
    )
    result = run.runpytest_subprocess("-p", "no:trio", "-p", "no:asyncio", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=7)
    ours = os.path.dirname(rivet_anyio_pytest.__file__) + os.sep
    shown = [line for line in result.stdout.lines if line.startswith(ours) or "Returns:" in line]
    assert not shown


def test_a_leak_fails_the_test(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import anyio, pytest

        pytestmark = pytest.mark.anyio

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.fixture
        async def keeper():
            async with anyio.create_task_group() as tasks:
                yield tasks
                tasks.cancel_scope.cancel()

        async def test_that_leaks(keeper, rivet_server):
            async def hold(*, task_status):
                async with rivet_server.client() as client:
                    async with client.counter.get_or_create("a").connect():
                        task_status.started()
                        await anyio.sleep_forever()

            await keeper.start(hold)
        """
    )
    result = run.runpytest_subprocess("-p", "no:trio", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ConnectionLeakError: left open*connection0001 to counter*"])


def test_actors_are_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["rivet_anyio.testing.pytest_plugin"]')
    pytester.makepyfile(
        "import pytest\n@pytest.mark.anyio\nasync def test_it(rivet_client): pass\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:trio", "-p", "no:asyncio")
    result.stdout.fnmatch_lines(["*define a fixture 'rivet_actors'*"])


def test_the_version(run: pytest.Pytester) -> None:
    run.makepyfile(
        """
        import pytest

        @pytest.fixture(params=["2.0", "2.2", "2.3"])
        def rivet_version(request):
            return request.param

        @pytest.mark.anyio
        async def test_it(rivet_server, rivet_version):
            assert rivet_server.version.startswith(rivet_version)
        """
    )
    check(run, "-p", "no:trio", "-p", "no:asyncio", passed=6)


SEEDED = """
import random, pytest, anyio
from rivet_anyio.testing import simulate, virtual_backend

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request, rivet_seed):
    return virtual_backend(request.param, seed=rivet_seed)

seen = {}

def check(name, seed, value):
    # The same for the same seed, whichever test draws it.
    assert seen.setdefault((name, seed), value) == value

async def order():
    found = []
    async def add(n):
        await anyio.lowlevel.checkpoint()
        found.append(n)
    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(add, n)
    return found, random.random()

@pytest.mark.anyio
@pytest.mark.parametrize("again", range(2))
async def test_of_tasks(again, rivet_seed, anyio_backend_name, rivet_client):
    await rivet_client.counter.get_or_create("x").increment()
    check(anyio_backend_name, rivet_seed, await order())

@pytest.mark.parametrize("again", range(2))
def test_of_a_simulation(again, rivet_seed):
    check("random", rivet_seed, random.random())
    check("simulated", rivet_seed, simulate(order, seed=rivet_seed))
    assert rivet_seed != 12, "unlucky"

@pytest.mark.parametrize("rivet_seed", [5], indirect=True)
def test_with_its_own_seed(rivet_seed):
    assert rivet_seed == 5
"""


def test_seeds_from_the_command_line(run: pytest.Pytester) -> None:
    run.makepyfile(SEEDED)
    options = ("-p", "no:trio", "-p", "no:asyncio", "-p", "no:cacheprovider")
    more = ("--rivet-seed=11", "--rivet-seeds=3", "-v")
    result = run.runpytest_subprocess(*options, *more)
    result.assert_outcomes(passed=2 * 3 * 2 + 2 * 2 + 1, failed=2)
    text = result.stdout.str()
    for name in ("seed11-0", "seed12-1", "seed13-0"):
        assert f"test_of_a_simulation[{name}]" in text
    assert "- seed -" in text
    (replay, *_) = [line for line in text.splitlines() if line.startswith("pytest ")]
    command = shlex.split(replay)
    assert command[-2:] == ["--rivet-seed", "12"]
    again = run.runpytest_subprocess(*options, *command[1:])
    again.assert_outcomes(failed=1)


class Config:
    """As much of pytest's as the plugin asks for."""

    def __init__(self, **options: int | None) -> None:
        self.options: dict[str, int | None] = {"rivet_seed": None, "rivet_seeds": None, **options}

    def getoption(self, name: str) -> int | None:
        return self.options[name]


def test_seeds_that_cannot_be() -> None:
    config: Any = Config(rivet_seeds=0)
    with pytest.raises(pytest.UsageError, match="--rivet-seeds is at least 1, not 0"):
        rivet_anyio_pytest.pytest_configure(config)


def test_a_seed_that_no_test_takes() -> None:
    for options in ({"rivet_seed": 3}, {"rivet_seeds": 2}):
        session: Any = SimpleNamespace(
            config=Config(**options), items=[SimpleNamespace(fixturenames=["tmp_path"])]
        )
        with pytest.raises(pytest.UsageError, match="the fixture 'rivet_seed', and no test here"):
            rivet_anyio_pytest.pytest_collection_finish(session)
        session.items.append(SimpleNamespace(fixturenames=["rivet_seed"]))
        rivet_anyio_pytest.pytest_collection_finish(session)
        session.items.clear()
        rivet_anyio_pytest.pytest_collection_finish(session)


ENTRY_POINT = Path(__file__).parents[2] / "pyproject.toml"


def install(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pytest find the plugin as in an environment where the package is installed."""
    points = tomllib.loads(ENTRY_POINT.read_text())["project"]["entry-points"]["pytest11"]
    info = pytester.mkdir("site") / "installed_harness-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-harness\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    monkeypatch.setenv("PYTHONPATH", str(info.parent), prepend=os.pathsep)


def test_it_does_nothing_until_asked(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(pytester, monkeypatch)
    pytester.makeconftest("")
    pytester.makepyfile(
        """
        import sys
        def test_it():
            assert "rivet_anyio_pytest" in sys.modules
            for name in ("rivet_anyio", "httpx", "anyio.abc", "trio"):
                assert name not in sys.modules, name
        """
    )
    check(pytester, "-p", "no:trio", "-p", "no:asyncio", "-p", "no:anyio", passed=1)


def test_under_pytest_asyncio(run: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    run.makepyfile(
        """
        import anyio, pytest
        from rivet_anyio.testing import ActorServer, VirtualTimeLoop

        @pytest.mark.asyncio
        async def test_with_a_fixture(rivet_server, rivet_client):
            pass

        @pytest.mark.asyncio
        async def test_with_a_server(rivet_actors):
            async with ActorServer(rivet_actors) as server, server.client() as client:
                async with client.counter.get_or_create("a").connect() as conn:
                    assert await conn.increment(2) == 2

        @pytest.mark.asyncio
        async def test_in_virtual_time(rivet_actors):
            async with ActorServer(rivet_actors) as server, server.client() as client:
                await client.counter.get_or_create("a").increment()
                await anyio.sleep(3600)
        """
    )
    run.makeconftest(
        CONFTEST
        + """

def pytest_asyncio_loop_factories(config, item):
    from rivet_anyio.testing import VirtualTimeLoop

    return {"virtual": VirtualTimeLoop}
"""
    )
    result = run.runpytest_subprocess("-p", "no:trio", "-o", "asyncio_mode=auto", timeout=60)
    result.assert_outcomes(passed=2, errors=1)
    text = result.stdout.str()
    assert "rivet_client and rivet_server cannot be used under pytest-asyncio" in text
    assert "Begin the test with 'async with ActorServer(rivet_actors)" in text
    assert "different task" not in text


SYNC = """
import pytest

def test_sync(rivet_server):
    pass

@pytest.mark.anyio
def test_marked(rivet_client):
    pass

@pytest.fixture
async def mine(rivet_server):
    return rivet_server

def test_with_a_fixture_of_its_own(mine):
    pass

def test_with_a_backend(anyio_backend, rivet_server):
    pass

@pytest.mark.anyio
async def test_that_can(rivet_server):
    pass
"""


@pytest.mark.parametrize("plugin", ["anyio", "asyncio"])
def test_synchronous_tests(run: pytest.Pytester, plugin: str) -> None:
    if plugin == "asyncio":
        pytest.importorskip("pytest_asyncio")
    run.makepyfile(SYNC)
    options = ("-p", "no:asyncio") if plugin == "anyio" else ("-o", "asyncio_mode=auto")
    result = run.runpytest_subprocess("-p", "no:trio", *options, timeout=60)
    # On two backends; pytest-asyncio takes all tests that are async.
    passed, errors = (4, 3) if plugin == "anyio" else (2, 5)
    result.assert_outcomes(passed=passed, errors=errors)
    text = result.stdout.str()
    assert "rivet_server cannot be used in a synchronous test" in text
    assert "Write 'async def test_sync' and mark it with @pytest.mark.anyio" in text
    assert "different task" not in text


def test_beside_pytest_asyncio(run: pytest.Pytester) -> None:
    pytest.importorskip("pytest_asyncio")
    run.makepyfile(
        TESTS.replace("async def", "@pytest.mark.anyio\nasync def")
        + """
@pytest.mark.asyncio
async def test_with_a_fixture(rivet_client):
    pass
"""
    )
    options = ("-p", "no:trio", "-o", "asyncio_mode=strict")
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    check(run, *options, *scope, passed=4, errors=1)
