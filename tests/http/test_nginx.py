"""A real server behind nginx, which ends TLS; skipped where nginx is not installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, ConnectError, ConnectionLostError, Retry, Status
from tests.servers import Server, start_server
from tests.servers._ports import reserve_port

from .test_live import Authority
from .wire import GUARD, prepare

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

CONFIGURATION = """
daemon off;
master_process off;
error_log stderr crit;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 1m;
    keepalive_timeout 1s;
    keepalive_requests 20;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
        }}
    }}
}}
"""


class Nginx:
    """An nginx before a server."""

    def __init__(self, folder: Path, upstream: int, authority: Authority) -> None:
        self.authority = authority
        self._port = reserve_port()
        self.url = f"https://127.0.0.1:{self._port.number}"
        self._configuration = folder / "nginx.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                port=self._port.number,
                upstream=upstream,
                cert=authority.cert,
                key=authority.key,
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert NGINX is not None
        self._process = subprocess.Popen([NGINX, "-c", str(self._configuration)])
        ends = time.monotonic() + GUARD
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", self._port.number)).close()
                return
            except OSError:
                assert self._process.poll() is None
                time.sleep(0.02)
        raise TimeoutError("nginx does not listen")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        self.stop()
        self._port.close()

    def client(self, **options: Any) -> Client:
        return Client(
            self.url, ssl_context=self.authority.client(), metadata_lookup=False, **options
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_server("2.2.1") as server:
        yield server


@pytest.fixture(scope="module")
def proxy(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    folder = tmp_path_factory.mktemp("nginx")
    nginx = Nginx(folder, server.port, Authority(folder))
    try:
        nginx.start()
        yield nginx
    finally:
        nginx.close()


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch)


@pytest.fixture
def key(request: pytest.FixtureRequest) -> list[str]:
    return [request.node.name]


async def test_calls_and_events(proxy: Nginx, key: list[str]) -> None:
    """nginx closes a connection after 20 requests, and one that is idle for a second."""
    with anyio.fail_after(GUARD):
        async with proxy.client() as client:
            probe = client.probe.get_or_create(key)
            assert [await probe.echo(number) for number in range(45)] == list(range(45))
            await anyio.sleep(1.2)  # the second of nginx
            assert await probe.echo("again") == "again"
            assert (await client.web.get_or_create(key).fetch("stream")).text
            async with probe.connect() as conn, conn.events("tick") as ticks:
                await conn.emitMany("tick", 100)
                assert [await ticks.receive() for _ in range(100)] == list(range(100))


async def test_fifty_at_once(proxy: Nginx, key: list[str]) -> None:
    found: list[int] = []
    with anyio.fail_after(GUARD):
        async with proxy.client() as client:
            probe = client.probe.get_or_create(key)

            async def call(number: int) -> None:
                found.append(await probe.echo(number))
                async with probe.connect() as conn:
                    found.append(await conn.echo(-number))

            async with anyio.create_task_group() as tasks:
                for number in range(1, 51):
                    tasks.start_soon(call, number)
    assert sorted(found) == [*range(-50, 0), *range(1, 51)]


async def test_a_body_that_nginx_refuses(proxy: Nginx, key: list[str]) -> None:
    with anyio.fail_after(GUARD):
        async with proxy.client() as client:
            probe = client.probe.get_or_create(key)
            with pytest.raises(ConnectError, match="413"):
                await probe.echo("x" * (4 << 20))
            assert await probe.echo(1) == 1


async def test_nginx_comes_and_goes(proxy: Nginx, key: list[str]) -> None:
    retry = Retry(initial=0.02, maximum=0.1)
    with anyio.fail_after(GUARD):
        async with proxy.client(retry=retry) as client:
            probe = client.probe.get_or_create(key)
            async with probe.connect() as conn, conn.events("tick") as ticks:
                changes = conn.status_changes()
                proxy.stop()
                while (await changes.receive()).status is not Status.DISCONNECTED:
                    pass
                with pytest.raises(ConnectError):
                    await probe.echo(1)
                proxy.start()
                assert await conn.echo(2) == 2
                await conn.emitMany("tick", 3)
                assert [await ticks.receive() for _ in range(3)] == [0, 1, 2]
                assert ticks.gaps == 1


async def test_the_server_behind_it_is_away(proxy: Nginx, server: Server, key: list[str]) -> None:
    """nginx says 502; a connection waits until the server is back."""
    retry = Retry(initial=0.02, maximum=0.1)
    with anyio.fail_after(GUARD):
        async with proxy.client(retry=retry) as client:
            probe = client.probe.get_or_create(key)
            await probe.echo(1)
            server.stop()
            with pytest.raises(ConnectionLostError, match="502"):
                await probe.echo(2)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, server.start)
                async with probe.connect(wait_for_server=True) as conn:
                    assert await conn.echo(3) == 3
