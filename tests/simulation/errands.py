"""Random requests of every kind but connections, each with what must come of it.

Calls over HTTP, with and without `retry_for`; queues, raw requests, forwarding, raw WebSockets,
management and typed actors; alone and many at once, while requests and answers get lost.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import anyio
import httpx

from rivet_anyio import (
    ActorError,
    Client,
    ConnectionLostError,
    Management,
    Queue,
    Retry,
    TypedActor,
    forward,
)
from rivet_anyio._observe import Call, PoolFigures
from rivet_anyio.testing import Actor, ActorServer, ActorSocket, UserError

__all__ = ["run"]

_ITEMS: tuple[Any, ...] = (None, 0, -1, 2**60, 0.5, "", "ü/ %", b"\x00\xff", True, [1, [None]], {})
_STATUSES = (200, 201, 301, 400, 401, 404, 409, 429, 500, 502, 503, 504)
_REQUEST_SECONDS = 30.0
_UNMARKED = "2.3.11"
"""Its gateway does not say which errors are its own."""
_WORK = (
    (0.0, (None, 0.2, 10.0)),
    (0.5, (None, 0.2, 2.0)),
    (3.0, (None, 2.0, 10.0)),
    (45.0, (50.0,)),  # longer than `request_timeout`
)
"""How long a message is worked on, and how long somebody may wait for that."""
_CLOSES: dict[str | bytes, tuple[int | None, str]] = {
    "close 4001": (4001, "asked"),
    "close 1000": (1000, "done"),
    "close": (None, ""),
    "fail": (1011, "group.code#ray"),
}
"""What raw WebSockets are closed with when they are sent this."""
_LONGEST_BACKOFF = 2.0
"""Seconds between two attempts of `retry_for` at most, unless the server asks for more."""


class Errand(Actor):
    queues = ("jobs",)

    def __init__(self) -> None:
        self.input: Any = None
        self.numbers: list[int] = []
        self.bodies: list[Any] = []
        self._requests: list[httpx.Request] = []

    async def on_create(self, input: Any) -> None:
        self.input = input

    async def run(self) -> None:
        async for message in self.context.queue("jobs"):
            self.bodies.append(message.body[0])
            await anyio.sleep(message.body[1])
            await message.complete(message.body)

    async def note(self, number: int, seconds: float = 0.0) -> int:
        self.numbers.append(number)
        await anyio.sleep(seconds)
        return number

    async def args(self, *args: Any) -> list[Any]:
        return list(args)

    async def params(self) -> Any:
        return self.context.connection.params

    async def refuse(self, code: str, metadata: Any) -> None:
        raise UserError("text", code=code, metadata=metadata)

    async def given(self) -> Any:
        return self.input

    async def on_request(self, request: httpx.Request) -> httpx.Response:
        self._requests.append(request)
        status = int(request.headers.get("x-status", "200"))
        headers, content = [("set-cookie", "a=1"), ("set-cookie", "b=2")], request.content
        if request.headers.get("accept-encoding") == "gzip":
            headers, content = [*headers, ("content-encoding", "gzip")], gzip.compress(content)
        return httpx.Response(status, content=content, headers=headers)

    async def on_websocket(self, socket: ActorSocket) -> None:
        async for data in socket:
            if data == "params":
                await socket.send(json.dumps(socket.params))
            elif data in _CLOSES:
                code, reason = _CLOSES[data]
                if code is None:
                    channel: Any = socket._channel
                    channel.send_bytes(b"\x88\x00")
                else:
                    await socket.close(code, reason)
            else:
                await socket.send(data)


_ACTORS: dict[str, Callable[[], Actor]] = {
    "errand": Errand,
    **{f"other {n}": partial(Errand) for n in range(150)},
}
"""More names than one answer has."""


class TypedErrand(TypedActor, name="errand"):
    jobs: Queue[tuple[int, float], tuple[int, float]]

    async def args(self, *args: tuple[int, str]) -> list[tuple[int, str]]:
        raise NotImplementedError


class _Figures:
    """An observer that counts what began and what ended, and looks at the pool."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.under_way = 0
        self.count: Callable[[], PoolFigures] | None = None

    @contextmanager
    def call(self, call: Call) -> Generator[Mapping[str, str]]:
        self.calls.append(call)
        self.under_way += 1
        try:
            yield {"x-trace": "trace"}
        finally:
            self.under_way -= 1

    def connection(self, subject: Any) -> Any:
        return self  # of raw WebSockets

    def attempt(self) -> Any:
        self.under_way += 1
        return self

    @contextmanager
    def current(self) -> Generator[Mapping[str, str]]:
        yield {"x-trace": "trace"}

    def end(self, error: BaseException | None) -> None:
        self.under_way -= 1

    def context(self) -> Mapping[str, str]:
        return {"x-trace": "trace"}

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        self.count = count
        return lambda: None


