"""A case as a server's script, and what must be true of the client's frames afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rivet_anyio._websocket.framing import Close, Ping

from .case import CUT, OPEN, Case, End, Violation
from .memory import Step, pongs
from .slicing import at_every_byte
from .wire import Said, Sent, close

__all__ = ["FAREWELL", "WAYS", "check_client_frames", "final_end", "script"]

WAYS = ("whole", "byte by byte", "waiting for every pong")
FAREWELL = Close(1000, "that was all")


def final_end(end: End) -> Close | Violation | None:
    """How the connection ends when the script is over; None: it breaks off."""
    if isinstance(end, (Close, Violation)):
        return end
    return FAREWELL if end is OPEN else None


def script(case: Case, way: str) -> Iterator[Step]:
    """What the server does in a case, up to an end even where the case has none."""
    frames = [frame.wire for frame in case.sent]
    if way == "whole":
        yield b"".join(frames)
    elif way == "byte by byte":
        yield from at_every_byte(frames)
    else:
        yield from _patiently(case)
    payloads = [frame.payload for frame in case.got if isinstance(frame, Ping)]
    if case.end in (OPEN, CUT) and payloads:
        yield partial(_answered, payloads[-1])
    if case.end is OPEN:
        yield close(FAREWELL.code, FAREWELL.reason).wire


def check_client_frames(case: Case, end: End, frames: Sequence[Said], way: str) -> None:
    """Check the pongs and the close frame among what the client said; no other frame may be."""
    pings = [frame.payload for frame in case.got if isinstance(frame, Ping)]
    answered = pongs(frames)
    if way == "waiting for every pong":
        assert answered == pings
    else:
        rest = iter(pings)
        assert all(payload in rest for payload in answered), "pongs that answer no ping, in order"
        if pings and not isinstance(end, Close):
            # 5.5.2: a pong may be left out once a close frame has come.
            assert answered[-1] == pings[-1]
    others = [frame for frame in frames if frame.opcode != 10]
    last = final_end(end)
    if last is None:
        assert others == []
        return
    assert [frame.opcode for frame in others] == [8] and frames[-1].opcode == 8
    assert others[0].code == (1000 if last.code == 1005 else last.code)


def _patiently(case: Case) -> Iterator[Step]:
    """Frame by frame, waiting after every good ping for its answer."""
    pings = iter([frame.payload for frame in case.got if isinstance(frame, Ping)])
    answers = 0
    for sent in case.sent:
        yield sent.wire
        if _is_ping(sent) and next(pings, None) is not None:
            answers += 1
            yield partial(_counts, answers)


def _is_ping(sent: Sent) -> bool:
    return sent.opcode == 9 and sent.fin and sent.is_plain and len(sent.payload) < 126


def _answered(payload: bytes, frames: Sequence[Said]) -> bool:
    return pongs(frames)[-1:] == [payload]


def _counts(number: int, frames: Sequence[Said]) -> bool:
    return len(pongs(frames)) == number
