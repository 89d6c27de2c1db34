"""Proxies: which one leads to an origin, and CONNECT through one that may do anything."""

from __future__ import annotations

import base64
import string
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio import Client
from rivet_anyio._errors import ConfigError, ConnectError
from rivet_anyio._http.pool import Origin, Pool
from rivet_anyio._http.proxy import Proxies, Proxy, open_tunnel
from rivet_anyio._io.backend import ReusableStream, current_backend
from rivet_anyio._io.connect import TcpConnector

PROXY = "http://proxy:3128"
HTTPS = Origin("https", "api.example.com", 443)
SECRET = "s3cr3t"


def origin(text: str) -> Origin:
    """As ``host``, ``host:port`` or ``[address]:port``; port 443 by default."""
    host, port = text, 443
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = int(rest[1:] or 443)
    elif text.count(":") == 1:
        host, _, digits = text.partition(":")
        port = int(digits)
    return Origin("https", host, port)


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_exempt"),
    [
        # all
        ("*", "example.com", True),
        ("*", "10.0.0.1", True),
        ("*", "[::1]:80", True),
        ("other.org, *", "example.com", True),
        ("", "example.com", False),
        (",", "example.com", False),
        (" , ,", "example.com", False),
        # names and what is below them
        ("example.com", "example.com", True),
        ("example.com", "EXAMPLE.com", True),
        ("EXAMPLE.COM", "example.com", True),
        ("example.com", "api.example.com", True),
        ("example.com", "a.b.example.com", True),
        ("example.com", "notexample.com", False),
        ("example.com", "example.com.evil.org", False),
        ("example.com", "example.org", False),
        ("example.com", "com", False),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", True),
        (".example.com", "notexample.com", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "notexample.com", False),
        ("example.com.", "example.com", True),
        ("example.com", "example.com.", True),
        (".", "example.com", False),
        ("*.", "example.com", False),
        ("com", "example.com", True),
        ("localhost", "localhost", True),
        ("localhost", "127.0.0.1", False),
        ("127.0.0.1", "localhost", False),
        # lists
        ("a.org,example.com", "example.com", True),
        ("a.org, example.com", "example.com", True),
        ("a.org example.com", "example.com", True),
        ("a.org,b.org", "example.com", False),
        # ports
        ("example.com:443", "example.com", True),
        ("example.com:443", "example.com:8443", False),
        ("example.com:8443", "api.example.com:8443", True),
        (".example.com:8443", "api.example.com:443", False),
        ("example.com:", "example.com:8443", True),
        (":443", "example.com", False),
        ("10.0.0.1:443", "10.0.0.1", True),
        ("10.0.0.1:80", "10.0.0.1", False),
        # addresses
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.10", False),
        ("0.0.1", "10.0.0.1", False),
        (".1", "10.0.0.1", False),
        ("::1", "[::1]:443", True),
        ("[::1]", "[::1]:443", True),
        ("0:0:0:0:0:0:0:1", "[::1]:443", True),
        ("[::1]:443", "[::1]:443", True),
        ("[::1]:80", "[::1]:443", False),
        ("::2", "[::1]:443", False),
        ("FD00::A", "[fd00::a]:443", True),
        # networks
        ("10.0.0.0/8", "10.200.3.4", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.1.2.3/8", "10.200.3.4", True),
        ("10.0.0.0/255.0.0.0", "10.200.3.4", True),
        ("10.0.0.1/32", "10.0.0.1", True),
        ("10.0.0.1/32", "10.0.0.2", False),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("0.0.0.0/0", "[::1]:443", False),
        ("0.0.0.0/0", "example.com", False),
        ("fd00::/8", "[fd12::1]:443", True),
        ("fd00::/8", "[fe80::1]:443", False),
        ("fd00::/8", "10.0.0.1", False),
        ("192.168.0.0/16,10.0.0.0/8", "10.0.0.1", True),
        ("10.0.0.0/8", "[::ffff:10.0.0.1]:443", True),
        # what cannot be used, and does not matter here
        ("10.0.0.0/33", "example.com", False),
        ("10.0.0.0/33", "[::1]:443", False),
        ("other.org:port", "example.com", False),
        ("http://other.org", "example.com", False),
        ("http://other.org/x", "10.0.0.1", False),
        ("[::1", "example.com", False),
        ("]:[", "example.com", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, is_exempt: bool) -> None:
    proxies = Proxies.of_environment({"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy})
    found = proxies.find(origin(host))
    assert (found is None) == is_exempt
    assert proxies.find(origin(host)) is found


@pytest.mark.parametrize(
    ("no_proxy", "host", "advice"),
    [
        ("10.0.0.0/33", "10.0.0.1", "10.0.0.0/8"),
        ("10.0.0.0/x", "8.8.8.8", "10.0.0.0/8"),
        ("fd00::/200", "[fd00::1]:443", "10.0.0.0/8"),
        ("example.com:https", "example.com", "host:port"),
        ("example.com:-1", "api.example.com", "host:port"),
        ("http://example.com", "example.com", "host alone"),
        ("https://example.com:443/x", "example.com", "host alone"),
        ("example.com/x", "example.com", "host alone"),
    ],
)
def test_a_wrong_exception_is_named_where_it_matters(no_proxy: str, host: str, advice: str) -> None:
    proxies = Proxies.of_environment({"https_proxy": PROXY, "No_Proxy": no_proxy})
    with pytest.raises(ConfigError) as caught:
        proxies.find(origin(host))
    assert "No_Proxy" in str(caught.value)
    assert repr(no_proxy) in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"Https_Proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": "http://other:1", "HTTPS_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": "http://other:1", "https_proxy": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "https_proxy": ""}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "proxy:3128"}, PROXY),
        ({"HTTPS_PROXY": " http://proxy:3128\n"}, PROXY),
        ({"HTTPS_PROXY": "HTTP://PROXY:3128/"}, PROXY),
        ({"HTTPS_PROXY": "http://proxy"}, "http://proxy:80"),
        ({"HTTPS_PROXY": "https://proxy"}, "https://proxy:443"),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        ({"HTTPS_PROXY": f"http://me:{SECRET}@proxy:3128"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "x", "no_proxy": ""}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com", "no_proxy": ""}, PROXY),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "x", "no_proxy": "example.com"}, None),
    ],
)
def test_the_environment(env: dict[str, str], url: str | None) -> None:
    found = Proxies.of_environment(env).find(HTTPS)
    assert (found and found.url) == url


