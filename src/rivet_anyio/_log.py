"""The one logger: ``logging.getLogger("rivet_anyio")``."""

from __future__ import annotations

import logging

__all__ = ["logger"]

# Exceptions are logged as their text: a handler that keeps its records must keep no traceback.
logger = logging.getLogger("rivet_anyio")
