"""Is it a Rivet server, which one, does it know us, and do WebSockets come through?"""

from __future__ import annotations

import datetime as dt
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import anyio

from ..._errors import (
    ActorError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    RivetError,
)
from ..._gateway.context import Core
from ..._gateway.errors import REDIRECTS, error_of
from ..._gateway.open import open_socket
from ..._gateway.server import Server
from ..._http.transport import HttpAnswer
from ...protocol.addressing import join_url, parse_endpoint_url, same_host
from ...protocol.dialect import ServerVersion
from ...protocol.management import Metadata, parse_metadata
from .._json import parse_json
from .findings import Findings, Stop
from .network import DEFAULT_PORT, is_reachable

__all__ = ["check_access", "check_server", "check_websocket", "get_metadata", "is_token_error"]

_NOBODY = "rivet-anyio-doctor"
"""The id and name of an actor that does not exist."""
_OLDEST, _NEWEST = (2, 0), (2, 3)
_SLOW_SECONDS = 2.0
_MAX_SKEW = dt.timedelta(seconds=60)


async def check_server(findings: Findings, core: Core, *, seconds: float) -> None:
    """Ask the endpoint what it is.

    Raises:
        Stop: when it is no Rivet server.
    """
    endpoint = core.config.endpoint
    began = anyio.current_time()
    answer = await _get_metadata(findings, core, endpoint.url, seconds)
    took = anyio.current_time() - began
    metadata = _metadata(answer)
    if metadata is None:
        await _explain_answer(findings, core, answer, seconds)
        raise Stop
    await _check_version(findings, metadata.version)
    if took > _SLOW_SECONDS:
        await findings.warn(
            "latency",
            f"/metadata took {took:.1f} s",
            "Raise timeouts (--connect-timeout), or look for what is slow on the way.",
        )
    else:
        await findings.ok("latency", f"/metadata took {took * 1000:.0f} ms")
    await _check_clock(findings, answer)
    await _check_client_endpoint(findings, core, metadata, seconds)


async def check_access(findings: Findings, core: Core, *, seconds: float) -> Server:
    """Check token and namespace with a question that creates nothing.

    Raises:
        Stop: when one of them is refused.
    """
    endpoint = core.config.endpoint
    try:
        server = await core.server()
        answer = await _list_nobody(core, server, with_token=True, seconds=seconds)
    except RivetError as exc:
        if is_token_error(exc):
            await _refused(findings, core, exc)
        await findings.stop("api", f"the management API: {exc}", "Look into the server's log.")
        raise
    error = None if answer.ok else _error(answer)
    if answer.status in (401, 403) or is_token_error(error):
        await _refused(findings, core, error)
    if isinstance(error, ActorError) and error.group == "namespace":
        names = await _namespaces(core, server, seconds)
        there = f"There are: {', '.join(names)}." if names else "Ask who runs the server."
        await findings.stop(
            "namespace",
            f"the server knows no namespace {server.endpoint.namespace!r}",
            f"Correct --namespace or RIVET_NAMESPACE. {there}",
        )
    if error is not None:
        await findings.stop("api", f"the management API: {error}", "Look into the server's log.")
    bare = await _list_nobody(core, server, with_token=False, seconds=seconds)
    if not bare.ok:
        await findings.ok("token", "accepted")
    elif endpoint.token is None:
        await findings.ok("token", "none is given, none is needed here")
    else:
        await findings.ok("token", "this server does not ask for one, so yours is not checked")
    await _check_namespace(findings, server)
    return server


async def check_websocket(
    findings: Findings, core: Core, server: Server, *, seconds: float
) -> None:
    """Open a WebSocket to an actor that does not exist: the server accepts it, then says so."""
    try:
        with anyio.fail_after(seconds):
            socket = await open_socket(core, server, _NOBODY, "/connect", "json", None, False, {})
    except TimeoutError:
        await findings.fail(
            "websocket",
            f"the handshake was not answered within {seconds:g} s",
            "Look for a proxy before the server that holds WebSockets up.",
        )
    except ProtocolError as exc:
        await findings.fail(
            "websocket",
            f"the handshake came back broken: {exc}",
            "Let the proxy before the server pass all Sec-WebSocket-* headers unchanged.",
        )
    except RivetError as exc:
        if is_token_error(exc):
            await findings.fail(
                "websocket",
                f"the token is refused for WebSockets: {exc}",
                "Let proxies pass x-rivet-token and Sec-WebSocket-Protocol, or correct the token.",
            )
            return
        await findings.fail(
            "websocket",
            f"the server answers HTTP, but no WebSocket opens: {exc}",
            "A proxy before the server strips the Upgrade header: let it pass WebSockets. For "
            "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
            'proxy_set_header Connection "upgrade";',
        )
    else:
        data = b""
        async with aclosing(socket):
            with anyio.move_on_after(seconds):
                try:
                    data = await socket.stream.read(1024)
                except ConnectionLostError:
                    pass
        if data:
            await findings.ok("websocket", "opens, and messages come through")
        else:
            await findings.fail(
                "websocket",
                "opens, but nothing comes through it",
                "Look for a proxy before the server that buffers or cuts WebSockets.",
            )


