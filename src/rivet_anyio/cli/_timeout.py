"""``--timeout``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import anyio

__all__ = ["limit"]


@contextmanager
def limit(seconds: float | None) -> Generator[None]:
    """Let the block take so long; after that it may have run.

    Raises:
        ConnectionLostError: when time is over.
    """
    from .._errors import ConnectionLostError

    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        raise ConnectionLostError(
            f"there was no answer within {seconds:g} s: what was asked for may have run"
        ) from None
