"""The management API, what errors mean, and when to try again."""

from __future__ import annotations

import ast
import base64
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rivet_anyio.protocol
from rivet_anyio import ActorError, ActorSpecifier, ProtocolError, Retry
from rivet_anyio.protocol.addressing import Endpoint
from rivet_anyio.protocol.dialect import Dialect, ServerVersion
from rivet_anyio.protocol.keys import escape_key
from rivet_anyio.protocol.management import (
    ActorInfo,
    creation_body,
    encode_input,
    key_query,
    not_found,
    parse_actor,
    parse_actors,
    parse_metadata,
    parse_names,
    scheduling_error,
)
from rivet_anyio.protocol.verdicts import (
    Opening,
    Verdict,
    is_host_loss,
    is_refusal,
    is_scheduling,
    is_transient,
    judge,
    judge_opening,
    may_ask_again,
)

V20 = ServerVersion("rivetkit", "2.0.33")
V22 = ServerVersion("rivetkit", "2.2.1")
V23 = ServerVersion("engine", "2.3.19")


@pytest.mark.parametrize(
    "version, dialect, queues, token_in_path, may_mask_stops",
    [
        ("2.0.33", Dialect.PLAIN, False, False, False),
        ("2.1.0", Dialect.PLAIN, True, True, True),
        ("2.2.1", Dialect.PLAIN, True, True, False),
        ("v2.3.19", Dialect.COMPAT, True, True, False),
        ("2.10.0", Dialect.COMPAT, True, True, False),
        ("3.0.0-rc.1", Dialect.COMPAT, True, True, False),
        ("", Dialect.COMPAT, True, True, True),
        ("next", Dialect.COMPAT, True, True, True),
    ],
)
def test_versions(
    version: str, dialect: Dialect, queues: bool, token_in_path: bool, may_mask_stops: bool
) -> None:
    found = ServerVersion("rivetkit", version)
    assert found.may_mask_stops is may_mask_stops
    assert found.dialect is dialect
    assert found.has_queues is queues
    assert found.has_token_in_path is token_in_path


def test_bare_versions_and_dialects() -> None:
    assert [Dialect.of_bare_version(version) for version in (1, 2, 3, 4)] == [
        Dialect.PLAIN,
        Dialect.PLAIN,
        Dialect.PLAIN,
        Dialect.COMPAT,
    ]


def test_metadata() -> None:
    plain = parse_metadata(
        b'{"runtime":"rivetkit","version":"2.0.33","runner":{"kind":{"normal":{}}},'
        b'"actorNames":{"counter":{"metadata":{}}}}'
    )
    assert plain.version == V20
    assert (plain.client_endpoint, plain.client_namespace, plain.client_token) == (None,) * 3
    moved = parse_metadata(
        b'{"runtime":"engine","version":"2.3.19","clientEndpoint":"http://h","clientNamespace":"n",'
        b'"clientToken":""}'
    )
    assert (moved.client_endpoint, moved.client_namespace, moved.client_token) == (
        "http://h",
        "n",
        None,
    )


OLD_ACTOR = (
    b'{"actor_id":"b641edc8e9b346f5","name":"chatRoom","key":%s,"namespace_id":"default",'
    b'"runner_name_selector":"default","create_ts":1795465220693,"connectable_ts":null,'
    b'"destroy_ts":null,"sleep_ts":1795465258043,"start_ts":1795465220702}'
)


def test_created_by_2_0_with_its_key_escaped_twice() -> None:
    key = rb'"org\\/a\\\\\\/b,c\\/\\\\0"'
    info = parse_actor(b'{"actor":' + OLD_ACTOR % key + b',"created":false}', V20)
    assert (info.actor_id, info.name) == ("b641edc8e9b346f5", "chatRoom")
    assert info.key == ("org", "a/b,c", "")


