"""A dashboard of many actors in the terminal, until Ctrl-C: ``python -m examples.many_actors 300``.

It may start before its server. The counts are those of counters; every gap is filled by asking.
"""

import sys
from dataclasses import dataclass

import anyio
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from rivet_anyio import (
    ActorHandle,
    Client,
    Feed,
    RivetError,
    SourceEvent,
    SourceFailed,
    SourceGap,
    watch,
)

ROWS = 15
REPAINT_SECONDS = 0.5


@dataclass
class Row:
    count: int | None = None
    events: int = 0
    gaps: int = 0
    error: BaseException | None = None


def screen_of(feed: Feed[int], rows: dict[str, Row]) -> Table:
    """How many are connected, and those that changed last."""
    title = f"{feed.statistics().connected} of {len(rows)} connected"
    table = Table("counter", "count", "events", "gaps", title=title)
    for name in list(rows)[: -ROWS - 1 : -1]:
        row = rows[name]
        count = "" if row.count is None else str(row.count)
        if row.error is not None:
            count = f"[red]{escape(str(row.error))}[/]"
        table.add_row(name, count, str(row.events), str(row.gaps))
    return table


async def ask(handle: ActorHandle, row: Row, limit: anyio.CapacityLimiter) -> None:
    events, gaps = row.events, row.gaps
    async with limit:
        try:
            count = await handle.action("getCount", type=int, retry_for=30)
        except RivetError:
            return  # the next gap asks again
    # An event that came meanwhile is newer, and so is the answer after a gap that came meanwhile.
    if (row.events, row.gaps) == (events, gaps):
        row.count = count


async def repaint(feed: Feed[int], rows: dict[str, Row], live: Live) -> None:
    while True:
        live.update(screen_of(feed, rows), refresh=True)
        await anyio.sleep(REPAINT_SECONDS)


async def main(client: Client, number: int, live: Live) -> None:
    rows = {str(n): Row() for n in range(number)}
    handles = {name: client.counter.get_or_create(["many", name]) for name in rows}
    limit = anyio.CapacityLimiter(16)
    with live:
        async with watch("newCount") as feed, anyio.create_task_group() as tasks:
            for name, handle in handles.items():
                feed.add(handle, key=name)
            tasks.start_soon(repaint, feed, rows, live)
            async for item in feed:
                row = rows[item.key] = rows.pop(item.key)  # the newest last
                match item:
                    case SourceEvent(value=count):
                        row.count, row.events = count, row.events + 1
                    case SourceGap(key):
                        row.gaps += 1
                        tasks.start_soon(ask, handles[key], row, limit)
                    case SourceFailed(error=error):
                        row.error = error


async def run(number: int) -> None:
    async with Client() as client:
        await main(client, number, Live(auto_refresh=False))


if __name__ == "__main__":
    try:
        anyio.run(run, int(sys.argv[1]) if sys.argv[1:] else 300)
    except* KeyboardInterrupt:
        pass
