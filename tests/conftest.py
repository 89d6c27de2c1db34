"""Options of the tests that can do more than the ordinary suite lets them."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from rivet_anyio._io.asyncio import AsyncioBackend
from tests.loops import LOOPS
from tests.servers import CHECKED, VERSIONS

# How long an example takes says something about the machine only.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


_REAL = Path(__file__).parent / "real"

# The fixtures whose parameter is a version.
_SERVERS = ("server", "private_server")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=VERSIONS,
        default="2.2.1",
        help="the RivetKit of the tests that take any one",
    )
    parser.addoption(
        "--all-versions",
        action="store_true",
        help="every RivetKit, in every encoding, not only those of the ordinary suite",
    )
    parser.addoption(
        "--fallback-streams",
        action="store_true",
        help="asyncio by its transports, as where its loop cannot watch sockets",
    )
    parser.addoption("--loop", choices=LOOPS, help="run on this event loop alone")
    parser.addoption("--crowd", type=int, help="how many sources of a feed, also on a real server")
    group = parser.getgroup("faults")
    group.addoption("--gap-losses", type=int, default=50, help="in the race of gaps")
    group.addoption("--fault-seed", type=int, help="begin with this seed, not the usual ones")
    group.addoption("--faults", type=int, help="how many faults a run has")
    group.addoption("--fault-runs", type=int, default=1, help="how many seeds to run")
    group.addoption("--cut-every", type=int, default=97, help="of how many bytes one is cut at")
    group.addoption("--reconnects", type=int, default=100, help="of one connection")
    group.addoption(
        "--all-kills", action="store_true", help="also where a restart takes half a minute"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_encoding: others only with --all-versions")
    if config.getoption("--fallback-streams"):
        AsyncioBackend.stream = _watches_no_sockets  # type: ignore[assignment,method-assign]


def _watches_no_sockets(backend: AsyncioBackend, sock: object, data: bytes) -> NoReturn:
    raise NotImplementedError


@pytest.hookimpl(tryfirst=True)  # before pytest looks for marks
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what would run on asyncio and Trio on `--loop`; leave alone what names its backends."""
    loop = metafunc.config.getoption("--loop")
    if loop is None or "anyio_backend" not in metafunc.fixturenames:
        return
    marks = metafunc.definition.iter_markers("parametrize")
    definitions = metafunc.definition._fixtureinfo.name2fixturedefs.get("anyio_backend", ())
    if any("anyio_backend" in mark.args[0] for mark in marks) or len(definitions) != 1:
        return
    backend = ("asyncio", LOOPS[loop])
    mark = pytest.mark.parametrize("anyio_backend", [backend], ids=[loop], scope="module")
    metafunc.definition.add_marker(mark)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only `--all-versions` runs."""
    if config.getoption("--all-versions"):
        return
    left_out = [item for item in items if not _is_ordinary(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if _is_ordinary(item)]


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at what stays until the end: it is most of the memory."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def logging_is_left_as_found() -> Iterator[None]:
    """A test that turns the log on, and forgets it, changes what the tests behind it see."""
    before = _logging()
    yield
    assert _logging() == before, "the test changes the set-up of logging for those behind it"


def _logging() -> list[tuple[str, int, list[logging.Handler]]]:
    loggers = [logging.getLogger(), logging.getLogger("rivet_anyio")]
    kinds = "LogCaptureHandler", "_LiveLoggingNullHandler", "_FileHandler"  # pytest's own
    return [
        (
            logger.name,
            logger.level,
            [handler for handler in logger.handlers if type(handler).__name__ not in kinds],
        )
        for logger in loggers
    ]


def _is_ordinary(item: pytest.Item) -> bool:
    """Whether its server is one of `CHECKED`; of the slow 2.3 one encoding is enough."""
    if not item.path.is_relative_to(_REAL):
        return True
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else callspec.params
    version = next((params[name] for name in _SERVERS if params.get(name) in VERSIONS), CHECKED[0])
    one_encoding = version.startswith("2.3.") or item.get_closest_marker("one_encoding")
    return version in CHECKED and (not one_encoding or params.get("encoding", "bare") == "bare")
