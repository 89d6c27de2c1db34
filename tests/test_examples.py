"""Every example, run against a real server; what it prints is what it says."""

import importlib
import inspect
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from rich.console import Console
from rich.live import Live

from examples import (
    blocking,
    dashboard,
    demo,
    health,
    trio_worker,
    two_connections,
    web_backend,
    worker,
)
from rivet_anyio import Client
from rivet_anyio._log import logger
from tests.screen import Screen
from tests.servers import Server, start_server
from tests.servers._ports import reserve_port

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 60

PRINTED = {
    "minimal": ["count: 5"],
    "stateless_and_stateful": [
        "messages: 1",
        "messages: 2",
        "messages: 3",
        "- over HTTP",
        "- over a WebSocket",
        "- over the same one",
    ],
    "getting_actors": [
        "get: actor.not_found",
        "get_or_create: 10",
        "create: 3",
        "create again: actor.duplicate_key",
        "get_for_id: 11",
        "actor(): 4",
        "list: [('shop', 'orders'), ('shop', 'stock')]",
    ],
    "params": [
        "user: alice",
        "fetching params",
        "user: bob",
        "refused: user.forbidden",
    ],
    "events": [
        "alice: one",
        "alice: two",
        "alice: three",
        "moved: north",
        "moved: (3, 4)",
        "moved: ()",
        "one: 7",
    ],
    "low_level": [
        "fetch: 200 POST ?loud=1 good morning",
        "status: 404",
        *(f"streamed: chunk {n}" for n in range(5)),
        'hello: {"hello":"/chat?room=1"}',
        "echo: text",
        r"echo: b'\x00\x01'",
        "data: 0",
        "data: 1",
        "data: 2",
        "closed: 1000 done",
    ],
    "web_backend": [
        "201 {'count': 1}",
        "201 {'count': 2}",
        "200 ['hello', 'again']",
        "422 {'code': 'my_code', 'metadata': {'detail': 'details'}}",
    ],
    "forwarding": ["200 PUT ?page=2 hello", "404 status 404", "400"],
    "in_memory": ["count: 1", "count: 42", "event: 1", "gap", "event: 42", "connections: 2"],
    "chat_history": [
        "at first: ['was anybody here?']",
        "alice: was anybody here?",
        "alice: I am.",
        "alice: So am I.",
    ],
    "leaderboard": [
        "at first: alice 10",
        "2: bob 20, alice 10",
        "away, the last state: bob 20, alice 10 False",
        "3: carol 30, bob 20, alice 10",
        "after 1 refresh: True",
    ],
    "health": ["/live 200 live", "/ready 200 ready"],
    "http2": ["a call: 1", "a connection: 2"],
    "errors": [
        "the actor's code raised: user.my_code {'detail': 'out of stock'}",
        "the server answered: actor.not_found",
        "not of the type that was asked for: result of action 'echo': Expected `int`, got `str`",
        "cannot travel: args[0].when[0]",
        "did not run: the connection was used after its block was left",
        "nothing was sent: ConnectError",
    ],
    "typed": [
        "messages: 1",
        "messages: 2",
        "alice: hello",
        "history: ['hello', 'hello']",
        "refused: result of action 'getHistory' of actor 'chatRoom': "
        "Expected `str`, got `object` - at `$[0]`",
    ],
    "keys": [
        "'keys' and ['keys']: True",
        "a,b and a + b: False",
        "a/b and a + b: False",
        "order: False",
        "the actor's key: ['größe', '日本語', 'a/b\\\\c']",
        "listed: probe ('größe', '日本語', 'a/b\\\\c')",
    ],
}
"""The examples that run to their end, on both backends, and always print the same."""


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(scope="module")
def server(anyio_backend: str) -> Iterator[Server]:
    """A server for each backend: the examples begin with actors that do not exist yet."""
    with start_server("2.2.1") as server:
        yield server


@pytest.fixture(autouse=True)
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RIVET_")]:
        if name != "RIVET_ANYIO_SERVERS_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("RIVET_ENDPOINT", server.endpoint)


def only_on(backend: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("anyio_backend", [backend], indirect=True, scope="module")


@pytest.mark.parametrize("name", PRINTED)
async def test_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[], Awaitable[None]] = importlib.import_module(f"examples.{name}").main
    with anyio.fail_after(PATIENCE):
        await main()
    assert capsys.readouterr().out.splitlines() == PRINTED[name]


async def test_lifecycle(capsys: pytest.CaptureFixture[str]) -> None:
    with anyio.fail_after(PATIENCE):
        await importlib.import_module("examples.lifecycle").main()
    lines = capsys.readouterr().out.splitlines()
    states = [line.split()[1] for line in lines if line.startswith("status: ")]
    assert states == ["connected", "disconnected", "connecting", "connected", "closed"]
    assert [line for line in lines if not line.startswith("status: ")] == [
        "the call was under way: it may have run",
        "a new connection: True",
        "echo: still here",
    ]


