"""``call``: what arguments become, what is printed, and how it ends."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from rivet_anyio.cli._arguments import read_values
from tests.servers import Server, call

from .running import Cli, usage_error


def test_result_is_one_line_of_json(cli: Cli, key: str) -> None:
    assert cli("call", "--create", f"counter/{key}", "increment", "5").out == "5\n"
    assert cli("call", f"counter/{key}", "getCount", "--backend", "trio").out == "5\n"


def test_json_is_json_and_the_rest_is_text(cli: Cli, key: str) -> None:
    given = ["-5", "1e3", "true", "null", '{"a": [1, "x"]}', '"5"', "", "hello, you", "NaN"]
    result = cli("call", "-c", f"probe/{key}", "args", *given, "-2.5", "--", "--help", "1e999")
    values = [-5, 1000, True, None, {"a": [1, "x"]}, "5", "", "hello, you", "NaN"]
    assert result.lines == [[*values, -2.5, "--help", "1e999"]]


def test_string_and_json_force(cli: Cli, key: str) -> None:
    assert cli("call", "-c", f"probe/{key}", "args", "-s", "5", "-5", "{}").lines == [
        ["5", "-5", "{}"]
    ]
    assert cli("call", f"probe/{key}", "args", "-j", "5", "{}").lines == [[5, {}]]
    refused = cli("call", f"probe/{key}", "args", "-j", "five", code=2)
    assert "'five' is not JSON" in refused.err


def test_negative_numbers_elsewhere(cli: Cli, key: str) -> None:
    (whoami,) = cli("call", "-c", "probe", "-k", "-5", "-k", key, "whoami").lines
    assert whoami["key"] == ["-5", key]
    refused = cli("call", "-c", f"probe/{key}", "-5", code=3).err
    assert "-5" in refused and "x00" not in refused
    assert "-1 is not in the range x>=1" in usage_error("events", "probe/a", "b", "-n", "-1")
    assert "'-5' is not a number" in usage_error("call", "--wait-for-server", "-5", "a", "b")


def test_arguments_from_stdin_and_files(cli: Cli, key: str, tmp_path: Path) -> None:
    actor = f"probe/{key}"
    big = json.dumps(["x" * 300_000, 2])
    result = cli("call", "-c", actor, "args", "--args-from", "-", input=big)
    assert result.lines == [json.loads(big)]
    (tmp_path / "args.json").write_text('["ä"]')
    assert cli("call", actor, "args", "--args-from", str(tmp_path / "args.json")).out == '["ä"]\n'
    assert "not an array" in cli("call", actor, "args", "--args-from", "-", input="{}", code=2).err
    for missing in (str(tmp_path / "none.json"), str(tmp_path)):
        result = cli("call", actor, "args", "--args-from", missing, code=2)
        assert f"there is no file {missing}" in result.err


def test_values_that_json_lacks(cli: Cli, key: str) -> None:
    nested = cli("call", "-c", f"probe/{key}", "produce", "nested").lines[0]
    assert nested["bytes"] == ["$Uint8Array", "CQ=="] and nested["big"] == 2**70
    (marker, items) = cli("call", f"probe/{key}", "produce", "set").lines[0]
    assert marker == "$Set" and sorted(items, key=str) == [1, 3, "two"]
    assert cli("call", f"probe/{key}", "produce", "map").lines[0][0] == "$Map"
    assert cli("call", f"probe/{key}", "produce", "date").lines == [
        "2020-01-02T03:04:05.678000+00:00"
    ]
    assert cli("call", f"probe/{key}", "produce", "nan").out == "null\n"


def test_text_for_people(cli: Cli, key: str) -> None:
    assert cli("call", "-c", "-o", "text", f"probe/{key}", "echo", "ä b").out == "ä b\n"
    assert cli("call", "-o", "text", f"probe/{key}", "echo", "[1]").out == "[\n  1\n]\n"


def test_key_and_id(cli: Cli, key: str) -> None:
    actor_id = cli("resolve", "-c", "probe", "-k", key, "-k", "a/b", "-k", "").out.strip()
    whoami = cli("call", rf"probe/{key}/a\/b/\0", "whoami").lines[0]
    assert whoami["key"] == [key, "a/b", ""] and whoami["actorId"] == actor_id
    assert cli("call", "probe", "--id", actor_id, "whoami").lines == [whoami]


def test_params(cli: Cli, key: str) -> None:
    params = '{"token": "secret", "user": "ann"}'
    result = cli("call", "-c", f"guarded/{key}", "me", "--params", params)
    assert result.lines[0]["state"] == {"user": "ann"}


@pytest.mark.parametrize("text", ['{"a":', "{a", " [1, 2", '"half', '"hello" she said'])
def test_broken_json_is_refused_and_not_stored(text: str) -> None:
    """A string in its place would be stored by the actor."""
    for arguments in (
        ["call", "a", "b", text],
        ["send", "a", "jobs", text],
        ["create", "a", "--input", text],
        ["call", "-c", "a", "b", "--input", text],
    ):
        refused = usage_error(*arguments)
        assert "is not JSON" in refused and "at column" in refused
        assert "--string" in refused or "--input" in arguments
    assert read_values((text,), strings=True, strict=False) == [text]


def test_where_json_is_broken() -> None:
    assert "expecting value at column 6; --string" in usage_error("call", "a", "b", '{"a":')
    assert "line 2, column 1" in usage_error("call", "a", "b", "[1,\n?]")
    for option in ("--args-from", "--from"):
        command = ["call", "a", "b"] if option == "--args-from" else ["send", "a", "q"]
        broken = Cli()(*command, option, "-", input='{"a":', code=2)
        assert f"{option}: not JSON: expecting value at column 6" in broken.err


def test_input_needs_create(cli: Cli, key: str) -> None:
    actor = f"counter/{key}"
    assert "--create" in cli("call", actor, "getCount", "--input", "{}", code=2).err
    created = cli("call", "-c", "--input", '{"initial": 7}', actor, "getCount")
    assert created.out == "7\n"


def test_error_of_the_actor(cli: Cli, key: str) -> None:
    result = cli("call", "-c", f"probe/{key}", "fail", "x", '{"n": 1}', code=3)
    assert result.out == ""
    assert result.err == 'error: user.my_code: message text\n  metadata: {"detail":{"n":1}}\n'
    result = cli("call", f"probe/{key}", "fail", "x", '{"n": 1}', "-o", "json", code=3)
    assert json.loads(result.err) == {
        "error": {
            "kind": "actor",
            "message": "message text",
            "group": "user",
            "code": "my_code",
            "metadata": {"detail": {"n": 1}},
        },
        "exit": 3,
    }


def test_actor_that_is_not_there(cli: Cli) -> None:
    result = cli("call", "counter/nobody", "getCount", code=3)
    assert "actor.not_found" in result.err and "--create" in result.err


def test_nobody_listens(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = cli("call", "-e", f"http://127.0.0.1:{port}", "counter", "getCount", code=4)
    assert "Nothing was sent" in result.err


def test_no_answer_in_time_may_have_run(cli: Cli, key: str, server: Server) -> None:
    call(server.port, "probe", key, "echo", 1)
    result = cli("call", f"probe/{key}", "slow", "20000", "--timeout", "0.5", code=5)
    assert "may have run" in result.err


def test_bad_usage(cli: Cli) -> None:
    assert cli("call", code=2).out == ""
    assert "No such option" in cli("call", "a", "b", "--nope", code=2).err
    assert "empty part" in cli("call", "a//b", "c", code=2).err
    assert "'' names no actor" in cli("call", "", "c", code=2).err
    assert "exclude" in cli("call", "a", "--id", "x", "-k", "y", "b", code=2).err
    assert "invalid endpoint" in cli("call", "-e", "ftp://x", "a", "b", code=2).err
    assert "'-1'" in cli("call", "a", "b", "--timeout", "-1", code=2).err


def test_encoding(cli: Cli, key: str) -> None:
    """What `doctor` does in all of them."""
    result = cli("call", "-c", "--encoding", "json", f"probe/{key}", "echo", '{"a": "ä"}')
    assert result.lines == [{"a": "ä"}]
