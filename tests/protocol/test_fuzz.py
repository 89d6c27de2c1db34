"""Whatever a peer sends, reading it gives a result or a ProtocolError."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rivet_anyio import Client, ConfigError, ProtocolError
from rivet_anyio._websocket.framing import Close, Ping, Pong
from rivet_anyio.protocol.addressing import parse_endpoint_url
from rivet_anyio.protocol.closes import close_error
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.protocol.dialect import Dialect, ServerVersion
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.json_codec import error_from_json
from rivet_anyio.protocol.keys import unescape_key
from rivet_anyio.protocol.management import parse_actor, parse_actors, parse_metadata
from rivet_anyio.protocol.messages import (
    ActionResponse,
    ErrorBody,
    Event,
    Init,
    QueueReply,
    RawCbor,
    RawTree,
    ServerError,
)
from rivet_anyio.protocol.session import Session
from rivet_anyio.protocol.values import dump_cbor, dump_json

from ..conformance.framers import FRAMERS, FramerUnderTest, frames_of
from ..fuzz.hostile import HOSTILE
from ..fuzz.targets import TARGETS, Target
from ..peers.raw import frame
from .vectors import SERVERS

SEEDS = [
    data
    for server in SERVERS
    for data in (
        server.init,
        server.event,
        server.error,
        server.response,
        server.values,
        server.action_output,
        server.error_body,
        server.duplicate,
        server.queue_with_response,
    )
    if data is not None
]


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes] = SEEDS) -> bytes:
    """Something real with a few bytes changed, cut off or added."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["set", "cut", "insert", "end"]))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        elif change == "insert":
            data[at:at] = draw(st.binary(max_size=4))
        else:
            del data[at:]
    return bytes(data)


FIELDS = [
    "body",
    "tag",
    "val",
    "id",
    "args",
    "output",
    "group",
    "code",
    "message",
    "metadata",
    "actor",
    "actorId",
    "generation",
    "key",
    "status",
    "response",
    "actors",
    "pagination",
    "cursor",
    "actor_id",
    "name",
    "create_ts",
    "version",
]

trees = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.sampled_from(["$BigInt", "$Uint8Array", "$Set", "$Undefined", "$$x", "-1", "AQ=="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(st.sampled_from(["$BigInt", "$Set", "$Uint8Array", "$x"]), inner).map(list)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
messages = st.builds(
    lambda tag, val: {"body": {"tag": tag, "val": val}},
    st.sampled_from(["Init", "Error", "Event", "ActionResponse"]),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("actorId", "connectionId", "name", "args", "id", "output", "actionId"), trees
        )
        | {"group": st.just("g"), "code": st.just("c"), "message": st.just("m")}
        | {"metadata": trees, "actor": trees},
    ),
)
anything = (
    st.binary(max_size=60)
    | st.binary(max_size=60).map(lambda rest: b"\x04\x00" + rest)
    | damaged()
    | (trees | messages).map(dump_json)
    | (trees | messages).map(dump_cbor)
)
codecs: list[tuple[Encoding, Dialect]] = [
    (encoding, dialect) for encoding in ("bare", "cbor", "json") for dialect in Dialect
]


def load(part: Any) -> None:
    if isinstance(part, (RawCbor, RawTree)):
        part.load()
    elif isinstance(part, ActionResponse):
        load(part.output)
    elif isinstance(part, Event):
        load(part.args)
    elif isinstance(part, ServerError):
        load(part.body)
    elif isinstance(part, ErrorBody):
        load(part.metadata)
    elif isinstance(part, QueueReply):
        load(part.response)


def read_all(read: Callable[[Any], Any], data: Any) -> None:
    try:
        load(read(data))
    except ProtocolError:
        pass


@pytest.mark.parametrize("encoding, dialect", codecs)
@given(anything)
def test_codecs(encoding: Encoding, dialect: Dialect, data: bytes) -> None:
    for method in ("server_message", "action_output", "error_body", "queue_reply"):
        read_all(getattr(codec_for(encoding, dialect), method), data)


@given(st.text() | (trees | messages).map(lambda tree: dump_json(tree).decode()))
def test_text_messages(text: str) -> None:
    for encoding, dialect in codecs:
        read_all(codec_for(encoding, dialect).server_message, text)


@given(anything)
def test_management(data: bytes) -> None:
    read_all(error_from_json, data)
    for version in (None, ServerVersion("rivetkit", "2.0.33")):
        read_all(partial(parse_actors, version=version), data)
        read_all(partial(parse_actor, version=version), data)
    read_all(parse_metadata, data)


