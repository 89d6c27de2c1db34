"""Messages as servers wrote them, and as the protocol's own examples write them."""

from __future__ import annotations

import datetime as dt
from typing import Any, get_args

import pytest

from rivet_anyio import ActorSpecifier, ProtocolError
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.json_codec import error_from_json
from rivet_anyio.protocol.messages import (
    ActionResponse,
    ErrorBody,
    Event,
    Init,
    ServerError,
    ServerMessage,
)
from rivet_anyio.protocol.session import Session

from .vectors import SERVERS, Server

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)


@pytest.fixture(params=SERVERS, ids=lambda s: f"{s.version}-{s.encoding}")
def server(request: pytest.FixtureRequest) -> Server:
    found = request.param
    assert isinstance(found, Server)
    return found


def read(server: Server, data: bytes) -> ServerMessage:
    codec = codec_for(server.encoding, server.dialect)
    message = codec.server_message(data)
    if server.encoding == "json":
        # A text message and a binary one that holds UTF-8 are the same.
        assert codec.server_message(data.decode()) == message
    return message


def specifier(server: Server) -> ActorSpecifier | None:
    return None if server.error_actor is None else ActorSpecifier(*server.error_actor)


def check_error(body: ErrorBody, server: Server) -> None:
    assert (body.group, body.code, body.message) == ("user", "username_too_short", "too short")
    assert body.metadata is not None and body.metadata.load() == {"min": 3}
    assert body.actor == specifier(server)


def test_init(server: Server) -> None:
    assert read(server, server.init) == Init(*server.init_ids)


def test_event(server: Server) -> None:
    message = read(server, server.event)
    assert isinstance(message, Event)
    assert message.name == "newCount"
    assert message.args.load() == server.event_args


def test_action_response(server: Server) -> None:
    message = read(server, server.response)
    assert isinstance(message, ActionResponse)
    assert message.id == 0
    assert message.output.load() == server.response_output


def test_error(server: Server) -> None:
    message = read(server, server.error)
    assert isinstance(message, ServerError)
    assert message.action_id == 1
    check_error(message.body, server)


def test_nothing_is_none(server: Server) -> None:
    message = read(server, server.nothing)
    assert isinstance(message, ActionResponse)
    assert (message.id, message.output.load()) == (3, None)


@pytest.mark.parametrize(
    "server",
    [s for s in SERVERS if s.values is not None],
    ids=lambda s: f"{s.version}-{s.encoding}",
)
def test_values(server: Server) -> None:
    assert server.values is not None
    message = read(server, server.values)
    assert isinstance(message, ActionResponse)
    day = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
    output = message.output.load()
    assert output == [
        1,
        -1,
        1.5,
        "x",
        None,
        None,
        True,
        [1, "$a"],
        ["$x", 1],
        {"a": {"b": []}},
        2**53,
        2**40,
        -(2**40),
        12345678901234567890,
        b"\x01\x02\x03",
        "1970-01-02T00:00:00.000Z" if server.encoding == "json" else day,
    ]
    assert [type(item) for item in output[10:14]] == [int] * 4
    assert type(output[14]) is bytes


def test_action_output_over_http(server: Server) -> None:
    codec = codec_for(server.encoding, server.dialect)
    output = codec.action_output(server.action_output).load()
    assert output == {"2.0.33": 4, "2.2.1": 1, "2.3.19": 1}[server.version]


def test_error_over_http(server: Server) -> None:
    codec = codec_for(server.encoding, server.dialect)
    check_error(codec.error_body(server.error_body), server)


def test_error_of_the_management_api(server: Server) -> None:
    error = error_from_json(server.duplicate)
    assert (error.group, error.code) == ("actor", "duplicate_key")
    assert "k-" + server.encoding in error.message


@pytest.mark.parametrize(
    "server",
    [s for s in SERVERS if s.queue is not None],
    ids=lambda s: f"{s.version}-{s.encoding}",
)
def test_queue_replies(server: Server) -> None:
    codec = codec_for(server.encoding, server.dialect)
    assert server.queue is not None and server.queue_with_response is not None
    plain = codec.queue_reply(server.queue)
    assert plain.status == "completed"
    assert plain.response is None or plain.response.load() is None
    full = codec.queue_reply(server.queue_with_response)
    assert full.status == "completed"
    assert full.response is not None and full.response.load() == {"ok": {"a": 1}}