@pytest.mark.parametrize("version", [V22, V23, None])
def test_listed(version: ServerVersion | None) -> None:
    key = rb'"org/a\\/b,c/\\0"'
    page = parse_actors(
        b'{"actors":[' + OLD_ACTOR % key + b'],"pagination":{"cursor":"x"}}', version
    )
    assert page.cursor == "x"
    (info,) = page.actors
    assert info.key == ("org", "a/b,c", "")
    assert info.pool == "default"
    assert info.created_at == dt.datetime(2026, 11, 23, 20, 20, 20, 693000, tzinfo=dt.UTC)
    assert info.sleeping_since == dt.datetime(2026, 11, 23, 20, 20, 58, 43000, tzinfo=dt.UTC)
    assert info.destroyed_at is None


@pytest.mark.parametrize(
    "id", ["", ".", "..", "%2e%2e", "a/../b", "..\\\\b", "a\\r\\nX: y", "\\u0000"]
)
def test_an_id_leads_nowhere_else(id: str) -> None:
    actor = f'{{"actor_id":"{id}","name":"x","key":"k"}}'
    for parse, body in (
        (parse_actor, f'{{"actor":{actor}}}'),
        (parse_actors, f'{{"actors":[{actor}]}}'),
    ):
        with pytest.raises(ProtocolError, match="gave an id that no URL can carry"):
            parse(body.encode(), V23)


def test_nothing_listed() -> None:
    page = parse_actors(b'{"actors":[]}', V23)
    assert (page.actors, page.cursor) == ((), None)
    assert parse_actors(b'{"actors":[],"pagination":{"cursor":null}}', V23).cursor is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"actors":[{}]}', b"<html>", b'{"actors":1}']
)
def test_unreadable(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="management API"):
        parse_actors(body, V23)
    with pytest.raises(ProtocolError, match="management API"):
        parse_actor(body, V23)


@given(st.lists(st.text(max_size=5), max_size=3))
def test_keys_of_2_0_come_back(key: list[str]) -> None:
    # What 2.0 does to a key: one part, escaped once more when it is told.
    told = escape_key([escape_key(key)]) if key else None
    body = json.dumps({"actor": {"actor_id": "a", "name": "n", "key": told}}).encode()
    assert parse_actor(body, V20).key == tuple(key)


def test_requests() -> None:
    endpoint = Endpoint("http://h", "ns", None)
    assert key_query(endpoint, "room", ("a/b", "")) == [
        ("name", "room"),
        ("key", "a\\/b/\\0"),
        ("namespace", "ns"),
    ]
    assert json.loads(creation_body("n", (), pool="p", region=None, input=None)) == {
        "name": "n",
        "key": "/",
        "runner_name_selector": "p",
        "crash_policy": "sleep",
    }
    full = json.loads(
        creation_body("n", ("k",), pool="p", region="eu", input="AA==", crash_policy="destroy")
    )
    assert (full["key"], full["datacenter"], full["input"]) == ("k", "eu", "AA==")
    assert full["crash_policy"] == "destroy"


def test_input() -> None:
    assert base64.b64decode(encode_input({"a": 1}, Dialect.PLAIN)) == b"\xa1aa\x01"
    assert base64.b64decode(encode_input(b"\1", Dialect.PLAIN)) == b"\xd8\x40A\1"
    assert base64.b64decode(encode_input(b"\1", Dialect.COMPAT)) == b"\x82k$Uint8ArraydAQ=="
    with pytest.raises(TypeError, match=r"^input\.x: "):
        encode_input({"x": object()}, Dialect.COMPAT)


def test_errors_made_here() -> None:
    missing = not_found("room", ("a", "b"))
    assert (missing.group, missing.code) == ("actor", "not_found")
    assert "'room'" in str(missing) and "['a', 'b']" in str(missing)
    body = b'{"actor":{"actor_id":"a1","name":"n","key":"k","error":{"no_capacity":{}}}}'
    told = scheduling_error(ActorError("guard", "actor_ready_timeout"), parse_actor(body, V23))
    assert (told.group, told.code) == ("guard", "actor_ready_timeout")
    assert "no_capacity" in str(told)
    assert told.metadata == {"actorId": "a1", "details": {"no_capacity": {}}}
    met = ActorError("guard", "actor_ready_timeout", ray_id="r", retry_after=3)
    told = scheduling_error(met, parse_actor(body, V23))
    assert (told.ray_id, told.retry_after, told.actor) == ("r", 3, None)


