"""The states of a connection, from its beginning over a loss to its end."""

import anyio

from rivet_anyio import Client, ConnectionLostError, Status, StatusStream


async def report(changes: StatusStream) -> None:
    async for change in changes:
        print("status:", change.status, f"({change.error})" if change.error else "")


async def main() -> None:
    async with Client() as client, anyio.create_task_group() as tasks:
        probe = client.probe.get_or_create("lifecycle")
        async with probe.connect() as conn:
            # The first item is the state now; the stream ends after "closed".
            tasks.start_soon(report, conn.status_changes())
            first_id = conn.connection_id

            changes = conn.status_changes()
            try:
                # The actor closes this connection.
                await conn.kick("maintenance")
            except ConnectionLostError:
                print("the call was under way: it may have run")
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    break

            await conn.wait_connected()
            print("a new connection:", conn.connection_id != first_id)
            print("echo:", await conn.echo("still here"))


if __name__ == "__main__":
    anyio.run(main)
