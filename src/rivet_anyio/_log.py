"""The one logger: ``logging.getLogger("rivet_anyio")``."""

from __future__ import annotations

import logging

from ._text import on_one_line

__all__ = ["logger"]

# Exceptions are logged as their text: a handler that keeps its records must keep no traceback.
logger = logging.getLogger("rivet_anyio")


def _escape(record: logging.LogRecord) -> bool:
    """Let no text that a peer sent forge an entry of the log."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            on_one_line(arg) if isinstance(arg, str) else arg for arg in record.args
        )
    return True


logger.addFilter(_escape)