def test_what_a_client_of_a_cgi_program_says_is_no_proxy() -> None:
    plain = Origin("http", "example.com", 80)
    env = {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}
    assert Proxies.of_environment(env).find(plain) is None
    assert Proxies.of_environment({"http_proxy": PROXY, **env}).find(plain) is not None


NAMES = [
    f(f"{kind}_proxy")
    for kind in ("http", "https", "all", "no")
    for f in (str.lower, str.upper, str.title, str.capitalize)
]


@given(
    st.dictionaries(
        st.sampled_from([*NAMES, "REQUEST_METHOD", "PROXY", "HTTP_proxy"]),
        st.sampled_from(["", "http://a:1", "http://b:2"]),
    )
)
def test_the_environment_is_read_as_urllib_reads_it(env: dict[str, str]) -> None:
    with patch("urllib.request.os.environ", env):
        expected = urllib.request.getproxies_environment()
    proxies = Proxies.of_environment(env)
    assert {kind: url for kind, (_, url) in proxies._given.items()} == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ftp://proxy:21", "scheme"),
        ("://proxy", "scheme"),
        ("http://", "no host"),
        ("http://:3128", "no host"),
        ("http://proxy:port", "cannot be read"),
        ("http://proxy:99999", "cannot be read"),
        ("http://proxy:0", "port is 0"),
        ("http://pro xy:3128", "blank"),
        ("http://pro\nxy:3128", "control"),
        ("http://[::1:3128", "cannot be read"),
        (f"http://me:{SECRET}@proxy:port", "cannot be read"),
        (f"http://me:{SECRET}/x@proxy:3128", "percent-encode"),
        (f"http://me:1#{SECRET}@proxy:3128", "percent-encode"),
        (f"ftp://me:{SECRET}@proxy:21", "scheme"),
    ],
)
def test_a_wrong_value_is_named_and_shows_no_secret(value: str, said: str) -> None:
    proxies = Proxies.of_environment({"HTTPS_PROXY": value, "NO_PROXY": "exempt.org"})
    with pytest.raises(ConfigError, match=said) as caught:
        proxies.find(HTTPS)
    assert "HTTPS_PROXY" in str(caught.value)
    assert "NO_PROXY" in str(caught.value)
    assert SECRET not in str(caught.value)
    # It does not concern what is reached otherwise.
    assert proxies.find(Origin("http", "api.example.com", 80)) is None
    assert proxies.find(Origin("https", "exempt.org", 443)) is None
    with pytest.raises(ConfigError, match=r"^proxy is") as caught:
        Proxies.of_argument(value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_socks_is_refused_by_name(scheme: str) -> None:
    value = f"{scheme}://me:{SECRET}@proxy:1080"
    with pytest.raises(ConfigError, match=r"ALL_PROXY is a SOCKS proxy.*httpx\[socks\]") as caught:
        Proxies.of_environment({"ALL_PROXY": value}).find(HTTPS)
    assert SECRET not in str(caught.value)
    assert "httpx.AsyncClient(proxy=" in str(caught.value)


def test_the_argument_is_for_all_origins() -> None:
    proxies = Proxies.of_argument(PROXY)
    for asked in (HTTPS, Origin("http", "localhost", 6420)):
        found = proxies.find(asked)
        assert found is not None
        assert found.url == PROXY
        assert found.source == "proxy"
    with pytest.raises(ConfigError, match="proxy is a URL"):
        Proxies.of_argument(3)  # type: ignore[arg-type]


def test_user_and_password_are_in_the_header_alone() -> None:
    proxies = Proxies.of_argument(f"http://m%40e:{SECRET}%3A%2F@proxy:3128")
    found = proxies.find(HTTPS)
    assert found is not None
    (name, value), *rest = found.headers
    assert (name, rest) == ("Proxy-Authorization", [])
    assert value.startswith("Basic ")
    assert base64.b64decode(value[6:]) == f"m@e:{SECRET}:/".encode()
    for text in (repr(found), str(found), found.url, repr(proxies)):
        assert SECRET not in text
        assert value[6:] not in text


def test_the_settings_of_the_system() -> None:
    with (
        patch("sys.platform", "darwin"),
        patch("urllib.request.getproxies", lambda: {"https": PROXY}),
        patch("urllib.request.proxy_bypass", lambda host: host == "exempt.org"),
    ):
        proxies = Proxies.of_environment({})
        found = proxies.find(HTTPS)
        assert found is not None
        assert (found.url, found.source) == (PROXY, "the system's proxy setting")
        assert proxies.find(Origin("https", "exempt.org", 443)) is None
        assert Proxies.of_environment({"http_proxy": PROXY}).find(HTTPS) is None


# CONNECT

Playing = Callable[[SocketStream, bytes], Awaitable[None]]


class RawProxy:
    """A proxy that does what it is given, and remembers what it was asked."""

    def __init__(self, play: Playing) -> None:
        self.play = play
        self.asked: list[bytes] = []
        self.port = 0
        self.ended = anyio.Event()

    async def handle(self, stream: SocketStream) -> None:
        async with stream:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                self.asked.append(head)
                await self.play(stream, head)
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self.ended.set()

    def proxy(self, user: str = "") -> Proxy:
        found = Proxies.of_argument(f"http://{user}127.0.0.1:{self.port}").find(HTTPS)
        assert found is not None
        return found


@asynccontextmanager
async def raw_proxy(play: Playing) -> AsyncGenerator[RawProxy]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    proxy = RawProxy(play)
    proxy.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.handle)
        yield proxy
        tasks.cancel_scope.cancel()


