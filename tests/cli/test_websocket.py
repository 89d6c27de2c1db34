"""``websocket``: in pipes and at a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rivet_anyio.cli._typed_lines import TypedLines

from .running import Cli


def test_lines_go_and_come(cli: Cli, key: str) -> None:
    result = cli("websocket", "-c", f"web/{key}", "/x?y=1", input="one\ntwo\r\nthree")
    assert result.out == '{"hello":"/x?y=1"}\none\ntwo\nthree\n'


def test_json_and_binary(cli: Cli, key: str) -> None:
    result = cli("websocket", "-c", f"web/{key}", "-o", "json", "-b", "-n", "2", input="ab\n")
    assert result.lines == [
        {"type": "text", "data": '{"hello":"/"}'},
        {"type": "binary", "data": "YWI="},
    ] or result.lines == [
        {"type": "text", "data": '{"hello":""}'},
        {"type": "binary", "data": "YWI="},
    ]


def test_close_codes(cli: Cli, key: str) -> None:
    assert cli("websocket", "-c", f"web/{key}", input="close:1000:bye\n").code == 0
    result = cli("websocket", f"web/{key}", "-o", "json", input="close:4001:away\n", code=5)
    error = json.loads(result.err)["error"]
    assert (error["close_code"], error["close_reason"]) == (4001, "away")


def test_no_input(cli: Cli, key: str) -> None:
    result = cli("websocket", "-c", f"web/{key}", "--no-input", "-n", "1", input="ignored\n")
    assert result.out.count("\n") == 1


def test_talk_at_a_terminal(cli: Cli, key: str) -> None:
    with cli.terminal("websocket", "-c", f"web/{key}") as run:
        run.until(lambda: "hello" in run.shown)
        run.type("many:3\n")
        run.until(lambda: "0\n1\n2\n" in run.shown)
        run.type("bigbin:3\n")
        run.until(lambda: "(3 bytes) 00 01 02" in run.shown)
        run.type("\x04")  # Ctrl-D: the end of the input
        assert run.end().code == 0


def test_ctrl_c_while_it_waits_for_a_line(cli: Cli, key: str) -> None:
    with cli.terminal("websocket", "-c", f"web/{key}") as run:
        run.until(lambda: "hello" in run.shown)
        run.type("half a li")
        run.press_ctrl_c()
        assert run.end().code == 130


def test_history_of_lines(cli: Cli, key: str, tmp_path: Path) -> None:
    """The arrow key brings back what was typed, also in the next run; what is typed stays."""
    cli.environment["XDG_STATE_HOME"] = str(tmp_path)
    with cli.terminal("websocket", "-c", f"web/{key}") as run:
        run.until(lambda: "hello" in run.shown)
        run.type("many:2\n")
        run.until(lambda: "0\n1\n" in run.shown)
        run.type("\x04")
        assert run.end().code == 0
    saved = tmp_path / "rivet-anyio" / "websocket_history"
    assert saved.read_text().splitlines()[-1] == "many:2" and saved.stat().st_mode & 0o077 == 0
    with cli.terminal("websocket", f"web/{key}") as run:
        run.until(lambda: "hello" in run.shown)
        run.type("\x1b[A")
        run.until(lambda: run.shown.endswith("many:2"))
        run.type("\n")
        run.until(lambda: "0\n1\n" in run.shown)
        run.press_ctrl_c()
        assert run.end().code == 130


def test_message_does_not_break_a_line_that_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = object.__new__(TypedLines)
    monkeypatch.setattr("readline.get_line_buffer", lambda: "half")
    lines._is_typing = True
    assert lines.beside("message") == "\r\x1b[Kmessage\nhalf"
    lines._is_typing = False
    assert lines.beside("message") == "message\n"
