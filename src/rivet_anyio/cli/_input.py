"""Reading stdin and files without blocking the event loop, so that a signal ends it at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread
import click

if TYPE_CHECKING:
    from ._output import Output

__all__ = ["Lines", "Stdin", "line_input", "read_bytes", "read_text"]

_CHUNK = 65536


class Stdin:
    """What comes in by stdin, piece by piece."""

    def __init__(self) -> None:
        self._read: Callable[[], Awaitable[bytes]] = self._read_polled
        if sys.platform == "win32":
            self._read = self._read_threaded

    async def receive(self) -> bytes:
        """The next bytes; none at the end."""
        try:
            return await self._read()
        except OSError:  # there is no stdin, or its terminal has gone
            return b""

    async def _read_polled(self) -> bytes:
        try:
            await anyio.wait_readable(0)
        except PermissionError:
            # Files and /dev/null cannot be waited for, because they never let anybody wait.
            await anyio.lowlevel.checkpoint()
        return os.read(0, _CHUNK)

    async def _read_threaded(self) -> bytes:
        return await anyio.to_thread.run_sync(os.read, 0, _CHUNK, abandon_on_cancel=True)


class Lines(Protocol):
    """Where lines to send come from."""

    async def receive(self) -> bytes:
        """The next bytes; none at the end."""
        ...

    def beside(self, text: str) -> str:
        """What to print for a line of text while somebody may be typing."""
        ...


class _Piped(Stdin):
    """Lines from a pipe or a file, or from a terminal that nothing edits."""

    def beside(self, text: str) -> str:
        return f"{text}\n"


@contextmanager
def line_input(output: Output, *, enabled: bool) -> Generator[Lines]:
    """Lines from stdin; at a terminal, with readline's editing and history where it is there."""
    if enabled and output.is_terminal and sys.stdin is not None and sys.stdin.isatty():
        try:
            from ._typed_lines import typed_lines
        except ImportError:  # no readline: Windows, and some builds of Python
            pass
        else:
            with typed_lines() as lines:
                yield lines
            return
    yield _Piped()


async def read_bytes(name: str) -> bytes:
    """The whole of a file; ``-`` is stdin.

    Raises:
        click.UsageError: there is no such file.
    """
    if name != "-":
        try:
            return await anyio.Path(name).read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            raise click.UsageError(f"there is no file {name}") from None
    stdin, parts = Stdin(), list[bytes]()
    while part := await stdin.receive():
        parts.append(part)
    return b"".join(parts)


async def read_text(name: str) -> str:
    """The whole of a file of UTF-8; ``-`` is stdin."""
    return (await read_bytes(name)).decode()
