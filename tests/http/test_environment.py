"""A variable of the environment that cannot be used is named; one that does not matter is left.

(httpx and OpenSSL read more variables than those named RIVET_*.)
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from rivet_anyio import Client, ConfigError
from rivet_anyio._io.tls import default_tls_context
from tests.cli.running import Cli, Result

from .wire import ACTOR, GUARD, RIGHT, ask, prepare, using

GONE = "/gone/file.pem"
RAW = "what reading the environment raises is not told as a ConfigError"


@pytest.fixture(autouse=True)
def no_way_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(monkeypatch, load_certificates_once=False)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def config_error(url: str, **options: Any) -> ConfigError:
    """What entering a client, or its first call, raises."""
    with anyio.fail_after(GUARD):
        try:
            async with Client(url, metadata_lookup=False, connect_timeout=5, **options) as client:
                await client.x.get_for_id(ACTOR).action("go")
        except ConfigError as error:
            return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("all_proxy", "socks://127.0.0.1:9/", "socks://127.0.0.1:9"),
        ("ALL_PROXY", "socks5://127.0.0.1:9", "socks5://127.0.0.1:9"),
        ("http_proxy", "socks5h://me:s3cret@127.0.0.1:9", "socks5h://"),
        ("http_proxy", "ftp://127.0.0.1:9", "ftp://127.0.0.1:9"),
        ("http_proxy", "http://me:s3cret@127.0.0.1:port", "127.0.0.1:port"),
        ("http_proxy", "http://[::1", "http://[::1"),
        ("http_proxy", "http://127.0.0.1:99999", "99999"),
    ],
)
async def test_a_proxy_that_cannot_be_used(
    name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    error = await config_error("http://rivet.invalid:6420")
    assert name.lower() in str(error).lower() and shown in str(error)
    assert "s3cret" not in str(error)


async def test_advice_about_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9/")
    assert "httpx" in str(await config_error("http://rivet.invalid:6420"))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSLKEYLOGFILE"])
async def test_a_file_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, GONE)
    error = await config_error("https://127.0.0.1:9")
    assert name in str(error) and GONE in str(error)


async def test_a_file_of_certificates_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("these are no certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    error = await config_error("https://127.0.0.1:9")
    assert "SSL_CERT_FILE" in str(error) and str(path) in str(error)


async def test_several_directories_of_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL passes over those that are missing, and no others are trusted besides."""
    (tmp_path / "0a1b2c3d.0").write_text("a certificate")
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for folders in ([GONE, str(tmp_path)], [str(tmp_path), "/gone/too"]):
        monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join(folders))
        context = await default_tls_context()
        assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([GONE, "/gone/too"]))
    assert f"SSL_CERT_DIR is '{GONE}{os.pathsep}/gone/too', which cannot be read" in str(
        await config_error("https://127.0.0.1:9")
    )


