"""TLS on our own sockets, before peers by the standard library, openssl and plain sockets."""

from __future__ import annotations

import datetime
import itertools
import random
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
import trustme
from anyio import to_thread

from rivet_anyio import ConfigError, ConnectError, ConnectionLostError
from rivet_anyio._io import tls as tls_module
from rivet_anyio._io.backend import ReusableStream
from rivet_anyio._io.connect import TcpConnector, stream_over
from rivet_anyio._io.tls import (
    Resumption,
    ResumptionError,
    TLSStream,
    default_tls_context,
    start_tls,
)

from .test_sockets import comes, pattern, reset, tcp_pair

SECONDS = 60
LONG = 16 * 1024 * 1024
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority.issue_cert("localhost"))


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.minimum_version = context.maximum_version = version


@asynccontextmanager
async def facing(talk: Callable[[socket.socket], object]) -> AsyncIterator[ReusableStream]:
    """A stream to a thread that talks; what that raises, this raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with far:
                far.settimeout(SECONDS)
                talk(far)
        except BaseException as exc:
            errors.append(exc)

    with tcp_pair() as (near, far), anyio.fail_after(SECONDS):
        stream = await stream_over(near)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield stream
        finally:
            stream.drop()
            await to_thread.run_sync(thread.join)
    if errors:
        raise errors[0]


@asynccontextmanager
async def talking(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    talk: Callable[[ssl.SSLSocket], object],
    version: ssl.TLSVersion | None = None,
    resumption: Resumption | None = None,
) -> AsyncIterator[TLSStream]:
    """A TLS stream to a server of the standard library."""
    if version is not None:
        only(server_tls, version)

    def serve(far: socket.socket) -> None:
        with server_tls.wrap_socket(far, server_side=True, suppress_ragged_eofs=False) as encrypted:
            talk(encrypted)

    async with facing(serve) as below:
        stream = await start_tls(below, client_tls, "localhost", resumption)
        try:
            yield stream
        finally:
            await stream.aclose()


def echo(far: ssl.SSLSocket) -> None:
    """Until the client says that it ends."""
    while data := far.recv(65536):
        far.sendall(data)


async def read_exactly(stream: ReusableStream, size: int, step: int = 256 * 1024) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = await stream.read(step)
        assert 0 < len(part) <= step
        data += part
    return bytes(data)


@versions
async def test_there_and_back_and_a_proper_end(
    version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """`echo` would raise `SSLEOFError` if the client ended without close_notify."""
    async with talking(server_tls, client_tls, echo, version) as stream:
        assert stream.is_quiet()
        await stream.write(b"one")
        assert await stream.read(100) == b"one"
        assert stream.writes_now
        assert stream.write_now(b"two") == 3
        assert await read_exactly(stream, 3, 2) == b"two"
        await stream.write(b"")
        assert stream.write_now(b"") == 0


@versions
async def test_much_each_way_at_once(
    version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def talk(far: ssl.SSLSocket) -> None:
        """One thread at a time may use an SSL socket, so it writes and reads in pieces."""
        got = bytearray()
        data = pattern(LONG)
        for at in range(0, LONG, 65536):
            far.sendall(data[at : at + 65536])
            while len(got) < at + 65536:
                got += far.recv(65536)
        assert got == data

    async with (
        talking(server_tls, client_tls, talk, version) as stream,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(stream.write, pattern(LONG))
        assert await read_exactly(stream, LONG) == pattern(LONG)


async def test_what_one_read_leaves_is_there_for_the_next(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """More comes at once than OpenSSL is given, and than each read asks for."""

    def talk(far: ssl.SSLSocket) -> None:
        far.sendall(pattern(LONG))
        far.recv(1)

    async with talking(server_tls, client_tls, talk) as stream:
        got = bytearray()
        while len(got) < LONG:
            got += await stream.read(250_000)
            part = stream.read_now(10)
            got += part or b""
            if part and len(got) < LONG:
                assert not stream.is_quiet()
        assert got == pattern(LONG)
        assert stream.is_quiet()
        await stream.write(b"x")


async def test_records_that_end_where_a_piece_for_openssl_ends(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Each record takes 16 KiB, and no ticket comes before the first."""
    part = pattern(16 * 1024 - 22)

    def talk(far: ssl.SSLSocket) -> None:
        for _ in range(512):
            far.sendall(part)
        far.recv(1)

    server_tls.num_tickets = 0
    async with talking(server_tls, client_tls, talk, ssl.TLSVersion.TLSv1_3) as stream:
        assert await read_exactly(stream, 512 * len(part)) == part * 512
        await stream.write(b"x")