@given(st.text() | st.text(alphabet="ab_.#-1 ", max_size=20))
def test_close_reasons(reason: str) -> None:
    error = close_error(reason)
    assert error is None or (error.group and error.code and reason.startswith(error.group + "."))


@given(st.none() | st.text(alphabet="ab\\/0") | st.text())
def test_keys(text: str | None) -> None:
    assert isinstance(unescape_key(text), tuple)


@given(
    st.text()
    | st.builds(
        "{}://{}:{}@{}:{}{}".format,
        st.sampled_from(["http", "https", "ws", ""]),
        st.text(alphabet="a%@:/ü ", max_size=4),
        st.text(alphabet="s%@:/?#ü ", max_size=4),
        st.text(alphabet="h.[]:é1/%", max_size=6),
        st.integers(-1, 70000) | st.text(max_size=3),
        st.text(alphabet="/a?#%\\ ", max_size=5),
    )
)
@example("http://[::1")
@example("http://a:b@[]")
@example("http://h:99999")
def test_endpoint_urls(url: str) -> None:
    try:
        clean, user, password = parse_endpoint_url(url)
    except ConfigError:
        return
    assert clean.startswith(("http://", "https://")) and not clean.endswith("/")
    assert "@" not in clean.partition("://")[2].partition("/")[0]
    assert isinstance(user, str) and isinstance(password, str)


# What tests/fuzz feeds to its targets

EACH = [(name, number) for name, inputs in HOSTILE.items() for number in range(len(inputs))]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_seeds_of_the_fuzz_targets(target: Target) -> None:
    # `costs` takes seconds for each input; `bombs` has them all, and longer.
    for seed in target.seeds[:: 5 if target.name == "costs" else 1]:
        target.run(seed)


@pytest.mark.parametrize("target", [t for t in TARGETS.values() if t.name != "costs"])
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_seeds_of_the_fuzz_targets(target: Target, data: st.DataObject) -> None:
    seeds = [seed for seed in (*target.seeds, *HOSTILE.get(target.name, ())) if len(seed) < 10_000]
    target.run(data.draw(damaged(seeds)))


@pytest.mark.parametrize("name, number", EACH)
def test_hostile_inputs(name: str, number: int) -> None:
    data = HOSTILE[name][number]
    TARGETS[name].run(data)
    tracemalloc.start()
    try:
        TARGETS[name].run(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000 + 50 * len(data)


INTEGER = b"\xc2\x59\x10\x00" + b"\xff" * 4096
"""A bignum with more digits than Python is willing to write."""


@pytest.mark.parametrize(
    "encoding, data, said",
    [
        ("cbor", b"\xa1dbody" + INTEGER, "the field 'body' is an integer of more than"),
        ("cbor", b"\xa1dbody\xa2ctagnActionResponsecval\xa1bid" + INTEGER, "action an integer"),
        ("json", b'{"body":[[1]]}', "the field 'body' is a list"),
        ("json", b'{"body":null}', "the field 'body' is None"),
        ("json", b'{"body":7}', "the field 'body' is 7"),
        ("json", b'{"body":"x"}', "the field 'body' is 'x'"),
    ],
)
def test_messages_that_are_none_are_told_in_few_words(
    encoding: Encoding, data: bytes, said: str
) -> None:
    session = Session(codec_for(encoding, Dialect.COMPAT))
    session.init = Init("a", "c")
    with pytest.raises(ProtocolError, match=said):
        message = session.receive(data)
        assert not isinstance(message, tuple)
        session.check_answer(message, issued=1)


def test_a_marker_of_a_large_integer() -> None:
    output = codec_for("cbor", Dialect.COMPAT).action_output(b"\xa1foutput\x82g$BigInt" + INTEGER)
    with pytest.raises(ProtocolError, match="BigInt marker: an integer of more than 64 bits"):
        output.load()


def test_a_time_that_no_calendar_has() -> None:
    body = b'{"actor":{"actor_id":"a","name":"n","create_ts":9223372036854775807}}'
    with pytest.raises(ProtocolError, match="no time is 9223372036854775807 ms"):
        parse_actor(body, None)


@pytest.mark.parametrize(
    "metadata, said",
    [
        ({"clientEndpoint": "http://[::1"}, "clientEndpoint"),
        ({"clientEndpoint": "http:"}, "clientEndpoint"),
        ({"clientEndpoint": "http://a\n/"}, "clientEndpoint"),
        ({"clientEndpoint": "http://ü..x"}, "clientEndpoint"),
        ({"clientEndpoint": "http://a:99999"}, "clientEndpoint"),
        ({"clientEndpoint": "ftp://ns:hush@a"}, "clientEndpoint"),
        ({"clientEndpoint": "http://a/\xe4"}, "clientEndpoint"),
        ({"clientEndpoint": "http://a", "clientToken": "ü"}, "clientToken"),
        ({"clientEndpoint": "http://a", "clientToken": " t"}, "clientToken"),
        ({"clientEndpoint": "http://a", "clientToken": "a\r\nb: c"}, "clientToken"),
    ],
)
async def test_metadata_that_leads_nowhere(metadata: dict[str, str], said: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=metadata))
    async with (
        httpx.AsyncClient(transport=transport) as http,
        Client("http://peer", http=http) as client,
    ):
        with pytest.raises(ProtocolError, match=said) as caught:
            await client.actor("a").get("k").resolve()
    assert "hush" not in str(caught.value)