def answering(*parts: bytes, end: bool = False) -> Playing:
    async def play(stream: SocketStream, _: bytes) -> None:
        for part in parts:
            await stream.send(part)
        if end:
            await stream.aclose()

    return play


async def tunnel(proxy: Proxy, to: Origin = HTTPS) -> ReusableStream:
    stream = await TcpConnector().connect(proxy.host, proxy.port)
    try:
        await open_tunnel(stream, to, proxy)
    except BaseException:
        stream.drop()
        raise
    return stream


async def test_a_tunnel_passes_bytes_on() -> None:
    async def play(stream: SocketStream, _: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        assert await stream.receive() == b"hello"
        await stream.send(b"hello to you")

    with anyio.fail_after(30):
        async with raw_proxy(play) as proxy:
            stream = await tunnel(proxy.proxy(f"me:{SECRET}@"))
            await stream.write(b"hello")
            assert await stream.read(100) == b"hello to you"
            stream.drop()
            await proxy.ended.wait()
    (head,) = proxy.asked
    first, *fields = head.decode().split("\r\n")
    assert first == "CONNECT api.example.com:443 HTTP/1.1"
    assert "Host: api.example.com:443" in fields
    secret = base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert f"Proxy-Authorization: Basic {secret}" in fields
    assert not [field for field in fields if field.lower().startswith("content-length")]


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\n", b"Via: x\r\n", b"\r\n"],
        [b"HTTP/1.0 200 Connection established\r\nProxy-Agent: y\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
    ],
)
async def test_each_2xx_opens_the_tunnel(parts: list[bytes]) -> None:
    # (RFC 9110, section 9.3.6: lengths and codings of a 2xx to CONNECT mean nothing)
    with anyio.fail_after(30):
        async with raw_proxy(answering(*parts)) as proxy:
            (await tunnel(proxy.proxy())).drop()