@pytest.mark.parametrize(
    "server", [s for s in SERVERS if s.encoding == "bare"], ids=lambda s: f"{s.version}"
)
def test_bare_answers_tell_the_dialect(server: Server) -> None:
    other = Dialect.PLAIN if server.dialect is Dialect.COMPAT else Dialect.COMPAT
    codec = codec_for("bare", other)
    codec.server_message(server.init)
    assert codec.dialect is server.dialect


# The examples of the BARE schemas, one by one.

ACTOR_1 = "0761 63746f722d31 06 636f6e6e2d31"
NO = "0475736572 03626164 026e6f"
N_1 = "01 06 b90001616e01"


def bare_message(text: str) -> ServerMessage:
    return codec_for("bare", Dialect.COMPAT).server_message(bytes.fromhex(text))


def bare_error(text: str) -> ErrorBody:
    return codec_for("bare", Dialect.COMPAT).error_body(bytes.fromhex(text))


@pytest.mark.parametrize(
    "prefix, suffix",
    [("0100", "03746f6b"), ("0200", ""), ("0300", ""), ("0400", "")],
    ids=["v1", "v2", "v3", "v4"],
)
def test_bare_init(prefix: str, suffix: str) -> None:
    assert bare_message(f"{prefix} 00 {ACTOR_1} {suffix}") == Init("actor-1", "conn-1")


def test_bare_error_with_everything() -> None:
    message = bare_message(f"0400 01 {NO} {N_1} 0107 01 026131 02 01016b")
    assert isinstance(message, ServerError)
    assert message.action_id == 7
    assert message.body.metadata is not None
    assert message.body.metadata.load() == {"n": 1}
    assert message.body.actor == ActorSpecifier("a1", 2, "k")


def test_bare_error_with_nothing() -> None:
    message = bare_message("0400 01 0461757468 09666f7262696464656e 09466f7262696464656e 00 00 00")
    assert message == ServerError(ErrorBody("auth", "forbidden", "Forbidden"))


@pytest.mark.parametrize("version", ["0100", "0200", "0300"])
def test_bare_error_of_old_versions_has_no_actor(version: str) -> None:
    assert bare_message(f"{version} 01 {NO} 00 01 07") == ServerError(
        ErrorBody("user", "bad", "no"), 7
    )


@pytest.mark.parametrize("version", ["0100", "0200", "0300", "0400"])
def test_bare_response_and_event(version: str) -> None:
    response = bare_message(f"{version} 02 00 0106")
    assert isinstance(response, ActionResponse)
    assert (response.id, response.output.load()) == (0, 6)
    response = bare_message(f"{version} 02 c801 07 b90001626f6bf5")
    assert isinstance(response, ActionResponse)
    assert (response.id, response.output.load()) == (200, {"ok": True})
    event = bare_message(f"{version} 03 08 6e6577436f756e74 02 8106")
    assert isinstance(event, Event)
    assert (event.name, event.args.load()) == ("newCount", [6])


@pytest.mark.parametrize("version", ["0100", "0200", "0300", "0400"])
def test_bare_http_output(version: str) -> None:
    body = bytes.fromhex(version + "0106")
    assert codec_for("bare", Dialect.COMPAT).action_output(body).load() == 6


def test_bare_http_errors() -> None:
    assert bare_error(f"0400 {NO} 00 00") == ErrorBody("user", "bad", "no")
    full = bare_error(f"0400 {NO} {N_1} 01 026131 02 00")
    assert full.metadata is not None and full.metadata.load() == {"n": 1}
    assert full.actor == ActorSpecifier("a1", 2, None)
    old = bare_error(f"0300 {NO} {N_1}")
    assert old.metadata is not None and old.metadata.load() == {"n": 1}
    assert old.actor is None


def test_bare_queue_replies() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    full = codec.queue_reply(bytes.fromhex("0400 09 636f6d706c65746564 01 06 b90001617202"))
    assert full.status == "completed"
    assert full.response is not None and full.response.load() == {"r": 2}
    late = codec.queue_reply(bytes.fromhex("0400 08 74696d65644f7574 00"))
    assert (late.status, late.response) == ("timedOut", None)