class _Errands:
    """One client's requests, drawn by chance."""

    def __init__(self, server: ActorServer, client: Client, chance: Random) -> None:
        self.server = server
        self.client = client
        self.chance = chance
        self.count = 0
        self.params: Any = chance.choice((None, {"ü": [1]}, "a+b, %2B", "text"))
        self.begin()

    def begin(self) -> None:
        """Take another actor, that nobody has used."""
        self.count += 1
        self.key = [self.chance.choice(("a", "", "b/c", "d,e", "\\")), str(self.count)]
        self.input = self.chance.choice(_ITEMS[1:])
        self.handle = self.client.errand.get_or_create(
            self.key, input=self.input, params=self.params
        )

    @property
    def actor(self) -> Errand:
        return self.server.actor("errand", self.key, type=Errand)

    def is_at_least(self, minor: int) -> bool:
        return int(self.server.version.split(".")[1]) >= minor

    def item(self) -> Any:
        return self.chance.choice(_ITEMS)

    # Calls

    async def call(self) -> None:
        """What is sent comes back, also typed; every call has the handle's params."""
        args = [self.item() for _ in range(self.chance.randrange(4))]
        assert await self.handle.args(*args) == args
        assert await self.handle.params() == self.params
        pairs = [(self.chance.randrange(2**50), "é") for _ in range(2)]
        typed = self.client.get(TypedErrand, self.key)
        assert await typed.args(*pairs) == pairs
        assert await self.client.errand.get(self.key).given() == self.input
        asked = []

        async def get_params() -> Any:
            asked.append(self.number())
            return asked[-1]

        asking = self.client.errand.get(self.key, get_params=get_params)
        assert [await asking.params(), await asking.params()] == asked

    async def refuse(self) -> None:
        """An error of the actor arrives whole, and no call is repeated after it."""
        metadata = self.chance.choice((None, {"n": [1]}, "m", 5))
        began = anyio.current_time()
        for seconds in (None, 10.0):
            try:
                await self.handle.action("refuse", "code", metadata, retry_for=seconds)
            except ActorError as error:
                found = (error.group, error.code, error.message, error.metadata)
                assert found == ("user", "code", "text", metadata)
                has_engine = self.is_at_least(3)
                assert (error.ray_id is not None, error.actor is not None) == (has_engine,) * 2
                assert anyio.current_time() - began < 0.1, "it was repeated"
            else:
                raise AssertionError("no error was raised")

    async def lose(self) -> None:
        """A call that is lost is not repeated, and its error says that it may have run."""
        await self.handle.resolve()
        number, runs = self.number(), self.chance.random() < 0.5
        faults = self.server.faults
        (faults.lose_reply if runs else faults.lose_request)("note")
        try:
            await self.handle.note(number)
        except ConnectionLostError:
            assert self.runs(number) == int(runs), "a lost call ran another number of times"
        else:
            raise AssertionError("a lost call returned")

    async def repeat(self) -> None:
        """`retry_for` repeats until an answer comes, never too late, and no longer than asked."""
        await self.handle.resolve()
        number, seconds = self.number(), self.chance.choice((1.0, 10.0, 60.0))
        faults, times = self.server.faults, self.chance.randrange(1, 6)
        wait, ran = 0, 0
        kind = self.chance.randrange(4)
        if kind == 0:
            faults.lose_reply("note", times=times)
            ran = times
        elif kind == 1:
            faults.lose_request("note", times=times)
        elif kind == 2:
            wait = self.chance.choice((0, 3, 7))
            faults.refuse_request(503, "note", times=times, retry_after=wait)
        else:
            self.server.network.refuse(times)
            self.server.network.cut()
        began = anyio.current_time()
        most = times * max(_LONGEST_BACKOFF, wait)
        try:
            result = await self.handle.action("note", number, retry_for=seconds)
        except Exception:
            assert most >= seconds, "an attempt was left out that there was time for"
            assert self.runs(number) <= ran
        else:
            assert result == number
            assert self.runs(number) == ran + 1
            took = anyio.current_time() - began
            assert took > wait * times - 0.001, "Retry-After was not heeded"
        took = anyio.current_time() - began
        assert took <= min(seconds, most) + 0.1, f"it took {took:.1f} s of {seconds} s"
        faults.clear()
        self.server.network.clear()

    async def repeat_too_long(self) -> None:
        """The attempt under way at the end of `retry_for` is cancelled, also a later one."""
        await self.handle.resolve()
        seconds = self.chance.choice((2.0, 5.0))
        if times := self.chance.randrange(5):  # the delays after four are 1.5 s at most
            self.server.faults.lose_request("note", times=times)
        began = anyio.current_time()
        try:
            await self.handle.action("note", self.number(), seconds * 3, retry_for=seconds)
        except ConnectionLostError:
            assert abs(anyio.current_time() - began - seconds) < 0.1
        else:
            raise AssertionError("it returned too late")

    async def wait_too_long(self) -> None:
        """An answer that does not come in `request_timeout` is not waited for, nor asked again."""
        number = self.number()
        began = anyio.current_time()
        try:
            await self.handle.note(number, _REQUEST_SECONDS + 5)
        except ConnectionLostError:
            assert abs(anyio.current_time() - began - _REQUEST_SECONDS) < 1
            assert self.runs(number) == 1
        else:
            raise AssertionError("it waited too long")

    async def cancel(self) -> None:
        """A call that is cancelled harms no other."""
        with anyio.move_on_after(self.chance.choice((0.0, 0.01, 0.5))):
            await self.handle.note(self.number(), 1.0)
        assert await self.handle.args(1) == [1]

    async def crowd(self) -> None:
        """Many at once get their own answers, and the slow ones hold up nobody."""
        began, answers = anyio.current_time(), []
        numbers = [self.number() for _ in range(self.chance.randrange(2, 40))]

        async def note(number: int) -> None:
            answers.append((number, await self.handle.note(number, 0.5)))

        async with anyio.create_task_group() as tasks:
            for number in numbers:
                tasks.start_soon(note, number)
        assert sorted(answers) == [(number, number) for number in numbers]
        assert anyio.current_time() - began < 1, "calls over HTTP waited for each other"

    def number(self) -> int:
        self.count += 1
        return self.count

    def runs(self, number: int) -> int:
        return self.actor.numbers.count(number)

    # Queues

    async def put(self) -> None:
        """A message is worked off once; who waits hears of it, or of the time, in time."""
        if not self.is_at_least(1):
            return
        seconds, timeouts = self.chance.choice(_WORK)
        body, timeout = [self.item(), seconds], self.chance.choice(timeouts)
        began = anyio.current_time()
        result = await self.handle.send_and_wait("jobs", body, timeout=timeout)
        took = anyio.current_time() - began
        is_late = timeout is not None and body[1] > timeout
        expected = ("timedOut", None) if is_late else ("completed", body)
        assert (result.status, result.response) == expected
        assert abs(took - (timeout or 0 if is_late else body[1])) < 0.1
        await self.handle.send("jobs", [self.number(), 0.0])
        await anyio.sleep(5)
        assert self.actor.bodies[-2:] == [body[0], self.count]
        typed = self.client.get(TypedErrand, self.key)
        pair = (self.number(), 0.0)
        assert (await typed.send_and_wait(TypedErrand.jobs, pair)).response == pair
        wrong: Any = self.item()
        try:
            await typed.send(TypedErrand.jobs, wrong)
        except TypeError:
            return
        raise AssertionError(f"a queue of pairs took {wrong!r}")

    async def lose_message(self) -> None:
        """A message that is lost is not sent again."""
        if not self.is_at_least(1):
            return
        await self.handle.resolve()
        number, arrives = self.number(), self.chance.random() < 0.5
        faults = self.server.faults
        (faults.lose_reply if arrives else faults.lose_request)(queue="jobs")
        try:
            await self.handle.send("jobs", [number, 0.0])
        except ConnectionLostError:
            await anyio.sleep(1)
            assert self.actor.bodies.count(number) == int(arrives)
        else:
            raise AssertionError("a lost message was sent")

    # Raw requests

    async def fetch(self) -> None:
        """What the actor answers arrives as it is, whatever its status; so does the request."""
        status = self.chance.choice(_STATUSES)
        method = self.chance.choice(("GET", "POST", "PUT", "DELETE", "PATCH"))
        body = b"" if method == "GET" else bytes(self.chance.choices(range(256), k=300))
        path = self.chance.choice(("/", "/a?b=c&d=%20", "/a%2Fb", "/\xfc"))
        headers = {"X-Status": str(status), "X-Mine": "mine"}
        if self.chance.random() < 0.5:
            response = await self.handle.fetch(path, method=method, headers=headers, content=body)
        else:
            async with self.handle.stream(
                path, method=method, headers=headers, content=body
            ) as response:
                content = b"".join([piece async for piece in response.aiter_bytes(7)])
            response = httpx.Response(
                response.status_code, headers=response.headers, content=content
            )
        self.check_request(response, status, method, path, body)
        packed = await self.handle.fetch(
            path,
            method="POST",
            content=(body := self.chance.randbytes(self.chance.choice((10, 30_000, 90_000)))),
            headers={"Accept-Encoding": "gzip"},
        )
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.content == body
        request = self.actor._requests[-2]
        assert request.headers["x-mine"] == "mine"
        assert request.headers["x-trace"] == "trace"

    async def wait_until_ready(self) -> None:
        """Who waits until an actor is ready waits for a minute, and asks ten times."""
        if not self.is_at_least(3):
            return
        await self.handle.resolve()
        faults = self.server.faults
        for _ in range(10):
            faults.fail_request(ActorError("guard", "actor_ready_timeout", "text"), "note")
        call = self.handle.note(self.number())
        await self.expect("guard.actor_ready_timeout", call, within=70)
        assert not faults._unused, "it was not repeated often enough"
        assert await self.handle.note(self.count) == self.count

    async def refuse_fetch(self) -> None:
        """What the gateway refuses is sent again; a POST only where the gateway marks the error."""
        if not self.is_at_least(3):
            return
        await self.handle.resolve()
        method = self.chance.choice(("GET", "POST"))
        error = ActorError("guard", "actor_ready_timeout", "text")
        self.server.faults.fail_request(error, fetch="*")
        if method == "POST" and self.server.version == _UNMARKED:
            await self.expect("guard.actor_ready_timeout", self.handle.fetch("/", method=method))
        else:
            assert (await self.handle.fetch("/", method=method)).status_code == 200

    async def forward(self) -> None:
        """A request goes on, with what is meant for the actor and nothing else."""
        status = self.chance.choice(_STATUSES)
        dropped = (
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "hop"),
            ("x-rivet-token", "theirs"),
            ("X_Rivet_Target", "actor"),
            ("Sec-WebSocket-Key", "key"),
            ("Accept-Encoding", "gzip"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("X-Own", "theirs"),
        )
        headers = [("X-Status", str(status)), ("X-Twice", "1"), *dropped, ("x-twice", "2")]
        body = self.chance.choice((b"", b"body"))
        response = await forward(self.handle, "POST", "/f?g=h", headers=headers, content=body)
        self.check_request(response, status, "POST", "/f?g=h", body)
        request = self.actor._requests[-1]
        assert request.headers["x-twice"] == "1, 2"
        assert request.headers.get_list("x-own") == ["ours"]
        for name, value in dropped:
            assert request.headers.get(name) != value, f"{name} was forwarded"

    def check_request(
        self, response: httpx.Response, status: int, method: str, path: str, body: bytes
    ) -> None:
        assert response.status_code == status
        assert response.content == body
        cookies = ["b=2"] if self.is_at_least(3) else ["a=1", "b=2"]  # 2.3 loses the first
        assert response.headers.get_list("set-cookie") == cookies
        request, url = self.actor._requests[-1], httpx.URL(f"http://actor{path}")
        assert (request.method, request.url, request.content) == (method, url, body)

    async def talk(self) -> None:
        """A raw WebSocket carries messages whole and in order, and tells how it was closed."""
        sent: list[str | bytes] = ["", "ü" * 70_000, b"", b"\xff" * 200, "text"]
        self.chance.shuffle(sent)
        async with self.handle.websocket("/w") as socket:
            for message in sent:
                await socket.send(message)
            assert [await socket.receive() for _ in sent] == sent
            for _ in range(self.chance.choice((0, 0, 0, 40))):  # more than waits to be taken
                await socket.send("x" * 120_000)
                assert len(await socket.receive()) == 120_000
            await socket.send("params")
            assert json.loads(await socket.receive()) == self.params
            how = self.chance.choice(list(_CLOSES))
            await socket.send(how)
            code, reason = _CLOSES[how]
            try:
                await socket.receive()
            except ConnectionLostError as error:
                assert (error.code, error.reason) == (4001, "asked")
            except ActorError as error:
                assert (code, error.group, error.code) == (1011, "group", "code")
            except anyio.EndOfStream:
                assert code in (None, 1000)
            else:
                raise AssertionError("the close was not told")
            assert (socket.close_code, socket.close_reason) == (code, reason)

    # Management

    async def manage(self) -> None:
        """Who is there and who is not, by key, by id and in lists."""
        management, other = Management(self.client), self.client.errand
        id = await self.handle.resolve()
        info = await management.get(id)
        assert info is not None and (info.name, info.key) == ("errand", tuple(self.key))
        assert (info.destroyed_at, info.sleeping_since) == (None, None)
        assert await other.get(self.key).resolve() == id
        assert [one.actor_id async for one in management.list("errand", key=self.key)] == [id]
        if self.is_at_least(3):
            self.actor.context.sleep()
            await anyio.sleep(1)
            info = await management.get(id)
            assert info is not None and info.destroyed_at is None
        everybody = [one.actor_id async for one in management.list("errand")]
        size = self.chance.randrange(1, 5)
        assert [one.actor_id async for one in other.list(page_size=size)] == everybody
        assert id in everybody
        assert await management.names() == sorted(_ACTORS)
        assert await other.get_for_id(id).args(2) == [2]
        await self.expect("actor.duplicate_key", other.create(self.key))
        await self.expect("actor.not_found", other.get([*self.key, "none"]).resolve())
        if self.chance.random() < 0.5:
            self.actor.context.destroy()
            await anyio.sleep(1)
            assert [one async for one in management.list("errand", key=self.key)] == []
            await self.expect("actor.not_found", other.get(self.key).resolve())
            if self.is_at_least(2):
                await self.expect("actor.not_found", other.get_for_id(id).args(2), within=0.1)
            assert await self.handle.given() == self.input, "it was not created anew"
        self.begin()
        assert await self.handle.given() == self.input

    async def expect(self, what: str, call: Awaitable[object], *, within: float = 3600.0) -> None:
        began = anyio.current_time()
        try:
            await call
        except ActorError as error:
            assert f"{error.group}.{error.code}" == what
            assert anyio.current_time() - began <= within, "it was repeated for too long"
        else:
            raise AssertionError(f"no {what} was raised")


