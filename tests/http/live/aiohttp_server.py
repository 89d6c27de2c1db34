"""See the package."""

from __future__ import annotations

import asyncio
import ssl
import sys

from aiohttp import web


async def handle(request: web.BaseRequest) -> web.StreamResponse:
    match request.path.rpartition("/")[2]:
        case "plain":
            return web.Response(text="hello")
        case "chunks":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for piece in (b"one", b"two", b"three"):
                await response.write(piece)
                await asyncio.sleep(0)
            return response
        case "large":
            return web.Response(body=b"x" * (8 << 20))
        case "echo":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            async for piece in request.content.iter_any():
                await response.write(piece)
            return response
        case "length":
            length = 0
            async for piece in request.content.iter_any():
                length += len(piece)
            return web.Response(text=str(length))
        case "early":
            response = web.Response(status=413, text="too long")
            response.force_close()
            return response
        case "empty":
            return web.Response(status=204)
        case "same":
            return web.Response(status=304)
        case "port":
            assert request.transport is not None
            return web.Response(text=str(request.transport.get_extra_info("peername")[1]))
        case "cut":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b"0123456789")
            assert request.transport is not None
            request.transport.close()
            return response
        case _:
            raise web.HTTPNotFound


async def main(cert: str, key: str, ca: str, seconds: str, version: str) -> None:
    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    server = web.Server(handle, keepalive_timeout=float(seconds))
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0, ssl=context)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
