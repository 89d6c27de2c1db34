"""How the command ends: codes that scripts can rely on."""

from __future__ import annotations

import enum

__all__ = ["Exit", "Interrupted", "PipeClosed", "Quit"]


class Exit(enum.IntEnum):
    """Exit codes; docs/cli.md has the table."""

    OK = 0
    FAILED = 1
    USAGE = 2
    ACTOR = 3
    CONNECT = 4
    LOST = 5
    PROTOCOL = 6
    TIMED_OUT = 7
    HTTP = 8
    NOT_INSTALLED = 9
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


class Quit(Exception):
    """Ends the command with a code; what there was to say has been said."""

    def __init__(self, code: Exit) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(Exception):
    """A signal ended the command."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.code = Exit(128 + signum)


class PipeClosed(Exception):
    """Whoever read the output has gone: ``| head -1``."""
