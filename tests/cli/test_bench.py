"""``bench``: what is called, how often, and what the figures are."""

from __future__ import annotations

from rivet_anyio.cli._commands.bench import summary

from .running import Cli


def test_quantiles_are_calls() -> None:
    found = summary([n / 1000 for n in range(100, 0, -1)], 2.0)
    assert (found["calls"], found["calls_per_second"], found["seconds"]) == (100, 50.0, 2.0)
    assert found["ms"] == {"min": 1.0, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    few = summary([0.003, 0.001, 0.002], 1.0)["ms"]
    assert (few["p50"], few["p90"]) == (2.0, 3.0)
    assert summary([0.5], 1.0)["ms"] == dict.fromkeys(("min", "p50", "p90", "p99", "max"), 500.0)
    assert "ms" not in summary([], 1.0)


def test_action_runs_as_often_as_it_is_said(cli: Cli, key: str) -> None:
    actor = f"counter/{key}"
    result = cli("bench", "-c", actor, "increment", "1", "--count", "20", "--parallel", "4")
    assert [(line["over"], line["calls"], line["parallel"]) for line in result.lines] == [
        ("http", 20, 4),
        ("connection", 20, 4),
    ]
    assert all(line["ms"]["min"] > 0 and line["calls_per_second"] > 0 for line in result.lines)
    # One call before each of the two is not counted.
    assert cli("call", actor, "getCount").out == "42\n"


def test_round_trips_run_nothing(cli: Cli, key: str) -> None:
    actor = f"counter/{key}"
    result = cli("bench", "-c", actor, "--seconds", "0.3", "--over", "connection", "-o", "text")
    assert " calls/s " in result.out and "p99" in result.out
    assert cli("call", actor, "getCount").out == "0\n"


def test_errors_end_it(cli: Cli, key: str) -> None:
    failed = cli("bench", "-c", f"probe/{key}", "fail", "x", "{}", code=3)
    assert "user.my_code" in failed.err and failed.out == ""
