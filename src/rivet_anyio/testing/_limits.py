"""How large messages can be."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import ActorError
from ._release import Release

__all__ = ["Limits"]

_OPTIONS = {0: "registry.start", 1: "registry.start", 2: "setup"}
"""What the size is an option of, as the texts of errors say it."""


@dataclass(frozen=True)
class Limits:
    """Sizes of messages in bytes, and the errors when they are exceeded."""

    release: Release
    incoming: int
    outgoing: int

    def lets_in(self, data: str | bytes) -> bool:
        """Whether a message from a client is short enough."""
        return _size(data) <= self.incoming

    def lets_out(self, data: str | bytes) -> bool:
        """Whether a message to a client is short enough."""
        return _size(data) <= self.outgoing

    def incoming_too_long(self) -> ActorError:
        """What is said of a message from a client."""
        return self._error("incoming")

    def outgoing_too_long(self) -> ActorError:
        """What is said of a message to a client."""
        return self._error("outgoing")

    def _error(self, way: str) -> ActorError:
        text = f"{way.capitalize()} message too long"
        if not self.release.has_engine:
            option = f"max{way.capitalize()}MessageSize"
            text += (
                ". This can be configured with: "
                f"`{_OPTIONS[self.release.minor]}({{ {option}: ... }})`"
            )
        return ActorError("message", f"{way}_too_long", text)


def _size(data: str | bytes) -> int:
    return len(data.encode()) if isinstance(data, str) else len(data)
