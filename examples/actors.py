"""The actors that the documentation and these programs use: ``rivet-anyio dev examples/actors.py``.

RivetKit actors are written in JavaScript. These have the same actions, events and queues, in Python
and in memory, so that a program can be tried without Node.js.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx

from rivet_anyio import action
from rivet_anyio.testing import Actor, ActorConnection, ActorSocket, UserError


class Counter(Actor):
    """Counts, and sends everybody the new count."""

    count = 0

    async def on_create(self, input: Any) -> None:
        self.count = (input or {}).get("initial", 0)

    async def increment(self, by: int = 1) -> int:
        return await self.setCount(self.count + by)

    async def getCount(self) -> int:
        return self.count

    async def setCount(self, count: int) -> int:
        self.count = count
        self.context.broadcast("newCount", count)
        return count


class ChatRoom(Actor):
    """Keeps messages, and sends everybody each new one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []

    async def sendMessage(self, text: str) -> int:
        params = self.context.connection.params or {}
        message = {"sender": params.get("name", "anonymous"), "text": text}
        self.messages.append(message)
        self.context.broadcast("message", message)
        return len(self.messages)

    async def getHistory(self) -> list[dict[str, str]]:
        return self.messages


class Ledger(Actor):
    """A list of entries, which are numbered."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    async def append(self, entry: str) -> int:
        self.entries.append(entry)
        self.context.broadcast("appended", entry, len(self.entries))
        return len(self.entries)

    async def appendSlow(self, entry: str, milliseconds: float) -> int:
        await anyio.sleep(milliseconds / 1000)
        return await self.append(entry)

    async def log(self) -> list[str]:
        return self.entries


class Worker(Actor):
    """Does the jobs of one queue. Nobody takes messages from the other one."""

    queues = ("jobs", "stuck")

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await message.complete({"done": message.body})


class Guarded(Actor):
    """Accepts connections and calls with a token only."""

    async def on_before_connect(self, connection: ActorConnection) -> None:
        if (connection.params or {}).get("token") != "secret":
            raise UserError("not allowed", code="forbidden", metadata={"need": "secret"})

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        return {"user": connection.params.get("user")}

    async def me(self) -> dict[str, Any]:
        connection = self.context.connection
        return {"params": connection.params, "state": connection.state}


class Web(Actor):
    """Has an HTTP server and a WebSocket server of its own."""

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        match request.url.path.split("/")[1:]:
            case ["echo", *_]:
                query = request.url.query.decode()
                answer = {
                    "method": request.method,
                    "search": f"?{query}" if query else "",
                    "headers": dict(request.headers),
                    "body": request.content.decode(),
                }
                return httpx.Response(200, json=answer)
            case ["status", status]:
                return httpx.Response(int(status), text=f"status {status}")
            case ["stream"]:
                return httpx.Response(200, content=chunks())
        return httpx.Response(404, text="no such route")

    async def on_websocket(self, socket: ActorSocket) -> None:
        await socket.send(json.dumps({"hello": socket.path}, separators=(",", ":")))
        async for data in socket:
            match data.split(":") if isinstance(data, str) else None:
                case ["close", code, reason]:
                    await socket.close(int(code), reason)
                case ["many", count]:
                    for number in range(int(count)):
                        await socket.send(str(number))
                case _:
                    await socket.send(data)


class Probe(Actor):
    """Does what a page wants to show: echoes, events of any name, failures."""

    async def echo(self, value: Any = None) -> Any:
        return value

    async def emit(self, name: str, *args: Any) -> None:
        self.context.broadcast(name, *args)

    async def emitMany(self, name: str, count: int) -> None:
        for number in range(count):
            self.context.broadcast(name, number)

    async def slow(self, milliseconds: float, value: Any) -> Any:
        await anyio.sleep(milliseconds / 1000)
        return value

    async def fail(self, kind: str, detail: Any = None) -> None:
        raise UserError("message text", code="my_code", metadata={"detail": detail})

    async def kick(self, reason: str) -> None:
        self.context.connection.disconnect(reason)

    async def connParams(self) -> Any:
        return self.context.connection.params

    async def connId(self) -> str:
        return self.context.connection.id

    async def whoami(self) -> dict[str, Any]:
        return {"name": self.context.name, "key": list(self.context.key)}

    @action("math.add")
    async def add(self, a: float, b: float) -> float:
        return a + b


async def chunks() -> AsyncIterator[bytes]:
    for number in range(5):
        yield f"chunk {number}\n".encode()
