"""The actors of tests/servers/actors.mjs, in Python."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, ClassVar, TypedDict

import anyio
import httpx

from rivet_anyio import ActorError, action
from rivet_anyio.testing import Actor, ActorConnection, ActorSocket, UserError


class Limits(TypedDict):
    max_incoming_message_size: int
    max_outgoing_message_size: int


class Counter(Actor):
    count: int = 0

    async def on_create(self, input: Any) -> None:
        self.count = (input or {}).get("initial", 0)

    async def increment(self, by: int = 1) -> int:
        return await self.setCount(self.count + by)

    async def getCount(self) -> int:
        return self.count

    async def setCount(self, n: int) -> int:
        self.count = n
        self.context.broadcast("newCount", n)
        return n


class ChatRoom(Actor):
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


class Probe(Actor):
    async def echo(self, value: Any = None) -> Any:
        return value

    async def args(self, *args: Any) -> list[Any]:
        return list(args)

    async def produce(self, name: str) -> Any:
        if name not in PRODUCTS:
            raise UserError(f"no product {name}")
        return PRODUCTS[name]

    async def emit(self, name: str, *args: Any) -> None:
        self.context.broadcast(name, *args)

    async def emitMany(self, name: str, n: int, start: int = 0) -> int:
        for i in range(start, start + n):
            self.context.broadcast(name, i)
        return n

    async def slow(self, milliseconds: float, value: Any) -> Any:
        await anyio.sleep(milliseconds / 1000)
        return value

    async def fail(self, kind: str, detail: Any = None) -> None:
        if kind == "plain":
            raise RuntimeError("boom")
        if kind == "unicode":
            raise UserError("zu groß: 日本語 🚀", code="unicode_code", metadata={"detail": detail})
        if kind == "bare":
            raise UserError("only a message")
        raise UserError("message text", code="my_code", metadata={"detail": detail})

    async def conns(self) -> int:
        return len(self.context.connections)

    async def kickOthers(self, reason: str) -> int:
        for connection in self.context.connections:
            if connection is not self.context.connection:
                connection.disconnect(reason)
        return len(self.context.connections)

    async def connParams(self) -> Any:
        return self.context.connection.params

    async def connId(self) -> str:
        return self.context.connection.id

    async def whoami(self) -> dict[str, Any]:
        context = self.context
        return {"actorId": context.actor_id, "name": context.name, "key": list(context.key)}

    async def kick(self, reason: str) -> None:
        self.context.connection.disconnect(reason)

    async def kickAll(self, reason: str) -> None:
        for connection in self.context.connections:
            connection.disconnect(reason)

    async def destroy(self) -> None:
        self.context.destroy()

    async def sleepNow(self) -> None:
        self.context.sleep()

    @action("math.add")
    async def _add(self, a: float, b: float) -> float:
        return a + b


class Guarded(Actor):
    async def on_before_connect(self, connection: ActorConnection) -> None:
        params = connection.params or {}
        if params.get("token") != "secret":
            raise UserError("not allowed", code="forbidden", metadata={"need": "secret"})

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        return {"user": (connection.params or {}).get("user")}

    async def me(self) -> dict[str, Any]:
        connection = self.context.connection
        return {"params": connection.params, "state": connection.state}


class Greeter(Actor):
    async def create_conn_state(self, connection: ActorConnection) -> Any:
        return (connection.params or {}).get("name", "stranger")

    async def on_connect(self, connection: ActorConnection) -> None:
        greetings = (connection.params or {}).get("greetings", 1)
        for number in range(1, greetings + 1):
            count = len(self.context.connections)
            greeting = {"name": connection.state, "number": number, "connections": count}
            connection.send("welcome", greeting)

    async def who(self) -> Any:
        return self.context.connection.state

    async def greet(self) -> None:
        connection = self.context.connection
        connection.send("welcome", {"name": connection.state, "number": 0})


class Presence(Actor):
    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, hook: str, params: Any) -> None:
        params = params or {}
        self.noted.append(f"{hook} {params.get('name', '-')}")
        if params.get("broken") == hook:
            raise RuntimeError(f"{hook} is broken")
        if params.get("destroys") == hook:
            self.context.destroy()
        if params.get("sleeps") == hook:
            self.context.sleep()
        if params.get("refuse") == hook:
            raise UserError(f"refused by {hook}", code="refused", metadata={"hook": hook})

    async def on_before_connect(self, connection: ActorConnection) -> None:
        self.note("onBeforeConnect", connection.params)

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        self.note("createConnState", connection.params)
        return (connection.params or {}).get("name", "-")

    async def on_connect(self, connection: ActorConnection) -> None:
        self.note("onConnect", connection.params)
        self.context.broadcast("came", connection.state)

    async def on_disconnect(self, connection: ActorConnection) -> None:
        self.note("onDisconnect", connection.params)
        self.context.broadcast("went", connection.state)

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        self.note("onRequest", {"name": "guest"})
        return httpx.Response(200, text=str(len(self.context.connections)))

    async def on_websocket(self, socket: ActorSocket) -> None:
        self.note("onWebSocket", {"name": "guest"})
        async for _ in socket:
            await socket.send(str(len(self.context.connections)))

    async def kickTwice(self) -> None:
        for connection in self.context.connections:
            if connection.state == "guest":
                connection.disconnect("one")
                connection.disconnect("two")

    async def kick(self) -> None:
        self.context.connection.disconnect("kicked")

    async def hooks(self) -> list[str]:
        return self.noted

    async def names(self) -> list[str]:
        return sorted(connection.state for connection in self.context.connections)


class Usher(Actor):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sum = self.woken = 0

    async def on_wake(self) -> None:
        self.woken += 1

    async def starts(self) -> int:
        return self.woken

    async def take(self, connection: ActorConnection, hook: str) -> None:
        if (connection.params or {}).get("slow") == hook:
            self.lines.append(f"{hook} begins")
            await anyio.sleep(1)
            self.lines.append(f"{hook} ends")

    async def on_before_connect(self, connection: ActorConnection) -> None:
        await self.take(connection, "onBeforeConnect")

    async def create_conn_state(self, connection: ActorConnection) -> Any:
        await self.take(connection, "createConnState")
        return (connection.params or {}).get("state", {"kept": True})

    async def on_connect(self, connection: ActorConnection) -> None:
        if (connection.params or {}).get("closes"):
            connection.disconnect("enough")
        await self.take(connection, "onConnect")

    async def count(self) -> int:
        return len(self.context.connections)

    async def noted(self) -> list[str]:
        return self.lines

    async def state(self) -> Any:
        return self.context.connection.state

    async def total(self) -> int:
        return self.sum

    async def addSlowly(self) -> str:
        self.sum += 1
        await anyio.sleep(1)
        self.sum += 10
        return "added"

    async def sleepNow(self) -> None:
        self.context.sleep()


class Flaky(Actor):
    async def on_before_connect(self, connection: ActorConnection) -> None:
        raise RuntimeError("broken hook")

    async def ping(self) -> str:
        return "pong"


class BrokenStart(Actor):
    async def on_create(self, input: Any) -> None:
        raise RuntimeError("cannot start")

    async def ping(self) -> str:
        return "pong"


class Limping(Actor):
    """Fails to start so often, in the hook that its input names."""

    left: ClassVar[dict[str, int]] = {}

    def __init__(self) -> None:
        self.wakes = 0
        self.input: dict[str, Any] = {}

    def limp(self, input: dict[str, Any], hook: str) -> None:
        if input["where"] == hook:
            left = self.left.get(input["name"], input["times"])
            self.left[input["name"]] = left - 1
            if left > 0:
                raise UserError("cannot start", code="limps") if input["how"] == "user" else OSError

    async def on_create(self, input: Any) -> None:
        self.limp(input, "create")
        self.input = input

    async def on_wake(self) -> None:
        self.wakes += 1
        self.limp(self.input, "wake")

    async def woken(self) -> int:
        return self.wakes


class Sleepy(Actor):
    waken = 0

    async def on_wake(self) -> None:
        self.waken += 1

    async def wakes(self) -> int:
        return self.waken

    async def sleepNow(self) -> None:
        self.context.sleep()


class Web(Actor):
    async def on_request(self, request: httpx.Request) -> httpx.Response:
        _, route, *rest = request.url.path.split("/")
        argument = rest[0] if rest else ""
        if route == "echo":
            query = request.url.query.decode()
            said = {
                "method": request.method,
                "path": request.url.raw_path.decode().partition("?")[0],
                "search": f"?{query}" if query else "",
                "headers": dict(request.headers),
                "body": request.content.decode(),
            }
            return httpx.Response(200, json=said)
        if route == "status":
            return httpx.Response(int(argument), text=f"status {argument}")
        if route == "bytes":
            headers = {"content-type": "application/octet-stream"}
            return httpx.Response(200, content=pattern(int(argument)), headers=headers)
        if route == "stream":
            headers = {"content-type": "text/plain"}
            return httpx.Response(200, content=chunks(5), headers=headers)
        if route == "fields":
            fields = [(name, v) for name in ("set-cookie", "x-two") for v in ("a=1", "b=2")]
            return httpx.Response(200, text="fields", headers=fields)
        if route == "empty":
            return httpx.Response(200)
        if route == "plain":
            return httpx.Response(200, text="plain", headers=[(b"x-own", b"\xe9")])
        if route == "nothing":
            return None  # type: ignore[return-value]
        if route == "text":
            return "no response"  # type: ignore[return-value]
        if route == "upload":
            return httpx.Response(200, json={"bytes": len(request.content)})
        return httpx.Response(404, text="no such route")

    async def destroy(self) -> None:
        self.context.destroy()

    async def sleepNow(self) -> None:
        self.context.sleep()

    async def on_websocket(self, socket: ActorSocket) -> None:
        if socket.path == "/broken":
            raise RuntimeError("broken")
        await socket.send(json.dumps({"hello": socket.path}, separators=(",", ":")))
        async for data in socket:
            if isinstance(data, bytes):
                await socket.send(data)
                continue
            command, _, rest = data.partition(":")
            if command == "close":
                code, _, reason = rest.partition(":")
                await socket.close(int(code), reason)
            elif command == "kick":
                for connection in self.context.connections:
                    connection.disconnect(rest)
            elif command == "many":
                for i in range(int(rest)):
                    await socket.send(str(i))
            elif command == "bigbin":
                await socket.send(pattern(int(rest)))
            else:
                await socket.send(data)


class Ledger(Actor):
    def __init__(self) -> None:
        self.entries: list[str] = []

    async def append(self, id: str) -> int:
        self.entries.append(id)
        self.context.broadcast("appended", id, len(self.entries))
        return len(self.entries)

    async def appendSlow(self, id: str, milliseconds: float) -> int:
        await anyio.sleep(milliseconds / 1000)
        return await self.append(id)

    async def log(self) -> list[str]:
        return self.entries


class Gate(Actor):
    async def can_subscribe(self, connection: ActorConnection, event: str) -> bool:
        params = connection.params or {}
        if params.get("broken") == event:
            raise RuntimeError("broken")
        if params.get("fail") == event:
            raise UserError("no", code=f"no_{event}")
        if event == "slow":
            await anyio.sleep(0.3)
        return event not in params.get("refuse", ())

    async def echo(self, value: Any = None) -> Any:
        return value

    async def emit(self, name: str, *args: Any) -> None:
        self.context.broadcast(name, *args)

    async def slow(self, milliseconds: float, value: Any) -> Any:
        await anyio.sleep(milliseconds / 1000)
        return value

    async def kickAll(self, reason: str) -> None:
        for connection in self.context.connections:
            connection.disconnect(reason)

    async def kickOthers(self, reason: str) -> None:
        for connection in self.context.connections:
            if connection.id != self.context.connection.id:
                connection.disconnect(reason)


class Worker(Actor):
    queues = ("jobs", "stuck")
    max_queue_message_size = 64 * 1024 * 1024

    def __init__(self) -> None:
        self.done: list[Any] = []

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            self.done.append(message.body)
            await message.complete({"done": message.body})

    async def processed(self) -> list[Any]:
        return self.done


class Mimic(Actor):
    @action("raise")
    async def fail(self, what: dict[str, str]) -> None:
        raise ActorError(what["group"], what["code"], what["message"])


class Odd(Actor):
    def __init__(self) -> None:
        self.done: list[list[Any]] = []
        self.kept: Any = None

    async def create_vars(self) -> dict[str, Any]:
        return {"calls": 0, "woke": "-"}

    async def on_wake(self) -> None:
        try:
            self.context.broadcast("woke")
            self.context.vars["woke"] = "sent"
        except RuntimeError:
            self.context.vars["woke"] = "raised"

    async def woke(self) -> str:
        return str(self.context.vars["woke"])

    async def endTwice(self, first: str, second: str) -> str:
        for how in (first, second):
            getattr(self.context, how)()
        return "twice"

    @action("_under")
    async def under(self) -> str:
        return "under"

    async def broadcastBad(self) -> str:
        self.context.broadcast("bad", print)
        return "broadcast"

    async def sendBad(self) -> str:
        self.context.connection.send("bad", print)
        return "sent"

    async def returnBad(self) -> Any:
        return {"nested": [print]}

    async def keepBad(self) -> str:
        self.kept = [print]
        return "kept"

    async def big(self, n: int) -> str:
        return "x" * n

    async def bigEvent(self, n: int) -> str:
        self.context.broadcast("big", "x" * n)
        return "sent"

    async def length(self, text: str) -> int:
        return len(text)

    async def calls(self) -> int:
        self.context.vars["calls"] += 1
        return int(self.context.vars["calls"])

    async def sleepNow(self) -> None:
        self.context.sleep()

    async def later(self, milliseconds: float, what: str) -> None:
        self.context.schedule.after(milliseconds / 1000, "note", what)

    async def laterAt(self, milliseconds: float, what: str) -> None:
        when = self.context.now() + dt.timedelta(milliseconds=milliseconds)
        self.context.schedule.at(when, "note", what)

    async def note(self, what: str) -> None:
        self.done.append([what, len(self.context.connections)])

    async def noted(self) -> list[list[Any]]:
        return self.done


class Napper(Actor):
    sleep_timeout = 1.0

    def __init__(self) -> None:
        self.done: list[str] = []

    async def on_wake(self) -> None:
        self.done.append("wake")

    async def on_sleep(self) -> None:
        self.done.append("sleep")

    async def noted(self) -> list[str]:
        return self.done

    async def slow(self, milliseconds: float) -> list[str]:
        await anyio.sleep(milliseconds / 1000)
        return self.done

    async def later(self, milliseconds: float) -> None:
        self.context.schedule.after(milliseconds / 1000, "note")

    async def note(self) -> None:
        self.done.append("note")


class Drowsy(Actor):
    sleep_timeout = 2.0

    def __init__(self) -> None:
        self.lines: list[tuple[str, float]] = []

    async def on_wake(self) -> None:
        self.lines.append(("wake", await self.now()))

    async def on_sleep(self) -> None:
        self.lines.append(("sleep", await self.now()))

    async def now(self) -> float:
        return self.context.now().timestamp() * 1000

    async def noted(self) -> list[tuple[str, float]]:
        return self.lines

    async def work(self, milliseconds: float) -> None:
        await anyio.sleep(milliseconds / 1000)

    async def fail(self) -> None:
        raise RuntimeError("broken")

    async def later(self, after: float, milliseconds: float) -> None:
        self.context.schedule.after(after / 1000, "work", milliseconds)


class Nodder(Drowsy):
    queues = ("jobs",)

    async def on_before_connect(self, connection: ActorConnection) -> None:
        if (connection.params or {}).get("refuse"):
            raise RuntimeError("refused")

    async def on_disconnect(self, connection: ActorConnection) -> None:
        await anyio.sleep((connection.params or {}).get("parts", 0) / 1000)

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        await self.work(float(request.url.params["ms"]))
        return httpx.Response(200, text="late")

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for data in socket:
            await socket.send(data)
            await self.work(float(data))


class Toiler(Drowsy):
    queues = ("jobs",)

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            await self.work(message.body)
            await message.complete("done")


class Tally(Actor):
    state_save_interval = 600.0
    count = 0

    async def increment(self) -> int:
        self.count += 1
        return self.count

    async def save(self) -> None:
        await self.context.save_state()


class Farewell(Actor):
    value: Any = None

    async def create_vars(self) -> Any:
        return SimpleNamespace(start=random.random(), destroys=False)

    async def on_sleep(self) -> None:
        try:
            self.context.broadcast("bye", "sleep")
        finally:
            if self.context.vars.destroys:
                self.context.destroy()

    async def keep(self, value: Any) -> None:
        self.value = value

    async def kept(self) -> Any:
        return self.value

    async def endInOnSleep(self) -> None:
        self.context.vars.destroys = True
        self.context.sleep()

    async def on_destroy(self) -> None:
        self.context.broadcast("bye", "destroy")

    async def start(self) -> float:
        return self.context.vars.start  # type: ignore[no-any-return]

    async def end(self, how: str) -> None:
        if how == "sleep":
            self.context.sleep()
        else:
            self.context.destroy()

    def _sends(self) -> bool:
        try:
            self.context.broadcast("late")
        except RuntimeError:
            return False
        return True

    async def linger(self) -> list[bool]:
        self.context.sleep()
        sent = [self._sends()]
        await anyio.sleep(0.5)
        return [*sent, self._sends()]


class Quirk(Actor):
    count = 0

    async def create_vars(self) -> Any:
        return SimpleNamespace(waiting=0, ending=anyio.Event())

    @action("raise")
    async def fail(self, metadata: Any = None) -> None:
        raise UserError("text", code="code", metadata=metadata)

    async def bump(self, fails: bool = False) -> int:
        self.count += 1
        if fails:
            raise RuntimeError("broken")
        return self.count

    async def wait(self) -> str:
        variables = self.context.vars
        variables.waiting += 1
        await variables.ending.wait()
        await anyio.sleep(1)
        return "answered"

    async def waiting(self) -> int:
        return int(self.context.vars.waiting)

    async def end(self, how: str) -> None:
        if how == "sleep":
            self.context.sleep()
        else:
            self.context.destroy()
        self.context.vars.ending.set()


class Hasty(Actor):
    action_timeout = 0.3
    queues = ("jobs",)

    def __init__(self) -> None:
        self.count = 0

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.6)
        return httpx.Response(200, text="late")

    async def slow(self) -> None:
        await anyio.sleep(0.6)

    async def late(self) -> None:
        await anyio.sleep(0.6)
        self.count += 1

    async def later(self) -> None:
        self.context.schedule.after(0.01, "late")

    async def ended(self) -> int:
        return self.count


class Forgetful(Actor):
    queues = ("jobs",)

    def __init__(self) -> None:
        self.bodies: list[Any] = []

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            self.bodies.append(message.body)
            await self.context.save_state()
            if message.body != "never":
                await message.complete(print if message.body == "bad" else "done")

    async def taken(self) -> list[Any]:
        return self.bodies

    async def sleepNow(self) -> None:
        self.context.sleep()


LONG: Limits = {
    "max_incoming_message_size": 64 * 1024 * 1024,
    "max_outgoing_message_size": 64 * 1024 * 1024,
}
"""The limits of the real servers in tests/servers."""

ACTORS: dict[str, type[Actor]] = {
    "counter": Counter,
    "chatRoom": ChatRoom,
    "probe": Probe,
    "guarded": Guarded,
    "greeter": Greeter,
    "presence": Presence,
    "usher": Usher,
    "flaky": Flaky,
    "brokenStart": BrokenStart,
    "limping": Limping,
    "sleepy": Sleepy,
    "web": Web,
    "ledger": Ledger,
    "gate": Gate,
    "worker": Worker,
    "mimic": Mimic,
    "odd": Odd,
    "napper": Napper,
    "nodder": Nodder,
    "toiler": Toiler,
    "tally": Tally,
    "farewell": Farewell,
    "forgetful": Forgetful,
    "quirk": Quirk,
    "hasty": Hasty,
}

PRODUCTS: dict[str, Any] = {
    "undefined": None,
    "null": None,
    "true": True,
    "int": 5,
    "float": 1.5,
    "big53": 2**53,
    "over32": 2**32 + 5,
    "bigint": 10**20,
    "uint8": bytes([0, 1, 2, 254, 255]),
    "date": dt.datetime(2020, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC),
    "set": {1, "two", 3},
    "nan": math.nan,
    "dollarArray": ["$BigInt", "5"],
    "unicode": "zu groß: 日本語 🚀",
    "emptyArray": [],
    "emptyObject": {},
}


def pattern(size: int) -> bytes:
    return bytes(i % 251 for i in range(size))


async def chunks(count: int) -> AsyncIterator[bytes]:
    for i in range(count):
        yield f"chunk {i}\n".encode()
        await anyio.sleep(0.02)
