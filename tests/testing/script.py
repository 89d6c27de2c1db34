"""One script for the harness and for real servers: everything the client can do, step by step.

`play` fills a transcript: a line for every step, with what came back. Ids stay out of it, since no
two servers choose the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from rivet_anyio import (
    ActorError,
    ActorHandle,
    Client,
    Connection,
    ConnectionLostError,
    Retry,
    RivetError,
    Status,
)

QUICK = Retry(initial=0.01, maximum=0.1)
PATIENCE = 60

VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    2**31,
    2**32,
    -(2**32) - 1,
    2**53,
    2**53 + 1,
    10**30,
    1.5,
    -0.25,
    "",
    "héllo ☃ 🔑",
    b"\x00\x01\xff",
    [],
    {},
    [1, [2, {"a": [None]}]],
    ["$BigInt", "5"],
    ["$x", 1],
    ["$$x", ["$y", 2]],
]


class Transcript:
    """What came back, a line for every step."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Any]] = []

    def note(self, step: str, result: Any) -> None:
        self.lines.append((step, result))

    async def try_(self, step: str, call: Awaitable[Any]) -> Any:
        """Note a result, or the error."""
        try:
            with anyio.fail_after(PATIENCE):
                result = await call
        except RivetError as error:
            result = self.described(error)
        self.note(step, result)
        return result

    def described(self, error: RivetError) -> Any:
        """An error without its ids; messages count where the actor wrote them."""
        if not isinstance(error, ActorError):
            return type(error).__name__
        message = error.message if error.group == "user" else None
        metadata = error.metadata
        if isinstance(metadata, dict) and "actorId" in metadata:
            metadata = {**metadata, "actorId": "an id"}
        return (error.group, error.code, message, metadata, error.actor is not None)


async def play(client: Client, script: Transcript, encoding: str, *, minor: int) -> None:
    """Run the script.

    What has nothing to do with encodings is played in one of them only: 2.3 takes its time.

    Args:
        client: A client of the server.
        script: Where what came back is noted.
        encoding: The client's encoding. Keys begin with it, so that three can play at once.
        minor: Which version it is: 2.0 has no queues, 2.1 and 2.2 leave connections open whose
            actor is gone.
    """
    await actions(client, script, encoding)
    await failures(client, script, encoding)
    await connections(client, script, encoding)
    await refusals(client, script, encoding)
    await queues(client, script, encoding, minor >= 1)
    if encoding == "bare":
        await getting(client, script, encoding)
    elif encoding == "cbor":
        await endings(client, script, encoding, minor)
    else:
        await raw(client, script, encoding)
        await starts(client, script, encoding)


async def getting(client: Client, script: Transcript, prefix: str) -> None:
    counter = client.counter
    key = [prefix, "getting"]
    await script.try_("get missing", counter.get(key).getCount())
    await script.try_("resolve missing", counter.get(key).resolve())
    await script.try_("connect missing", _open(counter.get(key)))
    first = counter.get_or_create(key, input={"initial": 5})
    await script.try_("count after creation with input", first.getCount())
    again = counter.get_or_create(key, input={"initial": 50})
    await script.try_("input counts once", again.getCount())
    script.note("same actor", await first.resolve() == await counter.get(key).resolve())
    await script.try_("increment", first.increment())
    await script.try_("increment by", first.increment(10))
    await script.try_("get", counter.get(key).getCount())

    async def create(own: list[str], **options: Any) -> int:
        handle = await counter.create(own, **options)
        return await handle.getCount()  # type: ignore[no-any-return]

    await script.try_("create", create([prefix, "created"], input={"initial": 7}))
    await script.try_("create without input", create([prefix, "plain"]))
    try:
        await counter.create(key)
    except ActorError as error:
        script.note("create twice", (error.group, error.code))
    by_id = counter.get_for_id(await first.resolve())
    await script.try_("by id", by_id.getCount())
    await script.try_("unknown id", counter.get_for_id("0123456789abcdef").getCount())
    odd = [prefix, "a/b", "", "c\\d", "e,f", "ü"]
    await script.try_("odd key", counter.get_or_create(odd).increment())
    await script.try_("odd key again", counter.get_or_create(odd).increment())
    listed = [info async for info in counter.list(key=odd)]
    script.note("list by key", [(info.name, list(info.key)[1:]) for info in listed])
    everything = {info.key async for info in counter.list()}
    script.note("list", tuple(odd) in everything and tuple(key) in everything)
    none = [info async for info in counter.list(key=[prefix, "none"])]
    script.note("list nothing", none)
    script.note("created_at", all(info.created_at is not None for info in listed))
    who = await client.probe.get_or_create(odd).whoami()
    script.note("whoami", (who["name"], who["key"][1:]))