async def test_an_actor_id_that_no_header_can_carry() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"\x04\x00\x01\x01")

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Client("http://peer", http=http, metadata_lookup=False, skip_ready_wait=True) as client,
    ):
        assert await client.actor("a").get_for_id("ü, x").action("get") == 1
    assert seen[0].headers["x-rivet-actor"] == "%C3%BC%2C%20x"


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "9" * 5000])
async def test_a_content_length_that_is_none(length: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"content-length": length, "content-type": "application/json"}
        return httpx.Response(500, headers=headers, content=b"no")

    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Client("http://peer", http=http, metadata_lookup=False) as client,
    ):
        response = await client.actor("a").get_for_id("x").fetch("/")
    assert (response.status_code, response.content) == (500, b"no")


def test_a_version_of_many_digits() -> None:
    assert ServerVersion("rivetkit", "9" * 5000 + ".1").release is None
    assert ServerVersion("rivetkit", "2." + "3" * 5000).release == (2, 333333333)


# Frames

framers = pytest.mark.parametrize("tested", FRAMERS, ids=lambda tested: tested.name)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds) if a < b]


frames = st.builds(
    lambda opcode, payload, fin: frame(opcode, payload, fin=fin),
    st.integers(0, 15),
    st.binary(max_size=150),
    st.booleans(),
)


@framers
@given(
    st.binary(max_size=100)
    | st.lists(frames, max_size=5).map(b"".join)
    | st.tuples(st.lists(frames, max_size=3), st.binary(max_size=9)).map(
        lambda both: b"".join(both[0]) + both[1]
    ),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_arbitrary_bytes_as_frames(tested: FramerUnderTest, data: bytes, cuts: list[int]) -> None:
    framer = tested.make(100)
    try:
        for chunk in chunks(data, cuts):
            for got in frames_of(framer, chunk):
                assert isinstance(got, (str, bytes, Ping, Pong, Close))
                if isinstance(got, Close):
                    return
    except ProtocolError:
        pass


sayings = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.binary(max_size=200),
        st.binary(max_size=125).map(Ping),
        st.binary(max_size=125).map(Pong),
    ),
    max_size=5,
)


def written(said: str | bytes | Ping | Pong, fragments: int) -> bytes:
    if isinstance(said, Ping):
        return frame(9, said.payload)
    if isinstance(said, Pong):
        return frame(10, said.payload)
    data = said.encode() if isinstance(said, str) else said
    step = max(1, -(-len(data) // fragments))
    parts = [data[i : i + step] for i in range(0, len(data), step)] or [b""]
    first = 1 if isinstance(said, str) else 2
    return b"".join(
        frame(first if i == 0 else 0, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)
    )


@framers
@given(sayings, st.integers(1, 5), st.lists(st.integers(0, 2000), max_size=20))
def test_frames_in_any_chunks(
    tested: FramerUnderTest, said: list[Any], fragments: int, cuts: list[int]
) -> None:
    data = b"".join(written(one, fragments) for one in said) + frame(8, b"\x03\xe8bye")
    framer = tested.make(1000)
    heard = [got for chunk in chunks(data, cuts) for got in frames_of(framer, chunk)]
    assert heard == [*said, Close(1000, "bye")]


@framers
@given(sayings)
def test_frames_are_masked_and_read_by_a_server(tested: FramerUnderTest, said: list[Any]) -> None:
    # Its own little parser: what is written here must not depend on what wrote it.
    framer = tested.make(1000)
    for one in said:
        data = framer.encode(one)
        expected = {str: 1, bytes: 2, Ping: 9, Pong: 10}[type(one)]
        payload = one.payload if isinstance(one, (Ping, Pong)) else one
        payload = payload.encode() if isinstance(payload, str) else payload
        assert data[0] == 0x80 | expected
        assert data[1] & 0x80
        size, at = data[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
        mask, body = data[at : at + 4], data[at + 4 :]
        assert len(body) == size
        assert bytes(b ^ mask[i % 4] for i, b in enumerate(body)) == payload
