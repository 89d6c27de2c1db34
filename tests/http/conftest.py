"""Every async test here runs on asyncio and on Trio."""

from __future__ import annotations

from tests.peers.conftest import no_environment

__all__ = ["no_environment"]
