"""A page that shows an actor's events as they come: server-sent events from Starlette.

``python -m examples.live_page``, then open http://127.0.0.1:8000. One connection to the actor
serves all browsers. When it was lost, the count is fetched anew, in case events were missed. The
page may start before its server: it shows a count once there is one.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import uvicorn
from anyio.streams.memory import MemoryObjectSendStream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from rivet_anyio import Client, Connection, TransportError, live

PAGE = """<!doctype html>
<title>Live</title>
<h1>Count: <output id="count">…</output></h1>
<button onclick="fetch('/increment', {method: 'POST'})">Increment</button>
<script>
  const source = new EventSource("/events");  // comes back by itself, like a Connection
  source.onmessage = (event) => {
    document.getElementById("count").textContent = JSON.parse(event.data);
  };
</script>
"""


@dataclass
class Feed:
    """The latest count, and the browsers that see it."""

    count: int | None = None
    browsers: set[MemoryObjectSendStream[str]] = field(default_factory=set)

    def show(self, count: int) -> None:
        """Hand it to every browser; one that does not keep up is let go, and comes back."""
        self.count = count
        for browser in tuple(self.browsers):
            try:
                browser.send_nowait(self.message())
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                self.browsers.discard(browser)
                browser.close()

    def message(self) -> str:
        return f"data: {json.dumps(self.count)}\n\n"


async def follow(conn: Connection, feed: Feed) -> None:
    async def ask() -> int:
        return await conn.action("getCount", type=int)

    def newest(_: int, count: int) -> int:
        return count

    # The actor changes the count and broadcasts it in one step, and getCount does not await.
    counts = live(conn, ask, {"newCount": newest}, atomic_snapshot=True)
    async with conn, counts:
        async for count in counts:
            feed.show(count)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.feed = feed = Feed()
    async with Client() as client, anyio.create_task_group() as tasks:
        app.state.counter = client.counter.get_or_create("live-page")
        tasks.start_soon(follow, app.state.counter.connect(wait_for_server=True), feed)
        yield
        tasks.cancel_scope.cancel()
    for browser in feed.browsers:
        browser.close()


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def increment(request: Request) -> JSONResponse:
    return JSONResponse(await request.app.state.counter.increment())


async def events(request: Request) -> StreamingResponse:
    feed: Feed = request.app.state.feed
    send, receive = anyio.create_memory_object_stream[str](100)
    feed.browsers.add(send)
    if feed.count is not None:
        send.send_nowait(feed.message())

    async def body() -> AsyncGenerator[str]:
        with receive:
            yield ": welcome\n\n"
            async for message in receive:
                yield message

    return StreamingResponse(body(), media_type="text/event-stream")


async def on_transport_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"code": "unavailable"}, status_code=503)


app = Starlette(
    routes=[
        Route("/", page),
        Route("/increment", increment, methods=["POST"]),
        Route("/events", events),
    ],
    exception_handlers={TransportError: on_transport_error},
    lifespan=lifespan,
)


def main() -> None:
    # Open pages would hold up the end: uvicorn waits for them.
    uvicorn.run(app, host="127.0.0.1", port=8000, timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
