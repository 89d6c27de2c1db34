"""The table, at the seam where bytes become frames."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable

import pytest

from rivet_anyio._websocket.framing import Close, Frame, Framer, FramingError

from .case import OPEN, Case, Outcome, Violation
from .framers import FRAMERS, SHIPPED, FramerUnderTest, frames_of
from .slicing import at_every_byte, in_two
from .table import CASES, GROUPS
from .wire import Sent, binary, more, text

framers = pytest.mark.parametrize("tested", FRAMERS, ids=lambda tested: tested.name)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def outcome(
    framer: Framer, pieces: Iterable[bytes]
) -> tuple[tuple[Frame, ...], Close | int | None]:
    """The frames that come out, and the close frame or the code of the violation."""
    got: list[Frame] = []
    for piece in pieces:
        try:
            got.extend(frames_of(framer, piece))
        except FramingError as error:
            return tuple(got), error.close_code
        closes = [i for i, frame in enumerate(got) if isinstance(frame, Close)]
        if closes:
            end = got[closes[0]]
            assert isinstance(end, Close)
            assert len(got) == closes[0] + 1, "frames after the close frame"
            return tuple(got[:-1]), end
    return tuple(got), None


def is_one_of(
    found: tuple[tuple[Frame, ...], Close | int | None], allowed: Iterable[Outcome]
) -> bool:
    for got, end in allowed:
        wanted = end if isinstance(end, Close) else end.code if isinstance(end, Violation) else None
        if found == (got, wanted) and [*map(type, found[0])] == [*map(type, got)]:
            return True
    return False


def check(tested: FramerUnderTest, case: Case, pieces: Iterable[bytes]) -> None:
    found = outcome(tested.make(case.limit), pieces)
    assert is_one_of(found, tested.expected(case).allowed), found


def test_the_table_is_large_and_every_name_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 250
    assert all(group.rfc and group.cases for group in GROUPS)


@framers
def test_deviations_are_of_cases_and_from_them(tested: FramerUnderTest) -> None:
    cases = {case.name: case for case in CASES}
    for name, deviation in tested.deviations.items():
        assert deviation not in cases[name].allowed


@framers
@every_case
def test_whole_by_frames_and_byte_by_byte(tested: FramerUnderTest, case: Case) -> None:
    frames = [frame.wire for frame in case.sent]
    check(tested, case, [b"".join(frames)])
    check(tested, case, frames)
    check(tested, case, at_every_byte(frames))
    closing = tested.make(case.limit)
    closing.encode(Close(1000, ""))
    assert is_one_of(outcome(closing, frames), tested.expected(case).allowed), (
        "after our own close frame"
    )


@every_case
def test_in_two_pieces(case: Case) -> None:
    for pieces in in_two([frame.wire for frame in case.sent]):
        check(SHIPPED, case, pieces)


@framers
@pytest.mark.parametrize("case", [c for c in CASES if c.end is OPEN], ids=lambda case: case.name)
def test_what_comes_next_is_read_as_if_nothing_had_been(
    tested: FramerUnderTest, case: Case
) -> None:
    framer = tested.make(max(case.limit, 4))
    outcome(framer, [frame.wire for frame in case.sent])
    after = [text("next"[:2]), binary(b"\xff"), Sent(9, b"p")]
    assert len(list(frames_of(framer, b"".join(frame.wire for frame in after)))) == 3


# Memory


def peak(framer: Framer, pieces: Iterable[bytes]) -> int:
    """The most that was allocated at a time while these were read."""
    tracemalloc.start()
    try:
        outcome(framer, pieces)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@framers
@pytest.mark.parametrize("announced", [16 * 1024 * 1024, 2**32, 2**62])
@pytest.mark.parametrize("opcode", [1, 2])
def test_a_length_alone_takes_no_memory(
    tested: FramerUnderTest, opcode: int, announced: int
) -> None:
    data = Sent(opcode, b"x" * 1000, length=announced).wire
    assert peak(tested.make(16 * 1024 * 1024), [data]) < 100_000


@framers
@pytest.mark.parametrize("kind", [text, binary])
def test_small_fragments_take_about_the_memory_of_the_message(
    tested: FramerUnderTest, kind: Callable[..., Sent]
) -> None:
    data = more(b"xy").wire * 1000
    framer = tested.make(16 * 1024 * 1024)
    found = peak(framer, [kind(b"", fin=False).wire, *(data for _ in range(20))])
    assert (found > 10 * 40_000) is tested.costly


@framers
def test_empty_fragments_take_no_memory(tested: FramerUnderTest) -> None:
    data = more(b"").wire * 1000
    framer = tested.make(1000)
    assert peak(framer, [binary(b"", fin=False).wire, *(data for _ in range(20))]) < 100_000