async def test_an_ipv6_address_stands_in_brackets() -> None:
    with anyio.fail_after(30):
        async with raw_proxy(answering(b"HTTP/1.1 200 OK\r\n\r\n")) as proxy:
            (await tunnel(proxy.proxy(), Origin("https", "::1", 8443))).drop()
    assert proxy.asked[0].startswith(b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n")


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"), "HTTP 502 Bad G"),
        (answering(b"HTTP/1.1 403 Forbidden\r\n\r\n"), "HTTP 403 Forbidden"),
        (answering(b"HTTP/1.1 302 Found\r\nLocation: x\r\n\r\n"), "HTTP 302"),
        (answering(b"HTTP/1.1 503 \r\n\r\n"), "HTTP 503"),
        (
            answering(b"HTTP/1.1 407 Authentication\r\n\r\n"),
            "put the user and password into the option proxy",
        ),
        (answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "it "),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "it "),
        (answering(b"\x15\x03\x01\x00\x02\x02\x46"), "it "),
        (answering(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000), "it "),
        (answering(b"", end=True), "it "),
        (answering(b"HTTP/1.1 200 OK\r\nX:", end=True), "it "),
        (answering(b"HTTP/1.1 200 OK\r\n\r\nhello"), "behind its answer"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"), "behind its answer"),
    ],
)
async def test_anything_else_is_an_error_that_names_proxy_and_origin(
    play: Playing, said: str
) -> None:
    with anyio.fail_after(30):
        async with raw_proxy(play) as proxy:
            with pytest.raises(ConnectError) as caught:
                await tunnel(proxy.proxy())
            await proxy.ended.wait()
    start = f"cannot connect to api.example.com:443 through the proxy {proxy.proxy().url}: "
    assert str(caught.value).startswith(start)
    assert said in str(caught.value).removeprefix(start)
    assert caught.value.status is None  # nobody refused an upgrade


async def test_credentials_that_are_refused_are_not_shown() -> None:
    with anyio.fail_after(30):
        async with raw_proxy(answering(b"HTTP/1.1 407 No\r\n\r\n")) as proxy:
            with pytest.raises(ConnectError, match="does not accept the user and") as caught:
                await tunnel(proxy.proxy(f"me:{SECRET}@"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["action", "fetch", "connect"])
@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("", "put the user and password into the option proxy, as http://user:password@"),
        (f"me:{SECRET}@", "does not accept the user and password of the option proxy"),
    ],
)
async def test_a_proxy_that_wants_credentials_for_a_request(
    kind: str, credentials: str, said: str
) -> None:
    """It is the proxy that speaks, whose answer `fetch` does not return as the actor's."""
    asks = b"Proxy-Authenticate: Basic\r\nRetry-After: 7\r\nContent-Length: 2"
    answer = answering(b"HTTP/1.1 407 Who\r\n" + asks + b"\r\n\r\nno")
    with anyio.fail_after(30):
        async with raw_proxy(answer) as proxy:
            url = f"http://{credentials}127.0.0.1:{proxy.port}"
            async with Client("http://rivet.invalid", proxy=url, metadata_lookup=False) as client:
                handle = client.x.get_for_id("a1")
                with pytest.raises(ConnectError) as caught:
                    if kind == "action":
                        await handle.action("go")
                    elif kind == "fetch":
                        await handle.fetch("x")
                    else:
                        async with handle.connect():
                            pass
    error = caught.value
    assert f"the proxy http://127.0.0.1:{proxy.port} for http://rivet.invalid:80" in str(error)
    assert said in str(error) and SECRET not in str(error)
    assert (error.status, error.retry_after) == (407, 7)


