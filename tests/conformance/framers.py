"""The framers that the table is run against.

A new one is a line in `FRAMERS`; the one that connections use is `SHIPPED`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from rivet_anyio._websocket.framing import Frame, Framer
from rivet_anyio._websocket.rfc6455 import RFC6455Framer

from .case import OPEN, Case, Outcome, Violation
from .oracle import WsprotoFramer

__all__ = ["FRAMERS", "SHIPPED", "FramerUnderTest", "frames_of"]


@dataclass(frozen=True)
class FramerUnderTest:
    """A framer, and where it is known to be wrong.

    Attributes:
        name: For test ids.
        make: Makes one, given max_message_size.
        deviations: By the name of a case, what comes of it instead of what should: exactly that,
            or the test fails.
        costly: It holds many times the bytes of a message that comes in small pieces.
    """

    name: str
    make: Callable[[int], Framer]
    deviations: Mapping[str, Outcome] = field(default_factory=dict)
    costly: bool = False

    def expected(self, case: Case) -> Case:
        """The case, with what comes of it with this framer."""
        deviation = self.deviations.get(case.name)
        if deviation is None:
            return case
        return replace(case, got=deviation.got, end=deviation.end, also=None)


WSPROTO = FramerUnderTest(
    "wsproto",
    WsprotoFramer,
    deviations={
        # wsproto knows no registered code after 1013.
        "close with 1014": Outcome((), Violation(1002)),
        # It hands over text decoded, so it is characters that are counted.
        "text above the limit in bytes, below it in characters": Outcome(("€" * 34,), OPEN),
    },
    costly=True,
)

OURS = FramerUnderTest("ours", RFC6455Framer)

FRAMERS = [WSPROTO, OURS]
SHIPPED = OURS


def frames_of(framer: Framer, data: bytes) -> Iterator[Frame]:
    """What these bytes complete, one frame after the other."""
    for received in framer.receive(data):
        if isinstance(received, list):
            assert received, "an empty list"
            yield from received
        else:
            yield received
