"""Every test here runs on asyncio and on Trio, and leaves no task behind."""

from __future__ import annotations

from tests.peers.conftest import no_environment, no_tasks_left

__all__ = ["no_environment", "no_tasks_left"]
