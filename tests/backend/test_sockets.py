"""Streams on sockets of our own: whole, in order, bounded, and safe to cancel."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import anyio
import pytest
import sniffio
import trio
from anyio import to_thread

from rivet_anyio import ConnectionLostError
from rivet_anyio._io.asyncio import AsyncioSocket
from rivet_anyio._io.asyncio_transport import TransportStream
from rivet_anyio._io.backend import ReusableStream
from rivet_anyio._io.connect import stream_over

SECONDS = 30
LONG = 8 * 1024 * 1024


@contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection; the second one's buffers are small."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    with near, far:
        yield near, far


@asynccontextmanager
async def streamed(data: bytes = b"") -> AsyncIterator[tuple[ReusableStream, socket.socket]]:
    """A stream and what its peer is: a blocking socket."""
    with tcp_pair() as (near, far), anyio.fail_after(SECONDS):
        stream = await stream_over(near)
        stream.unread(data)
        try:
            yield stream, far
        finally:
            await stream.aclose()


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


async def in_thread(function: Callable[..., object], *args: Any) -> None:
    await to_thread.run_sync(partial(function, *args))


def read_all(far: socket.socket, size: int) -> bytes:
    far.settimeout(SECONDS)
    data = bytearray()
    while len(data) < size:
        part = far.recv(65536)
        assert part, f"the end after {len(data)} bytes"
        data += part
    return bytes(data)


async def test_what_was_read_before_comes_first() -> None:
    async with streamed(b"before") as (stream, far):
        far.sendall(b" and after")
        far.shutdown(socket.SHUT_WR)
        assert await stream.read(3) == b"bef"
        data = b""
        while part := await stream.read(100):
            data += part
        assert data == b"ore and after"
        assert await stream.read(100) == b"", "the end stays the end"


async def test_reading_in_small_parts() -> None:
    async with streamed() as (stream, far):
        far.sendall(pattern(1000))
        data = b""
        while len(data) < 1000:
            part = await stream.read(7)
            assert 1 <= len(part) <= 7
            data += part
        assert data == pattern(1000)


async def test_a_long_transfer_arrives_whole() -> None:
    async with streamed() as (stream, far), anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, far.sendall, pattern(LONG))
        data = bytearray()
        while len(data) < LONG:
            data += await stream.read(256 * 1024)
        assert data == pattern(LONG)


async def test_nobody_reads_and_the_peer_has_to_wait() -> None:
    async with streamed() as (stream, far):
        far.sendall(b"x")
        assert await stream.read(1) == b"x"
        far.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 * 1024 * 1024:
                sent += await to_thread.run_sync(far.send, pattern(65536))
        far.shutdown(socket.SHUT_WR)
        data = bytearray()
        while part := await stream.read(65536):
            data += part
        assert len(data) == sent


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(6))
async def test_a_cancelled_read_takes_nothing_away(before: int, after: int) -> None:
    """Cancelled about when the bytes arrive: either this read has them or the next one."""

    async def strike(far: socket.socket, scope: anyio.CancelScope) -> None:
        for _ in range(before):
            await anyio.lowlevel.checkpoint()
        far.sendall(b"xy")
        for _ in range(after):
            await anyio.lowlevel.checkpoint()
        scope.cancel()

    async with streamed() as (stream, far):
        for _ in range(5):
            got = b""
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(strike, far, scope)
                    got = await stream.read(2)
            assert (got or await stream.read(2)) == b"xy"


async def test_a_read_cancelled_before_anything_came() -> None:
    async with streamed() as (stream, far):
        with anyio.move_on_after(0.01) as scope:
            await stream.read(10)
        assert scope.cancelled_caught
        far.sendall(b"late")
        assert await stream.read(10) == b"late"


async def test_a_long_write_to_a_slow_peer_arrives_whole() -> None:
    async with streamed() as (stream, far), anyio.create_task_group() as tasks:
        tasks.start_soon(stream.write, pattern(LONG))
        assert await to_thread.run_sync(read_all, far, LONG) == pattern(LONG)


async def test_others_run_while_much_is_written() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with streamed() as (stream, far), anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, read_all, far, LONG)
        tasks.start_soon(count)
        for _ in range(0, LONG, 1024):
            await stream.write(bytes(1024))
        assert turns >= 4
        tasks.cancel_scope.cancel()


async def test_a_write_that_waits_can_be_cancelled() -> None:
    async with streamed() as (stream, _):
        with anyio.move_on_after(0.1) as scope:
            await stream.write(bytes(64 * 1024 * 1024))
        assert scope.cancelled_caught


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_nobody_waits_to_write_after_a_write_was_cancelled() -> None:
    """The loop would call in each round, as soon as the system takes something."""
    async with streamed() as (stream, _):
        if not isinstance(stream, AsyncioSocket):
            pytest.skip("the loop watches no sockets")
        with anyio.move_on_after(0.1):
            await stream.write(bytes(64 * 1024 * 1024))
        assert not asyncio.get_running_loop().remove_writer(stream._socket)


async def test_writing_at_once_takes_what_the_system_takes() -> None:
    async with streamed() as (stream, far):
        written = 0
        while taken := stream.write_now(pattern(LONG)[written:]):
            written += taken
        assert 0 < written < LONG
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.write, pattern(LONG)[written:])
            assert await to_thread.run_sync(read_all, far, LONG) == pattern(LONG)


def reset(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


async def test_a_reset_while_reading() -> None:
    async with streamed() as (stream, far), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ConnectionLostError) as caught:
                await stream.read(10)
            reset_by_peer = os.strerror(errno.ECONNRESET)
            assert str(caught.value) == (
                f"the connection broke: [Errno {errno.ECONNRESET:d}] {reset_by_peer}"
            )

        tasks.start_soon(read)
        await anyio.lowlevel.checkpoint()
        reset(far)


async def test_writing_to_nobody() -> None:
    async with streamed() as (stream, far):
        reset(far)
        with pytest.raises(ConnectionLostError, match="the connection broke"):
            while True:
                await stream.write(bytes(65536))
        assert stream.write_now(b"x") == 0, "that is for write to say"


async def test_dropping_twice() -> None:
    async with streamed() as (stream, far):
        await stream.aclose()
        await stream.aclose()
        assert await to_thread.run_sync(far.recv, 10) == b""
        with pytest.raises(ConnectionLostError):
            await stream.write(b"x")


async def test_dropping_when_cancelled() -> None:
    async with streamed() as (stream, far):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        assert await to_thread.run_sync(far.recv, 10) == b""


async def test_dropping_while_a_read_waits() -> None:
    async with streamed() as (stream, far), anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.read(10)

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        by_callback(stream.drop)
        assert await to_thread.run_sync(far.recv, 10) == b""


async def test_dropping_while_a_write_waits() -> None:
    async with streamed() as (stream, _far), anyio.create_task_group() as tasks:

        async def write() -> None:
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.write(bytes(64 * 1024 * 1024))

        tasks.start_soon(write)
        await anyio.wait_all_tasks_blocked()
        by_callback(stream.drop)


async def test_after_it_was_dropped() -> None:
    async with streamed(b"before") as (stream, far):
        far.sendall(b"x")
        stream.drop()
        stream.drop()
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.read(10)
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.write(b"x")
        with pytest.raises(ConnectionLostError, match="was dropped"):
            stream.read_now(10)
        assert stream.write_now(b"x") == 0
        assert not stream.is_quiet()
        assert stream.unsent() == 0


async def test_dropping_leaves_the_next_socket_of_that_number_alone() -> None:
    """What waited on the old one must not end what waits on the new one."""
    async with anyio.create_task_group() as tasks, streamed() as (stream, _far):

        async def write(stream: ReusableStream) -> None:
            with pytest.raises(ConnectionLostError):
                await stream.write(bytes(64 * 1024 * 1024))

        tasks.start_soon(write, stream)
        await anyio.wait_all_tasks_blocked()
        stream.drop()
        async with streamed() as (other, its_far):
            tasks.start_soon(other.write, pattern(LONG))
            assert await to_thread.run_sync(read_all, its_far, LONG) == pattern(LONG)


async def comes(stream: ReusableStream) -> None:
    """Wait until the stream is not quiet."""
    while stream.is_quiet():
        await anyio.lowlevel.checkpoint()


async def test_quiet_until_something_comes() -> None:
    async with streamed() as (stream, far):
        assert stream.is_quiet()
        assert stream.read_now(10) is None
        far.sendall(b"one")
        await comes(stream)
        assert not stream.is_quiet(), "asking takes nothing away"
        assert await stream.read(10) == b"one"
        assert stream.is_quiet()
        far.sendall(b"two")
        await comes(stream)
        assert stream.read_now(2) == b"tw"
        assert not stream.is_quiet()
        assert stream.read_now(2) == b"o"
        assert stream.read_now(2) is None
        assert stream.is_quiet()
        await stream.write(b"x")
        assert stream.is_quiet()
        far.shutdown(socket.SHUT_WR)
        await comes(stream)
        assert await stream.read(10) == b""
        assert stream.read_now(10) == b""
        assert not stream.is_quiet()


async def test_what_has_just_come_is_seen_though_the_loop_did_not_run() -> None:
    async with streamed() as (stream, far):
        if isinstance(stream, TransportStream):
            pytest.skip("only the loop can look")
        await anyio.wait_all_tasks_blocked()
        far.shutdown(socket.SHUT_WR)
        assert not stream.is_quiet()


async def test_a_reset_is_not_quiet() -> None:
    async with streamed() as (stream, far):
        reset(far)
        await comes(stream)
        assert not stream.is_quiet()


async def test_what_is_given_back_comes_first() -> None:
    async with streamed(b"2") as (stream, far):
        stream.unread(b"1")
        assert not stream.is_quiet()
        far.sendall(b"3")
        far.shutdown(socket.SHUT_WR)
        data = b""
        while part := await stream.read(10):
            data += part
        assert data == b"123"
        stream.unread(b"4")
        assert await stream.read(10) == b"4"
        assert await stream.read(10) == b""


def by_callback(function: Callable[[], None]) -> None:
    """Call it in a callback of the event loop."""
    if sniffio.current_async_library() == "trio":
        trio.lowlevel.current_trio_token().run_sync_soon(function)
    else:
        asyncio.get_running_loop().call_soon(function)


async def test_bytes_and_a_reset_right_behind() -> None:
    async with streamed() as (stream, far):
        far.sendall(b"x")
        reset(far)
        try:
            assert await stream.read(10) == b"x"
        except ConnectionLostError:  # the system forgot it
            return
        with pytest.raises(ConnectionLostError):
            assert await stream.read(10)
