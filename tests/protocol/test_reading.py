"""The short way to read a message gives what the long way gives, errors too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rivet_anyio import ProtocolError
from rivet_anyio.protocol import bare
from rivet_anyio.protocol.bare_codec import BareCodec
from rivet_anyio.protocol.cbor_codec import CborCodec
from rivet_anyio.protocol.codec import Codec, Encoding
from rivet_anyio.protocol.dialect import Dialect
from rivet_anyio.protocol.encodings import codec_for
from rivet_anyio.protocol.messages import Event
from rivet_anyio.protocol.values import (
    COMPAT_CBOR,
    MAX_DEPTH,
    PLAIN_CBOR,
    ValueForm,
    dump_cbor,
    dump_json,
    load_arguments,
    load_cbor,
    revive_arguments,
)

from .test_fuzz import codecs, damaged, messages, trees

WANTED = {"e", "ü", "newCount", "name", ""}

names = st.sampled_from(["e", "ü", "newCount", "unwanted", "", "e" * 127, "e" * 128])
values = st.one_of(
    trees,
    trees.map(lambda tree: [tree]),
    st.lists(trees, max_size=3),
    st.integers(MAX_DEPTH - 5, MAX_DEPTH + 2).map(lambda depth: nested(depth)),
)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


def bare_message(version: int, tag: bytes, subject: bytes, value: bytes) -> bytes:
    return version.to_bytes(2, "little") + tag + subject + value


lengths = st.one_of(
    st.binary(max_size=5),
    st.integers(0, 2**32).map(bare.uint),
    st.lists(st.integers(0x80, 0xFF), max_size=4).map(lambda more: bytes((*more, 0))),
)
bare_messages = st.builds(
    bare_message,
    st.sampled_from([1, 2, 3, 4, 4, 4, 0, 5, 0x103]),
    st.sampled_from([b"\x03", b"\x03", b"\x02", b"\x01", b"\x83\x00"]),
    st.one_of(names.map(bare.text), st.integers(0, 300).map(bare.uint), lengths),
    st.one_of(
        values.map(lambda value: bare.data(dump_cbor(value))),
        st.binary(max_size=200).map(bare.data),
        lengths,
    ),
)
tree_messages = messages | st.builds(
    lambda name, args: {"body": {"tag": "Event", "val": {"name": name, "args": args}}},
    names,
    values,
)


def outcome(message: Any) -> Any:
    """What becomes of a message: an event that is wanted is read sooner or later."""
    if not isinstance(message, Event) or message.name not in WANTED:
        return message
    try:
        args = message.args.load()
    except ProtocolError as error:
        return message.name, str(error)
    if not isinstance(args, list):
        return message.name, args
    return message.name, args[0] if len(args) == 1 else tuple(args)


def told(read: Callable[[], Any], codec: Codec) -> str:
    """What comes out, with the types of all that is in it."""
    try:
        return repr((outcome(read()), codec.dialect))
    except ProtocolError as error:
        return f"{type(error)} {error} {codec.dialect}"


def check(encoding: Encoding, dialect: Dialect, sent: list[bytes | str]) -> None:
    """Read all of these by one codec, as a connection does: it remembers what it heard."""
    short, long = codec_for(encoding, dialect), codec_for(encoding, dialect)
    expected: list[str] = []
    for data in [*sent, *sent]:
        expected.append(told(partial(long.server_message, data), long))
        assert told(partial(short.read, data, WANTED), short) == expected[-1]
    assert told_together([*sent, *sent], codec_for(encoding, dialect)) == expected


def told_together(messages: list[bytes | str], codec: Codec) -> list[str]:
    """As `told`, of messages that came in one read: a connection reads what it can together."""
    found: list[str] = []
    while len(found) < len(messages):
        rest = messages[len(found) :]
        names, values = codec.events(rest, WANTED)
        assert len(names) == len(values)
        found += [repr((event, codec.dialect)) for event in zip(names, values, strict=True)]
        if not names:
            found.append(told(partial(codec.read, rest[0], WANTED), codec))
    return found


@given(st.sampled_from(list(Dialect)), st.lists(bare_messages | damaged(), max_size=4))
@example(Dialect.COMPAT, [b"\x03\x00\x03\x01e\x01\xff", b"\x04\x00\x03\x01e\x02\x81\x07"])
@example(Dialect.COMPAT, [b"\x04\x00\x03\x01e\x01\x80", b"\x04\x00\x03\x01e"])
@example(Dialect.COMPAT, [b"\x04\x00\x03\x01e\x02\x81\x07", b"\x04\x00\x03\x01e\x82\x00\x81\x07"])
def test_bare(dialect: Dialect, sent: list[bytes | str]) -> None:
    check("bare", dialect, sent)


@given(
    st.lists(
        st.lists(
            st.sampled_from(
                [
                    # The marker between items, whole and in pieces; the number it is equal to.
                    *(b"\xf8\xe5", b"\xf8", b"\xe5", b"\x18\xe5", b"\xf9\x5b\x28", b"\xf8\x20"),
                    # Items, and beginnings of items that take what comes after them.
                    *(b"\x80", b"\x01", b"\x81", b"\x82", b"\x42", b"\x62", b"\xa1", b"\xc2"),
                    *(b"\xd8\x40", b"\xd9\x01\x03", b"\xd9\x01\x02", b"\xc1", b"\xc4"),
                    *(b"\x9f", b"\x5f", b"\xff", b"\xf6", b"\xf7", b"\x1b", b"\xfb", b"\xd8"),
                    *(b"\x81\x01", b"\x81\x81\x02", b"\x81\x61\xff", b"\xa1\x01\x02", b""),
                ]
            ),
            max_size=4,
        ).map(b"".join),
        min_size=2,
        max_size=5,
    ),
    st.sampled_from([PLAIN_CBOR, COMPAT_CBOR]),
)
@example([b"\x82\x01", b"\xf8\xe5\x05"], PLAIN_CBOR)
@example([b"\x82\x01", b"\x18\xe5\x05"], PLAIN_CBOR)
@example([b"\x82\x01", b"\xf8\x20\x05"], PLAIN_CBOR)
@example([b"\x81\x02\xd8\x40", b"\x81\x03"], PLAIN_CBOR)
@example([b"\x81\x02\xd9\x01\x03", b"\x81\x03"], PLAIN_CBOR)
@example([b"\x01\xff", b"\x02"], PLAIN_CBOR)
@example([b"\x81\x61\xff", b"\x80"], PLAIN_CBOR)
@example([b"\x80", b"\x81\xa1\x01\x02", b"\x80"], PLAIN_CBOR)
@example([b"\x80", b"\x81" * (MAX_DEPTH + 1) + b"\x80"], PLAIN_CBOR)
@example([b"\x81\x01", b"\x42", b"\x81\x02"], PLAIN_CBOR)
def test_each_item_is_read_from_its_own_bytes(items: list[bytes], form: ValueForm) -> None:
    expected: list[Any] = []
    with suppress(ProtocolError):
        expected.extend(revive_arguments(load_cbor(item), form) for item in items)
    assert repr(load_arguments(items, form)) == repr(expected)


def cbor_event(release: int, name: str, args: bytes) -> bytes:
    """An event as RivetKit 2.`release` writes it."""
    one, two = (b"\xb9\0\1", b"\xb9\0\2") if release < 3 else (b"\xa1", b"\xa2")
    head = one + b"dbody" + two + b"ctageEventcval" + two + b"dname"
    return head + dump_cbor(name) + b"dargs" + args


@given(
    st.sampled_from([one for one in codecs if one[0] != "bare"]),
    st.lists(
        tree_messages.map(dump_cbor)
        | st.builds(cbor_event, st.sampled_from([2, 3]), names, values.map(dump_cbor))
        | st.builds(cbor_event, st.sampled_from([2, 3]), names, st.binary(max_size=9))
        | (tree_messages | trees).map(dump_json)
        | trees.map(dump_cbor)
        | damaged(),
        max_size=3,
    ),
)
def test_trees(codec: tuple[Encoding, Dialect], sent: list[bytes | str]) -> None:
    check(*codec, sent)


@given(
    st.sampled_from(codecs),
    st.text(st.characters(exclude_categories=["Cs"]))
    | (tree_messages.map(lambda tree: dump_json(tree).decode())),
)
def test_text(codec: tuple[Encoding, Dialect], sent: str) -> None:
    check(*codec, [sent])


@given(st.sampled_from(codecs), values)
def test_what_an_event_delivers(spoken: tuple[Encoding, Dialect], args: Any) -> None:
    encoding, dialect = spoken
    if encoding == "bare":
        data = bare_message(
            3 if dialect is Dialect.PLAIN else 4,
            b"\x03",
            bare.text("e"),
            bare.data(dump_cbor(args)),
        )
    else:
        dump = dump_cbor if encoding == "cbor" else dump_json
        data = dump({"body": {"tag": "Event", "val": {"name": "e", "args": args}}})
    try:
        event = codec_for(encoding, dialect).server_message(data)
    except ProtocolError:
        return  # nested too deeply for a message to be around it
    assert isinstance(event, Event)
    try:
        value = event.args.load_arguments()
    except ProtocolError as error:
        value = str(error)
    assert repr(("e", value)) == repr(outcome(event))
    codec = codec_for(encoding, dialect)
    for _ in range(2):
        assert repr(outcome(codec.read(data, WANTED))) == repr(outcome(event))


@given(st.integers(0, 2**32), st.binary(max_size=200))
def test_answers_of_every_id(id: int, output: bytes) -> None:
    check("bare", Dialect.PLAIN, [bare_message(3, b"\x02", bare.uint(id), bare.data(output))])


@pytest.mark.parametrize("size", [0, 1, 23, 24, 25, 255, 256])
@pytest.mark.parametrize("release", [2, 3])
def test_event_prefixes_in_cbor(size: int, release: int) -> None:
    name = "n" * size
    data = cbor_event(release, name, b"")
    codec = CborCodec(Dialect.COMPAT)
    for value in range(3):
        assert codec.read(data + dump_cbor([value]), {name}) == (name, value)
    with pytest.raises(ProtocolError) as short:
        codec.read(data + b"\x82\x00", {name})
    with pytest.raises(ProtocolError) as long:
        codec.server_message(data + b"\x82\x00")
    assert str(short.value) == str(long.value)
    assert (data in codec._prefixes) is (size < 256)


@pytest.mark.parametrize("depth", range(MAX_DEPTH - 5, MAX_DEPTH + 3))
@pytest.mark.parametrize("release", [2, 3])
def test_how_deep_arguments_nest(release: int, depth: int) -> None:
    check(
        "cbor",
        Dialect.COMPAT,
        [
            cbor_event(release, "e", b"\x80"),
            cbor_event(release, "e", b"\x81" * depth + b"\x80"),
            cbor_event(release, "e", b"\x81" + b"\xa1\x01" * depth + b"\x80"),
            b"\xbf" + cbor_event(release, "e", b"\x80").removeprefix(b"\xa1") + b"\xff",
        ],
    )


@pytest.mark.parametrize("text", [b"\x61\x80", b"\x61\xff", b"\x7a\0\1\x38\x80" + b"\x80" * 80_000])
def test_text_that_is_not_utf8_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="not CBOR"):
        load_cbor(text)
    assert load_arguments([b"\x81\x07", b"\x81" + text, b"\x81\x07"], COMPAT_CBOR) == [7]


def test_a_damaged_event_lets_no_name_be_forgotten() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    assert isinstance(codec, BareCodec)
    names = [f"event-{i}" for i in range(256)]
    for name in names:
        codec.read(bare_message(4, b"\x03", bare.text(name), bare.data(b"\x81\x07")), {*names})
    known = dict(codec._prefixes)
    assert len(known) == 256
    damaged = bare_message(4, b"\x03", bare.text(names[7]), bare.data(b"\x81\xff"))
    assert isinstance(codec.read(damaged, {*names}), Event)
    assert codec._prefixes == known


def test_only_wanted_events_are_read_together() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    e, name = (
        bare_message(4, b"\x03", bare.text(name), bare.data(b"\x81\x07")) for name in ("e", "name")
    )
    for data in (e, name):
        codec.read(data, WANTED)
    assert codec.events([e, name, e], WANTED) == (["e", "name", "e"], [7, 7, 7])
    assert codec.events([e, name, e], {"e"}) == (["e"], [7])
    assert codec.events([name, e], {"e"}) == ([], [])


def test_what_takes_much_memory_is_not_read_together_with_others() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    small, dense = (
        bare_message(4, b"\x03", bare.text("e"), bare.data(args))
        for args in (b"\x81\x07", b"\x99\xff\xff" + b"\x81\x80" * 0xFFFF)
    )
    codec.read(small, WANTED)
    assert codec.events([small, dense, small], WANTED) == (["e"], [7])
    assert codec.events([dense, small], WANTED) == ([], [])
    event = codec.read(dense, WANTED)
    assert isinstance(event, Event)
    with pytest.raises(ProtocolError, match="too much memory"):
        event.args.load()


def test_more_names_than_are_remembered() -> None:
    codec = codec_for("bare", Dialect.COMPAT)
    wanted = {f"event-{i}" for i in range(1000)}
    for _ in range(2):
        for i in range(1000):
            name = f"event-{i}"
            data = bare_message(4, b"\x03", bare.text(name), bare.data(dump_cbor([i])))
            assert isinstance(codec.read(data, wanted), (Event, tuple))
            assert codec.read(data, wanted) == (name, i)
            assert isinstance(codec.read(data, ()), Event)
    assert isinstance(codec, BareCodec) and len(codec._prefixes) <= 256