async def test_web_backend_answers_to_a_broken_network() -> None:
    # Not the lifespan of the application: nobody listens where this client looks.
    async with (
        Client("http://127.0.0.1:9") as web_backend.app.state.client,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(web_backend.app), base_url="http://app.example"
        ) as browser,
    ):
        response = await browser.get("/rooms/lobby/messages")
    assert (response.status_code, response.json()) == (503, {"code": "unavailable"})


async def test_health_of_a_program_without_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVET_ENDPOINT", "http://127.0.0.1:9")
    async with (
        health.app.router.lifespan_context(health.app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(health.app), base_url="http://app.example"
        ) as probe,
    ):
        assert (await probe.get("/live")).status_code == 200
        found = await probe.get("/ready")
        assert found.status_code == 503 and found.text.startswith("not ready: ")


@only_on("trio")
async def test_trio_worker(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(PATIENCE):
        async with Client(server.endpoint) as client, trio.open_nursery() as nursery:
            ledger = client.ledger.get_or_create("worker")
            async with ledger.connect() as conn, conn.events("appended") as appended:
                await conn.log()
                await nursery.start(trio_worker.work)
                room = client.chatRoom.get_or_create("worker")
                for number in range(1, 4):
                    await room.sendMessage(f"message {number}")
                for number in range(1, 4):
                    assert await appended.receive() == (f"message {number}", number)
                nursery.cancel_scope.cancel()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["working", "entry 1 message 1", "entry 2 message 2"]
    assert lines[-1] == "stopped"


@only_on("trio")
async def test_trio_worker_starts_before_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    warned = trio.Event()
    monkeypatch.setattr(logger, "warning", lambda *_: warned.set())
    printed = Printed(monkeypatch, trio_worker)
    with reserve_port() as port:
        monkeypatch.setenv("RIVET_ENDPOINT", f"http://127.0.0.1:{port.number}")
        server: Server | None = None
        try:
            with trio.fail_after(PATIENCE):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio_worker.main)
                    await warned.wait()
                    server = await trio.to_thread.run_sync(
                        lambda: start_server("2.2.1", port=port.number)
                    )
                    await printed.until("working")
                    nursery.cancel_scope.cancel()
        finally:
            if server is not None:
                server.close()
    assert printed.lines == ["working", "stopped"]