def is_token_error(error: RivetError | None) -> bool:
    """Whether this says that the token is missing, wrong or not allowed to."""
    if isinstance(error, ActorError):
        return error.group == "auth" or error.code in ("unauthorized", "forbidden")
    if isinstance(error, ConnectError):
        return error.status in (401, 403)
    return isinstance(error, ProtocolError) and str(error).startswith(("HTTP 401", "HTTP 403"))


async def _get_metadata(findings: Findings, core: Core, url: str, seconds: float) -> HttpAnswer:
    try:
        with anyio.fail_after(seconds):
            return await get_metadata(core, url)
    except TimeoutError:
        await findings.stop(
            "server",
            f"the endpoint accepts connections, but does not answer within {seconds:g} s",
            "Restart the server, or look for a proxy that waits for it.",
        )
    except ConnectionLostError as exc:
        other = "http" if url.startswith("https:") else "https"
        await findings.stop(
            "server",
            f"what listens there does not answer in {urlsplit(url).scheme.upper()}: {exc}",
            f"If it speaks {other.upper()}, write {other}:// in --endpoint; else correct the port.",
        )
    except (ConnectError, ProtocolError) as exc:
        await findings.stop("server", str(exc), "Correct --endpoint.")
    raise AssertionError("stop() raises")


async def get_metadata(core: Core, url: str) -> HttpAnswer:
    """Ask what answers at a URL for its metadata; raises as `HttpTransport.request`."""
    server = core._make_server(core.config.endpoint, core.config.headers, None)
    query = [("namespace", core.config.endpoint.namespace)]
    headers = server.management_headers(has_body=False)
    return await core.http.request("GET", join_url(url, "/metadata", query), headers=headers)


def _metadata(answer: HttpAnswer) -> Metadata | None:
    """What a Rivet server says of itself, None from any other."""
    if not answer.ok:
        return None
    try:
        found = parse_metadata(answer.body)
    except ProtocolError:
        return None
    return found if found.version.runtime else None


async def _explain_answer(
    findings: Findings, core: Core, answer: HttpAnswer, seconds: float
) -> None:
    url, status = core.config.endpoint.url, answer.status
    name = answer.headers.get("server", "")
    who = f" (it calls itself {name!r})" if name else ""
    if status in (401, 403):
        await _refused(findings, core, _error(answer))
    if status in REDIRECTS:
        target = _redirect_target(url, answer)
        await findings.fail(
            "server",
            f"the endpoint redirects with HTTP {status}, which is not followed",
            "Correct --endpoint." if target is None else f"Try --endpoint {target}.",
        )
    elif status == 400 and b"https" in answer.body.lower():
        await findings.fail("server", "it speaks TLS there", "Write https:// in --endpoint.")
    elif status in (502, 503, 504):
        await findings.fail(
            "server",
            f"a proxy answers, but the server behind it does not (HTTP {status}){who}",
            "Start the server, or correct where the proxy sends requests.",
        )
    else:
        fix = f"Correct the port or path of --endpoint: RivetKit's own port is {DEFAULT_PORT}."
        below = f"{url}/api/rivet"
        if await _is_rivet(core, below, seconds):
            fix = f"There is one below it: use --endpoint {below}."
        what = f"HTTP {status}, no Rivet server"
        await findings.fail("server", f"{what}: another HTTP server answers there{who}", fix)


def _redirect_target(url: str, answer: HttpAnswer) -> str | None:
    """The endpoint that a redirect of its metadata leads to, None where that cannot be one."""
    try:
        to = urlsplit(urljoin(url, answer.headers.get("location", "")))
        plain = to._replace(path=to.path.removesuffix("/metadata"), query="", fragment="")
        return parse_endpoint_url(plain.geturl())[0]
    except (ValueError, ConfigError):
        return None


async def _is_rivet(core: Core, url: str, seconds: float) -> bool:
    try:
        with anyio.fail_after(seconds):
            return _metadata(await get_metadata(core, url)) is not None
    except (RivetError, TimeoutError):
        return False


