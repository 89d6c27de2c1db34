"""An error says why there is no connection, and to whom: the server or a proxy before it."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from rivet_anyio import Client, ConnectError, RivetError
from tests.peers.raw import Peer, make_closing_reset, serving

from .wire import GUARD, HANDSHAKES, KINDS, Request, ask, prepare, refusal, using, whole


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def error_of(url: str, kind: str) -> RivetError:
    """What a request of this kind raises there."""
    metadata_lookup = kind == "metadata"
    async with Client(url, encoding="json", metadata_lookup=metadata_lookup) as client:
        with anyio.fail_after(GUARD):
            try:
                await ask(client, kind)
            except RivetError as error:
                return error
    raise AssertionError("it was answered")


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_listens(kind: str, closed_port: int) -> None:
    error = await error_of(f"http://127.0.0.1:{closed_port}", kind)
    assert type(error) is ConnectError
    assert os.strerror(errno.ECONNREFUSED) in str(error)
    assert f"http://127.0.0.1:{closed_port}" in str(error)


@pytest.mark.parametrize("kind", ["action", "connect"])
async def test_a_name_that_leads_nowhere(kind: str) -> None:
    error = await error_of("http://nowhere.invalid:6420", kind)
    assert type(error) is ConnectError
    assert "http://nowhere.invalid:6420" in str(error)
    try:
        socket.getaddrinfo("nowhere.invalid", 6420)
    except socket.gaierror as reason:
        assert str(reason.strerror) in str(error)


async def without_descriptors(url: str) -> None:
    """Print what a call, and a call afterwards, raise or return."""
    import resource

    async with Client(url, encoding="json", metadata_lookup=False) as other:
        for kind in ("connect", "fetch"):  # what is imported late is imported now
            await ask(other, kind)
    async with Client(url, encoding="json", metadata_lookup=False, connect_timeout=1) as client:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken: list[int] = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for kind in ("action", "fetch", "put", "connect", "websocket"):
            try:
                await ask(client, kind)
            except ConnectError as error:
                print(error)
        for each in taken:
            os.close(each)
        print(await ask(client, "action"))


async def test_no_descriptor_is_left(anyio_backend_name: str) -> None:
    """In a child, which has few; the words differ from those of a refused connection."""
    program = (
        "import anyio, sys\n"
        f"from {__name__} import without_descriptors\n"
        "anyio.run(without_descriptors, sys.argv[2], backend=sys.argv[1])\n"
    )
    async with using() as (wire, _):
        with anyio.fail_after(GUARD):
            done = await anyio.run_process(
                [sys.executable, "-c", program, anyio_backend_name, wire.url],
                cwd=Path(__file__).parents[2],
            )
    *errors, result = done.stdout.decode().splitlines()
    assert result == "right"
    assert len(errors) == 5
    for error in errors:
        assert os.strerror(errno.EMFILE) in error


@pytest.mark.parametrize("kind", ["metadata", "put", "action", "fetch", "connect", "websocket"])
async def test_the_proxy_is_gone(
    kind: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the credentials that the proxy wants."""
    monkeypatch.setenv("http_proxy", f"http://me:s3cret@127.0.0.1:{closed_port}")
    error = await error_of("http://rivet.invalid:6420", kind)
    assert type(error) is ConnectError
    assert "proxy" in str(error) and f"127.0.0.1:{closed_port}" in str(error)
    assert os.strerror(errno.ECONNREFUSED) in str(error)
    assert "s3cret" not in str(error)


@pytest.mark.parametrize("kind", ["put", "connect", "websocket"])
async def test_the_proxy_hangs_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang_up(peer: Peer) -> None:
        await peer.head()

    async with serving(hang_up) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        error = await error_of("http://rivet.invalid:6420", kind)
    assert type(error) is ConnectError
    assert "proxy" in str(error) and proxy.removeprefix("http://") in str(error)


REDIRECT = (
    b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://rivet.example/moved\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("kind", ["put", "find", "action", "send", "send_and_wait"])
async def test_a_redirect_names_where_it_leads(kind: str) -> None:
    async with using(kind) as (wire, client):
        wire.answer(kind, REDIRECT)
        with anyio.fail_after(GUARD), pytest.raises(RivetError, match=r"301.*rivet\.example"):
            await ask(client, kind)


@pytest.mark.parametrize("kind", HANDSHAKES)
async def test_a_redirect_of_a_handshake(kind: str) -> None:
    async with using(kind) as (wire, client):
        wire.answer(kind, REDIRECT)
        with anyio.fail_after(GUARD), pytest.raises(ConnectError, match=r"301.*rivet\.example"):
            await ask(client, kind)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
@pytest.mark.parametrize("is_readable", [True, False])
async def test_metadata_that_is_refused(status: str, is_readable: bool) -> None:
    """A gateway may let nobody see it."""
    answer = refusal("auth", "no", status) if is_readable else whole(b"<h1>no</h1>", status=status)
    async with using("metadata") as (wire, client):
        wire.answer("metadata", answer)
        with anyio.fail_after(GUARD), pytest.raises(RivetError, match="metadata_lookup=False"):
            await ask(client, "metadata")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reset_names_the_server(kind: str) -> None:
    async def reset(peer: Peer, request: Request) -> None:
        make_closing_reset(peer.stream)
        await peer.stream.aclose()

    async with using(kind) as (wire, client):
        wire.instead[kind] = reset
        with anyio.fail_after(GUARD), pytest.raises(RivetError, match="reset by peer") as caught:
            await ask(client, kind)
    assert wire.url in str(caught.value)


async def test_a_tunnel_that_breaks_names_the_proxy() -> None:
    """TLS goes through it, so it may be what breaks it."""

    async def break_off(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await peer.stream.receive()

    async with (
        serving(break_off) as proxy,
        Client("https://rivet.invalid:7", proxy=proxy, metadata_lookup=False) as client,
    ):
        with anyio.fail_after(GUARD), pytest.raises(ConnectError, match="TLS") as caught:
            await ask(client, "action")
    assert f"https://rivet.invalid:7, through the proxy {proxy}" in str(caught.value)


async def test_a_proxy_that_does_not_speak_tls_is_named() -> None:
    async def say_something_else(peer: Peer) -> None:
        await peer.stream.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serving(say_something_else) as url:
        proxy = url.replace("http:", "https:")
        async with Client("https://rivet.invalid:7", proxy=proxy, metadata_lookup=False) as client:
            with anyio.fail_after(GUARD), pytest.raises(ConnectError, match="TLS") as caught:
                await ask(client, "action")
    assert f"the proxy {proxy} does not speak TLS on this port" in str(caught.value)


@pytest.mark.parametrize("kind", ["put", "find", "connect", "websocket"])
async def test_what_takes_too_long_is_named(kind: str) -> None:
    """Metadata may have led there."""

    async def wait(peer: Peer) -> None:
        await peer.silence()

    async with (
        serving(wait) as url,
        Client(url, metadata_lookup=False, encoding="json", connect_timeout=0.3) as client,
    ):
        with anyio.fail_after(GUARD), pytest.raises(ConnectError) as caught:
            await ask(client, kind)
    assert url in str(caught.value)
