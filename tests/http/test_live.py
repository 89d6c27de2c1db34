"""The client's HTTP against other people's servers: see `tests.http.live`."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from rivet_anyio import Client, ConnectError, ConnectionLostError
from rivet_anyio._http.wire import Wire
from tests.servers._node import node

from .wire import ACTOR, GUARD, prepare

FOLDER = Path(__file__).parent / "live"
SERVERS = ("node", "uvicorn", "aiohttp")
MEGABYTES = 8


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


class Authority:
    """Who signs certificates, and the files of those."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.ca.cert_pem.write_to_path(self.ca_file)
        issued = self.ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.cert, append=number > 0)

    def client(self) -> ssl.SSLContext:
        """Trusts it, and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@contextmanager
def running(
    name: str,
    authority: Authority | None = None,
    *,
    asks_clients: bool = False,
    seconds: int = 5,
    version: str = "",
) -> Generator[str]:
    """The URL of a server that runs inside the block."""
    if name == "node":
        command = [str(node()), str(FOLDER / "node.mjs")]
    else:
        command = [sys.executable, str(FOLDER / f"{name}_server.py")]
    files = ("", "", "")
    if authority is not None:
        files = str(authority.cert), str(authority.key), str(authority.ca_file)
        files = files if asks_clients else (*files[:2], "")
    with subprocess.Popen(
        [*command, *files, str(seconds), version], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield f"http{'s' if authority else ''}://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="module", params=[*SERVERS, *(f"{name} over TLS" for name in SERVERS)])
def live(
    request: pytest.FixtureRequest, authority: Authority
) -> Iterator[tuple[str, ssl.SSLContext | None]]:
    """Each server, and the TLS context for it."""
    name, _, tls = request.param.partition(" over ")
    with running(name, authority if tls else None) as url:
        yield url, authority.client() if tls else None


Live = tuple[str, ssl.SSLContext | None]


def client_of(live: Live, **options: Any) -> Client:
    url, context = live
    return Client(url, ssl_context=context, metadata_lookup=False, **options)


async def pieces(count: int = MEGABYTES) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes([number]) * (1 << 20)


async def test_answers_of_every_kind_over_one_connection(live: Live) -> None:
    with anyio.fail_after(GUARD):
        async with client_of(live) as client:
            actor = client.x.get_for_id(ACTOR)
            first = (await actor.fetch("port")).text
            assert (await actor.fetch("plain")).text == "hello"
            head = await actor.fetch("plain", method="HEAD")
            assert (head.status_code, head.content) == (200, b"")
            assert (await actor.fetch("chunks")).text == "onetwothree"
            for path, status in (("empty", 204), ("same", 304)):
                response = await actor.fetch(path)
                assert (response.status_code, response.content) == (status, b"")
            assert (await actor.fetch("echo", method="POST", content=b"abc")).text == "abc"
            assert (await actor.fetch("port")).text == first


async def test_large_bodies(live: Live) -> None:
    body = b"".join([piece async for piece in pieces()])
    with anyio.fail_after(GUARD):
        async with client_of(live) as client:
            actor = client.x.get_for_id(ACTOR)
            assert (await actor.fetch("large")).content == b"x" * (MEGABYTES << 20)
            for content in (body, pieces()):
                response = await actor.fetch("length", method="POST", content=content)
                assert int(response.text) == len(body)


@pytest.mark.parametrize("streams", [True, False])
async def test_an_echo_while_the_body_leaves(live: Live, streams: bool) -> None:
    body = b"".join([piece async for piece in pieces()])
    content: Any = pieces() if streams else body
    with anyio.fail_after(GUARD):
        async with client_of(live) as client:
            actor = client.x.get_for_id(ACTOR)
            response = await actor.fetch("echo", method="POST", content=content)
            assert response.content == body
            assert (await actor.fetch("plain")).text == "hello"


@pytest.mark.parametrize("streams", [True, False])
async def test_a_refusal_before_the_body_has_left(live: Live, streams: bool) -> None:
    """(It may be lost where the server resets the connection behind it.)"""
    content: Any = pieces(32) if streams else bytes(32 << 20)
    with anyio.fail_after(GUARD):
        async with client_of(live) as client:
            actor = client.x.get_for_id(ACTOR)
            try:
                response = await actor.fetch("early", method="POST", content=content)
                assert response.status_code == 413
            except ConnectionLostError:
                pass
            assert (await actor.fetch("plain")).text == "hello"


async def test_an_answer_that_is_cut(live: Live) -> None:
    with anyio.fail_after(GUARD):
        async with client_of(live) as client:
            actor = client.x.get_for_id(ACTOR)
            with pytest.raises(ConnectionLostError):
                await actor.fetch("cut")
            assert (await actor.fetch("plain")).text == "hello"


async def test_many_at_once(live: Live) -> None:
    """They share the connections that are allowed."""
    ports: list[str] = []
    with anyio.fail_after(GUARD):
        async with client_of(live, max_connections=5) as client:
            actor = client.x.get_for_id(ACTOR)

            async def ask() -> None:
                response = await actor.fetch("port")
                ports.append(response.text)

            async with anyio.create_task_group() as tasks:
                for _ in range(100):
                    tasks.start_soon(ask)
    assert len(ports) == 100


@pytest.mark.parametrize("seconds", [1, 5])
async def test_how_long_the_server_keeps_connections(seconds: int) -> None:
    """Node.js says so in ``Keep-Alive``; a second is too little to use the connection again."""
    with running("node", seconds=seconds) as url, anyio.fail_after(GUARD):
        async with client_of((url, None)) as client:
            actor = client.x.get_for_id(ACTOR)
            response = await actor.fetch("port")
            assert response.headers["keep-alive"] == f"timeout={seconds}"
            again = await actor.fetch("port")
            assert (again.text == response.text) is (seconds == 5)


@pytest.mark.parametrize("tls", [True, False])
async def test_a_server_that_closes_idle_connections(tls: bool, authority: Authority) -> None:
    with running("node", authority if tls else None) as url, anyio.fail_after(GUARD):
        async with client_of((url, authority.client() if tls else None)) as client:
            actor = client.x.get_for_id(ACTOR)
            for _ in range(10):
                assert (await actor.fetch("idle")).text == "ok"
                transport = client._core._transport
                assert isinstance(transport, Wire)
                idle = [each for pile in transport.pool._idle.values() for each in pile]
                while any(each.stream.is_quiet() for each in idle):  # noqa: ASYNC110
                    await anyio.sleep(0.001)
                response = await actor.fetch("plain", method="POST", content=b"x")
                assert response.text == "hello"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_tls_versions(version: str, authority: Authority) -> None:
    with running("node", authority, version=version) as url, anyio.fail_after(GUARD):
        async with client_of((url, authority.client())) as client:
            assert (await client.x.get_for_id(ACTOR).fetch("protocol")).text == version


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_an_answer_that_ends_with_its_connection(version: str, authority: Authority) -> None:
    """Only close_notify is its end."""
    with running("node", authority, version=version) as url, anyio.fail_after(GUARD):
        async with client_of((url, authority.client())) as client:
            actor = client.x.get_for_id(ACTOR)
            assert (await actor.fetch("ended")).text == "part"
            with pytest.raises(ConnectionLostError, match=r"close_notify|broke"):
                await actor.fetch("truncated")


async def test_who_is_not_trusted(authority: Authority) -> None:
    with running("node", authority) as url, anyio.fail_after(GUARD):
        for context, where in (
            (None, url),
            (authority.client(), url.replace("127.0.0.1", "localhost")),
        ):
            async with client_of((where, context)) as client:
                with pytest.raises(ConnectError, match=r"certificate of .* is not accepted"):
                    await client.x.get_for_id(ACTOR).fetch("plain")


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_client_certificates(version: str, authority: Authority) -> None:
    with (
        running("node", authority, asks_clients=True, version=version) as url,
        anyio.fail_after(GUARD),
    ):
        async with client_of((url, authority.client())) as client:
            with pytest.raises((ConnectError, ConnectionLostError)):
                await client.x.get_for_id(ACTOR).fetch("plain")
        context = authority.client()
        authority.ca.issue_cert("client@example.org").configure_cert(context)
        async with client_of((url, context)) as client:
            assert (await client.x.get_for_id(ACTOR).fetch("plain")).text == "hello"
