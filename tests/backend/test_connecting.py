"""Opening connections: which address is taken, what errors say, and that nothing stays open."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import anyio
import pytest
import sniffio
import trio
from anyio import to_thread

from rivet_anyio import ConnectError
from rivet_anyio._io import connect
from rivet_anyio._io.asyncio import AsyncioBackend
from rivet_anyio._io.asyncio_transport import TransportStream
from rivet_anyio._io.connect import DialError, TcpConnector

from .test_interrupted_waiters import Interrupt

SECONDS = 30
NEVER = 1000.0

Place = tuple[str, int]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def refusing() -> Iterator[Place]:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()


@pytest.fixture
def silent() -> Iterator[Place]:
    """Where nobody answers: who listens has a full queue."""
    with ExitStack() as stack:
        full = stack.enter_context(closing(socket.socket()))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            one = stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield full.getsockname()


def resolves_to(monkeypatch: pytest.MonkeyPatch, *places: Place) -> None:
    """Let every name have these addresses."""

    async def resolve(host: str, port: int) -> list[connect._Address]:
        return [connect._Address(socket.AF_INET, place) for place in places]

    monkeypatch.setattr(connect, "_resolve", resolve)


def stagger(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(connect, "_STAGGER_SECONDS", seconds)


@contextmanager
def nothing_left() -> Iterator[None]:
    """No descriptor is left open."""
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    yield
    left = set()
    for fd in set(os.listdir("/proc/self/fd")) - before:
        try:
            left.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:  # that of listdir
            pass
    assert left <= {"/dev/null"}  # uvloop opens it at some time


async def error_of(host: str, port: int) -> DialError:
    with anyio.fail_after(SECONDS), nothing_left(), pytest.raises(ConnectError) as caught:
        await TcpConnector().connect(host, port)
    assert isinstance(caught.value, DialError)
    return caught.value


async def test_a_connection(listener: socket.socket) -> None:
    stream = await TcpConnector().connect(*listener.getsockname())
    far, _ = listener.accept()
    with far:
        await stream.write(b"there")
        assert far.recv(10) == b"there"
        far.sendall(b"back")
        assert await stream.read(10) == b"back"
        await stream.aclose()
        assert await to_thread.run_sync(far.recv, 10) == b""


async def test_small_writes_leave_at_once(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: list[tuple[int, int, int]] = []
    setsockopt = socket.socket.setsockopt

    def note(sock: socket.socket, *option: int) -> None:
        options.append(option)  # type: ignore[arg-type]
        setsockopt(sock, *option)

    monkeypatch.setattr(socket.socket, "setsockopt", note)
    stream = await TcpConnector().connect(*listener.getsockname())
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
    await stream.aclose()


async def test_a_name(listener: socket.socket) -> None:
    stream = await TcpConnector().connect("localhost", listener.getsockname()[1])
    await stream.aclose()


async def test_numbers_are_not_looked_up(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> None:
        raise AssertionError("it was looked up")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    stream = await TcpConnector().connect(*listener.getsockname())
    await stream.aclose()


async def test_nobody_listens(refusing: Place) -> None:
    error = await error_of(*refusing)
    assert str(error) == (
        f"cannot connect to 127.0.0.1:{refusing[1]}: [Errno 111] Connection refused"
    )
    assert error.reason == "[Errno 111] Connection refused"
    assert not error.out_of_descriptors


async def test_brackets_around_numbers_with_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch, ("127.0.0.1", 1))
    assert str(await error_of("::1", 1)).startswith("cannot connect to [::1]:1: [Errno ")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Not known"), "Not known (EAI_NONAME)"),
        (socket.gaierror(socket.EAI_AGAIN, "Not now"), "Not now (EAI_AGAIN)"),
        (UnicodeError("label too long"), "label too long"),
    ],
)
async def test_a_name_that_cannot_be_resolved(
    raised: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    error = await error_of("nowhere.invalid", 6420)
    assert str(error) == (
        f"cannot connect to nowhere.invalid:6420: the name cannot be resolved: {words}"
    )
    assert error.__cause__ is raised


async def test_the_systems_resolver() -> None:
    error = await error_of("nowhere.invalid", 6420)
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nowhere.invalid", 6420)
    assert str(caught.value.strerror) in str(error)


async def test_families_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    four = [(f"10.0.0.{i}", 1) for i in range(1, 4)]
    six = [(f"fd00::{i}", 1) for i in range(1, 3)]

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        found = [(socket.AF_INET6, 0, 0, "", place) for place in six]
        found += [(socket.AF_INET, 0, 0, "", place) for place in four]
        return found + found[:1]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    places = [address.sockaddr for address in await connect._resolve("name", 1)]
    assert places == [six[0], four[0], six[1], four[1], four[2]]


async def test_the_first_address_is_silent(
    listener: socket.socket, silent: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(monkeypatch, silent, listener.getsockname())
    with anyio.fail_after(SECONDS):
        stream = await TcpConnector().connect("name", 1)
        await stream.write(b"x")
        far, _ = listener.accept()
        with far:
            assert far.recv(10) == b"x"
        with nothing_left():
            pass
        await stream.aclose()


async def test_the_next_address_does_not_wait_for_one_that_refused(
    listener: socket.socket, refusing: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(monkeypatch, refusing, refusing, listener.getsockname())
    stagger(monkeypatch, NEVER)
    with anyio.fail_after(SECONDS):
        stream = await TcpConnector().connect("name", 1)
        await stream.aclose()


async def test_the_first_address_answers_last(
    listener: socket.socket, refusing: Place, silent: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were tried, all but the slow first one refused."""
    resolves_to(monkeypatch, listener.getsockname(), refusing, refusing)
    stagger(monkeypatch, 0)
    attempt = connect._Address.attempt
    refused = 0
    all_refused = anyio.Event()

    async def slowly(address: connect._Address) -> socket.socket:
        nonlocal refused
        if address.sockaddr == listener.getsockname():
            await all_refused.wait()
        try:
            return await attempt(address)
        except OSError:
            refused += 1
            if refused == 2:
                all_refused.set()
            raise

    monkeypatch.setattr(connect._Address, "attempt", slowly)
    with anyio.fail_after(SECONDS):
        stream = await TcpConnector().connect("name", 1)
        await stream.aclose()