# Verdicts


@pytest.mark.parametrize(
    "reason, is_lost",
    [
        ({"envoy_connection_lost": {"envoy_key": "e"}}, True),
        ({"envoy_no_response": {"envoy_key": None}}, True),
        ({"runner_connection_lost": {"runner_id": "r"}}, True),
        ({"runner_no_response": {"runner_id": "r"}}, True),
        ({"runner_draining_timeout": {"runner_id": "r"}}, True),
        ({"crashed": {"message": "envoy_connection_lost"}}, False),
        ({"runner_pool_error": {"serverless_http_error": {"status_code": 500}}}, False),
        ({"runner_pool_error": "serverless_stream_ended_early"}, False),
        ("no_envoys", False),
        ("no_capacity", False),
        ("internal_error", False),
        ("concurrent_actor_limit_reached", False),
        ("something new", False),
        ({"something_new": None}, False),
        (["envoy_connection_lost"], False),
        (5, False),
        ({}, False),
    ],
)
def test_reasons_that_pass(reason: Any, is_lost: bool) -> None:
    assert is_host_loss(reason) is is_lost
    actor = ActorInfo("a1", "n", (), error=reason)
    error = scheduling_error(ActorError("guard", "actor_ready_timeout"), actor)
    assert ("lost its host: " if is_lost else "failed to start: ") in str(error)


@pytest.mark.parametrize(
    "group, code, verdict",
    [
        ("actor", "not_found", Verdict.STALE),
        ("actor", "destroyed_while_waiting_for_ready", Verdict.STALE),
        ("actor", "destroyed_during_creation", Verdict.STALE),
        ("actor", "starting", Verdict.NOT_READY),
        ("actor", "destroying", Verdict.NOT_READY),
        ("actor", "not_ready", Verdict.NOT_READY),
        ("guard", "actor_ready_timeout", Verdict.NOT_READY),
        ("guard", "actor_runner_failed", Verdict.NOT_READY),
        ("guard", "rate_limit", Verdict.NOT_READY),
        ("actor", "dropped_reply", Verdict.FINAL),
        ("actor", "stopping", Verdict.FINAL),
        ("actor", "action_timed_out", Verdict.FINAL),
        ("user", "not_found", Verdict.FINAL),
        ("user", "starting", Verdict.FINAL),
        ("auth", "forbidden", Verdict.FINAL),
    ],
)
def test_verdicts(group: str, code: str, verdict: Verdict) -> None:
    assert judge(ActorError(group, code)) is verdict
    # Signed by an actor, the same words may be its own code's.
    signed = ActorError(group, code, actor=ActorSpecifier("a1", 1))
    assert judge(signed) is Verdict.FINAL


@pytest.mark.parametrize("group", ["actor", "guard", "envoy", "user", "auth"])
@pytest.mark.parametrize(
    "code",
    [
        "starting",
        "destroying",
        "not_ready",
        "not_registered",
        "destroyed_while_waiting_for_ready",
        "actor_ready_timeout",
        "actor_runner_failed",
        "actor_wake_retries_exceeded",
        "rate_limit",
        "actor_not_found",
        "actor_generation_mismatch",
    ],
)
def test_without_a_gateway_every_error_can_be_the_actors(group: str, code: str) -> None:
    assert judge(ActorError(group, code), from_gateway=False) is Verdict.FINAL


