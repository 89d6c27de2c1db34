"""A page that shows an actor's events as they come: server-sent events from Starlette.

``python -m examples.live_page``, then open http://127.0.0.1:8000. One connection to the actor
serves all browsers. When it was lost, each browser is told to ask for what it may have missed.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from anyio.streams.memory import MemoryObjectSendStream
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, StreamingResponse
from starlette.routing import Route

from rivet_anyio import Client, EventStream, Gap

PAGE = """<!doctype html>
<title>Live</title>
<h1>Count: <output id="count">…</output></h1>
<button onclick="fetch('/increment', {method: 'POST'})">Increment</button>
<script>
  const show = (count) => { document.getElementById("count").textContent = count; };
  const refresh = async () => show(await (await fetch("/count")).json());
  const source = new EventSource("/events");  // comes back by itself, like a Connection
  source.onopen = refresh;
  source.addEventListener("gap", refresh);
  source.addEventListener("count", (event) => show(JSON.parse(event.data)));
</script>
"""

Browsers = set[MemoryObjectSendStream[str]]


async def pass_on(counts: EventStream[int | Gap], browsers: Browsers) -> None:
    """Hand every event to every browser; one that does not keep up is let go, and comes back."""
    async for count in counts:
        if isinstance(count, Gap):
            message = "event: gap\ndata: {}\n\n"
        else:
            message = f"event: count\ndata: {json.dumps(count)}\n\n"
        for browser in tuple(browsers):
            try:
                browser.send_nowait(message)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                browsers.discard(browser)
                browser.close()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with Client() as client, anyio.create_task_group() as tasks:
        app.state.counter = client.counter.get_or_create("live-page")
        app.state.browsers = browsers = Browsers()
        async with app.state.counter.connect() as conn:
            counts = conn.events("newCount", type=int, gaps="mark", overflow="drop_oldest")
            tasks.start_soon(pass_on, counts, browsers)
            yield
        for browser in browsers:
            browser.close()


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def count(request: Request) -> JSONResponse:
    return JSONResponse(await request.app.state.counter.getCount())


async def increment(request: Request) -> JSONResponse:
    return JSONResponse(await request.app.state.counter.increment())


async def events(request: Request) -> StreamingResponse:
    send, receive = anyio.create_memory_object_stream[str](100)
    request.app.state.browsers.add(send)

    async def body() -> AsyncGenerator[str]:
        with receive:
            yield ": welcome\n\n"
            async for message in receive:
                yield message

    return StreamingResponse(body(), media_type="text/event-stream")


app = Starlette(
    routes=[
        Route("/", page),
        Route("/count", count),
        Route("/increment", increment, methods=["POST"]),
        Route("/events", events),
    ],
    lifespan=lifespan,
)


def main() -> None:
    # Open pages would hold up the end: uvicorn waits for them.
    uvicorn.run(app, host="127.0.0.1", port=8000, timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