async def actions(client: Client, script: Transcript, prefix: str) -> None:
    probe = client.probe.get_or_create([prefix, "actions"])
    async with probe.connect() as conn:
        for caller, how in ((probe, "http"), (conn, "connection")):
            await script.try_(f"{how} echo", caller.echo(VALUES))
            await script.try_(f"{how} args", caller.args(1, "b", None))
            await script.try_(f"{how} no args", caller.args())
            await script.try_(f"{how} dotted", caller.math.add(2, 3))
            await script.try_(f"{how} nothing", caller.produce("undefined"))
            await script.try_(f"{how} slow", caller.slow(20, "slow"))
            await script.try_(f"{how} params", caller.connParams())
            await script.try_(f"{how} connections", caller.conns())
        for value in VALUES:
            await script.try_(f"echo {value!r}", conn.echo(value))
    own = client.probe.get_or_create([prefix, "actions"], params={"name": "Zoë ☃", "n": 1.5})
    await script.try_("own http params", own.connParams())
    async with own.connect() as conn:
        await script.try_("own connection params", conn.connParams())
    async with probe.connect() as conn:
        slow: dict[int, Any] = {}

        async def call(n: int) -> None:
            slow[n] = await conn.slow(30 - 10 * n, n)

        async with anyio.create_task_group() as tasks:
            for n in range(3):
                tasks.start_soon(call, n)
        script.note("concurrent actions", sorted(slow.items()))


async def failures(client: Client, script: Transcript, prefix: str) -> None:
    probe = client.probe.get_or_create([prefix, "failures"])
    async with probe.connect() as conn:
        for caller, how in ((probe, "http"), (conn, "connection")):
            for kind in ("user", "plain", "unicode", "bare"):
                await script.try_(f"{how} fail {kind}", caller.fail(kind, [1, "ä"]))
            await script.try_(f"{how} unknown action", caller.noSuchAction())
            await script.try_(f"{how} still there", caller.echo("here"))


async def connections(client: Client, script: Transcript, prefix: str) -> None:
    probe = client.probe.get_or_create([prefix, "connections"])
    async with probe.connect(retry=QUICK) as conn:
        changes = conn.status_changes()
        script.note("actor id", conn.actor_id == await probe.resolve())
        script.note("connection id", conn.connection_id == await conn.connId())
        numbers = conn.events("numbers")
        await conn.emitMany("numbers", 20)
        script.note("events", [await numbers.receive() for _ in range(20)])
        shapes = conn.events("shapes")
        await conn.emit("shapes")
        await conn.emit("shapes", "one")
        await conn.emit("shapes", "one", 2)
        await conn.emit("shapes", ["a", "list"])
        script.note("shapes", [await shapes.receive() for _ in range(4)])
        for value in VALUES:
            await conn.emit("shapes", value)
            script.note(f"event {value!r}", await shapes.receive())
        await shapes.aclose()
        await conn.emit("shapes", "unheard")
        later = conn.events("shapes")
        await conn.emit("shapes", "heard")
        script.note("after unsubscribing", await later.receive())
        await probe.emit("shapes", "over http")
        script.note("event by http", await later.receive())
        async with probe.connect() as other:
            heard = other.events("shapes")
            await other.echo("subscribed")
            await conn.emit("shapes", "to both")
            script.note("both", [await heard.receive(), await later.receive()])
            await script.try_("two connections", conn.conns())
        marked = conn.events("marked", gaps="mark")
        await script.try_("kick", probe.kickAll("enough"))
        states = await _until(changes, Status.CONNECTED, after=Status.DISCONNECTED)
        # Each once: a busy server may refuse an attempt.
        script.note("status of a kick", list(dict.fromkeys(c.status.value for c in states)))
        lost = next(change.error for change in states if change.error is not None)
        assert isinstance(lost, ConnectionLostError)
        script.note("kicked", (lost.code, lost.reason))
        await conn.emit("marked", "back")
        script.note("gap", [type(await marked.receive()).__name__, await marked.receive()])
    script.note("closed", [change.status.value async for change in changes])


async def refusals(client: Client, script: Transcript, prefix: str) -> None:
    guarded = client.guarded.get_or_create([prefix, "guarded"])
    await script.try_("refused over http", guarded.me())
    await script.try_("refused", _open(guarded, params={"token": "wrong"}))
    async with guarded.connect(params={"token": "secret", "user": "u"}) as conn:
        me = await conn.me()
        script.note("let in", (me["params"], me["state"]))
    flaky = client.flaky.get_or_create([prefix, "flaky"])
    await script.try_("broken hook", _open(flaky))
    await script.try_("broken hook over http", flaky.ping())


