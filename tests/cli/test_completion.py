"""Completion: the scripts, sourced by real shells where there are some."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.servers import Server, call

from .running import COMMAND, PATIENCE, Cli


def told(cli: Cli, *words: str) -> list[str]:
    """What bash is told for the last word, by the protocol of the scripts: kinds and texts."""
    line = " ".join(("rivet-anyio", *words))
    done = subprocess.run(
        [COMMAND],
        env={
            **cli.environment,
            "_RIVET_ANYIO_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == b""
    return done.stdout.decode().split()


def complete(cli: Cli, *words: str) -> list[str]:
    """The texts that bash is told for the last word."""
    return [found.partition(",")[2] for found in told(cli, *words)]


def complete_in_time(cli: Cli, *words: str) -> list[str]:
    """As `complete`, until something was found: it does not wait for a slow server."""
    deadline = time.monotonic() + PATIENCE
    while not (found := complete(cli, *words)):
        assert time.monotonic() < deadline
    return found


def test_commands_and_options() -> None:
    cli = Cli()
    assert complete(cli, "e") == ["events"]
    assert "--encoding" in complete(cli, "call", "--e")
    assert complete(cli, "call", "--encoding", "c") == ["cbor"]
    assert complete(cli, "completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize(
    "words",
    [
        ("dev",),
        ("stubs",),
        ("stubs", "--to"),
        ("fetch", "--to"),
        ("fetch", "--data-from"),
        ("call", "--args-from"),
        ("send", "--from"),
    ],
)
def test_files(words: tuple[str, ...]) -> None:
    assert told(Cli(), *words, "act") == ["file,act"]


def test_actors(cli: Cli, server: Server) -> None:
    call(server.port, "sleepy", "complete-me", "wakes")
    # Two of them: shells put a space behind the only one, and the key could not follow.
    assert complete_in_time(cli, "call", "slee") == ["sleepy", "sleepy/"]
    assert complete_in_time(cli, "list", "slee") == ["sleepy"]
    before = ("-e", server.endpoint, "call")
    assert complete_in_time(Cli(), *before, "slee") == ["sleepy", "sleepy/"]
    assert "sleepy/complete-me" in complete_in_time(cli, "call", "sleepy/comp")


def test_no_server_completes_to_nothing() -> None:
    assert complete(Cli(RIVET_ENDPOINT="http://127.0.0.1:9"), "call", "slee") == []


def test_bash(tmp_path: Path) -> None:
    script = f"""
        eval "$('{COMMAND}' completion bash)"
        complete -p rivet-anyio
        COMP_WORDS=(rivet-anyio doc) COMP_CWORD=1
        _rivet_anyio_completion '{COMMAND}' doc rivet-anyio
        echo "got ${{COMPREPLY[*]}}"
    """
    assert run_shell("bash", script).splitlines()[-1] == "got doctor"


def test_zsh() -> None:
    if shutil.which("zsh") is None:
        assert "compdef _rivet_anyio_completion rivet-anyio" in Cli()("completion", "zsh").out
        return
    script = f"""
        autoload -U compinit && compinit -D -u
        eval "$('{COMMAND}' completion zsh)"
        print -r -- "got $_comps[rivet-anyio]"
    """
    assert "got _rivet_anyio_completion" in run_shell("zsh", script)


def test_fish() -> None:
    if shutil.which("fish") is None:
        script = Cli()("completion", "fish").out
        assert "complete --no-files --command rivet-anyio" in script
        return
    script = f"'{COMMAND}' completion fish | source; complete -C 'rivet-anyio doc'"
    assert run_shell("fish", script).split()[0] == "doctor"


def test_other_shells_are_refused() -> None:
    assert "'bash', 'zsh', 'fish'" in Cli()("completion", "csh", code=2).err


def run_shell(shell: str, script: str) -> str:
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", script],
        env={**Cli().environment, "PATH": path},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == b"", done
    return done.stdout.decode()


@pytest.mark.parametrize("word", ["--tok", "--name"])
def test_secrets_complete_to_nothing_but_names(word: str) -> None:
    assert complete(Cli(RIVET_TOKEN="secret-token"), "list", word)[0] in ("--token", "--namespace")
