"""``rivet-anyio events``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import click

from ..._text import escaped
from .._app import execute
from .._arguments import VALUE, ArgumentsCommand, parse_place
from .._json import json_text
from .._options import Common, Target, common_options, seconds_option, target_options
from .._output import Output

if TYPE_CHECKING:
    from ..._connection.connection import Connection
    from ..._connection.events import EventStream, Gap
    from ..._watch import Feed

__all__ = ["events_command"]

_BUFFER_SIZE = 1024


@click.command(
    "events",
    cls=ArgumentsCommand,
    short_help="Follow events as they come.",
    epilog="""\b
Examples:
  rivet-anyio events chatRoom/general message
  rivet-anyio events chatRoom/general chatRoom/random message left
  rivet-anyio events --create counter/visits newCount -n 1
  rivet-anyio events chatRoom/general message left | jq -c .args""",
)
@target_options()
@click.argument("others", metavar="[ACTOR]... EVENT...", nargs=-1, type=VALUE)
@click.option(
    "--event",
    "-E",
    "more",
    multiple=True,
    type=VALUE,
    metavar="EVENT",
    help="An event, for one with a slash in its name. Repeatable.",
)
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many events.")
@seconds_option("End after this time.")
@common_options
def events_command(
    common: Common,
    target: Target,
    others: tuple[str, ...],
    more: tuple[str, ...],
    count: int | None,
    timeout: float | None,
) -> None:
    """Follow events of actors until Ctrl-C.

    The first argument is an actor, and so is each one with a slash; the others are events. With
    --key or --id there is one actor.

    On a terminal each event is a row of a table, elsewhere a line of JSON with "type", "time",
    "event" and "args". A lost connection comes back by itself; the gap in the events that it
    leaves is a row or line of its own. With several actors, each row or line has the actor's name,
    an actor that fails is a row or line, and the others go on.
    """
    has_one = bool(click.get_current_context().params["key"]) or target.place.id is not None
    actors = [] if has_one else [text for text in others if "/" in text]
    names = tuple(dict.fromkeys([*(text for text in others if text not in actors), *more]))
    if not names:
        raise click.UsageError("no event is named: write ACTOR EVENT, as in chatRoom/general left")
    places = dict.fromkeys([target.place, *(parse_place(text, (), None) for text in actors)])

    async def main(output: Output) -> None:
        if len(places) > 1:
            targets = [replace(target, place=place) for place in places]
            await _follow_several(common, targets, names, output, count, timeout)
        else:
            await _follow_one(common, target, names, output, count, timeout)

    execute(common, main, target)


async def _follow_one(
    common: Common,
    target: Target,
    names: tuple[str, ...],
    output: Output,
    count: int | None,
    timeout: float | None,
) -> None:
    from .._run import until_first

    async with common.client() as client, target.handle(client).connect() as connection:
        printer = _Printer(output, count)
        streams = [connection.events(name, gaps="mark", overflow="block") for name in names]
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


async def _follow_several(
    common: Common,
    targets: list[Target],
    names: tuple[str, ...],
    output: Output,
    count: int | None,
    timeout: float | None,
) -> None:
    """Print the events of several actors; raises the last one's error when all have failed."""
    from ..._watch import watch
    from .._run import until_first

    async with common.client() as client, watch(*names, buffer_size=_BUFFER_SIZE) as feed:
        # Sources wait for a server that is away; who types a wrong URL should not.
        await client._core.server()
        for target in targets:
            feed.add(target.handle(client), key=str(target.place))
        width = max(len(str(target.place)) for target in targets)
        printer = _Printer(output, count, width)
        await printer.begin()
        with anyio.move_on_after(timeout) as limit:
            await until_first(output.closed, lambda: _print_feed(feed, printer))
        if limit.cancelled_caught:
            printer.check_complete(timeout)


