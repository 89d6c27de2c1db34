"""``send``, ``fetch``, ``resolve``, ``list``, ``create``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers import start_server

from .running import Cli


def test_send(cli: Cli, key: str) -> None:
    actor = f"worker/{key}"
    assert cli("send", "-c", actor, "jobs", '{"n": 1}').out == ""
    assert cli("send", actor, "jobs", "text", "--wait").lines == [{"done": "text"}]
    assert cli("send", actor, "jobs", "5", "-s", "-w", "-o", "json").lines == [
        {"status": "completed", "response": {"done": "5"}}
    ]
    result = cli("send", actor, "jobs", "--from", "-", "--wait", input='[1, "ä"]')
    assert result.lines == [{"done": [1, "ä"]}]


def test_send_that_nobody_works_off(cli: Cli, key: str) -> None:
    result = cli("send", "-c", f"worker/{key}", "stuck", "1", "-w", "--timeout", "0.2", code=7)
    assert result.out == "" and "timedOut" in result.err


def test_send_usage(cli: Cli) -> None:
    assert "BODY or --from" in cli("send", "worker", "jobs", code=2).err
    assert "--wait" in cli("send", "worker", "jobs", "1", "--timeout", "1", code=2).err


def test_fetch(cli: Cli, key: str, tmp_path: Path) -> None:
    web = f"web/{key}"
    got = json.loads(cli("fetch", "-c", web, "/echo?a=1", "-H", "x-tag: ä".replace("ä", "y")).out)
    assert (got["method"], got["search"], got["headers"]["x-tag"]) == ("GET", "?a=1", "y")
    posted = json.loads(cli("fetch", web, "/echo", "--json", '{"a":1}').out)
    assert posted["method"] == "POST" and posted["body"] == '{"a":1}'
    assert posted["headers"]["content-type"] == "application/json"
    put = cli("fetch", web, "/upload", "-X", "PUT", "--data-from", "-", input=b"\0" * 200_000)
    assert put.lines == [{"bytes": 200_000}]
    (tmp_path / "body").write_bytes(b"abc")
    sent = cli("fetch", web, "/upload", "--data-from", str(tmp_path / "body"))
    assert sent.lines == [{"bytes": 3}]


def test_fetch_writes_bytes_as_they_are(cli: Cli, key: str, tmp_path: Path) -> None:
    pattern = bytes(n % 251 for n in range(100_000))
    assert cli("fetch", "-c", f"web/{key}", "/bytes/100000").raw == pattern
    file = tmp_path / "out"
    assert cli("fetch", f"web/{key}", "/bytes/100000", "--to", str(file)).raw == b""
    assert file.read_bytes() == pattern
    (document,) = cli("fetch", f"web/{key}", "/bytes/3", "-o", "json").lines
    assert document["status"] == 200 and document["body"] == "\x00\x01\x02"


def test_fetch_at_a_terminal_ends_its_line(cli: Cli, key: str) -> None:
    for path, shown in (("/status/404", "status 404\nHTTP 404\n"), ("/bytes/0", "")):
        with cli.terminal("fetch", "-c", f"web/{key}", path) as run:
            assert run.end().code == 0
        assert run.shown == shown


def test_fetch_status(cli: Cli, key: str) -> None:
    web = f"web/{key}"
    found = cli("fetch", "-c", web, "/status/404")
    assert (found.out, found.err) == ("status 404", "HTTP 404\n")
    assert cli("fetch", web, "/status/404", "-o", "json").err == ""
    failed = cli("fetch", web, "/status/503", "--fail", code=8)
    assert failed.out == "status 503" and "HTTP 503" in failed.err
    shown = cli("fetch", web, "/status/404", "-i")
    assert shown.out.startswith("HTTP 404 ") and shown.out.endswith("\n\nstatus 404")
    assert shown.err == ""
    assert "NAME: VALUE" in cli("fetch", web, "/", "-H", "nonsense", code=2).err


def test_fetch_sends_json_as_what_the_user_says(cli: Cli, key: str) -> None:
    web = f"web/{key}"
    for given, sent in (("content-TYPE: text/x", "text/x"), ("x-other: 1", "application/json")):
        found = cli("fetch", "-c", web, "/echo", "--json", "{}", "-H", given)
        assert json.loads(found.out)["headers"]["content-type"] == sent


def test_resolve_create_and_list(cli: Cli, key: str) -> None:
    actor = f"counter/list/{key}"
    missing = cli("resolve", actor, code=3)
    assert "actor.not_found" in missing.err and missing.out == ""
    created = cli("create", actor, "--input", '{"initial": 4}').out.strip()
    assert cli("call", actor, "getCount").out == "4\n"
    assert cli("resolve", actor).out.strip() == created
    assert cli("resolve", actor, "-o", "json").lines == [
        {"actor_id": created, "name": "counter", "key": ["list", key]}
    ]
    assert "actor.duplicate_key" in cli("create", actor, code=3).err
    # Actors that nobody calls for half a minute sleep.
    cli("call", actor, "getCount")
    listed = {line["actor_id"]: line for line in cli("list", "counter").lines}
    assert listed[created]["key"] == ["list", key] and listed[created]["state"] == "awake"
    cli("call", actor, "getCount")
    table = cli("list", "counter", "-o", "text").out
    assert actor in table and created in table and "awake" in table
    cli("create", f"{actor}/second")
    assert len(cli("list", "counter", "-n", "1").lines) == 1


def test_table_at_a_terminal(cli: Cli, key: str) -> None:
    created = cli("create", f"flaky/{key}/{'long-' * 20}").out.strip()
    with cli.terminal("list", "flaky") as run:
        result = run.end()
    assert result.code == 0
    assert f"{'long-' * 20} " in run.shown and created in run.shown and "created" in run.shown


def test_names(cli: Cli) -> None:
    names = cli("list").out.split()
    assert {"counter", "chatRoom", "worker"} <= set(names) and names == sorted(names)


@pytest.mark.parametrize("version", ["2.0.33", "2.3.19"])
def test_other_servers(version: str) -> None:
    """What differs between servers shows here as little as anywhere."""
    with start_server(version) as server:
        cli = Cli(RIVET_ENDPOINT=server.endpoint)
        assert "counter" in cli("list").out.split()
        assert cli("call", "-c", "counter/a/b", "increment", "2").out == "2\n"
        assert cli("list", "counter").lines[0]["key"] == ["a", "b"]
        code = 3 if version == "2.0.33" else 0
        sent = cli("send", "-c", "worker/x", "jobs", "1", code=code)
        assert (code == 3) == ("queues came with 2.1" in sent.err)
        _examine(cli, version)


def _examine(cli: Cli, version: str) -> None:
    found = {line["check"]: line for line in cli("doctor", "counter/a/b").lines}
    assert all(line["verdict"] != "failed" for line in found.values())
    assert {"tcp", "token", "websocket", "actor", "bare", "cbor", "json"} <= set(found)
    assert version in found["server"]["detail"]
    nowhere = cli("doctor", "--namespace", "nowhere", code=None)
    namespace = next(line for line in nowhere.lines if line["check"] == "namespace")
    if version == "2.0.33":
        assert "without queues" in found["server"]["detail"]
        assert namespace["verdict"] == "warning" and nowhere.code == 0
    else:
        assert namespace["verdict"] == "failed" and nowhere.code == 1
        assert "There are: default." in namespace["fix"]
