"""Is there anything at the endpoint? Names, ports, TLS."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

import anyio
import anyio.streams.tls
import httpx

from ._findings import Findings

__all__ = ["DEFAULT_PORT", "check_network", "is_reachable"]

DEFAULT_PORT = 6420

_PORTS = {"http": 80, "https": 443}


async def check_network(findings: Findings, url: str, *, seconds: float) -> None:
    """Check name, port and TLS of a URL, or of the proxy that leads to it.

    Raises:
        Stop: when there is no way.
    """
    proxy = _proxy_of(url)
    if proxy is not None:
        await findings.ok("proxy", f"requests go through {_origin(proxy)} (from the environment)")
    parts = urlsplit(proxy or url)
    host = parts.hostname or ""
    port = parts.port or _PORTS.get(parts.scheme, 80)
    await _check_name(findings, host, port, seconds)
    await _check_port(findings, host, port, seconds)
    if parts.scheme == "https":
        await _check_tls(findings, host, port, seconds)


async def is_reachable(url: str, *, seconds: float) -> bool:
    """Whether somebody listens there."""
    parts = urlsplit(url)
    try:
        with anyio.fail_after(seconds):
            async with await anyio.connect_tcp(
                parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 80)
            ):
                return True
    except OSError:
        return False


async def _check_name(findings: Findings, host: str, port: int, seconds: float) -> None:
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
            "Correct the host in --endpoint, or this machine's DNS.",
        )
    else:
        addresses = dict.fromkeys(str(address[4][0]) for address in found)
        await findings.ok("dns", f"{host} is {', '.join(addresses)}")


async def _check_port(findings: Findings, host: str, port: int, seconds: float) -> None:
    try:
        with anyio.fail_after(seconds):
            async with await anyio.connect_tcp(host, port):
                pass
    except TimeoutError:
        await findings.stop(
            "tcp",
            f"{host}:{port} does not answer within {seconds:g} s",
            "Correct the host, or let a firewall on the way pass this port.",
        )
    except OSError as exc:
        if not _is_refused(exc):
            await findings.stop(
                "tcp", f"{host}:{port} cannot be reached: {exc}", "Check this machine's network."
            )
        fix = f"Start the server, or correct the port: RivetKit's own is {DEFAULT_PORT}."
        other = f"http://{'[' + host + ']' if ':' in host else host}:{DEFAULT_PORT}"
        if port != DEFAULT_PORT and await is_reachable(other, seconds=1.0):
            fix = f"Somebody listens on port {DEFAULT_PORT}: try --endpoint {other}."
        await findings.stop("tcp", f"nobody listens on {host}:{port}", fix)
    else:
        await findings.ok("tcp", f"{host}:{port} accepts connections")


async def _check_tls(findings: Findings, host: str, port: int, seconds: float) -> None:
    context = httpx.create_ssl_context()
    try:
        with anyio.fail_after(seconds):
            async with await anyio.connect_tcp(
                host, port, tls=True, ssl_context=context, tls_standard_compatible=False
            ) as stream:
                version = stream.extra(anyio.streams.tls.TLSAttribute.tls_version)
    except ssl.SSLCertVerificationError as exc:
        await findings.stop("tls", f"the certificate is refused: {exc.verify_message}", _cure(exc))
    except TimeoutError:
        await findings.stop(
            "tls",
            f"no handshake within {seconds:g} s",
            "If the server speaks plain HTTP there, write http:// in --endpoint.",
        )
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as exc:
        reason = getattr(exc, "reason", None) or type(exc).__name__
        await findings.stop(
            "tls",
            f"what listens on {host}:{port} does not speak TLS ({reason})",
            "If the server speaks plain HTTP there, write http:// in --endpoint.",
        )
    else:
        await findings.ok("tls", f"{version}, certificate accepted")


def _cure(exc: ssl.SSLCertVerificationError) -> str:
    """What to do about a certificate that is refused. (The numbers are OpenSSL's X509_V_ERR_*.)"""
    if exc.verify_code in (9, 10):
        return "Compare this machine's clock with the real time; else renew the certificate."
    if exc.verify_code == 62:
        return "Write the name of the certificate in --endpoint, or get one for this name."
    return "Name the issuer's certificate in SSL_CERT_FILE, if it is one to trust."


def _is_refused(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return all(_is_refused(each) for each in exc.exceptions)
    if isinstance(exc, ConnectionRefusedError):
        return True
    return exc.__cause__ is not None and _is_refused(exc.__cause__)


def _proxy_of(url: str) -> str | None:
    """The proxy that httpx takes from the environment for this URL, None for none."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def _origin(url: str) -> str:
    """A URL's scheme, host and port: what is before them may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