DEAD = "http://127.0.0.1:9"
MATTERS_NOT: dict[str, dict[str, str]] = {
    "certificates": {"SSL_CERT_FILE": GONE},
    "directory": {"SSL_CERT_DIR": GONE},
    "keys": {"SSLKEYLOGFILE": GONE},
    "proxy of https": {"https_proxy": "socks://127.0.0.1:9/"},
    "dead proxy of https": {"https_proxy": DEAD},
    "excluded socks": {"all_proxy": "socks://127.0.0.1:9/", "no_proxy": "localhost,127.0.0.1"},
    "excluded nonsense": {"http_proxy": "http://127.0.0.1:port", "no_proxy": "127.0.0.1"},
    "excluded": {"http_proxy": DEAD, "no_proxy": "127.0.0.1"},
    "excluded without a scheme": {"http_proxy": "127.0.0.1:9", "no_proxy": "127.0.0.1"},
    "IPv6": {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.1,::1"},
    "IPv6 in brackets": {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.1,[::1]"},
    "network": {"http_proxy": DEAD, "no_proxy": "localhost,127.0.0.0/8,::1"},
    "network and socks": {"all_proxy": "socks://127.0.0.1:9/", "no_proxy": "127.0.0.0/8"},
    "pattern": {"http_proxy": DEAD, "no_proxy": "*.internal,127.0.0.1"},
    "everything": {"all_proxy": "socks://127.0.0.1:9/", "no_proxy": "*"},
    "other proxies": {"ftp_proxy": "nonsense://", "no_proxy": ""},
}


@pytest.mark.parametrize("case", MATTERS_NOT)
async def test_a_variable_that_does_not_matter(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint is http://, or excluded from proxies."""
    for name, value in MATTERS_NOT[case].items():
        monkeypatch.setenv(name, value)
    async with using() as (_, client):
        with anyio.fail_after(GUARD):
            assert await ask(client, "action") == RIGHT
            assert await ask(client, "connect") == RIGHT


async def test_a_client_of_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has been made, so the environment is read no more."""
    async with httpx.AsyncClient(trust_env=False) as http:
        monkeypatch.setenv("all_proxy", "socks://127.0.0.1:9/")
        monkeypatch.setenv("SSL_CERT_FILE", GONE)
        async with using(http=http) as (_, client):
            with anyio.fail_after(GUARD):
                assert await ask(client, "action") == RIGHT


def doctor(url: str, **variables: str) -> tuple[Result, str]:
    """What the doctor finds, and the text of all that failed."""
    result = Cli(**variables)("doctor", "-e", url, "--connect-timeout", "5", code=None)
    failed = [line for line in result.lines if line["verdict"] == "failed"]
    return result, " ".join(f"{line['check']}: {line['detail']} {line['fix']}" for line in failed)


@pytest.mark.parametrize(
    ("name", "value"),
    [("SSL_CERT_FILE", GONE), ("SSLKEYLOGFILE", GONE), ("all_proxy", "socks://127.0.0.1:9/")],
)
def test_the_doctor_finds_it(name: str, value: str) -> None:
    result, found = doctor("https://rivet.invalid", **{name: value})
    assert result.code == 1
    assert name in found and value.rstrip("/") in found


def test_the_doctor_passes_over_what_does_not_matter(closed_port: int) -> None:
    variables = {"SSL_CERT_FILE": GONE, "all_proxy": "socks://127.0.0.1:9/", "no_proxy": "*"}
    _, found = doctor(f"http://127.0.0.1:{closed_port}", **variables)
    assert found.startswith("tcp: ") and f"127.0.0.1:{closed_port}" in found


def test_the_doctor_finds_a_dead_proxy(closed_port: int) -> None:
    """The advice is about the proxy, and names the variable."""
    proxy = f"http://me:s3cret@127.0.0.1:{closed_port}"
    result, found = doctor("http://rivet.invalid:6420", http_proxy=proxy)
    assert f"127.0.0.1:{closed_port}" in found and "http_proxy" in found.lower()
    assert "Start the server" not in found
    assert not re.search("s3cret", result.out + result.err)


OURS = "the error does not name the variable"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("RIVET_ENDPOINT", "http://127.0.0.1:6420\n", "127.0.0.1"),
        ("RIVET_ENDPOINT", "127.0.0.1:6420", "127.0.0.1:6420"),
        ("RIVET_ENDPOINT", "ws://127.0.0.1:6420", "ws://127.0.0.1:6420"),
        ("RIVET_ENGINE", "http://127.0.0.1:port", "127.0.0.1:port"),
        ("RIVET_ENDPOINT", "http://ns:s3cret@127.0.0.1:6420?x", "127.0.0.1"),
        ("RIVET_TOKEN", "s3cret\n", ""),
        ("RIVET_NAMESPACE", "default\n", "default"),
        ("RIVET_POOL", "default\n", "default"),
    ],
)
async def test_a_variable_of_our_own(
    name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as raised:
        Client()
    assert shown in str(raised.value) and "s3cret" not in str(raised.value)
