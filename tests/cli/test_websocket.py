"""``websocket``: in pipes and at a terminal."""

from __future__ import annotations

import json

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