async def test_a_407_of_an_actor_behind_a_proxy_is_the_actors_answer() -> None:
    answer = answering(b"HTTP/1.1 407 Mine\r\nContent-Length: 2\r\n\r\nno")
    with anyio.fail_after(30):
        async with raw_proxy(answer) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            async with Client("http://rivet.invalid", proxy=url, metadata_lookup=False) as client:
                response = await client.x.get_for_id("a1").fetch("x")
    assert (response.status_code, response.text) == (407, "no")


async def _hang(_: SocketStream, __: bytes) -> None:
    await anyio.sleep_forever()


async def _drip(stream: SocketStream, _: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X: y\r\n")
        await anyio.sleep(0.05)


@pytest.mark.parametrize("play", [_hang, _drip])
async def test_a_dial_through_a_proxy_that_takes_for_ever_ends_in_time(play: Playing) -> None:
    with anyio.fail_after(30):
        async with raw_proxy(play) as proxy:
            pool = Pool(
                lambda origin: tunnel(proxy.proxy(), origin),
                anyio.current_time,
                current_backend().waiter,
                name_of=lambda origin: f"{origin.host} through {proxy.proxy().url}",
            )
            with pytest.raises(ConnectError, match=r"through http://127\S+: no connection in 0.3"):
                await pool.acquire(HTTPS, dial_seconds=0.3)
            assert pool.figures == (0, 0, 0, 0)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_takes_for_ever_is_named(scheme: str) -> None:
    """A proxy that is asked for a tunnel, and one that speaks no TLS."""
    endpoint = "https://example.com" if scheme == "http" else "http://example.com"
    with anyio.fail_after(30):
        async with (
            raw_proxy(_hang) as proxy,
            Client(
                endpoint,
                proxy=f"{scheme}://127.0.0.1:{proxy.port}",
                metadata_lookup=False,
                connect_timeout=0.2,
            ) as client,
        ):
            with pytest.raises(ConnectError, match=rf"com:\d+, through the proxy {scheme}://127"):
                await client.actor("x").get_for_id("a1").action("go")


@pytest.mark.parametrize("metadata_lookup", [True, False])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_what_waits_for_a_proxy_until_connect_timeout_names_it(
    scheme: str, metadata_lookup: bool
) -> None:
    """Who looks for the server or the actor, and gives up before the dial does."""
    with anyio.fail_after(30):
        async with (
            raw_proxy(_hang) as proxy,
            Client(
                f"{scheme}://example.com",
                proxy=f"http://127.0.0.1:{proxy.port}",
                metadata_lookup=metadata_lookup,
                connect_timeout=0.1,
            ) as client,
        ):
            handle = client.actor("x").get_or_create("k")
            named = rf"through the proxy http://127.0.0.1:{proxy.port}\b"
            for call in (handle.action("go"), handle.fetch("/"), handle.send("queue", 1)):
                with pytest.raises(ConnectError, match=named):
                    await call
            for connecting in (handle, client.actor("x").get_for_id("a1")):
                with pytest.raises(ConnectError, match=named):
                    async with connecting.connect():
                        pass


async def test_a_cancelled_connect_leaves_no_socket() -> None:
    with anyio.fail_after(30):
        async with raw_proxy(answering(b"HTTP/1.1 200 OK\r\n")) as proxy:
            with anyio.move_on_after(0.2) as scope:
                await tunnel(proxy.proxy())
            assert scope.cancelled_caught
            await proxy.ended.wait()


@given(
    st.text(string.printable + "é\x00", max_size=40), st.sampled_from(["a.b", "10.0.0.1", "::1"])
)
def test_nothing_else_comes_of_any_text(text: str, host: str) -> None:
    for env in ({"HTTPS_PROXY": text}, {"HTTPS_PROXY": PROXY, "NO_PROXY": text}):
        try:
            found = Proxies.of_environment(env).find(Origin("https", host, 443))
        except ConfigError:
            continue
        assert found is None or (found.host and 0 < found.port < 65536)
