"""What may stand before the command, and what the command says to words that it does not know."""

from __future__ import annotations

import pytest

from rivet_anyio.cli._arguments import with_seconds
from rivet_anyio.cli._similar import did_you_mean
from tests.servers import Server, call

from .peers import Answer, serving
from .running import Cli, usage_error


def test_options_before_the_command(server: Server, key: str) -> None:
    cli = Cli()
    nowhere = ("-e", "http://127.0.0.1:9")
    whole = cli("-e", server.endpoint, "-o", "json", "resolve", "-c", f"probe/{key}")
    assert set(whole.lines[0]) == {"actor_id", "name", "key"}
    # The option nearer to the command's arguments wins.
    assert cli(*nowhere, "resolve", "-e", server.endpoint, f"probe/{key}").out
    assert cli("-v", *nowhere, "list", code=4).err.startswith("> GET http://127.0.0.1:9/metadata")


def test_options_that_a_command_does_not_have() -> None:
    assert "dev has no option --endpoint" in usage_error("-e", "http://x", "dev", "actors.py")
    assert "completion has no option --output" in usage_error("-o", "json", "completion", "zsh")


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("--wait-for-server list", "--wait-for-server=60 list"),
        ("--wait-for-server 5 list", "--wait-for-server 5 list"),
        ("call --wait-for-server -5 a b", "call --wait-for-server -5 a b"),
        ("call --wait-for-server counter/x inc", "call --wait-for-server=60 counter/x inc"),
        ("call a b --wait-for-server", "call a b --wait-for-server=60"),
        ("call a b -- --wait-for-server", "call a b -- --wait-for-server"),
    ],
)
def test_seconds_may_be_left_out(given: str, seen: str) -> None:
    assert with_seconds(given.split()) == seen.split()


def test_waiting_for_a_server() -> None:
    answers = iter([Answer(503), Answer(502)])
    with serving(lambda request: next(answers, Answer(404))) as url:
        result = Cli()("call", "--wait-for-server", "a", "b", "-e", url, code=None)
    assert "waiting for the server: HTTP 503" in result.err
    assert next(answers, None) is None and result.code not in (0, 4)
    gone = Cli()("--wait-for-server", "0.3", "list", "-e", "http://127.0.0.1:9", code=4)
    assert "no server answered within 0.3 s" in gone.err and "refused" in gone.err


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 599])
def test_a_status_that_is_waited_for(status: int) -> None:
    """Those that `Connection.connect` with `wait_for_server` waits for."""
    answers = iter([Answer(status)])
    with serving(lambda request: next(answers, Answer(404))) as url:
        result = Cli()("list", "--wait-for-server", "-e", url, code=None)
    assert f"waiting for the server: HTTP {status}" in result.err


@pytest.mark.parametrize("status", [400, 404, 499])
def test_a_status_that_is_an_answer(status: int) -> None:
    with serving(lambda request: Answer(status)) as url:
        result = Cli()("list", "--wait-for-server", "-e", url, code=None)
    assert "waiting for the server" not in result.err


def test_did_you_mean() -> None:
    names = ["chatRoom", "counter", "worker"]
    assert did_you_mean("Countr", names) == "did you mean counter?"
    assert did_you_mean("CHATROOM", names) == "did you mean chatRoom?"
    assert did_you_mean("counter", names) is None and did_you_mean("zebra", names) is None


def test_words_that_are_unknown() -> None:
    assert usage_error("lst") == "no such command 'lst': did you mean list?"
    assert usage_error("zebra") == "no such command 'zebra'"
    assert "--endpoint" in usage_error("list", "--endpiont", "x")


def test_actors_that_are_not_there(cli: Cli, server: Server, key: str) -> None:
    call(server.port, "probe", f"{key}-visits", "echo", 1)
    missing = cli("call", f"Prob/{key}", "echo", "1", code=3)
    assert "did you mean probe?" in missing.err
    missing = cli("call", f"probe/{key}-visitors", "echo", "1", "-o", "json", code=3)
    assert f"did you mean probe/{key}-visits?" in missing.err
    assert "did you mean probe?" in cli("doctor", f"Prob/{key}", code=1).out
    assert "did you mean" not in cli("call", "zebra/x", "echo", code=3).err


def test_queue_that_the_actor_may_not_have(cli: Cli, key: str) -> None:
    """Servers answer alike; the command says how that looks."""
    sent = cli("send", "-c", f"worker/{key}", "nosuch", "1", "--wait")
    assert sent.out == "null\n" and "declares no queue 'nosuch'" in sent.err
