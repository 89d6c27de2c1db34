"""The table with an event of the actor protocol in every message.

Whatever a case says of its messages and frames is then said of a connection, too: the text of
each message arrives as an event's argument, and where it cannot be one, that is a violation of
the protocol above.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rivet_anyio._websocket.framing import Frame

from .case import Case, Violation
from .wire import Sent, text

__all__ = ["EVENT", "argument", "as_events", "event", "message"]

EVENT = "said"
_BEFORE = b" " * 100 + b'{"body":{"tag":"Event","val":{"name":"said","args":["'
"""So long that the smallest limit that a case has leaves room for Init."""
_AFTER = b'"]}}}'


def message(tag: str, **value: Any) -> bytes:
    """A message of the JSON encoding, as one frame."""
    return text(json.dumps({"body": {"tag": tag, "val": value}})).wire


def event(argument: str) -> bytes:
    """An event, as one frame."""
    return message("Event", name=EVENT, args=[argument])


def as_events(case: Case) -> Case:
    """The case with its messages between the beginning and the end of an event."""
    got: list[Frame] = []
    end, also = case.end, case.also
    for frame in case.got:
        if isinstance(frame, (str, bytes)):
            frame = _wrapped(frame)
            if argument(frame) is None:
                end, also = Violation(1002), None
                break
        got.append(frame)
    return replace(
        case,
        sent=tuple(_wrapped_frames(case.sent)),
        got=tuple(got),
        end=end,
        also=also,
        limit=case.limit + len(_BEFORE + _AFTER),
    )


def argument(data: str | bytes) -> str | None:
    """What the event in this message tells; None when there is no event in it."""
    try:
        tree = json.loads(data if isinstance(data, str) else data.decode())
    except ValueError:
        return None
    told: str = tree["body"]["val"]["args"][0]
    return told


def _wrapped(data: str | bytes) -> str | bytes:
    if isinstance(data, str):
        return _BEFORE.decode() + data + _AFTER.decode()
    return _BEFORE + data + _AFTER


def _wrapped_frames(frames: Sequence[Sent]) -> Iterator[Sent]:
    inside = False
    for frame in frames:
        payload = frame.payload
        # Where a length lies the payload stays, so that it lies by as much.
        if frame.is_plain and frame.opcode < 3:
            payload = payload if inside else _BEFORE + payload
            payload += _AFTER if frame.fin else b""
        inside = inside or frame.opcode in (1, 2)
        inside = inside and not (frame.fin and frame.opcode < 3)
        yield replace(frame, payload=payload)
