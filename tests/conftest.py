"""Options of the tests that can do more than the ordinary suite lets them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import VERSIONS

# How long an example takes says something about the machine only.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        choices=VERSIONS,
        default="2.2.1",
        help="the RivetKit of the tests that take any one",
    )
    group = parser.getgroup("faults")
    group.addoption("--fault-seed", type=int, help="begin with this seed, not the usual ones")
    group.addoption("--faults", type=int, help="how many faults a run has")
    group.addoption("--fault-runs", type=int, default=1, help="how many seeds to run")
    group.addoption("--reconnects", type=int, default=200, help="of one connection")
    group.addoption(
        "--all-kills", action="store_true", help="also where a restart takes half a minute"
    )
