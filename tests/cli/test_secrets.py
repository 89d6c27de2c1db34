"""No token and no params in anything that is printed."""

from __future__ import annotations

import pytest

from tests.servers import Server

from .peers import Answer, serving
from .running import Cli

SECRET = "s3cr3t-of-the-namespace"
PARAMS = "pa55word"

COMMANDS = [
    ["call", "-c", "guarded/secrets", "me"],
    ["events", "-c", "guarded/secrets", "x", "-n", "1"],
    ["websocket", "-c", "guarded/secrets"],
    ["fetch", "-c", "guarded/secrets", "/x", "-i"],
    ["send", "-c", "guarded/secrets", "q", "1"],
    ["doctor", "-c", "guarded/secrets"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_server_that_refuses(server: Server, command: list[str]) -> None:
    endpoint = server.endpoint.replace("://", f"://default:{SECRET}@")
    params = f'{{"token": "{PARAMS}"}}'
    result = Cli()(*command, "-v", "-e", endpoint, "--params", params, code=None)
    # A request to the actor's own server, and a message, need no connection that it could refuse.
    assert result.code in (1, 3) or command[0] in ("fetch", "send")
    assert SECRET not in result.out + result.err and PARAMS not in result.out + result.err


def test_a_server_that_is_none() -> None:
    page = Answer(500, b"no")
    with serving(lambda _: page) as url:
        for arguments in (["call", "a", "b", "-o", "json"], ["list", "a"], ["doctor"]):
            result = Cli(RIVET_TOKEN=SECRET)(*arguments, "-e", url, code=None)
            assert result.code not in (0, 2)
            assert SECRET not in result.out + result.err


def test_bad_usage() -> None:
    cli = Cli(RIVET_TOKEN=SECRET)
    for arguments in (
        ["call", "a", "b", "--params", f'{{"token": "{PARAMS}"'],
        ["call", "a", "b", "--token", f"{SECRET}\n"],
        ["call", "a", "b", "-e", f"https://x:{SECRET}@[bad"],
        ["call", "a", "--help"],
    ):
        result = cli(*arguments, code=None)
        assert result.code == 2 or "--help" in arguments
        assert SECRET not in result.out + result.err and PARAMS not in result.out + result.err
