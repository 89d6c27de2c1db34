"""What is printed: data on stdout, everything else on stderr."""

from __future__ import annotations

import os
import select
import stat
import sys
from typing import TYPE_CHECKING, Any

import anyio

from .._text import escaped
from ._exit import PipeClosed
from ._json import json_text
from ._options import Format
from ._stderr import to_stderr

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Output"]

_MAX_WIDTH = 10_000
_PIPE_BUF = getattr(select, "PIPE_BUF", 512)


class Output:
    """Writes without blocking the event loop, so that a signal ends a command at once.

    Attributes:
        format: What was asked for.
        is_terminal: Whether people read stdout.
        is_json: Whether stdout is for programs: JSON was asked for, or nobody asked and it is no
            terminal.
        wants_json: Whether JSON was asked for.
    """

    def __init__(self, format: Format) -> None:
        if sys.stdout is None:
            # The next file that is opened would take its place, and get what is printed.
            raise OSError("stdout is closed")
        self.format: Format = format
        self.is_terminal = sys.stdout.isatty()
        self.wants_json = format == "json"
        self.is_json = self.wants_json or (format == "auto" and not self.is_terminal)
        self._fd = sys.stdout.fileno()
        mode = os.fstat(self._fd).st_mode
        self._is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._may_block = sys.platform != "win32" and (self._is_pipe or self.is_terminal)

    async def write(self, data: bytes) -> None:
        """Write all of the data.

        Raises:
            PipeClosed: nobody reads any more.
        """
        view = memoryview(data)
        while view:
            part = view
            if self._may_block:
                part = view[:_PIPE_BUF]
                if not select.select([], [self._fd], [], 0)[1]:
                    await anyio.wait_writable(self._fd)
            try:
                view = view[os.write(self._fd, part) :]
            except BrokenPipeError:
                raise PipeClosed from None

    async def line(self, text: str) -> None:
        """Write one line."""
        await self.write(f"{text}\n".encode())

    async def json(self, value: Any) -> None:
        """Write a value as one line of JSON."""
        await self.line(json_text(value))

    async def value(self, value: Any, *, raw: bool = False) -> None:
        """Write a value: for programs one line of JSON, for people a readable form of that.

        Args:
            value: The value.
            raw: Whether a string goes without quotes where text was asked for.
        """
        if self.is_json:
            await self.json(value)
        elif raw and isinstance(value, str):
            await self.line(escaped(value, keeps_lines=True) if self.is_terminal else value)
        elif self.is_terminal:
            from rich.json import JSON

            await self.show(JSON(json_text(value), indent=2))
        else:
            await self.line(json_text(value, indent=2))

    async def show(self, thing: RenderableType) -> None:
        """Write something that rich renders."""
        from rich.console import Console

        # Nothing is cut to fit: an id that is cut is none. Terminals wrap by themselves.
        console = Console(width=_MAX_WIDTH)
        with console.capture() as captured:
            console.print(thing)
        await self.write(captured.get().encode(errors="replace"))

    async def closed(self) -> None:
        """Wait until nobody reads any more, which is noticed on pipes only.

        Raises:
            PipeClosed: always.
        """
        if not self._is_pipe or sys.platform == "win32":
            await anyio.sleep_forever()
        # The writing end of a pipe becomes "readable" when it has no reading end.
        await anyio.wait_readable(self._fd)
        raise PipeClosed

    def note(self, text: str, **details: Any) -> None:
        """Report on stderr how things go, for people; where JSON was asked for, as JSON."""
        if self.wants_json:
            text = json_text({"note": text, **details})
        to_stderr(text)
