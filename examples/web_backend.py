"""A web application that calls actors; the client lives as long as the application.

Any ASGI server runs it: ``uvicorn examples.web_backend:app``. Run as a program it sends itself a
few requests, without a server.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rivet_anyio import ActorError, ActorHandle, Client, TransportError


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with Client() as client:
        app.state.client = client
        yield


def room_of(request: Request) -> ActorHandle:
    client: Client = request.app.state.client
    return client.chatRoom.get_or_create(["web", request.path_params["room"]])


async def post_message(request: Request) -> JSONResponse:
    body = await request.json()
    count = await room_of(request).sendMessage(body["text"])
    return JSONResponse({"count": count}, status_code=201)


async def get_messages(request: Request) -> JSONResponse:
    return JSONResponse(await room_of(request).getHistory())


async def call_fails(request: Request) -> JSONResponse:
    client: Client = request.app.state.client
    return JSONResponse(await client.probe.get_or_create("web").fail("user", "details"))


async def on_actor_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ActorError)
    # Only what the actor's own code raised is meant for people outside.
    status = 422 if error.group == "user" else 502
    return JSONResponse({"code": error.code, "metadata": error.metadata}, status_code=status)


async def on_transport_error(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"code": "unavailable"}, status_code=503)


app = Starlette(
    routes=[
        Route("/rooms/{room}/messages", post_message, methods=["POST"]),
        Route("/rooms/{room}/messages", get_messages, methods=["GET"]),
        Route("/fails", call_fails, methods=["POST"]),
    ],
    exception_handlers={ActorError: on_actor_error, TransportError: on_transport_error},
    lifespan=lifespan,
)


async def main() -> None:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://app.example"
        ) as browser,
    ):
        for text in ("hello", "again"):
            response = await browser.post("/rooms/lobby/messages", json={"text": text})
            print(response.status_code, response.json())
        response = await browser.get("/rooms/lobby/messages")
        print(response.status_code, [message["text"] for message in response.json()])
        response = await browser.post("/fails")
        print(response.status_code, response.json())


if __name__ == "__main__":
    anyio.run(main)