async def _check_version(findings: Findings, version: ServerVersion) -> None:
    text = f"RivetKit {version.text}" if version.text else "a Rivet server without a version"
    if version.runtime != "rivetkit":
        text += f" ({version.runtime})"
    if version.release is None or version.release > _NEWEST:
        await findings.warn(
            "server", f"{text}: this client knows 2.0 to 2.3", "Look for a newer rivet-anyio."
        )
    elif version.release < _OLDEST:
        await findings.warn("server", f"{text}: older than 2.0", "Update RivetKit.")
    elif not version.has_queues:
        await findings.warn(
            "server", f"{text}: an old server without queues", "Update RivetKit to use queues."
        )
    else:
        await findings.ok("server", text)


async def _check_clock(findings: Findings, answer: HttpAnswer) -> None:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return
    if theirs.tzinfo is None:
        return
    ahead = dt.datetime.now(dt.UTC) - theirs
    if abs(ahead) <= _MAX_SKEW:
        await findings.ok("clock", "agrees with the server's")
        return
    way = "ahead of" if ahead > dt.timedelta(0) else "behind"
    await findings.warn(
        "clock",
        f"this machine's clock is {abs(ahead).total_seconds():.0f} s {way} the server's",
        "Set the clocks: certificates and tokens depend on them.",
    )


async def _check_client_endpoint(
    findings: Findings, core: Core, metadata: Metadata, seconds: float
) -> None:
    endpoint, given = core.config.endpoint, metadata.client_endpoint
    if given is None:
        return
    advice = (
        "Set the server's public endpoint (RIVET_PUBLIC_ENDPOINT) to a URL that clients reach, "
        "or stay at this one: --no-metadata, in Python metadata_lookup=False."
    )
    try:
        url, _, _ = parse_endpoint_url(given)
    except ConfigError as exc:
        await findings.stop(
            "redirection", f"the server's public endpoint cannot be used: {exc}", advice
        )
    if url == endpoint.url:
        return
    if not await is_reachable(url, seconds=seconds):
        await findings.stop(
            "redirection",
            f"the server sends clients on to {url}, where nobody can be reached",
            advice,
        )
    elif endpoint.token is not None and not same_host(endpoint.url, url):
        await findings.warn(
            "redirection",
            f"the server sends clients on to {url}: the token stays behind",
            "Use that URL as --endpoint, if the token is meant for it.",
        )
    else:
        await findings.ok("redirection", f"the server sends clients on to {url}")


async def _list_nobody(
    core: Core, server: Server, *, with_token: bool, seconds: float
) -> HttpAnswer:
    query = [("name", _NOBODY), ("namespace", server.endpoint.namespace)]
    headers = server.management_headers(has_body=False)
    if not with_token:
        headers.pop("Authorization", None)
    try:
        with anyio.fail_after(seconds):
            return await core.http.request(
                "GET", join_url(server.endpoint.url, "/actors", query), headers=headers
            )
    except TimeoutError:
        raise ConnectionLostError(f"no answer within {seconds:g} s") from None


def _error(answer: HttpAnswer) -> RivetError:
    try:
        return error_of(answer, None)
    except ProtocolError as exc:
        return exc


async def _refused(findings: Findings, core: Core, error: RivetError | None) -> None:
    says = f": {error}" if error is not None else ""
    if core.config.endpoint.token is None:
        await findings.stop(
            "token", f"the server wants a token{says}", "Set RIVET_TOKEN to one for this namespace."
        )
    await findings.stop(
        "token",
        f"the server refuses the token{says}",
        "Set RIVET_TOKEN to a token that is valid for this namespace and may do this.",
    )


async def _namespaces(core: Core, server: Server, seconds: float) -> list[str]:
    """The namespaces that the server has, as far as it lists them."""
    try:
        with anyio.fail_after(seconds):
            answer = await core.manage(server, "GET", "/namespaces", [])
        return [str(each["name"]) for each in parse_json(answer.body.decode())["namespaces"]]
    except (RivetError, TimeoutError, ValueError, LookupError, TypeError):
        return []


async def _check_namespace(findings: Findings, server: Server) -> None:
    name = server.endpoint.namespace
    if server.version is not None and server.version.runtime != "engine":
        if name != "default":
            await findings.warn(
                "namespace",
                f"this server has no namespaces: {name!r} means nothing to it",
                "Leave out --namespace and RIVET_NAMESPACE, or check the endpoint.",
            )
        return
    await findings.ok("namespace", f"{name!r} exists")
