"""Which RivetKit version the server plays, and how a client recognises it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._errors import ConfigError
from .._text import in_short
from ..protocol.dialect import Dialect

__all__ = ["Release", "release_of"]


@dataclass(frozen=True, slots=True)
class Release:
    """A RivetKit version.

    Attributes:
        version: What ``/metadata`` says.
        minor: Its second number: 0, 1, 2 or 3.
        bare_version: The protocol version that its BARE messages are labelled with.
        dialect: How it writes values.
    """

    version: str
    minor: int
    bare_version: int
    dialect: Dialect

    @property
    def has_engine(self) -> bool:
        """Since 2.3 an engine stands before the actors, and a runtime around them."""
        return self.minor >= 3

    @property
    def marks_errors(self) -> bool:
        """Since 2.3.17 the engine marks its own errors by a header."""
        return self.has_engine and int(self.version.split(".")[2]) >= 17

    @property
    def is_serial(self) -> bool:
        """2.1 and 2.2 handle the messages of a connection strictly one after the other."""
        return self.minor in (1, 2)

    def leaves_calls(self, end: str) -> bool:
        """Whether an actor that stops closes its connections while calls are under way.

        Their answers get lost then; calls over HTTP go on to their end.
        """
        return self.minor == 0 or (self.has_engine and end == "destroy")

    @property
    def has_queues(self) -> bool:
        """Queues came with 2.1."""
        return self.minor >= 1


_NEWEST = {0: "2.0.33", 1: "2.1.3", 2: "2.2.1", 3: "2.3.19"}
_BARE = {0: 2, 1: 3, 2: 3, 3: 4}


def release_of(version: str) -> Release:
    """The release of ``"2.3"`` or ``"2.3.19"``.

    Raises:
        ConfigError: for versions that nobody compared with a real server.
    """
    found = re.fullmatch(r"2\.(\d+)(\.\d+)?", version)
    minor = int(found[1]) if found else -1
    if minor not in _NEWEST:
        raise ConfigError(
            f"version is '2.0', '2.1', '2.2', '2.3' or one like '2.3.19', not {in_short(version)}"
        )
    return Release(
        version=version if found and found[2] else _NEWEST[minor],
        minor=minor,
        bare_version=_BARE[minor],
        dialect=Dialect.COMPAT if minor >= 3 else Dialect.PLAIN,
    )