def test_without_a_gateway_an_actor_can_still_be_gone() -> None:
    """RivetKit 2.2 says so itself: whoever meets it asks for the id."""
    assert judge(ActorError("actor", "not_found"), from_gateway=False) is Verdict.STALE
    assert judge(ActorError("guard", "not_found"), from_gateway=False) is Verdict.FINAL
    signed = ActorError("actor", "not_found", actor=ActorSpecifier("a1", 1))
    assert judge(signed, from_gateway=False) is Verdict.FINAL


def test_what_an_id_is_asked_for_again_after() -> None:
    for code, ray_id, again in [
        ("destroyed_during_creation", None, True),
        ("destroyed_during_creation", "ray", True),
        # Up to 2.2 these come from the actor's own start, which may have run.
        ("not_found", None, False),
        ("starting", None, False),
        ("starting", "ray", True),
        ("key_too_large", "ray", False),
    ]:
        assert may_ask_again(ActorError("actor", code, ray_id=ray_id)) is again
    assert not may_ask_again(ActorError("guard", "rate_limit"))


@pytest.mark.parametrize(
    "group, code, ray_id, has_engine, in_message, opening",
    [
        # A gateway speaks by close frames with a ray id, and from 2.3 on there always is one.
        ("guard", "actor_ready_timeout", "ray", True, False, Opening.NOT_READY),
        ("guard", "actor_ready_timeout", "ray", False, False, Opening.NOT_READY),
        ("guard", "actor_ready_timeout", None, True, False, Opening.NOT_READY),
        ("actor", "not_found", "ray", True, False, Opening.STALE),
        ("actor", "not_found", None, True, False, Opening.STALE),
        # A host of 2.3 sends its own errors by messages, too.
        ("actor", "stopping", None, True, True, Opening.NOT_READY),
        ("actor", "starting", None, True, True, Opening.NOT_READY),
        ("guard", "actor_ready_timeout", None, True, True, Opening.REFUSED),
        ("envoy", "actor_not_found", None, True, True, Opening.REFUSED),
        ("actor", "not_found", None, True, True, Opening.UNSURE),
        # Up to 2.2 there is nobody but the actor, and the server's own actor.stopping.
        ("actor", "stopping", None, False, False, Opening.NOT_READY),
        ("actor", "starting", None, False, False, Opening.REFUSED),
        ("actor", "restarting", None, False, False, Opening.REFUSED),
        ("guard", "rate_limit", None, False, False, Opening.REFUSED),
        ("pegboard", "anything", None, False, False, Opening.REFUSED),
        ("actor", "not_found", None, False, False, Opening.UNSURE),
        ("actor", "destroyed_while_waiting_for_ready", None, False, False, Opening.UNSURE),
        ("user", "no", None, False, False, Opening.OTHER),
        ("rivetkit", "internal_error", None, False, False, Opening.OTHER),
        ("actor", "callback_timed_out", None, True, True, Opening.OTHER),
    ],
)
def test_openings(
    group: str, code: str, ray_id: str | None, has_engine: bool, in_message: bool, opening: Opening
) -> None:
    error = ActorError(group, code, ray_id=ray_id)
    assert judge_opening(error, has_engine=has_engine, in_message=in_message) is opening


def test_stopped_while_waiting_depends_on_the_phase() -> None:
    for metadata, verdict in [
        ({"phase": "pre_request"}, Verdict.NOT_READY),
        ({"phase": "in_flight"}, Verdict.FINAL),
        (None, Verdict.FINAL),
        ("pre_request", Verdict.FINAL),
    ]:
        error = ActorError("guard", "actor_stopped_while_waiting", metadata=metadata)
        assert judge(error) is verdict


def test_what_errors_mean_for_connections() -> None:
    for group, code in [("actor", "starting"), ("actor", "stopping"), ("guard", "rate_limit")]:
        assert is_transient(ActorError(group, code))
        assert not is_refusal(ActorError(group, code))
    for group, code in [("user", "no"), ("auth", "forbidden")]:
        assert is_refusal(ActorError(group, code))
        assert not is_transient(ActorError(group, code))
    for group, code in [("actor", "invalid_request"), ("guard", "no_route"), ("queue", "full")]:
        assert not is_transient(ActorError(group, code))
    for code in ("actor_ready_timeout", "actor_runner_failed", "actor_wake_retries_exceeded"):
        assert is_scheduling(ActorError("guard", code))
    assert not is_scheduling(ActorError("actor", "actor_ready_timeout"))
    assert not is_scheduling(ActorError("guard", "rate_limit"))


