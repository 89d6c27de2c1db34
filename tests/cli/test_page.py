"""The examples of docs/cli.md run as they stand there, and print what they say.

Lines after ``$`` are commands, the others what they print on stdout and stderr. The commands of a
block share a shell; ``echo $?`` tells the exit code of the one before.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from rivet_anyio.cli._exit import Exit
from tests.servers import Server, call

from .running import COMMAND, PATIENCE, Cli

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
HI = ("sendMessage", "hi")
RUN = [block for block in BLOCKS if "rivet-anyio events" not in block]


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.split("\n")[0][:60])
def test_examples(server: Server, block: str) -> None:
    if "jq" in block and shutil.which("jq") is None:
        pytest.skip("jq is not installed")
    shown = block.splitlines(keepends=True)
    script = "exec 2>&1\n" + "".join(line[2:] for line in shown if line.startswith("$ "))
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**Cli(RIVET_ENDPOINT=server.endpoint).environment, "PATH": path},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    printed = done.stdout.decode()
    # localhost has more addresses on some machines.
    printed = re.sub(r"localhost is .*", "localhost is 127.0.0.1", printed)
    assert printed == "".join(line for line in shown if not line.startswith("$ "))


@pytest.mark.parametrize(
    ("block", "keys"),
    list(zip([b for b in BLOCKS if b not in RUN], (["general"], ["north", "south"]), strict=True)),
    ids=["one actor", "several"],
)
def test_examples_of_events(cli: Cli, server: Server, block: str, keys: list[str]) -> None:
    command, line = block.splitlines()
    for key in keys:
        call(server.port, "chatRoom", key, *HI)
    with cli.background(*command.split()[2:]) as run:
        run.until(
            lambda: "\n" in run.out, step=lambda: call(server.port, "chatRoom", keys[-1], *HI)
        )
        first = run.end(signal.SIGTERM).out.splitlines()[0]
    at_some_time = re.compile(r'"time":"[^"]*"')
    assert at_some_time.sub("", first) == at_some_time.sub("", line)


def test_exit_codes_are_all_there() -> None:
    table = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    told = {
        int(code)
        for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.M)
        for code in cell.split(",")
    }
    assert told == {int(code) for code in Exit}


def test_commands_are_all_there() -> None:
    listed = Cli()("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    names = [line.split()[0] for line in listed.splitlines()]
    assert (
        re.findall(r"^\| `([a-z]+) ?[^`]*` \|", PAGE.partition("## Which server")[0], re.M) == names
    )