def test_bare_requests() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    assert codec.action_message(0, "add", [5, "x"]) == bytes.fromhex(
        "0200 00 00 03616464 04 82056178"
    )
    assert codec.action_message(300, "getCount", []) == bytes.fromhex(
        "0200 00 ac02 08676574436f756e74 01 80"
    )
    assert codec.subscription_message("newCount", True) == bytes.fromhex(
        "0200 01 086e6577436f756e74 01"
    )
    assert codec.subscription_message("newCount", False) == bytes.fromhex(
        "0200 01 086e6577436f756e74 00"
    )
    assert codec.action_body([5, "x"]) == bytes.fromhex("0200 04 82056178")
    assert codec.action_body([]) == bytes.fromhex("0200 01 80")
    # The map inside has CBOR's short header: a1 instead of cbor-x's b9 00 01.
    assert codec.queue_body("jobs", {"id": 1}, True, 50) == bytes.fromhex(
        "0300 05 a162696401 01 04 6a6f6273 01 01 01 3200000000000000"
    )
    assert codec.queue_body("jobs", {"id": 1}, False, None) == bytes.fromhex(
        "0300 05 a162696401 01 04 6a6f6273 01 00 00"
    )


def test_json_requests() -> None:
    codec = codec_for("json", Dialect.COMPAT)
    assert codec.action_message(0, "add", [5, "x"]) == (
        '{"body":{"tag":"ActionRequest","val":{"id":["$BigInt","0"],"name":"add","args":[5,"x"]}}}'
    )
    assert codec.subscription_message("newCount", True) == (
        '{"body":{"tag":"SubscriptionRequest","val":{"eventName":"newCount","subscribe":true}}}'
    )
    assert codec.action_body([5, "x"]) == b'{"args":[5,"x"]}'
    assert codec.queue_body("jobs", {"id": 1}, True, 50) == (
        b'{"body":{"id":1},"name":"jobs","wait":true,"timeout":50}'
    )
    assert codec.queue_body("jobs", None, False, None) == (
        b'{"body":null,"name":"jobs","wait":false}'
    )


def test_cbor_requests() -> None:
    codec = codec_for("cbor", Dialect.COMPAT)
    assert codec.action_message(3, "add", [5, "x"]) == (
        b"\xa1dbody\xa2ctagmActionRequestcval\xa3bid\x1b\x00\x00\x00\x00\x00\x00\x00\x03"
        b"dname\x63adddargs\x82\x05ax"
    )
    assert codec.subscription_message("e", False) == (
        b"\xa1dbody\xa2ctagsSubscriptionRequestcval\xa2ieventNameaeisubscribe\xf4"
    )
    assert codec.action_body([]) == b"\xa1dargs\x80"
    assert codec.queue_body("q", 1, False, 50) == (b"\xa4dbody\x01dnameaqdwait\xf4gtimeout\x182")


@pytest.mark.parametrize("encoding", ["bare", "cbor"])
def test_text_in_binary_encodings_is_refused(encoding: Encoding) -> None:
    with pytest.raises(ProtocolError, match="text message"):
        codec_for(encoding, Dialect.COMPAT).server_message('{"body":{}}')


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "version prefix"),
        ("04", "version prefix"),
        ("0000 00", "version 0"),
        ("0500 00", "version 5"),
        ("0400", "the end"),
        ("0400 04", "union tag 4"),
        ("0400 8000", "not minimal"),
        ("0400 ffffffffffffffffff02", "more than 64 bits"),
        ("0400 ffffffffffffffffffff01", "more than 64 bits"),
        ("0400 02 00 0106 00", "1 bytes left over"),
        ("0400 02 00 0206", "2 bytes announced, 1 there"),
        ("0400 00 01ff 00", "not UTF-8"),
        (f"0400 01 {NO} 02", "the boolean 2"),
        # What version 3 ends with, version 4 goes on after.
        (f"0400 01 {NO} 00 0107", "the end"),
    ],
)
def test_malformed_bare(text: str, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        bare_message(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"body":null}',
        '{"body":{"tag":"Init"}}',
        '{"body":{"tag":"Init","val":{"actorId":"a"}}}',
        '{"body":{"tag":"Init","val":{"actorId":"a","connectionId":1}}}',
        '{"body":{"tag":"Nope","val":{}}}',
        '{"body":{"tag":"Event","val":{"args":[]}}}',
        '{"body":{"tag":"ActionResponse","val":{"output":1}}}',
        '{"body":{"tag":"ActionResponse","val":{"id":true,"output":1}}}',
        '{"body":{"tag":"ActionResponse","val":{"id":["$BigInt","x"],"output":1}}}',
        '{"body":{"tag":"Error","val":{"group":"a","code":"b"}}}',
    ],
)
def test_malformed_json(text: str) -> None:
    with pytest.raises(ProtocolError):
        codec_for("json", Dialect.COMPAT).server_message(text)