async def endings(client: Client, script: Transcript, prefix: str, minor: int) -> None:
    key = [prefix, "endings"]
    probe = client.probe.get_or_create(key)
    first = await probe.resolve()
    async with probe.connect(retry=QUICK) as conn:
        changes = conn.status_changes()
        await script.try_("destroy", conn.destroy())
        if minor in (1, 2):
            said = await _repeat(lambda: _refusal(conn), lambda said: said is not None)
            script.note("left open", said)
            # A handle that knows the old id may meet the actor while it ends.
            await _repeat(lambda: _listed(client, key), lambda found: not found)
            probe = client.probe.get_or_create(key)
            await script.try_("after destruction", probe.echo("new"))
        else:
            states = await _until(changes, Status.CONNECTED, after=Status.DISCONNECTED)
            script.note("status of an end", [states[0].status.value, states[-1].status.value])
            await script.try_("after destruction", conn.echo("new"))
        script.note("another actor", await probe.resolve() != first)
    other = client.probe.get_or_create([*key, "other"])
    gone = client.probe.get_for_id(await other.resolve())
    await script.try_("destroy by http", other.destroy())
    await _repeat(lambda: _listed(client, [*key, "other"]), lambda found: not found)
    await script.try_("by the old id", gone.echo(1))
    await script.try_("resolve the destroyed", client.probe.get([*key, "other"]).resolve())
    sleepy = client.sleepy.get_or_create(key)
    before = await sleepy.wakes()
    await sleepy.sleepNow()
    after = await _repeat(sleepy.wakes, lambda wakes: wakes != before)
    script.note("woken", (before, after))


async def queues(client: Client, script: Transcript, prefix: str, has_queues: bool) -> None:
    worker = client.worker.get_or_create([prefix, "worker"])
    if not has_queues:
        await script.try_("no queues", worker.send("jobs", 1))
        return

    async def wait(queue: str, body: Any, timeout: float | None) -> Any:
        result = await worker.send_and_wait(queue, body, timeout=timeout)
        return (result.status, result.response)

    await script.try_("send", worker.send("jobs", {"n": 1}))
    await script.try_("send and wait", wait("jobs", [2, "x", None, 1.5], 20))
    await script.try_("nobody takes it", wait("stuck", 3, 0.2))
    await script.try_("worked off", worker.processed())


async def raw(client: Client, script: Transcript, prefix: str) -> None:
    web = client.web.get_or_create([prefix, "web"])
    response = await web.fetch(
        "/echo/a%20b?x=1&y=%2F", method="POST", content=b"body", headers={"x-own": "1"}
    )
    said = response.json()
    fields = [said[name] for name in ("method", "path", "search", "body")]
    script.note("fetch", (response.status_code, fields, said["headers"].get("x-own")))
    for status in (200, 404, 500):
        response = await web.fetch(f"status/{status}")
        script.note(f"status {status}", (response.status_code, response.text))
    response = await web.fetch("bytes/100000")
    script.note("bytes", (len(response.content), response.headers["content-type"]))
    text = await _repeat(lambda: _streamed(web), bool)
    script.note("stream", text)
    response = await web.fetch("upload", method="PUT", content=b"x" * 100_000)
    script.note("upload", response.json())
    async with web.websocket("/chat?room=1") as socket:
        script.note("hello", await socket.receive())
        await socket.send("text")
        script.note("text", await socket.receive())
        await socket.send(b"\x00\x01")
        script.note("binary", await socket.receive())
        await socket.send("many:3")
        script.note("many", [await socket.receive() for _ in range(3)])
        await socket.send("close:4001:done")
        try:
            with anyio.fail_after(PATIENCE):
                await socket.receive()
        except RivetError as error:
            ended = (type(error).__name__, socket.close_code, socket.close_reason)
            script.note("closed by the actor", ended)


async def starts(client: Client, script: Transcript, prefix: str) -> None:
    nobody = client.actor("nobody").get_or_create([prefix, "nobody"])
    await script.try_("unknown name", nobody.ping())
    broken = client.brokenStart.get_or_create([prefix, "broken"])
    try:
        with anyio.fail_after(PATIENCE):
            await broken.ping()
    except ActorError as error:
        script.note("broken start", error.code)


async def _open(handle: Any, **options: Any) -> str:
    async with handle.connect(**options) as conn:
        assert isinstance(conn, Connection)
        return "let in"


async def _repeat(ask: Callable[[], Awaitable[Any]], enough: Callable[[Any], bool]) -> Any:
    """Ask until the answer is good: servers take their time to stop an actor."""
    with anyio.fail_after(PATIENCE):
        while True:
            try:
                answer = await ask()
            except ActorError:
                # The engine of 2.3 may send calls to an actor's last life for some seconds.
                await anyio.sleep(0.2)
                continue
            if enough(answer):
                return answer
            await anyio.sleep(0.05)


async def _streamed(web: ActorHandle) -> str:
    """A streamed body; the engine of 2.3 breaks it off when it is very busy."""
    try:
        async with web.stream("stream") as response:
            return "".join([part async for part in response.aiter_text()])
    except ConnectionLostError:
        return ""


async def _listed(client: Client, key: list[str]) -> int:
    return len([info async for info in client.probe.list(key=key)])


async def _refusal(conn: Connection) -> tuple[str, str] | None:
    try:
        await conn.echo(1)
    except ActorError as error:
        return (error.group, error.code)
    return None


async def _until(changes: Any, status: Status, *, after: Status) -> list[Any]:
    """The changes from `after` on, up to `status`."""
    seen: list[Any] = []
    with anyio.fail_after(PATIENCE):
        async for change in changes:
            if seen or change.status is after:
                seen.append(change)
            if seen and change.status is status:
                break
    return seen
