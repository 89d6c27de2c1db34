"""Our framers against `websockets`, frame by frame, on streams that nobody wrote down.

Where the two differ and both may, `is_documented` says so.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from rivet_anyio._websocket.framing import Close, Frame, Framer, FramingError, Ping, Pong

from .framers import FRAMERS, FramerUnderTest, frames_of
from .streams import streams
from .wire import Sent

LIMIT = 300

framers = pytest.mark.parametrize("tested", FRAMERS, ids=lambda tested: tested.name)


class Step(NamedTuple):
    """What came of one frame: frames, and the code of a violation."""

    got: tuple[Frame, ...]
    violation: int | None = None

    @property
    def is_end(self) -> bool:
        return self.violation is not None or any(isinstance(frame, Close) for frame in self.got)


class Ours:
    """A framer of ours, one frame at a time."""

    def __init__(self, framer: Framer) -> None:
        self._framer = framer

    def take(self, data: bytes) -> Step:
        got: list[Frame] = []
        try:
            got.extend(frames_of(self._framer, data))
        except FramingError as error:
            return Step(tuple(got), int(error.close_code))
        return Step(tuple(got))


class Theirs:
    """The client side of `websockets`, with its fragments put together and text decoded.

    Its own layers above do that; here it happens frame by frame, as early as can be.
    """

    def __init__(self) -> None:
        self._protocol = Protocol(Side.CLIENT, state=State.OPEN, max_size=LIMIT)
        self._parts: list[str | bytes] = []
        self._decoder: codecs.IncrementalDecoder | None = None

    def take(self, data: bytes) -> Step:
        self._protocol.receive_data(data)
        got: list[Frame] = []
        try:
            for event in self._protocol.events_received():
                assert isinstance(event, TheirFrame)
                got += self._read(event)
        except UnicodeDecodeError:
            return Step(tuple(got), 1007)
        if self._protocol.parser_exc is not None:
            closing = self._protocol.close_sent
            assert closing is not None
            return Step(tuple(got), int(closing.code))
        return Step(tuple(got))

    def _read(self, event: TheirFrame) -> list[Frame]:
        data = bytes(event.data)
        if event.opcode is Opcode.PING:
            return [Ping(data)]
        if event.opcode is Opcode.PONG:
            return [Pong(data)]
        if event.opcode is Opcode.CLOSE:
            received = self._protocol.close_rcvd
            assert received is not None
            return [Close(int(received.code), received.reason)]
        if event.opcode is not Opcode.CONT:
            self._parts = []
            is_text = event.opcode is Opcode.TEXT
            self._decoder = codecs.getincrementaldecoder("utf-8")() if is_text else None
        decoder = self._decoder
        self._parts.append(data if decoder is None else decoder.decode(data, event.fin))
        if not event.fin:
            return []
        if decoder is None:
            return [b"".join(part for part in self._parts if isinstance(part, bytes))]
        return ["".join(part for part in self._parts if isinstance(part, str))]


def is_documented(sent: Sent, tested: FramerUnderTest, ours: Step, theirs: Step) -> bool:
    """Whether two readers of this frame may differ in this way."""
    if sent.width is not None:
        # 5.2 obliges the sender to the fewest bytes of length; we hold it to that.
        return ours.violation == 1002
    if sent.opcode == 8 and theirs.violation == 1002 and ours.violation is None:
        # 5.4 lets a close frame come between fragments, like every control frame.
        return any(isinstance(frame, Close) for frame in ours.got)
    if ours.violation is not None and theirs.violation is not None:
        # Of two faults in one frame either may be told: they look at the length first, and at a
        # close frame's reason before its code.
        return theirs.violation in (1007, 1009)
    if theirs.got == (Close(1014, sent.payload[2:].decode()),):
        return ours.violation == 1002 and "close with 1014" in tested.deviations
    counts_characters = "text above the limit in bytes, below it in characters"
    return theirs.violation == 1009 and counts_characters in tested.deviations


@framers
@settings(max_examples=400, deadline=None)
@given(stream=streams())
def test_what_is_read(tested: FramerUnderTest, stream: Sequence[Sent]) -> None:
    ours, theirs = Ours(tested.make(LIMIT)), Theirs()
    for sent in stream:
        our_step, their_step = ours.take(sent.wire), theirs.take(sent.wire)
        if our_step != their_step:
            assert is_documented(sent, tested, our_step, their_step), (sent, our_step, their_step)
            return
        if our_step.is_end:
            return


@framers
@settings(max_examples=200, deadline=None)
@given(stream=streams(), seed=st.randoms(use_true_random=False))
def test_how_bytes_arrive_makes_no_difference(
    tested: FramerUnderTest, stream: Sequence[Sent], seed: Random
) -> None:
    data = b"".join(sent.wire for sent in stream)
    whole = Ours(tested.make(LIMIT)).take(data)
    pieces = Ours(tested.make(LIMIT))
    got: list[Frame] = []
    violation: int | None = None
    at = 0
    while at < len(data):
        size = seed.randint(1, 12)
        step = pieces.take(data[at : at + size])
        got += step.got
        violation = step.violation
        at += size
        if step.is_end:
            break
    assert tuple(got) == whole.got
    # Of two faults in one frame, the one that is met first is told.
    assert violation == whole.violation or {violation, whole.violation} == {1007, 1009}


# The other direction

sayings = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.binary(max_size=200),
        st.sampled_from([125, 126, 127, 65535, 65536, 70001]).map(lambda n: b"\xa5" * n),
        st.sampled_from([41, 42, 43, 21845, 21846]).map(lambda n: "€" * n),
        st.binary(max_size=125).map(Ping),
        st.binary(max_size=125).map(Pong),
    ),
    max_size=6,
)
closings = st.builds(
    Close,
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4999]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


@framers
@settings(deadline=None)
@given(said=sayings, closing=closings, size=st.none() | st.integers(4, 2000))
def test_what_is_written(
    tested: FramerUnderTest, said: list[Frame], closing: Close, size: int | None
) -> None:
    framer = tested.make(LIMIT)
    server = Protocol(Side.SERVER, state=State.OPEN, max_size=None)
    for frame in [*said, closing]:
        if size is not None and isinstance(frame, (str, bytes)):
            server.receive_data(b"".join(framer.encode_in_pieces(frame, size)))
        else:
            server.receive_data(framer.encode(frame))
        assert server.parser_exc is None
        (read,) = server.events_received()
        assert isinstance(read, TheirFrame)
        assert read.fin
        assert (int(read.opcode), bytes(read.data)) == as_opcode_and_payload(frame)
    assert server.close_rcvd is not None
    assert (server.close_rcvd.code, server.close_rcvd.reason) == closing


def as_opcode_and_payload(frame: Frame) -> tuple[int, bytes]:
    if isinstance(frame, str):
        return 1, frame.encode()
    if isinstance(frame, bytes):
        return 2, frame
    if isinstance(frame, Close):
        return 8, frame.code.to_bytes(2, "big") + frame.reason.encode()
    return (9 if isinstance(frame, Ping) else 10), frame.payload
