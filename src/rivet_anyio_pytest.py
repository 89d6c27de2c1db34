"""The pytest plugin of rivet-anyio, which pytest loads by itself.

It imports nothing of rivet-anyio until a test asks for one of its fixtures. The fixtures work for
the tests of AnyIO's pytest plugin and for those of pytest-trio.
"""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rivet_anyio import Client
    from rivet_anyio.testing import Actor, ActorServer

_LINES = 200
"""How many lines of a timeline a report shows."""

_TIMELINES = 5
"""How many timelines a report shows, the last ones: a test may simulate one program many times."""

_timelines = pytest.StashKey[Any]()
_has_failed = pytest.StashKey[bool]()


# Seeds


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rivet-anyio")
    group.addoption(
        "--rivet-seed",
        type=int,
        metavar="N",
        help="the first seed of the tests that take the fixture rivet_seed; the default is 0",
    )
    group.addoption(
        "--rivet-seeds",
        type=int,
        metavar="COUNT",
        help="run each of these tests that many times, with seeds that follow on each other",
    )


def pytest_configure(config: pytest.Config) -> None:
    count = config.getoption("rivet_seeds")
    if count is not None and count < 1:
        raise pytest.UsageError(f"--rivet-seeds is at least 1, not {count}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test id for each seed."""
    if "rivet_seed" not in metafunc.fixturenames:
        return
    for marker in metafunc.definition.iter_markers("parametrize"):
        if "rivet_seed" in str(marker.args[0]):
            return  # the test says which seeds
    first = metafunc.config.getoption("rivet_seed") or 0
    count = metafunc.config.getoption("rivet_seeds") or 1
    seeds = range(first, first + count)
    ids = [f"seed{seed}" for seed in seeds]
    metafunc.parametrize("rivet_seed", seeds, ids=ids, indirect=True)


@pytest.fixture
def rivet_seed(request: pytest.FixtureRequest) -> Generator[int]:
    """The seed of this run, from ``--rivet-seed`` and ``--rivet-seeds``.

    What comes from the module `random` is drawn from it, and so is the order in which Trio's tasks
    run. Give it to `virtual_backend` or `simulate` for the order of asyncio's tasks, too.
    """
    from rivet_anyio.testing._seeds import seeded

    seed: int = request.param
    with seeded(seed):
        yield seed


def pytest_collection_finish(session: pytest.Session) -> None:
    config = session.config
    if config.getoption("rivet_seed") is None and config.getoption("rivet_seeds") is None:
        return
    if session.items and not any(_fixtures_of(item) >= {"rivet_seed"} for item in session.items):
        raise pytest.UsageError(
            "--rivet-seed is for tests that take the fixture 'rivet_seed', and no test here does"
        )


def _fixtures_of(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


# Reports


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None]:
    """Know the servers that run during a test."""
    timeline = sys.modules.get("rivet_anyio.testing._timeline")
    with nullcontext([]) if timeline is None else timeline.collecting() as timelines:
        item.stash[_timelines] = timelines
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any]:
    """Show in the report of a failure its seed, and what happened at its servers."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    item.stash[_has_failed] = True
    callspec = getattr(item, "callspec", None)
    if callspec is not None and "rivet_seed" in callspec.params:
        seed = callspec.params["rivet_seed"]
        config: Any = item.config
        name = shlex.quote(str(config.cwd_relative_nodeid(item.nodeid)))
        text = f"seed {seed}; to see only this:\npytest {name} --rivet-seed {seed}"
        report.sections.append(("seed", text))
    timelines: list[Any] = item.stash.get(_timelines, [])
    if len(timelines) > _TIMELINES:
        report.sections.append(("timelines", f"{len(timelines) - _TIMELINES} timelines before"))
    for timeline in timelines[-_TIMELINES:]:
        text = timeline.describe(_LINES) or "nothing happened"
        report.sections.append(("timeline of ActorServer", text))


# Servers


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse what would break when the test has passed."""
    fixtures = _fixtures_of(item)
    names = sorted(fixtures & {"rivet_server", "rivet_client"})
    if names and "anyio_backend" not in fixtures and not _is_async(item):
        raise pytest.UsageError(
            f"{' and '.join(names)} cannot be used in a synchronous test, since nothing would run "
            f"the server. Write 'async def {getattr(item, 'originalname', item.name)}' and mark it "
            "with @pytest.mark.anyio; under pytest-asyncio, begin it with 'async with "
            "ActorServer(rivet_actors) as server, server.client() as client:' in place of the "
            "fixtures"
        )
    if names and any(cls.__module__.startswith("pytest_asyncio") for cls in type(item).__mro__):
        raise pytest.UsageError(
            f"{' and '.join(names)} cannot be used under pytest-asyncio: it runs fixtures and "
            "tests in tasks of their own, and a server belongs into one task. Begin the test with "
            "'async with ActorServer(rivet_actors) as server, server.client() as client:', or mark "
            "it with @pytest.mark.anyio and run pytest with '-p no:asyncio' or in asyncio_mode = "
            "strict"
        )


def _is_async(item: pytest.Item) -> bool:
    function = getattr(item, "function", None)
    # Hypothesis wraps the test before it runs, and pytest-trio what it runs a second time.
    hypothesis = getattr(function, "hypothesis", None)
    is_trio = item.get_closest_marker("trio") is not None
    return is_trio or inspect.iscoroutinefunction(getattr(hypothesis, "inner_test", function))


@pytest.fixture
def rivet_actors() -> Mapping[str, Callable[[], Actor]]:
    """The actors of `rivet_server`: define a fixture of this name that returns yours."""
    raise pytest.UsageError(
        "rivet_server needs actors: define a fixture 'rivet_actors' that returns "
        'them by name, {"counter": Counter}'
    )


@pytest.fixture
def rivet_version() -> str:
    """The RivetKit version of `rivet_server`: define a fixture of this name for another one."""
    return "2.3"


@pytest.fixture
async def rivet_server(
    request: pytest.FixtureRequest,
    rivet_actors: Mapping[str, Callable[[], Actor]],
    rivet_version: str,
) -> AsyncGenerator[ActorServer]:
    """A server with the actors of `rivet_actors`, new for every test."""
    from rivet_anyio.testing import ActorServer

    async with ActorServer(rivet_actors, version=rivet_version) as server:
        yield server
        if request.node.stash.get(_has_failed, False):
            server._expect_no_end()


@pytest.fixture
async def rivet_client(rivet_server: ActorServer) -> AsyncGenerator[Client]:
    """A client of `rivet_server`."""
    async with rivet_server.client() as client:
        yield client