async def test_writing_at_once_loses_and_doubles_nothing(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """As callers do: at once what can be, and by `write` what could not."""
    total = 4 * 1024 * 1024
    hurdles = 0

    def slowly(far: ssl.SSLSocket) -> None:
        data = bytearray()
        while len(data) < total:
            data += far.recv(5000)
        assert data == pattern(total)
        far.sendall(b"!")

    async with talking(server_tls, client_tls, slowly) as stream:
        data, at, sizes = pattern(total), 0, random.Random(1)
        while at < total:
            frame = data[at : at + sizes.choice([1, 2, 100, 16384, 70_000, 300_000])]
            written = stream.write_now(frame)
            assert 0 <= written <= len(frame)
            if written < len(frame):
                hurdles += 1
                assert written or len(frame) < 2 or stream.unsent()
                if sizes.random() < 0.5:  # it may be tried again
                    written += stream.write_now(frame[written:])
                await stream.write(frame[written:])
            at += len(frame)
        assert await stream.read(1) == b"!"
    assert hurdles


async def test_what_was_encrypted_and_did_not_leave_is_unsent(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    go = threading.Event()
    async with talking(server_tls, client_tls, lambda far: go.wait(SECONDS)) as stream:
        below = stream._below
        while (taken := stream.write_now(bytes(60_000))) == 60_000:
            pass
        assert taken, "some of it is left to `write`, so that the rest leaves, too"
        assert stream.unsent() > below.unsent()
        assert stream.write_now(bytes(100)) == 0
        assert not stream.is_quiet()
        go.set()


@versions
async def test_large_writes_make_large_records(
    version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with talking(server_tls, client_tls, echo, version) as stream:
        sizes: list[int] = []
        write = stream._below.write_now

        class Below:
            writes_now = True

            def __getattr__(self, name: str) -> Any:
                return getattr(below, name)

            def write_now(self, data: bytes) -> int:
                sizes.append(len(data))
                return write(data)

        below, stream._below = stream._below, Below()
        assert stream.write_now(bytes(40_000)) == 40_000
        assert len(sizes) == 1 and sizes[0] < 40_200
        assert await read_exactly(stream, 40_000) == bytes(40_000)


@versions
async def test_what_belongs_to_tls_alone_is_quiet(
    version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    go = threading.Event()
    steps = iter([b"early", b""])

    def talk(far: ssl.SSLSocket) -> None:
        for step in steps:
            go.wait(SECONDS)
            go.clear()
            if step:
                far.sendall(step)
        far.unwrap()

    async with talking(server_tls, client_tls, talk, version) as stream:
        if version is ssl.TLSVersion.TLSv1_3:
            await comes(stream._below)  # session tickets
        assert stream.is_quiet()
        assert stream.read_now(10) is None
        go.set()
        await comes(stream)
        assert not stream.is_quiet(), "asking takes nothing away"
        assert await stream.read(2) == b"ea"
        assert not stream.is_quiet()
        assert stream.read_now(100) == b"rly"
        assert stream.is_quiet()
        go.set()
        await comes(stream)
        assert not stream.is_quiet()
        assert await stream.read(10) == b""
        assert await stream.read(10) == b""


async def test_who_asked_first_reads_as_much(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Several records that came at once are one read, not one each."""
    only(server_tls, ssl.TLSVersion.TLSv1_2)  # no tickets before them
    records = pattern(200_000)
    sent: list[bytes] = []
    written = threading.Event()

    def talk(far: socket.socket) -> None:
        server = Halves(far, server_tls)
        server.handshake()
        server.tls.write(records)
        sent.append(server.outgoing.read())
        written.set()
        far.recv(1)

    async with facing(talk) as below:
        stream = await start_tls(below, client_tls, "localhost")
        await to_thread.run_sync(written.wait, SECONDS)
        below.unread(sent[0])
        assert not stream.is_quiet()
        assert await stream.read(LONG) == records


@versions
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_an_end_without_close_notify_is_a_loss(
    how: str, version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    go = threading.Event()

    def talk(far: ssl.SSLSocket) -> None:
        far.sendall(b"half of it")
        go.wait(SECONDS)
        raw = socket.socket(fileno=far.detach())
        if how == "reset":
            reset(raw)
        raw.close()

    async with talking(server_tls, client_tls, talk, version) as stream:
        assert await stream.read(100) == b"half of it"
        go.set()
        await comes(stream)
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                await stream.read(100)
            with pytest.raises(ConnectionLostError):
                stream.read_now(100)
            assert not stream.is_quiet()


class Halves:
    """A server's side of TLS, whose bytes are sent as one likes."""

    def __init__(self, far: socket.socket, context: ssl.SSLContext) -> None:
        self.far = far
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def step(self) -> bool:
        """One step of the handshake; whether it was the last."""
        try:
            self.tls.do_handshake()
            return True
        except ssl.SSLWantReadError:
            return False

    def receive(self) -> None:
        data = self.far.recv(65536)
        assert data
        self.incoming.write(data)

    def handshake(self) -> None:
        while not self.step():
            self.flush()
            self.receive()
        self.flush()

    def flush(self) -> None:
        if self.outgoing.pending:
            self.far.sendall(self.outgoing.read())


@versions
async def test_cut_within_a_record(
    version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    only(server_tls, version)

    def talk(far: socket.socket) -> None:
        server = Halves(far, server_tls)
        server.handshake()
        server.tls.write(b"whole")
        server.tls.write(b"in two")
        far.sendall(server.outgoing.read()[:-3])

    async with facing(talk) as below:
        stream = await start_tls(below, client_tls, "localhost")
        assert await stream.read(100) == b"whole"
        with pytest.raises(ConnectionLostError, match="close_notify"):
            await stream.read(100)


async def test_bytes_that_are_no_record(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What came whole before them is read first."""

    def talk(far: socket.socket) -> None:
        server = Halves(far, server_tls)
        server.handshake()
        server.tls.write(b"whole")
        far.sendall(server.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
        while far.recv(100):  # the alert
            pass

    async with facing(talk) as below:
        stream = await start_tls(below, client_tls, "localhost")
        assert await stream.read(100) == b"whole"
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="the connection broke"):
                await stream.read(100)


# The handshake


async def refused(
    talk: Callable[[socket.socket], object],
    client_tls: ssl.SSLContext,
    hostname: str = "localhost",
) -> ConnectError:
    async with facing(talk) as below:
        with pytest.raises(ConnectError) as caught:
            await start_tls(below, client_tls, hostname)
        with pytest.raises(ConnectionLostError, match="was dropped"):
            await below.read(1)
    assert type(caught.value) is ConnectError
    return caught.value


def refused_by_client(server_tls: ssl.SSLContext, words: str) -> Callable[[socket.socket], None]:
    """A server that is told why."""

    def talk(far: socket.socket) -> None:
        with (
            pytest.raises(ssl.SSLError) as caught,
            server_tls.wrap_socket(far, server_side=True) as encrypted,
        ):
            encrypted.recv(1)
        assert words in str(caught.value).lower().replace("_", " ")

    return talk


@versions
@pytest.mark.parametrize("what", ["name", "expired", "authority"])
async def test_certificates_that_are_not_accepted(
    what: str, version: ssl.TLSVersion, authority: trustme.CA, client_tls: ssl.SSLContext
) -> None:
    if what == "name":
        certificate, words = authority.issue_cert("elsewhere.test"), "Hostname mismatch"
    elif what == "expired":
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        certificate = authority.issue_cert("localhost", not_before=past, not_after=past)
        words = "certificate has expired"
    else:
        certificate, words = trustme.CA().issue_cert("localhost"), "unable to get local issuer"
    server_tls = server_context(certificate)
    only(server_tls, version)
    alert = {"name": "bad certificate", "expired": "expired", "authority": "unknown ca"}[what]
    error = await refused(refused_by_client(server_tls, alert), client_tls)
    assert str(error).startswith(f"the certificate of localhost is not accepted: {words}")
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


async def test_no_version_in_common(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    only(server_tls, VERSIONS[0])
    only(client_tls, VERSIONS[1])
    error = await refused(refused_by_client(server_tls, "unsupported protocol"), client_tls)
    assert str(error) == ("the TLS handshake with localhost failed: tlsv1 alert protocol version")


def demand_certificates(
    authority: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Let the server want a certificate of the client, and the client have one."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    authority.issue_cert("me@example.com").configure_cert(client_tls)


@versions
async def test_client_certificates(
    version: ssl.TLSVersion,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    demand_certificates(authority, server_tls, client_tls)

    def talk(far: ssl.SSLSocket) -> None:
        assert far.getpeercert()
        echo(far)

    async with talking(server_tls, client_tls, talk, version) as stream:
        await stream.write(b"x")
        assert await stream.read(10) == b"x"


async def resumes(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    resumption: Resumption,
    version: ssl.TLSVersion | None = None,
) -> bool:
    """Whether a new connection resumes a session, as its server sees it."""
    seen: list[bool] = []

    def talk(far: ssl.SSLSocket) -> None:
        seen.append(bool(far.session_reused))
        echo(far)

    async with talking(server_tls, client_tls, talk, version, resumption) as stream:
        await stream.write(b"x")
        assert await stream.read(10) == b"x"
    return seen[0]


@versions
async def test_sessions_are_resumed_for_a_time(
    version: ssl.TLSVersion,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts from the full handshake, and not from the last one."""
    resumption = Resumption()
    clock: Any = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(tls_module, "time", clock)

    async def resumes_at(now: float) -> bool:
        clock.now = now
        return await resumes(server_tls, client_tls, resumption, version)

    times = (1000.0, 1000.0, 1599.0, 1600.0, 2199.0, 2200.0)
    resumed = [await resumes_at(now) for now in times]
    assert resumed == [False, True, True, False, True, False]
    assert resumption.find() is not None


async def test_a_server_that_does_not_know_the_session(
    authority: trustme.CA, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    resumption = Resumption()
    other = server_context(authority.issue_cert("localhost"))
    servers = [server_tls, server_tls, other, other, other]
    resumed = [await resumes(server, client_tls, resumption) for server in servers]
    assert resumed == [False, True, False, True, True]


async def test_a_second_connection_while_the_ticket_of_the_first_is_on_its_way(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    resumption = Resumption()
    async with (
        talking(server_tls, client_tls, echo, resumption=resumption) as first,
        talking(server_tls, client_tls, echo, resumption=resumption) as second,
    ):
        for stream in (first, second):
            await stream.write(b"x")
            assert await stream.read(10) == b"x"
            assert stream.on_first_data is None, "it is called once"
    assert await resumes(server_tls, client_tls, resumption)


@pytest.mark.parametrize("alert", [b"", b"\x15\x03\x03\x00\x02\x02\x50"], ids=["end", "alert"])
async def test_a_server_that_refuses_to_resume(
    alert: bytes, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The next handshake is a whole one."""
    resumption = Resumption()
    assert not await resumes(server_tls, client_tls, resumption)

    def refuse(far: socket.socket) -> None:
        far.recv(65536)
        far.sendall(alert)

    async with facing(refuse) as below:
        with pytest.raises(ResumptionError):
            await start_tls(below, client_tls, "localhost", resumption)
    async with facing(refuse) as below:
        with pytest.raises(ConnectError) as caught:
            await start_tls(below, client_tls, "localhost", resumption)
    assert type(caught.value) is ConnectError
    assert not await resumes(server_tls, client_tls, resumption)
    assert await resumes(server_tls, client_tls, resumption)


async def test_who_is_not_trusted_is_not_by_a_session_of_another(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    resumption = Resumption()
    impostor = server_context(trustme.CA().issue_cert("localhost"))
    assert not await resumes(server_tls, client_tls, resumption)
    assert resumption.find() is not None
    async with facing(refused_by_client(impostor, "unknown ca")) as below:
        with pytest.raises(ConnectError, match="is not accepted") as caught:
            await start_tls(below, client_tls, "localhost", resumption)
    assert type(caught.value) is ConnectError, "to try again is in vain"
    assert not await resumes(server_tls, client_tls, resumption)
    assert await resumes(server_tls, client_tls, resumption)


async def test_a_server_without_tickets_is_asked_once_for_its_session(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def session(tls: ssl.SSLObject) -> ssl.SSLSession | None:
        nonlocal asked
        asked += 1
        return tls._sslobj.session  # type: ignore[attr-defined, no-any-return]

    monkeypatch.setattr(ssl.SSLObject, "session", property(session))
    server_tls.num_tickets = 0
    resumption = Resumption()
    for _ in range(4):
        assert not await resumes(server_tls, client_tls, resumption)
    assert asked == 1


@versions
async def test_a_server_that_wants_client_certificates_is_resumed(
    version: ssl.TLSVersion,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """It knows the client's certificate from the session."""
    demand_certificates(authority, server_tls, client_tls)
    resumption = Resumption()
    seen: list[tuple[bool | None, bool]] = []

    def talk(far: ssl.SSLSocket) -> None:
        seen.append((far.session_reused, bool(far.getpeercert())))
        echo(far)

    for _ in range(3):
        async with talking(server_tls, client_tls, talk, version, resumption) as stream:
            await stream.write(b"x")
            assert await stream.read(10) == b"x"
    assert seen == [(False, True), (True, True), (True, True)]


@versions
async def test_the_client_certificate_that_is_accepted_changes(
    version: ssl.TLSVersion,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """A server that starts again with other demands resumes nothing from before."""
    demand_certificates(authority, server_tls, client_tls)
    resumption = Resumption()
    assert not await resumes(server_tls, client_tls, resumption, version)
    assert await resumes(server_tls, client_tls, resumption, version)

    others = trustme.CA()
    changed = server_context(authority.issue_cert("localhost"))
    changed.verify_mode = ssl.CERT_REQUIRED
    others.configure_trust(changed)
    only(changed, version)
    for is_second in (False, True):
        async with facing(refused_by_client(changed, "certificate verify failed")) as below:
            if version is VERSIONS[1]:  # with TLS 1.3 the server says so after the handshake
                stream = await start_tls(below, client_tls, "localhost", resumption)
                with pytest.raises(ConnectionLostError, match="alert unknown ca"):
                    await stream.read(1)
                stream.drop()
                continue
            with pytest.raises(ConnectError, match="alert unknown ca") as caught:
                await start_tls(below, client_tls, "localhost", resumption)
            assert type(caught.value) is (ConnectError if is_second else ResumptionError)
    others.issue_cert("me@example.com").configure_cert(client_tls)
    assert not await resumes(changed, client_tls, resumption, version)
    assert await resumes(changed, client_tls, resumption, version)


@versions
@pytest.mark.parametrize("end", ["close_notify", "without", "reset", "never"])
async def test_a_server_that_resumes_a_session_and_sends_nothing(
    end: str, version: ssl.TLSVersion, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """It may want another certificate than that of the session: the next handshake is whole."""
    resumption = Resumption()
    assert not await resumes(server_tls, client_tls, resumption, version)

    def talk(far: ssl.SSLSocket) -> None:
        assert far.session_reused
        assert far.recv(1) == b"x"
        if end == "close_notify":
            with pytest.raises(OSError):  # the client does not answer with its own
                far.unwrap()
        elif end == "reset":
            reset(far)
        elif end == "never":
            with pytest.raises(OSError):
                far.recv(1)

    def serve(far: socket.socket) -> None:
        with server_tls.wrap_socket(far, server_side=True, suppress_ragged_eofs=False) as encrypted:
            talk(encrypted)

    async with facing(serve) as below:
        stream = await start_tls(below, client_tls, "localhost", resumption)
        await stream.write(b"x")
        if end == "close_notify":
            assert await stream.read(1) == b""
        elif end == "never":
            with anyio.move_on_after(0):
                await stream.read(1)
        else:
            with pytest.raises(ConnectionLostError):
                await stream.read(1)
        stream.drop()
    assert not await resumes(server_tls, client_tls, resumption, version)
    assert await resumes(server_tls, client_tls, resumption, version)


class Stopping:
    """A byte stream that cancels a scope in its call of some number, before or behind what it does.

    Attributes:
        is_dropped: Whether it was closed.
    """

    def __init__(self, below: ReusableStream, scope: anyio.CancelScope, left: int) -> None:
        self._below = below
        self._scope = scope
        self._left = left
        self.writes_now = below.writes_now
        self.is_dropped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()

    async def read(self, max_bytes: int) -> bytes:
        self._count()
        data = await self._below.read(max_bytes)
        self._count()
        return data

    async def write(self, data: bytes) -> None:
        self._count()
        await self._below.write(data)
        self._count()

    def drop(self) -> None:
        self.is_dropped = True
        self._below.drop()


@versions
@pytest.mark.parametrize("is_resumed", [False, True], ids=["whole", "resumed"])
async def test_a_handshake_that_is_cancelled_anywhere(
    is_resumed: bool,
    version: ssl.TLSVersion,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """Its socket ends, and the next handshake resumes what there is, or is a whole one."""

    def serve(far: socket.socket) -> None:
        try:
            with server_tls.wrap_socket(far, server_side=True) as encrypted:
                echo(encrypted)
        except OSError:  # the client went away
            pass

    resumption = Resumption()
    only(server_tls, version)
    await resumes(server_tls, client_tls, resumption, version)
    for step in itertools.count(1):
        if not is_resumed:
            resumption.forget()
        async with facing(serve) as below:
            stream = None
            with anyio.CancelScope() as scope:
                stopping: Any = Stopping(below, scope, step)
                stream = await start_tls(stopping, client_tls, "localhost", resumption)
            if stream is None:
                assert stopping.is_dropped
            else:
                await stream.write(b"x")
                assert await stream.read(1) == b"x"
                await stream.aclose()
        await resumes(server_tls, client_tls, resumption, version)
        if not scope.cancel_called:
            break
    assert await resumes(server_tls, client_tls, resumption, version)
    assert step > 4


class OwnContext(ssl.SSLContext):
    """As those that ask the operating system."""


@pytest.mark.parametrize(("kind", "options"), [(OwnContext, 0), (ssl.SSLContext, ssl.OP_NO_TICKET)])
async def test_contexts_that_verify_by_themselves_or_want_no_tickets_resume_nothing(
    kind: type[ssl.SSLContext],
    options: int,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
) -> None:
    client_tls = kind(ssl.PROTOCOL_TLS_CLIENT)
    client_tls.options |= options
    authority.configure_trust(client_tls)
    resumption = Resumption()
    assert [await resumes(server_tls, client_tls, resumption) for _ in range(2)] == [False, False]


@versions
async def test_without_the_client_certificate_that_is_wanted(
    version: ssl.TLSVersion,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """With TLS 1.3 the server says so after the handshake."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    only(server_tls, version)
    talk = refused_by_client(server_tls, "peer did not return a certificate")
    if version is VERSIONS[0]:
        assert "alert handshake failure" in str(await refused(talk, client_tls))
        return
    async with facing(talk) as below:
        stream = await start_tls(below, client_tls, "localhost")
        with pytest.raises(ConnectionLostError, match="alert certificate required"):
            await stream.read(1)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", b"SSH-2.0-x\r\n"]
)
async def test_a_peer_that_speaks_no_tls(answer: bytes, client_tls: ssl.SSLContext) -> None:
    def talk(far: socket.socket) -> None:
        far.recv(65536)
        far.sendall(answer)
        far.recv(65536)

    error = await refused(talk, client_tls)
    line = answer.partition(b"\r")[0]
    assert f"localhost does not speak TLS on this port: it answered {line!r}" in str(error)
    assert "http://" in str(error)


@pytest.mark.parametrize(
    "alert", [b"\x01\x00", b"\x02\x28", b"\x02\xff"], ids=["close", "failure", "unknown"]
)
async def test_an_alert_in_place_of_a_handshake(alert: bytes, client_tls: ssl.SSLContext) -> None:
    """OpenSSL has no words for some, and Python then says where in its own source it noticed."""

    def talk(far: socket.socket) -> None:
        far.recv(65536)
        far.sendall(b"\x15\x03\x03\x00\x02" + alert)
        far.recv(65536)

    text = str(await refused(talk, client_tls))
    assert text.startswith("the TLS handshake with localhost failed: ")
    assert "_ssl.c" not in text and "[" not in text


@versions
@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("sent", [-1, 0, 1, 5, 6, 50, 100, 300])
async def test_cut_in_the_handshake(
    sent: int,
    how: str,
    version: ssl.TLSVersion,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """At once, after the ClientHello, and within the server's first messages."""
    only(server_tls, version)

    def talk(far: socket.socket) -> None:
        if sent >= 0:
            server = Halves(far, server_tls)
            server.receive()
            server.step()
            far.sendall(server.outgoing.read()[:sent])
        if how == "reset":
            reset(far)

    error = await refused(talk, client_tls)
    assert "localhost" in str(error) and "handshake" in str(error)


async def test_cut_before_the_last_message_of_1_2(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    only(server_tls, VERSIONS[0])

    def talk(far: socket.socket) -> None:
        server = Halves(far, server_tls)
        server.receive()
        server.step()
        server.flush()
        server.receive()

    error = await refused(talk, client_tls)
    assert "localhost closed the connection during the TLS handshake" in str(error)


@pytest.mark.parametrize("received", range(3))
async def test_cancelled_in_the_handshake(
    received: int, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """After so many messages of the client."""
    only(server_tls, VERSIONS[0])
    waits = threading.Event()

    def talk(far: socket.socket) -> None:
        server = Halves(far, server_tls)
        for _ in range(received):
            server.receive()
            server.step()
            if _ == 0 and received == 2:
                server.flush()
        waits.set()
        while far.recv(65536):  # until it is closed
            pass

    async with facing(talk) as below:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start_tls, below, client_tls, "localhost")
            await to_thread.run_sync(waits.wait, SECONDS)
            tasks.cancel_scope.cancel()
        with pytest.raises(ConnectionLostError, match="was dropped"):
            await below.read(1)


async def test_a_deadline_in_the_handshake(client_tls: ssl.SSLContext) -> None:
    from rivet_anyio._io.backend import current_backend

    def talk(far: socket.socket) -> None:
        while far.recv(65536):
            pass

    backend = current_backend()
    async with facing(talk) as below:
        with backend.deadline(backend.time() + 0.05, below) as deadline:
            await start_tls(below, client_tls, "localhost")
        assert deadline.expired


@pytest.mark.parametrize("hostname", ["", ".example.com"])
async def test_names_that_cannot_be_verified(hostname: str, client_tls: ssl.SSLContext) -> None:
    async with facing(lambda far: far.recv(100)) as below:
        with pytest.raises(ConfigError, match="cannot be begun"):
            await start_tls(below, client_tls, hostname)


async def test_a_name_with_a_dot_at_its_end(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def talk(far: socket.socket) -> None:
        with server_tls.wrap_socket(far, server_side=True) as encrypted:
            encrypted.recv(1)

    async with facing(talk) as below:
        stream = await start_tls(below, client_tls, "localhost.")
        await stream.aclose()


async def test_a_context_that_offers_http2(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    for context in (server_tls, client_tls):
        context.set_alpn_protocols(["h2", "http/1.1"])

    def talk(far: socket.socket) -> None:
        try:
            with server_tls.wrap_socket(far, server_side=True) as encrypted:
                encrypted.recv(1)
        except OSError:  # the client leaves in the middle of it
            pass

    async with facing(talk) as below:
        with pytest.raises(ConfigError, match=r"offers HTTP/2.*set_alpn_protocols"):
            await start_tls(below, client_tls, "localhost")


# Dropping


async def test_dropping_while_a_read_waits(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def talk(far: ssl.SSLSocket) -> None:
        with pytest.raises(OSError):
            far.recv(10)

    async with talking(server_tls, client_tls, talk) as stream, anyio.create_task_group() as tasks:

        async def read() -> None:
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.read(10)

        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        stream.drop()


async def test_after_it_was_dropped(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def talk(far: ssl.SSLSocket) -> None:
        far.sendall(b"something")
        with pytest.raises(OSError):
            far.recv(10)

    async with talking(server_tls, client_tls, talk) as stream:
        assert await stream.read(1) == b"s"
        stream.drop()
        stream.drop()
        assert stream.write_now(b"xy") == 0
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.read(10)
            with pytest.raises(ConnectionLostError, match="was dropped"):
                await stream.write(b"x")
        assert not stream.is_quiet()


async def test_a_write_that_was_cancelled_is_the_last(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def talk(far: ssl.SSLSocket) -> None:
        try:
            while far.recv(65536):
                go.wait(SECONDS)
        except OSError:
            pass

    go = threading.Event()
    async with talking(server_tls, client_tls, talk) as stream:
        with anyio.move_on_after(0.05) as scope:
            await stream.write(bytes(LONG))
        assert scope.cancelled_caught
        assert stream.write_now(b"xy") == 0
        assert not stream.is_quiet()
        with pytest.raises(ConnectionLostError, match="did not end"):
            await stream.write(b"x")
        go.set()


async def test_a_read_that_was_cancelled_leaves_all_to_the_next(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """As an answer is read by one task while the request leaves, and then by another."""
    async with talking(server_tls, client_tls, echo) as stream:
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stream.read, 10)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await stream.write(b"all of it")
            with anyio.fail_after(SECONDS):
                assert await read_exactly(stream, 9) == b"all of it"


# Key updates and renegotiation, which only openssl's own server can be asked for


@contextmanager
def openssl_server(
    folder: Path, certificate: trustme.LeafCert, *options: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    path = folder / "server.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [openssl, "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(path)]
    with subprocess.Popen(
        [*command, "-key", str(path), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            yield process, port
        finally:
            process.kill()


async def connected(port: int, client_tls: ssl.SSLContext) -> TLSStream:
    while True:
        try:
            below = await TcpConnector().connect("127.0.0.1", port)
        except ConnectError:
            await anyio.sleep(0.01)
        else:
            return await start_tls(below, client_tls, "localhost")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (b"K\n", ["-tls1_3"]),
        (b"k\n", ["-tls1_3"]),
        (b"r\n", ["-tls1_2"]),
        (b"r\n", ["-tls1_2", "-no_cache", "-no_ticket"]),  # a whole handshake
        (b"R\n", ["-tls1_2", "-no_cache", "-no_ticket"]),
    ],
)
async def test_the_server_changes_the_keys(
    command: bytes,
    options: list[str],
    tmp_path: Path,
    authority: trustme.CA,
    client_tls: ssl.SSLContext,
) -> None:
    certificate = authority.issue_cert("localhost")
    with (
        anyio.fail_after(SECONDS),
        openssl_server(tmp_path, certificate, *options) as (server, port),
    ):
        assert server.stdin is not None and server.stdout is not None
        stream = await connected(port, client_tls)
        for i in range(3):
            server.stdin.write(command)
            server.stdin.flush()
            below = stream._below
            await comes(below)
            if i:
                assert stream.is_quiet()
            else:  # only begun: a write has to end it
                stream._feed(below.read_now(65536) or b"")
                assert stream._decrypt(1) is None
            assert not stream._outgoing.pending, "it is answered without anybody's writing"
            await stream.write(b"answer %d\n" % i)
            while b"answer %d" % i not in await to_thread.run_sync(
                server.stdout.readline, abandon_on_cancel=True
            ):
                pass
            server.stdin.write(b"line %d\n" % i)
            server.stdin.flush()
            assert await read_exactly(stream, 7) == b"line %d\n" % i
        await stream.aclose()


# The default context


async def test_the_default_context() -> None:
    context = await default_tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


async def test_it_is_made_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    create = ssl.create_default_context

    def note() -> ssl.SSLContext:
        threads.append(threading.current_thread())
        return create()

    monkeypatch.setattr(ssl, "create_default_context", note)
    await default_tls_context()
    assert threads and threads[0] is not threading.current_thread()


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_the_environment_names_who_is_trusted(
    is_trusted: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
) -> None:
    path = tmp_path / "trusted.pem"
    trusted = authority if is_trusted else trustme.CA()
    trusted.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = await default_tls_context()
    if is_trusted:
        async with talking(server_tls, context, echo) as stream:
            await stream.write(b"x")
            assert await stream.read(10) == b"x"
    else:
        await refused(refused_by_client(server_tls, "unknown ca"), context)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"])
async def test_the_environment_names_what_is_not_there(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "missing" / "file")
    monkeypatch.setenv(variable, path)
    with pytest.raises(ConfigError, match=variable) as caught:
        await default_tls_context()
    assert path in str(caught.value)


async def test_certifi_where_the_system_trusts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(
        ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    context = await default_tls_context()
    assert context.cert_store_stats()["x509_ca"] > 10


async def test_a_directory_of_certificates_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reads it when it verifies a server; certifi would trust others, too."""
    for name in ("one.pem", "two.pem"):
        (tmp_path / name).touch()
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr(
        ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    context = await default_tls_context()
    assert context.cert_store_stats()["x509_ca"] == 0
