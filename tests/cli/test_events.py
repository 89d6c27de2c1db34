"""``events``: lines and tables, counts, gaps and failures."""

from __future__ import annotations

import json
import signal

from tests.faults.proxy import running_proxy
from tests.servers import Server, call

from .running import Cli

DIRECTLY = ("events", "--no-metadata", "--endpoint")


def emit(server: Server, key: str, name: str, *args: object) -> None:
    call(server.port, "probe", key, "emit", name, *args)


def test_lines_of_json(cli: Cli, server: Server, key: str) -> None:
    with cli.background("events", "-c", f"probe/{key}", "one", "two") as run:
        run.until(lambda: "\n" in run.out, step=lambda: emit(server, key, "one"))
        emit(server, key, "other", 1)
        emit(server, key, "two", "ä", {"n": [1]})
        emit(server, key, "two", [1])
        run.until(lambda: run.out.count('"two"') == 2)
        result = run.end(signal.SIGINT)
    assert result.code == 130
    twos = [line for line in result.lines if line["event"] != "one"]
    assert [line["args"] for line in twos] == [["ä", {"n": [1]}], [[1]]]
    assert result.lines[0] == {**result.lines[0], "type": "event", "event": "one", "args": []}


def test_it_ends_after_so_many(cli: Cli, server: Server, key: str) -> None:
    with cli.background("events", "-c", f"probe/{key}", "one", "two", "-n", "3") as run:
        run.until(lambda: run.out.count("\n") == 3, step=lambda: emit(server, key, "one"))
        result = run.end()
    assert result.code == 0 and len(result.lines) == 3


def test_gap_and_reconnect_are_told(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with (
        running_proxy(server.port) as proxy,
        cli.background(*DIRECTLY, proxy.endpoint, f"probe/{key}", "tick") as run,
    ):
        run.until(lambda: run.out, step=lambda: emit(server, key, "tick", 1))
        proxy.cut()
        run.until(lambda: '"gap"' in run.out)
        seen = len(run.out)
        run.until(lambda: run.out[seen:], step=lambda: emit(server, key, "tick", 2))
        result = run.end(signal.SIGINT)
    gap = next(line for line in result.lines if line["type"] == "gap")
    assert gap["event"] == "tick" and gap["seconds"] >= 0 and gap["attempts"] >= 1
    assert result.lines[-1]["args"] == [2]
    assert "connection lost" in result.err and "connected again" in result.err


def test_gap_at_a_terminal(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with (
        running_proxy(server.port) as proxy,
        cli.terminal(*DIRECTLY, proxy.endpoint, f"probe/{key}", "tick") as run,
    ):
        run.until(lambda: '"a"' in run.shown, step=lambda: emit(server, key, "tick", "a"))
        proxy.cut()
        run.until(lambda: "events may be missing" in run.shown)
        run.press_ctrl_c()
        assert run.end().code == 130


def test_server_cannot_paint_the_terminal(cli: Cli, server: Server, key: str) -> None:
    nasty = "\x1b]0;title\x07\x9b31m[red]"
    call(server.port, "probe", key, "echo", 1)
    with cli.terminal("events", f"probe/{key}", "tick", "-n", "1") as run:
        run.until(lambda: "[red]" in run.shown, step=lambda: emit(server, key, "tick", nasty))
        result = run.end()
    assert "\x1b]" not in result.out and "\x9b" not in result.out and result.code == 0


def test_timeout_ends_it(cli: Cli, key: str) -> None:
    assert cli("events", "-c", f"probe/{key}", "tick", "--timeout", "0.3").out == ""


def test_fewer_events_than_were_wanted(cli: Cli, key: str) -> None:
    """A script must be able to see the difference from an event that came."""
    actor = f"probe/{key}"
    result = cli("events", "-c", actor, "tick", "-n", "2", "--timeout", "0.3", code=5)
    assert (result.out, result.err) == ("", "error: 0 of 2 events came within 0.3 s\n")


def test_refusal(cli: Cli, key: str) -> None:
    result = cli("events", "-c", f"guarded/{key}", "tick", "-o", "json", code=3)
    error = json.loads(result.err)["error"]
    assert (error["group"], error["code"]) == ("user", "forbidden")


def test_actor_that_is_destroyed(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with (
        running_proxy(server.port) as proxy,
        cli.background(*DIRECTLY, proxy.endpoint, f"probe/{key}", "tick") as run,
    ):
        run.until(lambda: run.out, step=lambda: emit(server, key, "tick", 1))
        call(server.port, "probe", key, "destroy")
        proxy.cut()
        result = run.end()
    assert result.code == 3 and "actor.not_found" in result.err
