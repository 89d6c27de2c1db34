"""An actor's own HTTP and WebSocket servers."""

import anyio

from rivet_anyio import Client


async def main() -> None:
    async with Client() as client:
        web = client.web.get_or_create("low-level")

        response = await web.fetch("echo/hello?loud=1", method="POST", content="good morning")
        answer = response.json()
        print("fetch:", response.status_code, answer["method"], answer["search"], answer["body"])

        # A status that means an error is an answer like any other.
        response = await web.fetch("status/404")
        print("status:", response.status_code)

        async with web.stream("stream") as streamed:
            async for line in streamed.aiter_lines():
                print("streamed:", line)

        async with web.websocket("chat?room=1") as ws:
            print("hello:", await ws.receive())
            await ws.send("text")
            await ws.send(b"\x00\x01")
            print("echo:", await ws.receive())
            print("echo:", await ws.receive())
            await ws.send("many:3")
            await ws.send("close:1000:done")
            async for data in ws:
                print("data:", data)
            print("closed:", ws.close_code, ws.close_reason)


if __name__ == "__main__":
    anyio.run(main)
