"""A web application that forwards requests and WebSockets to the servers of actors.

The application decides which actor a request is for; nothing that a browser sends changes that.
Any ASGI server runs it: ``uvicorn examples.forwarding:app``. Run as a program it sends itself a few
requests, without a server.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from rivet_anyio import (
    ActorError,
    ActorHandle,
    ActorWebSocket,
    Client,
    ConnectionLostError,
    RivetError,
    TransportError,
    forward,
)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NOT_SENT_BACK = {"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with Client() as client:
        app.state.client = client
        yield


def site_of(source: Request | WebSocket) -> ActorHandle:
    """Which actor it is for: here whoever names a site may use it; check who asks."""
    client: Client = source.app.state.client
    return client.web.get_or_create(["sites", source.path_params["site"]])


def target_of(source: Request | WebSocket) -> str:
    """What is behind the site's name, as it came: not decoded."""
    path: str = source.scope["raw_path"].decode("ascii")
    query: str = source.scope["query_string"].decode("ascii")
    below = "/" + path.partition("/sites/")[2].partition("/")[2]
    return f"{below}?{query}" if query else below


async def forward_request(request: Request) -> Response:
    site = site_of(request)
    try:
        answer = await forward(
            site,
            request.method,
            target_of(request),
            headers=request.headers.items(),
            content=await request.body(),
        )
    except ValueError as error:
        return PlainTextResponse(f"this cannot be forwarded: {error}", status_code=400)
    response = Response(answer.content, answer.status_code)
    for name, value in answer.headers.multi_items():
        if name not in NOT_SENT_BACK and not name.startswith("x-rivet-"):
            response.headers.append(name, value)
    return response


async def forward_websocket(browser: WebSocket) -> None:
    try:
        socket = site_of(browser).websocket(
            target_of(browser), subprotocols=browser.scope["subprotocols"]
        )
    except ValueError:
        await browser.close(1008)
        return
    async with socket as actor:
        await browser.accept(actor.subprotocol)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(forward_to_actor, browser, actor, tasks.cancel_scope)
            # What sending raises when the browser has left: Starlette the one, uvicorn the other.
            with suppress(WebSocketDisconnect, RuntimeError):
                code, reason = await forward_to_browser(browser, actor)
                await browser.close(code, reason)
            tasks.cancel_scope.cancel()


async def forward_to_browser(browser: WebSocket, actor: ActorWebSocket) -> tuple[int, str]:
    """Send it what the actor sends; returns how the actor's side ended."""
    try:
        async for message in actor:
            if isinstance(message, str):
                await browser.send_text(message)
            else:
                await browser.send_bytes(message)
    except ConnectionLostError as error:
        return error.code or 1011, error.reason or ""
    except RivetError:
        return 1011, ""
    return actor.close_code or 1000, actor.close_reason


async def forward_to_actor(
    browser: WebSocket, actor: ActorWebSocket, ended: anyio.CancelScope
) -> None:
    with suppress(RivetError):  # the other task says it to the browser
        while True:
            message = await browser.receive()
            if message["type"] == "websocket.disconnect":
                ended.cancel()
                return
            text = message.get("text")
            await actor.send(message["bytes"] if text is None else text)


async def on_actor_error(request: Request, error: Exception) -> Response:
    return PlainTextResponse("the site cannot be reached", status_code=502)


async def on_transport_error(request: Request, error: Exception) -> Response:
    return PlainTextResponse("try again later", status_code=503)


routes = [
    Route("/sites/{site}/{rest:path}", forward_request, methods=METHODS),
    WebSocketRoute("/sites/{site}/{rest:path}", forward_websocket),
]
handlers = {ActorError: on_actor_error, TransportError: on_transport_error}
app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)


async def main() -> None:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://app.example"
        ) as browser,
    ):
        response = await browser.put("/sites/shop/echo/a%20b?page=2", content="hello")
        answer = response.json()
        print(response.status_code, answer["method"], answer["search"], answer["body"])
        response = await browser.get("/sites/shop/status/404", headers={"x-rivet-actor": "other"})
        print(response.status_code, response.text)
        response = await browser.get("/sites/shop/echo?rvt-key=other")
        print(response.status_code)


if __name__ == "__main__":
    anyio.run(main)
