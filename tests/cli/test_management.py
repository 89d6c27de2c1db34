"""``names``, ``sleep`` and ``destroy``."""

from __future__ import annotations

from pathlib import Path

import pytest

from .running import Cli
from .test_dev import endpoint


def test_older_servers(cli: Cli, key: str) -> None:
    names = cli("names").out.split()
    assert {"counter", "chatRoom"} <= set(names) and names == sorted(names)
    cli("create", f"counter/{key}")
    for command in ("sleep", "destroy"):
        result = cli(command, f"counter/{key}", "--yes", code=3)
        assert "feature.unsupported" in result.err and "2.3" in result.err


def test_nobody_is_asked_without_a_terminal(cli: Cli, key: str) -> None:
    for command in ("sleep", "destroy"):
        assert "--yes" in cli(command, f"counter/{key}", code=2).err


@pytest.mark.parametrize("answer", ["n\n", "\n", "y\n"])
def test_a_terminal_is_asked(cli: Cli, key: str, answer: str) -> None:
    with cli.terminal("destroy", f"counter/{key}") as run:
        run.until(lambda: "[y/N]" in run.out)
        run.type(answer)
        result = run.end()
    # Nothing of this key exists, so whoever goes on learns that.
    assert result.code == (3 if answer == "y\n" else 1)
    assert ("actor.not_found" in run.shown) == (answer == "y\n")


def test_an_actor_is_put_to_sleep_and_destroyed(tmp_path: Path) -> None:
    file = tmp_path / "actors.py"
    file.write_text("from rivet_anyio.testing import Actor\nclass Counter(Actor):\n    pass\n")
    with Cli().background("dev", str(file), "--port", "0") as run:
        cli = Cli(RIVET_ENDPOINT=endpoint(run))
        assert cli("names", "-o", "json").lines == [{"name": "counter"}]
        actor_id = cli("create", "counter/a").out.strip()
        assert cli("sleep", "counter/a", "-y").out.strip() == actor_id
        slept = cli("destroy", "counter", "--id", actor_id, "--yes", "-o", "json")
        assert slept.lines[0]["actor_id"] == actor_id
        nothing = cli("list", "countr", "-o", "text")
        assert nothing.out == ""
        assert nothing.err == "there is no actor 'countr': did you mean counter?\n"
        assert cli("list", "counter").out == ""
        gone = cli("destroy", "counter/a", "--yes", code=3).err
        assert "actor.not_found" in gone and "--create" not in gone
