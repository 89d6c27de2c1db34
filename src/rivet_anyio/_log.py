"""The one logger: ``logging.getLogger("rivet_anyio")``."""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger = logging.getLogger("rivet_anyio")
