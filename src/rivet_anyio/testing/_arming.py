"""Faults that a test has asked for, and whether they happened."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import FrameType

__all__ = ["Armed", "armed", "calling_place"]

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
