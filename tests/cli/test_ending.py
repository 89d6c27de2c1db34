"""Signals, pipes that close, terminals: every end is clean, quiet and at once."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.faults.proxy import running_proxy
from tests.servers import Server, call

from .running import COMMAND, PATIENCE, SIGNALS, Cli


@pytest.mark.parametrize(
    ("signum", "backend"), [(signal.SIGINT, "asyncio"), (signal.SIGTERM, "trio")]
)
def test_signals_end_a_call(
    cli: Cli, server: Server, key: str, signum: signal.Signals, backend: str
) -> None:
    with (
        running_proxy(server.port) as proxy,
        cli.background(
            *("call", "-c", "--no-metadata", "-e", proxy.endpoint, "--backend", backend),
            *(f"probe/{key}", "slow", "60000"),
        ) as run,
    ):
        call(server.port, "probe", key, "echo", 1)
        run.until(lambda: proxy.accepted, step=lambda: None)
        result = run.end(signum)
    assert result.code == SIGNALS[signum] and result.out == ""


@pytest.mark.parametrize(
    ("command", "signum"),
    [(["events", "-c", "-v"], signal.SIGTERM), (["websocket", "-c", "-v"], signal.SIGINT)],
)
def test_signals_end_what_goes_on(
    cli: Cli, key: str, command: list[str], signum: signal.Signals
) -> None:
    is_events = command[0] == "events"
    arguments = [f"probe/{key}", "tick"] if is_events else [f"web/{key}"]
    with cli.background(*command, *arguments) as run:
        run.until(lambda: "connected to" in run.err if is_events else "hello" in run.out)
        result = run.end(signum)
    assert result.code == SIGNALS[signum]
    assert "error" not in result.err


def test_signal_while_the_output_is_full(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with cli.background("events", "-v", f"probe/{key}", "many") as run:
        run.until(lambda: run.out, step=lambda: call(server.port, "probe", key, "emit", "many", 1))
        # More than the pipe and all buffers hold, and nobody reads it.
        call(server.port, "probe", key, "emitMany", "many", 20_000)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(PATIENCE) == 130


def test_reader_that_leaves_ends_events(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with cli.background("events", f"probe/{key}", "tick") as run:
        run.until(lambda: run.out, step=lambda: call(server.port, "probe", key, "emit", "tick", 1))
        # No further event: the command notices by itself.
        assert run.process.stdout is not None
        run.process.stdout.close()
        assert run.process.wait(PATIENCE) == 141
        assert run.process.stderr is not None
        assert run.process.stderr.read() == b""


def test_head_is_quiet(cli: Cli) -> None:
    line = f"set -o pipefail; '{COMMAND}' list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, env=cli.environment, timeout=PATIENCE, check=True
    )
    first, code = done.stdout.decode().split()
    assert first == "brokenStart" and code in ("0", "141") and done.stderr == b""


def test_closed_output_of_a_result(cli: Cli, key: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [COMMAND, "resolve", "-c", f"probe/{key}"],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=cli.environment,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_no_stdout_and_no_stderr(cli: Cli) -> None:
    line = f"'{COMMAND}' list 2>&1 >&-; echo $?; '{COMMAND}' call counter/nobody x 2>&-; echo $?"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, env=cli.environment, timeout=PATIENCE, check=True
    )
    assert done.stdout.decode().splitlines() == ["error: stdout is closed", "1", "3"]


def test_full_disk(cli: Cli) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMAND, "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=cli.environment,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_ctrl_c_at_a_terminal(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", key, "echo", 1)
    with cli.terminal("events", f"probe/{key}", "tick") as run:
        tick = lambda: call(server.port, "probe", key, "emit", "tick", {"n": 1}, "two")  # noqa: E731
        run.until(lambda: '"two"' in run.shown, step=tick)
        assert "time" in run.shown and 'tick              {"n":1}, "two"' in run.shown
        run.press_ctrl_c()
        result = run.end()
    assert result.code == 130 and "error" not in result.out.lower()
