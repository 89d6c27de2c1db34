"""See the package."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

Message = dict[str, Any]


async def app(scope: Message, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    path = scope["path"].rpartition("/")[2]

    async def start(status: int, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(data: bytes, *, more: bool = False) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": more})

    async def pieces() -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await receive()
            yield message.get("body", b"")
            more = message.get("more_body", False)

    async def whole(data: bytes, status: int = 200) -> None:
        await start(status, (b"content-length", b"%d" % len(data)))
        await body(data)

    match path:
        case "plain":
            await whole(b"hello")
        case "chunks":
            await start(200)
            for piece in (b"one", b"two", b"three"):
                await body(piece, more=True)
                await asyncio.sleep(0)
            await body(b"")
        case "large":
            await whole(b"x" * (8 << 20))
        case "echo":
            await start(200)
            async for piece in pieces():
                await body(piece, more=True)
            await body(b"")
        case "length":
            await whole(b"%d" % sum([len(piece) async for piece in pieces()]))
        case "early":
            await start(413, (b"connection", b"close"), (b"content-length", b"8"))
            await body(b"too long")
        case "empty":
            await start(204)
            await body(b"")
        case "same":
            await start(304)
            await body(b"")
        case "port":
            await whole(b"%d" % scope["client"][1])
        case "cut":
            await start(200, (b"content-length", b"100"))
            await body(b"0123456789", more=True)
        case _:
            await whole(b"", 404)


async def main(cert: str, key: str, ca: str, seconds: str, version: str) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        log_level="critical",
        lifespan="off",
        timeout_keep_alive=int(seconds),
        ssl_certfile=cert or None,
        ssl_keyfile=key or None,
    )
    server = uvicorn.Server(config)
    print(sock.getsockname()[1], flush=True)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    await asyncio.to_thread(sys.stdin.read)
    server.force_exit = server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