_KINDS: tuple[Callable[[_Errands], Awaitable[None]], ...] = (
    _Errands.call,
    _Errands.refuse,
    _Errands.lose,
    _Errands.repeat,
    _Errands.repeat_too_long,
    _Errands.wait_too_long,
    _Errands.cancel,
    _Errands.crowd,
    _Errands.put,
    _Errands.lose_message,
    _Errands.fetch,
    _Errands.refuse_fetch,
    _Errands.wait_until_ready,
    _Errands.forward,
    _Errands.talk,
    _Errands.manage,
)


def tokens(chance: Random) -> Callable[[], Awaitable[str]]:
    """A function for tokens, which gives another one now and then."""

    async def get_token() -> str:
        return chance.choice(("ours", "one", "two"))

    return get_token


async def run(chance: Random) -> None:
    """Twenty requests, or many at once, to a server of any version, in any encoding."""
    figures = _Figures()
    async with (
        ActorServer(
            _ACTORS,
            version=chance.choice(("2.0", "2.1", "2.2", _UNMARKED, "2.3")),
            unused_faults="ignore",
        ) as server,
        server.client(
            encoding=chance.choice(("bare", "cbor", "json")),
            retry=Retry(random=lambda: chance.uniform(0.5, 1.0)),
            token=chance.choice(("ours", tokens(chance))),
            headers={"X-Own": "ours"},
            request_timeout=_REQUEST_SECONDS,
            observer=figures,
        ) as client,
    ):
        errands = _Errands(server, client, chance)
        for _ in range(20):
            with anyio.fail_after(3600):
                await chance.choice(_KINDS)(errands)
            assert figures.under_way == 0, "a call did not end for the observer"
        await anyio.wait_all_tasks_blocked()
        if figures.count is not None:
            count = figures.count()
            assert (count.waiting, count.dialling) == (0, 0), count
