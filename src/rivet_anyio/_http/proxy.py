"""Which HTTP proxy leads to an origin, and the tunnel through it. (RFC 9110, section 9.3.6)

The environment is read as `urllib.request.getproxies` reads it: ``http_proxy``, ``https_proxy`` and
``all_proxy``, also in upper case. ``no_proxy`` lists hosts to reach directly: names with all names
below them (a leading dot makes no difference), IP addresses, each with a port or without, networks
such as ``10.0.0.0/8``, and ``*`` for all.

A value that cannot be used is an error only for the origins that it concerns.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping
from urllib.parse import unquote_to_bytes, urlsplit

from .._errors import ConfigError, ConnectError, ConnectionLostError
from .._io.backend import ReusableStream
from .exchange import Exchange, Head, State
from .pool import Origin, address

__all__ = ["Proxies", "Proxy", "open_tunnel", "refusal"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_READ_BYTES = 64 * 1024
_UNUSABLE = re.compile(r"[\x00-\x20\x7f\\]")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy:
    """An HTTP proxy. Its user and password are in `headers` alone.

    Attributes:
        scheme: ``"http"``, or ``"https"`` to speak TLS with the proxy.
        host: Its name or IP address.
        port: Its port.
        url: Its URL without user and password, for texts.
        headers: What a request to the proxy says who we are.
        source: Where it was given: ``"proxy"``, or the name of an environment variable.
    """

    __slots__ = ("headers", "host", "port", "scheme", "source", "url")

    def __init__(
        self, scheme: str, host: str, port: int, headers: tuple[tuple[str, str], ...], source: str
    ) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.url = f"{scheme}://{address(host, port)}"
        self.headers = headers
        self.source = source

    def __repr__(self) -> str:
        return f"<Proxy {self.url} from {self.source}>"


class Proxies:
    """Where proxies are named: by the argument ``proxy=`` or by the environment."""

    __slots__ = ("_bypasses", "_found", "_given", "_no_proxy")

    def __init__(
        self,
        given: Mapping[str, tuple[str, str]],
        no_proxy: tuple[str, str] = ("no_proxy", ""),
        bypasses: Callable[[str], bool] | None = None,
    ) -> None:
        """
        Args:
            given: By ``"http"``, ``"https"`` and ``"all"``: where a proxy is named, and its URL.
            no_proxy: Where exceptions are listed, and the list.
            bypasses: Whether the system's settings name a host as an exception.
        """
        self._given = given
        self._no_proxy = no_proxy
        self._bypasses = bypasses
        self._found: dict[Origin, Proxy | None] = {}

    @classmethod
    def of_argument(cls, proxy: str) -> Proxies:
        """One proxy for all origins.

        Raises:
            ConfigError: when it cannot be used.
        """
        if not isinstance(proxy, str):
            raise ConfigError(
                f"proxy is a URL such as 'http://host:port', not {type(proxy).__name__}"
            )
        _parsed("proxy", proxy)
        return cls({"all": ("proxy", proxy)})

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] | None = None) -> Proxies:
        """The proxies of the environment; on macOS and Windows else those of the system."""
        env = os.environ if environ is None else environ
        named = [name for name in env if name[-6:].lower() == "_proxy" and len(name) > 6]
        # Lower case wins, and empties what upper case says.
        named.sort(key=lambda name: name.endswith("_proxy"))
        found: dict[str, tuple[str, str]] = {}
        for name in named:
            kind = name[:-6].lower()
            # A CGI program's client chooses HTTP_PROXY: it is its header 'Proxy'.
            if kind == "http" and "REQUEST_METHOD" in env and not name.endswith("_proxy"):
                continue
            if env[name]:
                found[kind] = (name, env[name])
            elif name.endswith("_proxy"):
                found.pop(kind, None)
        if not found and sys.platform in ("darwin", "win32"):
            return cls._of_system()
        return cls(found, found.get("no", ("no_proxy", "")))

    @classmethod
    def _of_system(cls) -> Proxies:
        from urllib.request import getproxies, proxy_bypass

        where = "the system's proxy setting"
        given = {kind: (where, url) for kind, url in getproxies().items()}
        return cls(given, bypasses=lambda host: bool(proxy_bypass(host)))

    def find(self, origin: Origin) -> Proxy | None:
        """The proxy that leads to an origin, None where none is to be used.

        Raises:
            ConfigError: for a value that cannot be used, and that matters for this origin. It names
                the variable.
        """
        if origin in self._found:
            return self._found[origin]
        source, url = self._given.get(origin.scheme) or self._given.get("all") or ("", "")
        proxy = None
        if url and not self._is_exempt(origin):
            proxy = _parsed(source, url)
        self._found[origin] = proxy
        return proxy

    def _is_exempt(self, origin: Origin) -> bool:
        if self._bypasses is not None:
            return self._bypasses(origin.host)
        source, text = self._no_proxy
        return any(_matches(source, entry, origin) for entry in re.split(r"[\s,]+", text))


async def open_tunnel(stream: ReusableStream, origin: Origin, proxy: Proxy) -> None:
    """Ask a proxy to pass on what follows, both ways. The caller drops the stream of a failure.

    The caller bounds the time, too.

    Args:
        stream: A new connection to the proxy.
        origin: Where it is to lead.
        proxy: As `Proxies.find` gave it.

    Raises:
        ConnectError: the proxy refused, gave no answer that can be read, or broke off.
    """
    target = address(origin.host, origin.port)
    exchange = Exchange("CONNECT", target, [("Host", target), *proxy.headers])
    why = ""
    try:
        await stream.write(exchange.start())
        while exchange.state is State.HEAD:
            exchange.feed(await stream.read(_READ_BYTES))
    except ConnectionLostError as exc:
        why = str(exc)
        raise _no_tunnel(target, proxy, why) from exc
    if exchange.state is State.UPGRADED:
        if not exchange.leftover:
            return
        # In a tunnel the client speaks first, so nobody but the proxy can have said this.
        why = "it sent something behind its answer, before anything was asked"
    elif exchange.head is None:
        why = (exchange.error or "").replace("the server", "it", 1)
    else:
        why = f"it answered {refusal(exchange.head, proxy)}"
    raise _no_tunnel(target, proxy, why)


def refusal(head: Head, proxy: Proxy) -> str:
    """What a proxy answered, and what to do about it."""
    text = f"HTTP {head.status} {head.reason}".rstrip()
    if head.status != 407:
        return text
    source = "the option proxy" if proxy.source == "proxy" else proxy.source
    if proxy.headers:
        return f"{text} and does not accept the user and password of {source}"
    return f"{text}: put the user and password into {source}, as http://user:password@host:port"


def _no_tunnel(target: str, proxy: Proxy, why: str) -> ConnectError:
    return ConnectError(f"cannot connect to {target} through the proxy {proxy.url}: {why}")


def _parsed(source: str, value: str) -> Proxy:
    """The proxy that a value names, which may lack ``http://``; raises `ConfigError`."""
    value = value.strip()
    text = value if "://" in value else f"http://{value}"
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    # User and password are shown nowhere.
    shown = f"{scheme}://{rest.rpartition('@')[2]}"
    if scheme.startswith("socks"):
        raise ConfigError(
            f"{source} is a SOCKS proxy ({shown!r}), which this client does not speak: name an "
            "HTTP proxy, or install httpx[socks] and give Client(http=httpx.AsyncClient(proxy=...))"
        )
    advice = "write http://host:port"
    if source != "proxy":
        advice += ", or name the server in NO_PROXY to reach it directly"
    if scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{source} is {shown!r}, whose scheme is not http or https: {advice}")
    try:
        if _UNUSABLE.search(value):
            raise ValueError("it has a blank, a backslash or a control character")
        parts = urlsplit(text)
        if "@" in rest and "@" not in parts.netloc:
            raise ValueError("its user or password has '/', '?' or '#' (percent-encode them)")
        host, port = parts.hostname, parts.port
        if not host:
            raise ValueError("it has no host")
        if port == 0:
            raise ValueError("its port is 0")
        host.encode("idna" if not host.isascii() else "ascii")
    except ValueError as exc:
        reason = str(exc) if str(exc).startswith("it") else "its host or port cannot be read"
        raise ConfigError(f"{source} is {shown!r}, but {reason}: {advice}") from None
    headers: tuple[tuple[str, str], ...] = ()
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        headers = (("Proxy-Authorization", f"Basic {base64.b64encode(pair).decode()}"),)
    return Proxy(scheme, host, port or _DEFAULT_PORTS[scheme], headers, source)