class Printed:
    """What an example prints, to be waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.lines: list[str] = []
        self._more = anyio.Event()
        monkeypatch.setattr(module, "print", self._take, raising=False)

    def _take(self, *words: object, flush: bool = False) -> None:
        self.lines.append(" ".join(map(str, words)))
        self._more.set()
        self._more = anyio.Event()

    async def until(self, line: str) -> None:
        while line not in self.lines:
            await self.more()

    async def more(self) -> None:
        await self._more.wait()

    def entries(self) -> list[str]:
        return [line for line in self.lines if line.startswith("entry ")]


@pytest.fixture
def printed_by_worker(monkeypatch: pytest.MonkeyPatch) -> Printed:
    return Printed(monkeypatch, worker)


async def run_worker(
    client: Client, text: str, printed: Printed, signals: dict[str, signal.Signals]
) -> None:
    """Give the worker this message, and each signal after the line that belongs to it."""
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.main)
            await printed.until("ready")
            # The subscription has left, but on another connection than this message.
            room = client.chatRoom.get_or_create("polite-worker")
            while f"begin {text}" not in printed.lines:
                await room.sendMessage(text)
            for line, number in signals.items():
                await printed.until(line)
                os.kill(os.getpid(), number)


async def test_worker_finishes_what_it_is_doing(
    server: Server, printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WORK_MILLISECONDS", 1000)  # the signal comes sooner
    async with Client(server.endpoint) as client:
        ledger = client.ledger.get_or_create("polite-worker")
        await run_worker(client, "first", printed_by_worker, {"begin first": signal.SIGTERM})
        assert printed_by_worker.lines == [
            "ready",
            "begin first",
            "finishing",
            "entry 1 first",
            "finished",
        ]
        assert await ledger.log() == ["first"]


async def test_worker_goes_on_when_its_server_restarts(
    server: Server, printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WORK_MILLISECONDS", 1000 * PATIENCE)
    async with Client(server.endpoint) as client, anyio.create_task_group() as tasks:
        room = client.chatRoom.get_or_create("polite-worker")
        with anyio.fail_after(PATIENCE):
            tasks.start_soon(worker.main)
            await printed_by_worker.until("ready")
            while "begin lost" not in printed_by_worker.lines:
                await room.sendMessage("lost")
            monkeypatch.setattr(worker, "WORK_MILLISECONDS", 1)
            await anyio.to_thread.run_sync(demo.restart, server)
            await printed_by_worker.until("written or not: lost")
            while "begin after" not in printed_by_worker.lines:
                await room.action("sendMessage", "after", retry_for=PATIENCE)
            while not any(line.endswith(" after") for line in printed_by_worker.entries()):
                await printed_by_worker.more()
            tasks.cancel_scope.cancel()


async def test_worker_starts_before_its_server(
    printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = anyio.Event()
    monkeypatch.setattr(logger, "warning", lambda *_: warned.set())
    with reserve_port() as port:
        endpoint = f"http://127.0.0.1:{port.number}"
        monkeypatch.setenv("RIVET_ENDPOINT", endpoint)
        server: Server | None = None
        try:
            async with Client(endpoint) as client, anyio.create_task_group() as tasks:
                with anyio.fail_after(PATIENCE):
                    tasks.start_soon(worker.main)
                    await warned.wait()
                    server = await anyio.to_thread.run_sync(
                        lambda: start_server("2.2.1", port=port.number)
                    )
                    await printed_by_worker.until("ready")
                    room = client.chatRoom.get_or_create("polite-worker")
                    await room.sendMessage("early")
                    await printed_by_worker.until("entry 1 early")
                    tasks.cancel_scope.cancel()
        finally:
            if server is not None:
                server.close()


async def test_worker_ends_while_it_waits_for_its_server(
    printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.2)
    warned = anyio.Event()
    monkeypatch.setattr(logger, "warning", lambda *_: warned.set())
    with reserve_port() as port:
        monkeypatch.setenv("RIVET_ENDPOINT", f"http://127.0.0.1:{port.number}")
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.main)
                await warned.wait()
                handler = signal.getsignal(signal.SIGTERM)
                assert handler != signal.SIG_DFL, "process 1 of a container would not end"
                os.kill(os.getpid(), signal.SIGTERM)
    assert printed_by_worker.lines == ["finishing"]


async def test_worker_ends_at_once_at_a_second_signal(
    server: Server, printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WORK_MILLISECONDS", 1000 * PATIENCE)
    signals = {"begin second": signal.SIGTERM, "finishing": signal.SIGTERM}
    async with Client(server.endpoint) as client:
        await run_worker(client, "second", printed_by_worker, signals)
    assert printed_by_worker.lines == ["ready", "begin second", "finishing"]


async def test_worker_ends_after_its_time_of_grace(
    server: Server, printed_by_worker: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "WORK_MILLISECONDS", 1000 * PATIENCE)
    monkeypatch.setattr(worker, "GRACE_SECONDS", 0.2)
    async with Client(server.endpoint) as client:
        await run_worker(client, "third", printed_by_worker, {"begin third": signal.SIGTERM})
    assert printed_by_worker.lines == ["ready", "begin third", "finishing"]


@only_on("asyncio")
def test_blocking(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    blocking.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a call: 5", "on a connection: 6", "an event: 6"]


async def test_dashboard(server: Server) -> None:
    screen = Screen()
    live = Live(auto_refresh=False, console=Console(file=screen, width=80, force_terminal=True))
    with anyio.fail_after(PATIENCE):
        async with Client(server.endpoint) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(dashboard.main, ["red", "blue"], live)
            await screen.until("red", "connected", "0")
            for name in ("red", "blue"):
                for count in range(1, 3):
                    await client.counter.get_or_create(["dashboard", name]).setCount(count * 100)
                    await screen.until(name, "connected", str(count * 100), "0")
            await anyio.to_thread.run_sync(demo.restart, server)
            await screen.until("red", "200", "1")
            tasks.cancel_scope.cancel()


@only_on("asyncio")
async def test_two_connections(capsys: pytest.CaptureFixture[str]) -> None:
    with anyio.fail_after(PATIENCE):
        await two_connections.main()
    lines = capsys.readouterr().out.splitlines()
    for name in ("alice", "bob"):
        assert [line for line in lines if line.startswith(f"{name} hears ")] == [
            f"{name} hears alice: hi bob",
            f"{name} hears bob: hi alice",
            f"{name} hears alice: bye",
        ]
    assert len(lines) == 6


@only_on("asyncio")
def test_demo(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """As the program does it, on the server that runs already."""
    for backend in ("asyncio", "trio"):
        anyio.run(demo.use, server, backend, backend=backend)
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("  action     increment(5) over HTTP -> 5") == 2
    assert lines.count("  event      newCount -> 6") == 2
    assert lines.count("  server     stops and starts again") == 2
    assert lines.count("  action     getCount() on the same connection -> 6") == 2
    assert lines.count("  event      newCount -> 16") == 2
    assert lines.count("  gaps       in the stream of events: 1") == 2
    assert lines[-1] == "  status     closed"


@only_on("asyncio")
def test_every_example_is_tested_and_has_a_description() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"__init__", "actors"}
    tested_below = {"lifecycle", "trio_worker", "two_connections", "demo", "worker", "blocking"}
    tested_below |= {"dashboard", "live_page", "many_actors"}
    assert names == {*PRINTED, *tested_below}
    for name in names:
        module = importlib.import_module(f"examples.{name}")
        assert inspect.getdoc(module)
        assert callable(module.main)