def test_json_ids_come_in_two_forms() -> None:
    codec = codec_for("json", Dialect.COMPAT)
    for id in ("7", '["$BigInt","7"]'):
        text = f'{{"body":{{"tag":"ActionResponse","val":{{"id":{id},"output":null}}}}}}'
        message = codec.server_message(text)
        assert isinstance(message, ActionResponse) and message.id == 7


def test_json_error_without_action_and_key() -> None:
    message = codec_for("json", Dialect.COMPAT).server_message(
        '{"body":{"tag":"Error","val":{"group":"g","code":"c","message":"m","actionId":null,'
        '"actor":{"actorId":"a","generation":2,"key":null}}}}'
    )
    assert message == ServerError(ErrorBody("g", "c", "m", None, ActorSpecifier("a", 2, None)))


# Session: the order of messages.


def session() -> Session:
    return Session(codec_for("json", Dialect.COMPAT))


INIT = '{"body":{"tag":"Init","val":{"actorId":"a","connectionId":"c"}}}'


def response(id: int) -> str:
    return f'{{"body":{{"tag":"ActionResponse","val":{{"id":{id},"output":1}}}}}}'


def error(id: Any) -> str:
    return (
        '{"body":{"tag":"Error","val":{"group":"g","code":"c","message":"m",'
        f'"actionId":{"null" if id is None else id}}}}}}}'
    )


def test_session_remembers_init() -> None:
    one = session()
    assert one.init is None
    assert one.receive(INIT) == Init("a", "c") == one.init


def event(name: str) -> str:
    return f'{{"body":{{"tag":"Event","val":{{"name":"{name}","args":[1]}}}}}}'


def test_no_answer_comes_before_init() -> None:
    with pytest.raises(ProtocolError, match="before Init"):
        session().receive(response(0))
    refusal = session().receive(error(None))
    assert isinstance(refusal, ServerError)


def test_wanted_events_before_init_are_kept() -> None:
    one = session()
    for name in ("a", "b", "a"):
        assert one.receive(event(name), {"a"}) is None
    assert list(one.early) == [event("a"), event("a")]
    one.receive(INIT)
    assert one.receive(one.early.pop(0), {"a"}) == ("a", 1)


def test_no_event_is_read_together_with_others_before_init() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    data = bytes.fromhex("0400 03 01 65") + b"\x02\x81\x07"
    codec.read(data, {"e"})  # from here on its prefix is known
    one = Session(codec)
    assert one.events([data, data], {"e"}) == ([], [])
    one.receive(bytes.fromhex(f"0400 00 {ACTOR_1}"))
    assert one.events([data, data], {"e"}) == (["e", "e"], [7, 7])


@pytest.mark.parametrize("count, size", [(4096, 10), (64, 1024**2)])
def test_events_before_init_are_bounded(count: int, size: int) -> None:
    one = session()
    data = event("e")
    data += " " * (size - len(data))
    size = len(data)
    for _ in range(min(count, 64 * 1024**2 // size)):
        assert one.receive(data, {"e"}) is None
    with pytest.raises(ProtocolError, match="more than 4096 events or 64 MiB of them before Init"):
        one.receive(data, {"e"})
    for _ in range(5000):  # what nobody waits for takes no memory
        assert one.receive(event("other"), {"e"}) is None


@pytest.mark.parametrize("late", [response(2), error(2)])
def test_answers_to_what_was_never_asked(late: str) -> None:
    one = session()
    one.receive(INIT)
    answer = one.receive(late)
    assert isinstance(answer, (ActionResponse, ServerError))
    with pytest.raises(ProtocolError, match="action 2, which was never sent"):
        one.check_answer(answer, issued=2)
    one.check_answer(answer, issued=3)
