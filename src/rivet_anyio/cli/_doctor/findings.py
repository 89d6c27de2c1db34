"""What `doctor` finds."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

__all__ = ["Finding", "Findings", "Stop", "Verdict"]


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was found, and what to do about it."""

    check: str
    verdict: Verdict
    detail: str
    fix: str | None = None


class Stop(Exception):
    """Further checks have no point."""


@dataclass(slots=True)
class Findings:
    """Takes findings as they are made, and reports them."""

    report: Callable[[Finding], Awaitable[None]]
    failures: int = 0

    async def ok(self, check: str, detail: str) -> None:
        """All is well."""
        await self._add(Finding(check, Verdict.OK, detail))

    async def warn(self, check: str, detail: str, fix: str | None = None) -> None:
        """It works, but."""
        await self._add(Finding(check, Verdict.WARNING, detail, fix))

    async def fail(self, check: str, detail: str, fix: str) -> None:
        """It does not work."""
        self.failures += 1
        await self._add(Finding(check, Verdict.FAILED, detail, fix))

    async def stop(self, check: str, detail: str, fix: str) -> NoReturn:
        """It does not work, and nothing that builds on it can.

        Raises:
            Stop: always.
        """
        await self.fail(check, detail, fix)
        raise Stop

    async def _add(self, finding: Finding) -> None:
        await self.report(finding)
