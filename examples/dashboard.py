"""A live table of several actors, until Ctrl-C: ``python -m examples.dashboard red blue``."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from rich.live import Live
from rich.table import Table

from rivet_anyio import Client, Connection, ConnectionLostError, Gap, Status

COLOURS = {Status.CONNECTED: "green", Status.CLOSED: "red"}


@dataclass
class Row:
    status: Status = Status.CONNECTING
    count: int | None = None
    losses: int = 0


def table_of(rows: dict[str, Row]) -> Table:
    table = Table("actor", "status", "count", "losses")
    for name, row in rows.items():
        colour = COLOURS.get(row.status, "yellow")
        count = "" if row.count is None else str(row.count)
        table.add_row(name, f"[{colour}]{row.status}[/]", count, str(row.losses))
    return table


async def follow_status(conn: Connection, row: Row, show: Callable[[], None]) -> None:
    async for change in conn.status_changes():
        row.status = change.status
        show()


async def ask(conn: Connection) -> int | None:
    try:
        return await conn.action("getCount", type=int)
    except ConnectionLostError:
        return None  # the gap that follows asks again


async def follow(client: Client, name: str, row: Row, show: Callable[[], None]) -> None:
    counter = client.counter.get_or_create(["dashboard", name])
    async with counter.connect() as conn, anyio.create_task_group() as tasks:
        tasks.start_soon(follow_status, conn, row, show)
        # Only the latest count matters here. The subscription is sent before the question.
        counts = conn.events("newCount", type=int, overflow="drop_oldest", gaps="mark")
        row.count = await ask(conn)
        show()
        async for count in counts:
            row.losses = counts.gaps
            row.count = await ask(conn) if isinstance(count, Gap) else count
            show()


async def main(names: list[str], live: Live) -> None:
    rows = {name: Row() for name in names}

    def show() -> None:
        live.update(table_of(rows), refresh=True)

    with live:
        async with Client() as client, anyio.create_task_group() as tasks:
            for name, row in rows.items():
                tasks.start_soon(follow, client, name, row, show)


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[1:] or ["red", "green", "blue"], Live(auto_refresh=False))
    except* KeyboardInterrupt:
        pass