async def test_two_answer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is used, and the other closed."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        anyio.fail_after(SECONDS),
    ):
        resolves_to(monkeypatch, one.getsockname(), two.getsockname())
        stagger(monkeypatch, 0)
        attempt = connect._Address.attempt
        connected: list[socket.socket] = []
        both = anyio.Event()

        async def together(address: connect._Address) -> socket.socket:
            connected.append(await attempt(address))
            if len(connected) == 2:
                both.set()
            await both.wait()
            return connected.pop()

        monkeypatch.setattr(connect._Address, "attempt", together)
        stream = await TcpConnector().connect("name", 1)
        await stream.write(b"x")
        got = []
        for listener in (one, two):
            far, _ = listener.accept()
            with far:
                got.append(await to_thread.run_sync(far.recv, 1))
        assert sorted(got) == [b"", b"x"]
        await stream.aclose()


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([errno.ENETUNREACH, errno.ECONNREFUSED], "[Errno 111] Connection refused"),
        ([errno.ETIMEDOUT, errno.ECONNREFUSED], "[Errno 110] Connection timed out"),
        ([errno.EADDRNOTAVAIL, errno.ENETUNREACH], "[Errno 99] Cannot assign requested address"),
        ([errno.ECONNREFUSED, errno.EMFILE], "[Errno 24] Too many open files"),
    ],
)
async def test_all_addresses_fail(
    codes: list[int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(monkeypatch, *[("127.0.0.1", code) for code in codes])

    async def fail(address: connect._Address) -> socket.socket:
        raise OSError(address.sockaddr[1], "")

    monkeypatch.setattr(connect._Address, "attempt", fail)
    error = await error_of("name", 1)
    assert str(error) == f"cannot connect to name:1: {words} (2 addresses were tried)"
    assert error.out_of_descriptors == (errno.EMFILE in codes)


@pytest.mark.parametrize("host", ["127.0.0.1", "name"])
async def test_no_descriptor_is_left(
    host: str, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    if host == "name":
        resolves_to(monkeypatch, listener.getsockname(), listener.getsockname())
    await to_thread.run_sync(lambda: None)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(DialError) as caught:
            await TcpConnector().connect(host, listener.getsockname()[1])
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert caught.value.out_of_descriptors
    assert os.strerror(errno.EMFILE) in str(caught.value)
    stream = await TcpConnector().connect("127.0.0.1", listener.getsockname()[1])
    await stream.aclose()


async def test_a_socket_that_meets_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP allows it; it happens to those who try a dead port of this machine again and again."""

    class Meeting(socket.socket):
        def connect_ex(self, address: Any) -> int:
            self.bind(address)
            return super().connect_ex(address)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = taken.getsockname()
    (address,) = await connect._resolve(*place)
    with monkeypatch.context() as patch, pytest.raises(ConnectionRefusedError), nothing_left():
        patch.setattr(socket, "socket", Meeting)
        await address.attempt()


@pytest.mark.parametrize("steps", range(12))
@pytest.mark.parametrize("addresses", [1, 2])
async def test_cancelled_after_some_steps(
    steps: int, addresses: int, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = listener.getsockname()
    if addresses == 2:
        resolves_to(monkeypatch, place, place)
        stagger(monkeypatch, 0)

    async def strike(scope: anyio.CancelScope) -> None:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    with nothing_left(), anyio.fail_after(SECONDS):
        stream = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(strike, tasks.cancel_scope)
            stream = await TcpConnector().connect(*place)
        if stream is not None:
            await stream.aclose()
        await anyio.wait_all_tasks_blocked()  # asyncio's transports close a little later


@pytest.mark.parametrize("addresses", [1, 3])
async def test_cancelled_while_nobody_answers(
    addresses: int, silent: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolves_to(monkeypatch, *[silent] * addresses)
    stagger(monkeypatch, 0)
    with nothing_left(), anyio.move_on_after(0.05) as scope:
        await TcpConnector().connect("name", 1)
    assert scope.cancelled_caught


async def test_a_loop_that_watches_no_sockets(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sniffio.current_async_library() == "trio":
        pytest.skip("Trio watches sockets everywhere")

    def stream(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(AsyncioBackend, "stream", stream)
    stream_ = await TcpConnector().connect(*listener.getsockname())
    assert isinstance(stream_, TransportStream)
    far, _ = listener.accept()
    with far:
        await stream_.write(b"x")
        assert far.recv(10) == b"x"
        await stream_.aclose()


@pytest.mark.parametrize(
    "function", [connect._Address.attempt, connect._connected, connect.stream_over]
)
@pytest.mark.parametrize("line", range(1, 10))
def test_ctrl_c_on_trio(line: int, function: Any, listener: socket.socket) -> None:
    """It comes at the next wait, and leaves no socket behind."""

    async def main() -> None:
        with nothing_left(), anyio.fail_after(SECONDS):
            stream = None
            try:
                with Interrupt(function.__code__, line):
                    stream = await TcpConnector().connect(*listener.getsockname())
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                pass
            if stream is not None:
                await stream.aclose()

    trio.run(main)