async def _print_feed(feed: Feed[Any], printer: _Printer) -> None:
    from ..._watch import SourceEvent, SourceGap

    connected = set()
    async for item in feed:
        if isinstance(item, SourceEvent):
            if await printer.event(item.name, item.value, item.key):
                return
        elif isinstance(item, SourceGap):
            gap = item.gap
            if item.key not in connected:
                connected.add(item.key)
                printer.output.note(f"{item.key}: connected", status="connected", actor=item.key)
                gap = None  # it was never there before
            if gap is not None or item.dropped:
                await printer.gap("", gap, item.key, item.dropped)
        else:
            await printer.failed(item.error, item.key)
            if not feed.statistics().sources:
                raise item.error


async def _follow(connection: Connection, stream: EventStream[Any], printer: _Printer) -> None:
    """Print events until there were enough, or the connection failed for good."""
    from ..._connection.events import Gap
    from ..._connection.status import Status
    from ..._errors import ProtocolError

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
    from ..._connection.status import Status

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
    """Prints events and gaps, and counts the events.

    Args:
        output: Where to.
        count: After how many events it is enough.
        width: How wide the column of the actors' names is, 0 for none.
    """

    def __init__(self, output: Output, count: int | None, width: int = 0) -> None:
        self.output = output
        self._count = self._left = count
        self._width = width
        self._lock = anyio.Lock()

    async def begin(self) -> None:
        """Print the table's header."""
        if not self.output.is_json:
            await self._row("time", "actor", "event", "arguments", style="bold")

    async def event(self, name: str, value: Any, actor: str | None = None) -> bool:
        """Print an event; returns whether it was the last one that was wanted."""
        args = list(value) if isinstance(value, tuple) else [value]
        text = ", ".join(map(json_text, args))
        async with self._lock:
            if self._left == 0:
                return True
            await self._print("event", name, {"args": args}, text, actor)
            if self._left is not None:
                self._left -= 1
            return self._left == 0

    def check_complete(self, timeout: float | None) -> None:
        """Raise `ConnectionLostError` when time was over before all events that were wanted."""
        from ..._errors import ConnectionLostError

        if self._count is not None and self._left:
            came = self._count - self._left
            raise ConnectionLostError(f"{came} of {self._count} events came within {timeout:g} s")

    async def gap(
        self, name: str, gap: Gap | None, actor: str | None = None, dropped: int = 0
    ) -> None:
        """Print that events may be missing here, or that so many are."""
        texts = []
        details: dict[str, Any] = {}
        if gap is not None:
            seconds = round(gap.until - gap.since, 3)
            details |= {"seconds": seconds, "attempts": gap.attempts}
            texts.append(f"away for {seconds:g} s: events may be missing here")
        if dropped:
            details["dropped"] = dropped
            texts.append(f"{dropped} events were dropped here: they came too fast")
        async with self._lock:
            await self._print("gap", name, details, "; ".join(texts), actor)

    async def failed(self, error: BaseException, actor: str) -> None:
        """Print that an actor has failed for good."""
        from ..._errors import ActorError

        details: dict[str, Any] = {"message": str(error)}
        if isinstance(error, ActorError):
            details |= {"group": error.group, "code": error.code}
        async with self._lock:
            await self._print("failed", "", {"error": details}, f"failed: {error}", actor)

    async def _print(
        self, type: str, name: str, details: dict[str, Any], text: str, actor: str | None
    ) -> None:
        now = dt.datetime.now(dt.UTC).astimezone()
        if self.output.is_json:
            time = now.isoformat(timespec="milliseconds")
            source = {} if actor is None else {"actor": actor}
            event = {"event": name} if name else {}
            await self.output.json({"type": type, "time": time, **source, **event, **details})
        else:
            style = {"gap": "yellow", "failed": "red"}.get(type, "")
            time = f"{now:%H:%M:%S}.{now.microsecond // 1000:03}"
            await self._row(time, actor or "", name, text, style=style)

    async def _row(self, time: str, actor: str, name: str, text: str, *, style: str) -> None:
        from rich.text import Text

        row = Text.assemble((f"{time:<12}  ", style or "dim"))
        actor, name, text = escaped(actor), escaped(name), escaped(text)
        if self._width:
            row.append(f"{actor:<{self._width}}  ", style or "green")
        row.append(f"{name:<16}  ", style or "cyan")
        await self.output.show(row.append(text, style))
