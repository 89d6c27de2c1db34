"""Faults that a test has asked for, and whether they happened."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import FrameType

__all__ = ["Armed", "Moments", "armed", "calling_place"]

_HERE = os.path.dirname(__file__) + os.sep
_LIBRARY = os.path.dirname(os.__file__) + os.sep + "contextlib.py"


def calling_place() -> str:
    """Where the test called this package."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(_HERE) and path != _LIBRARY:
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


@dataclass(kw_only=True)
class Armed:
    """A fault that waits for its occasions.

    Attributes:
        what: What the test wrote.
        where: The place in the test.
        times: For how many occasions.
        left: How many of them are still to come.
        is_optional: Whether it may never happen.
    """

    what: str
    where: str
    times: int = 1
    left: int = 1
    is_optional: bool = False

    def __str__(self) -> str:
        return f"{self.what}, armed at {self.where}"

    @property
    def is_unused(self) -> bool:
        """Whether it was to happen and never did."""
        return self.left == self.times and not self.is_optional


def armed(what: str, times: int = 1, *, is_optional: bool = False) -> Armed:
    """A fault that the test arms in this moment."""
    return Armed(what=what, where=calling_place(), times=times, left=times, is_optional=is_optional)


class Moments:
    """Faults that happen in the moment in which the test asks for them.

    One that finds nothing to break is unused, unless the same place in the test breaks something
    another time: in a loop, say.
    """

    def __init__(self) -> None:
        self._by_place: dict[str, Armed] = {}

    def note(self, what: str, *, has_effect: bool) -> None:
        """The test asks for a fault."""
        fault = armed(what)
        fault = self._by_place.setdefault(str(fault), fault)
        if has_effect:
            fault.left = 0

    def clear(self) -> None:
        """Forget them."""
        self._by_place.clear()

    @property
    def unused(self) -> list[Armed]:
        """Those that never broke anything."""
        return [fault for fault in self._by_place.values() if fault.is_unused]
