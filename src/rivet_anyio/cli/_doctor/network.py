"""Is there anything at the endpoint? Proxies, names, ports, TLS."""

from __future__ import annotations

import socket
import ssl
from typing import NoReturn
from urllib.parse import urlsplit

import anyio

from ..._errors import ConfigError, ConnectError
from ..._http.pool import Origin, address
from ..._http.proxy import Proxies, Proxy, open_tunnel
from ..._io.backend import ReusableStream
from ..._io.connect import DialError, TcpConnector
from ..._io.tls import default_tls_context, start_tls
from .findings import Findings

__all__ = ["DEFAULT_PORT", "check_network", "is_reachable"]

DEFAULT_PORT = 6420

_PORTS = {"http": 80, "https": 443}


async def check_network(findings: Findings, url: str, *, seconds: float) -> None:
    """Check the variables of the environment that matter for a URL, and name, port and TLS of it
    or of the proxy that leads to it.

    Raises:
        Stop: when there is no way.
    """
    origin = _origin_of(url)
    proxy, context = await _check_environment(findings, origin)
    host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
    await _check_name(findings, host, port, proxy, seconds)
    stream = await _check_port(findings, host, port, proxy, seconds)
    try:
        if context is not None and proxy is not None and proxy.scheme == "https":
            stream = await _check_tls(findings, stream, context, host, port, seconds)
        if context is not None and origin.scheme == "https":
            if proxy is not None:
                await _check_tunnel(findings, stream, origin, proxy, seconds)
            await _check_tls(findings, stream, context, origin.host, origin.port, seconds)
    finally:
        stream.drop()


async def is_reachable(url: str, *, seconds: float) -> bool:
    """Whether a server, or the proxy that leads to it, accepts connections."""
    try:
        origin = _origin_of(url)
        proxy = Proxies.of_environment().find(origin)
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        with anyio.fail_after(seconds):
            stream = await TcpConnector().connect(host, port)
    except (ConfigError, ConnectError, TimeoutError):
        return False
    stream.drop()
    return True


def _origin_of(url: str) -> Origin:
    parts = urlsplit(url)
    return Origin(parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80))


async def _check_environment(
    findings: Findings, origin: Origin
) -> tuple[Proxy | None, ssl.SSLContext | None]:
    """The proxy to use, and the TLS context where TLS is spoken with the server or the proxy."""
    try:
        proxy = Proxies.of_environment().find(origin)
    except ConfigError as exc:
        await _wrong_variable(findings, "proxy", exc)
    context = None
    if origin.scheme == "https" or (proxy is not None and proxy.scheme == "https"):
        try:
            context = await default_tls_context()
        except ConfigError as exc:
            await _wrong_variable(findings, "tls", exc)
    if proxy is not None:
        await findings.ok("proxy", f"requests go through {proxy.url} (from {proxy.source})")
    return proxy, context


async def _wrong_variable(findings: Findings, check: str, exc: ConfigError) -> NoReturn:
    await findings.stop(check, str(exc), "Correct this variable of the environment, or unset it.")


async def _check_name(
    findings: Findings, host: str, port: int, proxy: Proxy | None, seconds: float
) -> None:
    where = "the host in --endpoint" if proxy is None else f"the proxy in {proxy.source}"
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        await findings.stop(
            "dns", f"the name {host!r} was not resolved in time", "Check this machine's DNS."
        )
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        await findings.stop(
            "dns",
            f"the name {host!r} leads nowhere: {reason}",
            f"Correct {where}, or this machine's DNS.",
        )
    else:
        addresses = dict.fromkeys(str(each[4][0]) for each in found)
        await findings.ok("dns", f"{host} is {', '.join(addresses)}")


async def _check_port(
    findings: Findings, host: str, port: int, proxy: Proxy | None, seconds: float
) -> ReusableStream:
    place = address(host, port)
    try:
        with anyio.fail_after(seconds):
            stream = await TcpConnector().connect(host, port)
    except (TimeoutError, DialError) as exc:
        if proxy is not None:
            reason = f"no answer within {seconds:g} s" if isinstance(exc, TimeoutError) else exc
            await findings.stop(
                "tcp",
                f"the proxy {proxy.url} (from {proxy.source}) cannot be reached: {reason}",
                f"Start the proxy, or correct {proxy.source}. To reach the server without it, "
                "add the server's host to NO_PROXY.",
            )
        if isinstance(exc, TimeoutError):
            await findings.stop(
                "tcp",
                f"{place} does not answer within {seconds:g} s",
                "Correct the host, or let a firewall on the way pass this port.",
            )
        if not isinstance(exc.__cause__, ConnectionRefusedError):
            await findings.stop("tcp", str(exc), "Check this machine's network.")
        fix = f"Start the server, or correct the port: RivetKit's own is {DEFAULT_PORT}."
        other = f"http://{address(host, DEFAULT_PORT)}"
        if port != DEFAULT_PORT and await is_reachable(other, seconds=1.0):
            fix = f"Somebody listens on port {DEFAULT_PORT}: try --endpoint {other}."
        await findings.stop("tcp", f"nobody listens on {place}", fix)
    await findings.ok("tcp", f"{place} accepts connections")
    return stream


async def _check_tunnel(
    findings: Findings, stream: ReusableStream, origin: Origin, proxy: Proxy, seconds: float
) -> None:
    try:
        with anyio.fail_after(seconds):
            await open_tunnel(stream, origin, proxy)
    except (TimeoutError, ConnectError) as exc:
        text = str(exc) or f"the proxy {proxy.url} does not answer within {seconds:g} s"
        await findings.stop(
            "proxy",
            text,
            f"Let the proxy pass connections to {address(origin.host, origin.port)}, or add the "
            "server's host to NO_PROXY.",
        )


async def _check_tls(
    findings: Findings,
    stream: ReusableStream,
    context: ssl.SSLContext,
    host: str,
    port: int,
    seconds: float,
) -> ReusableStream:
    try:
        with anyio.fail_after(seconds):
            secure = await start_tls(stream, context, host)
    except TimeoutError:
        await findings.stop(
            "tls",
            f"no handshake within {seconds:g} s",
            "If the server speaks plain HTTP there, write http:// in --endpoint.",
        )
    except ConnectError as exc:
        cause = exc.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            await findings.stop(
                "tls", f"the certificate is refused: {cause.verify_message}", _cure(cause)
            )
        await findings.stop(
            "tls",
            f"no TLS with {address(host, port)}: {exc}",
            "If the server speaks plain HTTP there, write http:// in --endpoint.",
        )
    await findings.ok("tls", f"{secure.version}, certificate accepted")
    return secure


def _cure(exc: ssl.SSLCertVerificationError) -> str:
    """What to do about a certificate that is refused. (The numbers are OpenSSL's X509_V_ERR_*.)"""
    if exc.verify_code in (9, 10):
        return "Compare this machine's clock with the real time; else renew the certificate."
    if exc.verify_code == 62:
        return "Write the name of the certificate in --endpoint, or get one for this name."
    return "Name the issuer's certificate in SSL_CERT_FILE, if it is one to trust."
