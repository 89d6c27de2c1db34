"""What is saved of an actor's state, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..protocol.dialect import Dialect
from ..protocol.values import COMPAT_CBOR, PLAIN_CBOR, dump_cbor, load_cbor, prepare, revive
from ._release import Release

__all__ = ["StateCodec", "Storage"]


class StateCodec:
    """Writes the state of an actor, its public attributes, as bytes, and reads it back."""

    def __init__(self, release: Release) -> None:
        self._form = COMPAT_CBOR if release.dialect is Dialect.COMPAT else PLAIN_CBOR

    def dump(self, actor: object) -> bytes:
        """The state as bytes.

        Raises:
            TypeError: when something in it cannot be saved; the message names the path.
        """
        state = {
            name: prepare(value, self._form, f"self.{name}")
            for name, value in vars(actor).items()
            if not name.startswith("_")
        }
        return dump_cbor(state)

    def dump_args(self, args: Sequence[Any]) -> bytes:
        """Arguments as bytes.

        Raises:
            TypeError: when one of them cannot travel.
        """
        return dump_cbor(prepare(list(args), self._form, "args"))

    def dump_body(self, body: Any) -> bytes:
        """The body of a message of a queue as bytes; it has travelled already."""
        return dump_cbor(prepare(body, self._form, "body"))

    def load_args(self, data: bytes) -> list[Any]:
        """Arguments from bytes."""
        args: list[Any] = revive(load_cbor(data), self._form)
        return args

    def load(self, data: bytes) -> dict[str, Any]:
        """The state from bytes."""
        state: dict[str, Any] = revive(load_cbor(data), self._form)
        return state


class Storage:
    """The saved state of one actor. A change is saved `interval` after the save before it.

    Times are those of `anyio.current_time`. No task and no timer is needed: whoever looks says
    when that is.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._saved: bytes | None = None
        self._saved_at = -math.inf
        self._waiting: bytes | None = None
        self._due = 0.0

    def save(self, data: bytes, now: float) -> None:
        """Save now."""
        self._saved, self._saved_at, self._waiting = data, now, None

    def note(self, data: bytes, now: float) -> None:
        """The state may have changed."""
        if data == self.read(now) and self._waiting is None:
            return
        if self._waiting is None:
            self._due = max(now, self._saved_at + self._interval)
        self._waiting = data

    def read(self, now: float) -> bytes | None:
        """What is saved; None: nothing yet. What is due at this very moment is not yet."""
        if self._waiting is not None and now > self._due:
            self._saved, self._saved_at, self._waiting = self._waiting, self._due, None
        return self._saved
