"""All the cases."""

from __future__ import annotations

from . import (
    cases_closing,
    cases_control,
    cases_fragments,
    cases_framing,
    cases_limits,
    cases_utf8,
)
from .case import Case, Group

__all__ = ["CASES", "GROUPS"]

GROUPS: tuple[Group, ...] = (
    *cases_framing.GROUPS,
    *cases_control.GROUPS,
    *cases_fragments.GROUPS,
    *cases_utf8.GROUPS,
    *cases_closing.GROUPS,
    *cases_limits.GROUPS,
)

CASES: tuple[Case, ...] = tuple(case for group in GROUPS for case in group.cases)
