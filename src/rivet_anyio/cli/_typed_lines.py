"""Lines that somebody types: readline edits them, and brings earlier ones back."""

from __future__ import annotations

import os
import readline
import termios
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio

__all__ = ["TypedLines", "history_path", "typed_lines"]

_CHUNK = 65536
_MAX_HISTORY = 1000
_CLEAR = "\r\x1b[K"


class TypedLines:
    """What is typed at the terminal. A thread waits for it, because readline blocks."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._is_typing = False
        threading.Thread(target=self._read_lines, name="rivet-anyio input", daemon=True).start()

    async def receive(self) -> bytes:
        """The next line; nothing at the end."""
        await anyio.wait_readable(self._reader)
        return os.read(self._reader, _CHUNK)

    def beside(self, text: str) -> str:
        """The text, with what has been typed of the next line moved below it."""
        typed = readline.get_line_buffer() if self._is_typing else ""
        return f"{_CLEAR}{text}\n{typed}" if typed else f"{text}\n"

    def _read_lines(self) -> None:
        try:
            while True:
                self._is_typing = True
                line = input()
                self._is_typing = False
                os.write(self._writer, f"{line}\n".encode(errors="surrogateescape"))
        except (EOFError, OSError):
            os.close(self._writer)


@contextmanager
def typed_lines() -> Generator[TypedLines]:
    """Lines of the terminal, with the history of earlier runs."""
    path = history_path(os.environ)
    if path is not None:
        try:
            readline.read_history_file(path)
        except OSError:  # there is none yet
            pass
    readline.set_history_length(_MAX_HISTORY)
    readline.parse_and_bind("tab: self-insert")
    settings = termios.tcgetattr(0)
    try:
        yield TypedLines()
    finally:
        # readline is still at work in its thread, which ends with the process.
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
        if path is not None:
            _save(path)


def history_path(environ: Mapping[str, str]) -> Path | None:
    """Where the history is kept, None where there is no home directory."""
    base = environ.get("XDG_STATE_HOME")
    if not base:
        home = environ.get("HOME")
        base = os.path.join(home, ".local", "state") if home else None
    return Path(base, "rivet-anyio", "websocket_history") if base else None


def _save(path: Path) -> None:
    """Keep the history for the next run, for this user alone."""
    umask = os.umask(0o077)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(path)
    except OSError:  # a run goes without its history rather than fail
        pass
    finally:
        os.umask(umask)
