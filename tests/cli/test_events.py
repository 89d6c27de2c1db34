"""``events``: lines and tables, counts, gaps and failures."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import anyio
from click.testing import CliRunner

from rivet_anyio import Gap, SourceGap
from rivet_anyio.cli._commands.events import _print_feed, _Printer, events_command
from rivet_anyio.cli._output import Output
from tests.faults.proxy import running_proxy
from tests.servers import Server, call
from tests.servers._ports import reserve_port

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


def test_several_actors(cli: Cli, server: Server, key: str) -> None:
    """Each line says whose it is; one that fails is a line, and the others go on."""
    first, second, refused = f"probe/{key}-1", f"probe/{key}-2", f"guarded/{key}"
    with cli.background("events", "-c", first, second, refused, "one", "two") as run:
        run.until(lambda: all(f"{actor}: connected" in run.err for actor in (first, second)))
        run.until(lambda: '"failed"' in run.out)
        call(server.port, "probe", f"{key}-1", "emit", "one", 1)
        call(server.port, "probe", f"{key}-2", "emit", "two", 2, "x")
        run.until(lambda: run.out.count('"event"') >= 2)
        result = run.end(signal.SIGINT)
    assert result.code == 130
    lines = {line["actor"]: line for line in result.lines}
    assert len(lines) == len(result.lines) == 3
    assert (lines[first]["type"], lines[first]["event"], lines[first]["args"]) == (
        "event",
        "one",
        [1],
    )
    assert (lines[second]["event"], lines[second]["args"]) == ("two", [2, "x"])
    assert lines[refused]["error"]["code"] == "forbidden" and "event" not in lines[refused]


def test_several_actors_at_a_terminal(cli: Cli, server: Server, key: str) -> None:
    for part in "12":
        call(server.port, "probe", f"{key}-{part}", "echo", 1)
    with (
        running_proxy(server.port) as proxy,
        cli.terminal(
            *DIRECTLY, proxy.endpoint, f"probe/{key}-1", f"probe/{key}-2", "tick", "-n", "2"
        ) as run,
    ):
        run.until(lambda: run.shown.count("connected") == 2)
        call(server.port, "probe", f"{key}-2", "emit", "tick", "a")
        run.until(lambda: re.search(rf"probe/{key}-2  tick +\"a\"", run.shown))
        proxy.cut()
        run.until(lambda: run.shown.count("events may be missing") == 2)
        call(server.port, "probe", f"{key}-1", "emit", "tick", "b")
        assert run.end().code == 0
        assert re.search(rf"probe/{key}-1  tick +\"b\"", run.shown)


def test_all_actors_fail(cli: Cli, key: str) -> None:
    result = cli("events", f"guarded/{key}-1", f"guarded/{key}-2", "tick", code=3)
    assert [line["type"] for line in result.lines] == ["failed", "failed"]
    assert "actor.not_found" in result.err


def test_several_actors_without_a_server(cli: Cli) -> None:
    with reserve_port() as port:
        endpoint = f"http://127.0.0.1:{port.number}"
        result = cli("events", "-e", endpoint, "probe/1", "probe/2", "tick", code=4)
    assert "cannot connect" in result.err


def test_what_was_dropped_before_the_first_gap_is_printed(capfd: Any) -> None:
    """It comes in one item with that gap, which itself is not printed."""

    async def items() -> AsyncIterator[SourceGap]:
        yield SourceGap("probe/1", Gap(1.0, 2.0, 0), 7)
        yield SourceGap("probe/2", Gap(1.0, 2.0, 0))
        yield SourceGap("probe/2", Gap(3.0, 4.0, 1))

    feed: Any = items()
    anyio.run(_print_feed, feed, _Printer(Output("json"), None))
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["actor"], line.get("dropped"), line.get("seconds")) for line in lines] == [
        ("probe/1", 7, None),
        ("probe/2", None, 1),
    ]


def test_no_event_is_printed_after_the_last(capfd: Any) -> None:
    """Streams of several names print side by side."""

    async def print_three() -> None:
        printer = _Printer(Output("json"), 2)
        assert [await printer.event("e", n) for n in range(3)] == [False, True, True]

    anyio.run(print_three)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["args"] for line in lines] == [[0], [1]]


def test_which_arguments_are_events(cli: Cli, server: Server, key: str) -> None:
    for arguments in (["probe/1", "probe/2"], ["probe/1", "a//b", "x"]):
        refused = CliRunner().invoke(events_command, arguments)
        assert refused.exit_code == 2 and "write" in refused.output
    # With --key, nothing else is an actor; and an actor that is named twice is one.
    for arguments in (["-k", key, "probe", "a/b"], [f"probe/{key}", f"probe/{key}", "-E", "a/b"]):
        with cli.background("events", "-c", *arguments, "-n", "1") as run:
            run.until(lambda: run.out, step=lambda: emit(server, key, "a/b", 1))
            (line,) = run.end().lines
        assert line["event"] == "a/b" and "actor" not in line
