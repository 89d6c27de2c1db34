"""Liveness and readiness of a program that holds a connection: two routes for probes.

Any ASGI server runs it: ``uvicorn examples.health:app``. It may start before its server: then it is
alive, and not ready. Run as a program it asks itself, without an ASGI server.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rivet_anyio import Client, Connection, Status, health


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with Client() as client, anyio.create_task_group() as tasks:
        app.state.conn = client.counter.get_or_create("health").connect(wait_for_server=True)
        tasks.start_soon(stay_connected, app.state.conn)
        yield
        tasks.cancel_scope.cancel()


async def stay_connected(conn: Connection) -> None:
    async with conn:
        await anyio.sleep_forever()


async def live(request: Request) -> PlainTextResponse:
    """The event loop runs. A lost connection is no reason to restart: it comes back by itself."""
    return PlainTextResponse("live")


async def ready(request: Request) -> PlainTextResponse:
    """The actor can be reached now."""
    found = health(request.app.state.conn)
    text = "ready" if found.ready else f"not ready: {found.error}"
    return PlainTextResponse(text, status_code=200 if found.ready else 503)


app = Starlette(routes=[Route("/live", live), Route("/ready", ready)], lifespan=lifespan)


async def main() -> None:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://app.example"
        ) as probe,
    ):
        async for change in app.state.conn.status_changes():
            if change.status is Status.CONNECTED:
                break
        for path in ("/live", "/ready"):
            response = await probe.get(path)
            print(path, response.status_code, response.text)


if __name__ == "__main__":
    anyio.run(main)
