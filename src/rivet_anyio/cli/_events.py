"""``rivet-anyio events``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio
import click

from ._app import execute
from ._arguments import ArgumentsCommand
from ._json import json_text
from ._options import Common, Target, common_options, seconds_option, target_options
from ._output import Output

if TYPE_CHECKING:
    from .._connection.connection import Connection
    from .._connection.events import EventStream, Gap

__all__ = ["events_command"]


@click.command(
    "events",
    cls=ArgumentsCommand,
    short_help="Follow events as they come.",
    epilog="""\b
Examples:
  rivet-anyio events chatRoom/general message
  rivet-anyio events --create counter/visits newCount -n 1
  rivet-anyio events chatRoom/general message left | jq -c .args""",
)
@target_options()
@click.argument("names", metavar="EVENT...", nargs=-1, required=True)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many events.")
@seconds_option("End after this time.")
@common_options
def events_command(
    common: Common,
    target: Target,
    names: tuple[str, ...],
    count: int | None,
    timeout: float | None,
) -> None:
    """Follow events of an actor until Ctrl-C.

    On a terminal each event is a row of a table, elsewhere a line of JSON with "type", "time",
    "event" and "args". A lost connection comes back by itself; the gap in the events that it
    leaves is a row or line of its own.
    """

    async def main(output: Output) -> None:
        from ._run import until_first

        async with common.client() as client, target.handle(client).connect() as connection:
            printer = _Printer(output, count)
            streams = [
                connection.events(name, gaps="mark", overflow="block")
                for name in dict.fromkeys(names)
            ]
            await printer.begin()

            def follow(stream: EventStream[Any]) -> Callable[[], Awaitable[None]]:
                return lambda: _follow(connection, stream, printer)

            with anyio.move_on_after(timeout) as limit:
                await until_first(
                    output.closed,
                    lambda: _report_status(connection, output),
                    *map(follow, streams),
                )
            if limit.cancelled_caught:
                printer.check_complete(timeout)

    execute(common, main, target)


async def _follow(connection: Connection, stream: EventStream[Any], printer: _Printer) -> None:
    """Print events until there were enough, or the connection failed for good."""
    from .._connection.events import Gap
    from .._connection.status import Status
    from .._errors import ProtocolError

    while True:
        try:
            item = await stream.receive()
        except ProtocolError as error:
            if connection.status is Status.CLOSED:
                raise
            printer.output.note(f"an event {stream.name!r} cannot be read: {error}")
            continue
        if isinstance(item, Gap):
            await printer.gap(stream.name, item)
        elif await printer.event(stream.name, item):
            return


async def _report_status(connection: Connection, output: Output) -> None:
    """Report that the connection was lost or came back, once for each loss."""
    from .._connection.status import Status

    lost = False
    async for change in connection.status_changes():
        if change.status is Status.DISCONNECTED and not lost:
            lost = True
            output.note(f"connection lost: {change.error}; reconnecting", status="disconnected")
        elif change.status is Status.CONNECTED and lost:
            lost = False
            output.note("connected again", status="connected")
        elif change.status is Status.CONNECTED and change.error is not None:
            output.note(f"the actor reported an error: {change.error}", status="connected")
    # The streams raise why it failed for good, after what they still hold.
    await anyio.sleep_forever()


class _Printer:
    """Prints events and gaps, and counts the events."""

    def __init__(self, output: Output, count: int | None) -> None:
        self.output = output
        self._count = self._left = count
        self._lock = anyio.Lock()

    async def begin(self) -> None:
        """Print the table's header."""
        if not self.output.is_json:
            await self._row("time", "event", "arguments", style="bold")

    async def event(self, name: str, value: Any) -> bool:
        """Print an event; returns whether it was the last one that was wanted."""
        args = list(value) if isinstance(value, tuple) else [value]
        async with self._lock:
            if self._left == 0:
                return True
            await self._print("event", name, {"args": args}, ", ".join(map(json_text, args)))
            if self._left is not None:
                self._left -= 1
            return self._left == 0

    def check_complete(self, timeout: float | None) -> None:
        """Raise `ConnectionLostError` when time was over before all events that were wanted."""
        from .._errors import ConnectionLostError

        if self._count is not None and self._left:
            came = self._count - self._left
            raise ConnectionLostError(f"{came} of {self._count} events came within {timeout:g} s")

    async def gap(self, name: str, gap: Gap) -> None:
        """Print that events may be missing here."""
        seconds = round(gap.until - gap.since, 3)
        text = f"away for {seconds:g} s: events may be missing here"
        async with self._lock:
            await self._print("gap", name, {"seconds": seconds, "attempts": gap.attempts}, text)

    async def _print(self, type: str, name: str, details: dict[str, Any], text: str) -> None:
        now = dt.datetime.now(dt.UTC).astimezone()
        if self.output.is_json:
            time = now.isoformat(timespec="milliseconds")
            await self.output.json({"type": type, "time": time, "event": name, **details})
        else:
            style = "yellow" if type == "gap" else ""
            await self._row(f"{now:%H:%M:%S}.{now.microsecond // 1000:03}", name, text, style=style)

    async def _row(self, time: str, name: str, text: str, *, style: str) -> None:
        from rich.text import Text

        row = Text.assemble((f"{time:<12}  ", style or "dim"), (f"{name:<16}  ", style or "cyan"))
        await self.output.show(row.append(text, style))