# Backoff


def test_retry() -> None:
    full = Retry(initial=0.5, maximum=4, random=lambda: 1.0)
    assert [full.delay(attempt) for attempt in range(6)] == [0.5, 1, 2, 4, 4, 4]
    assert full.delay(10**6) == 4
    assert Retry(random=lambda: 0.0).delay(3) == 0
    assert Retry(initial=1, maximum=1, random=lambda: 0.25).delay(0) == 0.25
    assert (Retry().initial, Retry().maximum) == (0.25, 30.0)


@given(st.integers(0, 2000))
def test_retry_is_bounded(attempt: int) -> None:
    assert 0 <= Retry().delay(attempt) <= min(30.0, 0.25 * 2.0 ** min(attempt, 100))


@pytest.mark.parametrize("initial, maximum", [(0, 1), (-1, 1), (2, 1), (float("nan"), 1)])
def test_retry_errors(initial: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="initial"):
        Retry(initial=initial, maximum=maximum)


# Layers

FORBIDDEN = {"anyio", "httpx", "wsproto", "asyncio", "trio", "time", "random", "socket", "select"}
MODULES = sorted(Path(rivet_anyio.protocol.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_protocol_does_no_io(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {name.name.partition(".")[0] for name in node.names} & FORBIDDEN
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").partition(".")[0]
            if node.level == 0:
                assert module not in FORBIDDEN and module != "rivet_anyio"
            elif node.level > 1:
                assert node.level == 2 and node.module in ("_checks", "_errors", "_text")
        assert not isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))


def test_the_protocol_was_found() -> None:
    assert {"bare", "encodings", "keys", "session", "values"} <= {path.stem for path in MODULES}


def test_names() -> None:
    page = b'{"names":{"a":{},"b":{"metadata":1}},"pagination":{"cursor":"b"}}'
    assert parse_names(page) == (("a", "b"), "b")
    assert parse_names(b'{"names":{}}') == ((), None)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"names":[]}', b'{"names":{"a":' + b"[" * 100_000])
def test_names_that_are_none(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="the management API answered"):
        parse_names(body)


def test_all_that_an_engine_says_of_an_actor() -> None:
    times = {"start_ts": 1, "pending_allocation_ts": 2, "connectable_ts": 3, "reschedule_ts": 4}
    fields = {"actor_id": "a", "name": "n", "namespace_id": "ns", "crash_policy": "restart"}
    (info,) = parse_actors(json.dumps({"actors": [fields | times]}).encode(), V23).actors
    assert (info.namespace_id, info.crash_policy) == ("ns", "restart")
    found = (info.started_at, info.pending_since, info.connectable_since, info.reschedule_at)
    zero = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert found == tuple(zero + dt.timedelta(milliseconds=ms) for ms in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("connectable", "slept", "is_awake"),
    [(5, 3, True), (5, 5, False), (5, 8, False), (5, None, True), (None, 8, False)],
)
def test_an_actor_is_awake_or_asleep(connectable: int, slept: int | None, is_awake: bool) -> None:
    """Up to 2.1 a record keeps the times of what is over. (Seen on 2.0.33 and 2.1.3.)"""
    times = {"start_ts": connectable, "connectable_ts": connectable, "sleep_ts": slept}
    fields = {"actor_id": "a", "name": "n"}
    (info,) = parse_actors(json.dumps({"actors": [fields | times]}).encode(), V20).actors
    assert (info.connectable_since is not None) is is_awake
    assert (info.sleeping_since is not None) is not is_awake
