"""What the command needs to start, and what it says without it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rivet_anyio

from .running import PATIENCE, Cli, environment


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra(missing: str) -> None:
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)
sys.modules[{missing!r}] = None
from rivet_anyio.cli import main
main()
"""
    done = python(code, "--help")
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr.count("\n") == 1 and "pip install 'rivet-anyio[cli]'" in done.stderr


@pytest.mark.parametrize(
    ("missing", "extra", "arguments"),
    [
        ("wsproto", "dev", ["dev", __file__]),
        ("trio", "trio", ["list", "--backend", "trio"]),
    ],
)
def test_without_a_package_of_one_command(missing: str, extra: str, arguments: list[str]) -> None:
    code = f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else find(name, *rest)
from rivet_anyio.cli import main
main()
"""
    done = python(code, *arguments)
    assert (done.returncode, done.stdout) == (9, "")
    assert done.stderr == f"rivet-anyio: this needs {missing}: pip install 'rivet-anyio[{extra}]'\n"


@pytest.mark.parametrize(
    "module",
    ["rivet_anyio.cli._exit", "click", "rivet_anyio.cli._app", "rivet_anyio.cli._commands.events"],
)
def test_an_interrupt_while_it_starts(module: str) -> None:
    code = f"""
import signal, sys

class Interrupts:
    def find_spec(name, path, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
from importlib import util
from rivet_anyio.cli import main
sys.meta_path.insert(0, Interrupts)
main()
"""
    done = python(code, "events", "counter/a", "newCount")
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


def test_testing_without_its_extra() -> None:
    done = python("import sys; sys.modules['wsproto'] = None; import rivet_anyio.testing")
    assert "ImportError: rivet_anyio.testing needs wsproto" in done.stderr
    assert "pip install 'rivet-anyio[testing]'" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["call", "--help"], ["completion", "zsh"]])
def test_help_imports_little(arguments: list[str]) -> None:
    code = """
import sys
from rivet_anyio.cli import main
try:
    main()
finally:
    heavy = {"trio", "asyncio", "msgspec", "rivet_anyio._client", "rivet_anyio.stubs"}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = python(code, *arguments)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_version() -> None:
    assert Cli()("--version").out == f"rivet-anyio {rivet_anyio.__version__}\n"


def test_module_runs_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rivet_anyio.cli", "--help"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.startswith("Usage: rivet-anyio ")


def test_every_command_has_examples() -> None:
    cli = Cli()
    listed = cli("--help").out.partition("Commands:\n")[2].partition("\n\n")[0]
    names = [line.split()[0] for line in listed.splitlines()]
    assert {"call", "events", "send", "fetch", "websocket", "doctor"} <= set(names)
    for name in names:
        assert f"Examples:\n    rivet-anyio {name}" in cli(name, "--help").out.replace(
            'eval "$(', ""
        )