def _matches(source: str, entry: str, origin: Origin) -> bool:
    """Whether an entry of ``no_proxy`` means an origin; raises `ConfigError`."""
    if entry == "*":
        return True
    host = origin.host.lower().rstrip(".")
    is_address = _address_of(host)
    if "/" in entry:
        return _matches_network(source, entry, host, is_address)
    name, port = _split_port(entry)
    if not _is_below(host, is_address, name):
        return False
    if not port:
        return True
    if not (port.isascii() and port.isdecimal()):
        raise ConfigError(
            f"{source} has {entry!r}, whose port is not a number: write host or host:port"
        )
    return int(port) == origin.port


def _matches_network(source: str, entry: str, host: str, is_address: _Address | None) -> bool:
    try:
        network = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    else:
        return is_address is not None and is_address in network
    start = _address_of(entry.partition("/")[0])
    if start is not None and is_address is not None and start.version == is_address.version:
        raise ConfigError(f"{source} has {entry!r}, which is not a network: write it as 10.0.0.0/8")
    name, _ = _split_port(entry.rpartition("://")[2].partition("/")[0])
    if _is_below(host, is_address, name):
        raise ConfigError(
            f"{source} has {entry!r}, which is a URL: write the host alone, or host:port"
        )
    return False


def _split_port(entry: str) -> tuple[str, str]:
    """The host of an entry, in lower case without dots around it, and its port or nothing."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""
    return name.lower().removeprefix("*").strip("."), port


def _is_below(host: str, is_address: _Address | None, name: str) -> bool:
    """Whether a host has this name, or one below it, or is this address."""
    if not name:
        return False
    if is_address is not None:
        return is_address == _address_of(name)
    return host == name or host.endswith(f".{name}")


def _address_of(host: str) -> _Address | None:
    """The IP address that a host is, None for a name."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
