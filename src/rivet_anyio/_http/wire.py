"""Requests over connections of our own: the only place that sends one over a pooled socket.

An exchange knows what the bytes mean, the pool which socket to use. Here is what needs time: a
head has 10 s from its first byte to its end, and so has what stands around a chunk; before that,
and between two pieces of a body, the read timeout counts.
"""

from __future__ import annotations

import math
import ssl
from collections import defaultdict
from collections.abc import AsyncIterable, Mapping
from functools import partial
from inspect import isasyncgen
from typing import NamedTuple

import anyio
from anyio import CancelScope, move_on_after

from .._errors import ConfigError, ConnectError, ConnectionLostError, ProtocolError, RivetError
from .._io.backend import Backend, Deadline, ReusableStream
from .._io.connect import Connector, DialError
from .._io.tasks import SilentTasks
from .._io.tls import Resumption, ResumptionError, default_tls_context, start_tls
from .._text import in_short
from ..protocol.addressing import ascii_host
from .exchange import Exchange, Head, State
from .pool import Origin, Pool, Pooled
from .proxy import Proxies, Proxy, open_tunnel, refusal
from .request import Fields
from .transport import (
    MAX_REFUSAL,
    HttpAnswer,
    Timeouts,
    Upgraded,
    check_not_encoded,
    is_encoded,
    is_page,
    refusal_seconds,
    retry_after,
    too_long,
)

__all__ = ["Wire"]

_PORTS = {"http": 80, "https": 443}
_FRAMING_SECONDS = 10.0
_READ = 256 * 1024
_WRITE = 256 * 1024


class _Site(NamedTuple):
    """Where a URL leads to.

    Attributes:
        origin: Scheme, host and port.
        host: The ``Host`` field.
        prefix: What stands before the target on its way through a proxy.
        proxy: That proxy, None where there is a tunnel or no proxy.
        name: What an error calls it.
    """

    origin: Origin
    host: str
    prefix: str
    proxy: Proxy | None
    name: str


class Wire:
    """See `HttpTransport`.

    Args:
        backend: The event loop.
        connector: Makes connections.
        proxies: Which proxy to use for what.
        tls: The TLS context; None: the default, which is made when it is first needed.
        max_body_size: The longest whole answer accepted, in bytes.
        timeouts: For requests that do not say otherwise.
        max_connections: How many sockets to have at most; None: as many as the system allows.
    """

    def __init__(
        self,
        backend: Backend,
        connector: Connector,
        proxies: Proxies,
        *,
        tls: ssl.SSLContext | None,
        max_body_size: int,
        timeouts: Timeouts,
        max_connections: int | None,
    ) -> None:
        self._backend = backend
        self._connector = connector
        self._proxies = proxies
        self._tls = tls
        self._tls_lock: anyio.Lock | None = None
        self._resumptions: defaultdict[tuple[str, int], Resumption] = defaultdict(Resumption)
        self._max_body_size = max_body_size
        self._timeouts = timeouts
        self._sites: dict[str, _Site] = {}
        # The fields of the last request.
        self._last_site: _Site | None = None
        self._last_headers: Mapping[str, str] = {}
        self._last_fields = Fields(())
        self.failed_dials = 0
        self.pool = Pool(
            self._dial,
            backend.time,
            backend.waiter,
            max_sockets=max_connections,
            name_of=self._name_of,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        extra_seconds: float = 0.0,
        runs_actor: bool = False,
    ) -> HttpAnswer:
        site, target = self._locate(url)
        exchange = Exchange(method, target, self._fields_of(site, headers), content=content)
        timeouts = self._timeouts
        seconds = math.inf if timeouts.read is None else timeouts.read + extra_seconds
        await self._backend.checkpoint_if_cancelled()
        pooled = self.pool.take_idle(site.origin)
        if pooled is None:
            pooled = await self._acquire(site.origin, timeouts, waits=runs_actor)
        running = _Running(self, site, pooled, exchange, seconds)
        try:
            head = await running.begin(None)
            try:
                check_not_encoded(head.status, head.headers)
                body = await running.read_whole(self._max_body_size)
            except ProtocolError:
                if not is_page(head.status, head.headers):
                    raise
                body = b""
        finally:
            running.end()
        return HttpAnswer(head.status, head.headers, body)

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: list[tuple[str, str]],
        content: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts | None,
    ) -> WireAnswer:
        site, target = self._locate(url)
        names = {name.lower() for name, _ in headers}
        fields = list(headers)
        if "host" not in names:
            fields.insert(0, ("Host", site.host))
        if "accept-encoding" not in names:
            fields.append(("Accept-Encoding", "identity"))
        if site.proxy is not None:
            fields += site.proxy.headers
        whole = content if isinstance(content, bytes) else None
        pieces = None if content is None or isinstance(content, bytes) else content
        exchange = Exchange(method, target, fields, content=whole, streams=pieces is not None)
        timeouts = timeouts or self._timeouts
        await self._backend.checkpoint_if_cancelled()
        pooled = self.pool.take_idle(site.origin)
        if pooled is None:
            pooled = await self._acquire(site.origin, timeouts)
        running = _Running(self, site, pooled, exchange, _seconds(timeouts.read))
        try:
            head = await running.begin(pieces)
        except BaseException:
            running.end()
            raise
        return WireAnswer(running, head)

    async def upgrade(
        self, url: str, *, headers: Mapping[str, str], has_secret: bool = False
    ) -> Upgraded:
        site, target = self._locate(url)
        fields = Fields(_fields(site, headers))
        fresh = False
        while True:
            exchange = Exchange("GET", target, fields, upgrade=True)
            pooled = await self._acquire(site.origin, self._timeouts, fresh=fresh, waits=False)
            running = _Running(self, site, pooled, exchange, _seconds(self._timeouts.read))
            try:
                head = await running.begin(None)
                if exchange.state is State.UPGRADED:
                    stream = running.detach()
                    stream.unread(exchange.leftover)
                    ended = partial(self.pool.ended, pooled)
                    return Upgraded(101, _version(head), head.headers, stream, ended=ended)
                body = b"" if is_encoded(head.headers) else await running.read_beginning()
                return Upgraded(head.status, _version(head), head.headers, body=body)
            except ConnectionLostError as lost:
                # The server closed a connection that had been idle: a handshake runs nothing.
                if not (pooled.is_reused and running.may_be_stale):
                    raise ConnectError(f"the handshake broke: {lost}") from lost
                fresh = True
            except ProtocolError as exc:
                raise ConnectError(f"the handshake broke: {exc}") from exc
            finally:
                running.end()

    def via(self, url: str) -> str:
        return self._via(self._locate(url)[0].origin)

    def lost(self, url: str) -> None:
        self.pool.lost(self._locate(url)[0].origin)

    def close(self) -> None:
        self.pool.close()

    def _fields_of(self, site: _Site, headers: Mapping[str, str]) -> Fields:
        """The fields of a request. Most have those of the request before, which were checked."""
        if site is not self._last_site or headers != self._last_headers:
            self._last_fields = Fields(_fields(site, headers))
            self._last_site, self._last_headers = site, dict(headers)
        return self._last_fields

    def _locate(self, url: str) -> tuple[_Site, str]:
        """Where a URL leads to, and the target to ask for there."""
        scheme, _, rest = url.partition("://")
        netloc, slash, path = rest.partition("/")
        key = url[: len(scheme) + 3 + len(netloc)]
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = self._find_site(scheme, netloc)
        return site, site.prefix + slash + path

    def _find_site(self, scheme: str, netloc: str) -> _Site:
        if scheme not in _PORTS:
            raise ConfigError(f"the request cannot be sent: {scheme!r} is not http or https")
        host, port = _split(netloc)
        origin = Origin(scheme, host, _PORTS[scheme] if port is None else port)
        field = f"[{host}]" if ":" in host else host
        if port is not None and port != _PORTS[scheme]:
            field += f":{port}"
        proxy = self._proxies.find(origin)
        if proxy is None or scheme == "https":
            return _Site(origin, field, "", None, self._name_of(origin))
        name = f"the proxy {proxy.url} for {_url(origin)}"
        return _Site(origin, field, f"{scheme}://{field}", proxy, name)

    def _name_of(self, origin: Origin) -> str:
        """What an error calls an origin, and the proxy that leads to it."""
        via = self._via(origin)
        return f"{_url(origin)},{via}" if via else _url(origin)

    def _via(self, origin: Origin) -> str:
        proxy = self._proxies.find(origin)
        return "" if proxy is None else f" through the proxy {proxy.url}"

    async def _acquire(
        self, origin: Origin, timeouts: Timeouts, *, fresh: bool = False, waits: bool = True
    ) -> Pooled:
        """A socket for one request, unless that was cancelled; see `Pool.acquire`."""
        seconds = _seconds(timeouts.connect)
        try:
            pooled = await self.pool.acquire(
                origin, dial_seconds=seconds, fresh=fresh, waits_behind_others=waits
            )
        except DialError as exc:
            raise ConnectError(f"cannot connect to {_url(origin)}: {exc.reason}") from exc
        try:
            # A cancellation that came with the socket has not been noticed.
            await self._backend.checkpoint_if_cancelled()
        except BaseException:
            self.pool.release(pooled, reusable=True)
            raise
        return pooled

    async def _dial(self, origin: Origin) -> ReusableStream:
        """A connection to an origin, through a proxy where there is one for it.

        One that is given up has failed, too, however long it took: nobody may be there any more.
        """
        try:
            while True:  # what was refused to be resumed is not tried again
                try:
                    return await self._dial_once(origin)
                except ResumptionError:
                    continue
        except BaseException as exc:
            self.failed_dials += not getattr(exc, "out_of_descriptors", False)
            raise

    async def _dial_once(self, origin: Origin) -> ReusableStream:
        proxy = self._proxies.find(origin)
        tls = None
        if origin.scheme == "https" or (proxy is not None and proxy.scheme == "https"):
            tls = await self._tls_context()
        if proxy is None:
            stream = await self._connector.connect(origin.host, origin.port)
        else:
            try:
                stream = await self._connector.connect(proxy.host, proxy.port)
            except DialError as exc:
                if exc.out_of_descriptors:
                    raise
                raise ConnectError(
                    f"the proxy {proxy.url} (from {proxy.source}) cannot be reached: {exc.reason}"
                ) from exc
        try:
            if tls is not None:
                if proxy is not None and proxy.scheme == "https":
                    resumption = self._resumptions[proxy.host, proxy.port]
                    called = f"the proxy {proxy.url}"
                    stream = await start_tls(stream, tls, proxy.host, resumption, called=called)
                if origin.scheme == "https":
                    if proxy is not None:
                        await open_tunnel(stream, origin, proxy)
                    resumption = self._resumptions[origin.host, origin.port]
                    called = self._name_of(origin)
                    stream = await start_tls(stream, tls, origin.host, resumption, called=called)
        except BaseException:
            stream.drop()
            raise
        return stream

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls_lock = self._tls_lock or anyio.Lock()
            async with self._tls_lock:
                if self._tls is None:
                    self._tls = await default_tls_context()
        return self._tls


class _Running:
    """One exchange on one socket of the pool, until `end`.

    Attributes:
        may_be_stale: Whether the server may have closed the socket before it had the request. It
            has not if it sent anything, or if the time was over first.
    """

    __slots__ = (
        "_backend",
        "_early",
        "_exchange",
        "_is_cut",
        "_is_sent",
        "_pool",
        "_pooled",
        "_seconds",
        "_site",
        "_stream",
        "_usual_at",
        "_wire",
        "may_be_stale",
    )

    def __init__(
        self, wire: Wire, site: _Site, pooled: Pooled, exchange: Exchange, seconds: float
    ) -> None:
        self._wire = wire
        self._pool = wire.pool
        self._backend = wire._backend
        self._pooled: Pooled | None = pooled
        self._site = site
        self._stream = pooled.stream
        self._exchange = exchange
        self._seconds = seconds
        self._is_sent = False
        self._is_cut = False
        self._early: list[bytes] = []  # of the body, from while the request was being sent
        self._usual_at = math.inf  # the deadline without that of a head
        self.may_be_stale = True

    async def begin(self, pieces: AsyncIterable[bytes] | None) -> Head:
        """Send the request and read the head of the answer.

        Args:
            pieces: The body, where it was not given to the exchange.
        """
        exchange, stream, time = self._exchange, self._stream, self._backend.time
        with self._backend.deadline(time() + self._seconds, stream) as deadline:
            data = exchange.start()
            sent = stream.write_now(data) if stream.writes_now else 0
            if sent < len(data) or pieces is not None:
                await self._write_and_read(data[sent:], pieces, deadline)
            else:
                self._is_sent = True
            while exchange.state is State.HEAD:
                await self._read_head(deadline)
        if deadline.expired and exchange.state is not State.DONE:
            raise self._late()
        head = exchange.head
        if head is None:
            raise self._broken()
        proxy = self._site.proxy
        if head.status == 407 and proxy is not None and "proxy-authenticate" in head.headers:
            # A proxy must send that field (RFC 9110, section 15.5.8), and has passed nothing on.
            raise ConnectError(
                f"{self._site.name} passed nothing on: it answered {refusal(head, proxy)}",
                status=407,
                retry_after=retry_after(head.headers),
            )
        return head

    async def _read_head(self, deadline: Deadline) -> None:
        """Read once. The end of an interim answer ends the limit of its head."""
        exchange = self._exchange
        had_started = exchange.is_head_started
        try:
            data = await self._stream.read(_READ)
        except ConnectionLostError as exc:
            data = self._end_of(exc)
        self._feed(data)
        if exchange.state is not State.HEAD:
            return
        if exchange.is_head_started:
            if not had_started:
                self._usual_at = deadline.at
                deadline.at = min(deadline.at, self._backend.time() + _FRAMING_SECONDS)
        elif had_started:
            deadline.at = self._usual_at

    async def _read_body(self) -> bytes:
        """Read once; the bytes of the body among it."""
        try:
            data = await self._stream.read(_READ)
        except ConnectionLostError as exc:
            data = self._end_of(exc)
        self._feed(data)
        return self._exchange.take_body()

    def _feed(self, data: bytes) -> None:
        self._exchange.feed(data)
        if data:
            self.may_be_stale = False
        else:
            self._is_cut = True

    def _end_of(self, lost: ConnectionLostError) -> bytes:
        """The end that a lost connection stands for, or its error is raised."""
        if self._pool.is_closed:
            raise ConnectionLostError(
                "the Client's block was left before the answer had come"
            ) from lost
        self._pool.lost(self._site.origin)
        if self._is_sent or not self._exchange.is_until_close:
            raise ConnectionLostError(f"{lost}, {self._site.name}") from lost
        return b""  # it refused the rest of the request, and said so before

    async def _write_and_read(
        self, data: bytes, pieces: AsyncIterable[bytes] | None, deadline: Deadline
    ) -> None:
        """Send what does not leave at once, and read what comes meanwhile.

        The rest of the request is sent, too, when the answer is a success: the server may answer
        what it has read so far. Any other answer ends the request.
        """
        exchange, stream, time = self._exchange, self._stream, self._backend.time
        failure: list[RivetError] = []
        sending = CancelScope()

        async def read() -> None:
            size = 0
            try:
                while exchange.state is State.HEAD:
                    await self._read_head(deadline)
                head = exchange.head
                if head is not None and head.status < 300:
                    while exchange.state is State.BODY:
                        deadline.at = time() + self._seconds
                        part = await self._read_body()
                        self._early.append(part)
                        size += len(part)
                        if size > self._wire._max_body_size:
                            raise ProtocolError(
                                f"HTTP {head.status} with {size} bytes before the request was "
                                "complete: raise max_message_size to accept it"
                            )
                    if exchange.state is State.DONE:
                        await self._await_end()
                        if exchange.has_whole_request:
                            return  # the user's iterator may go on behind its last piece
            except RivetError as exc:
                failure.append(exc)
            sending.cancel()

        async def write(data: bytes) -> bool:
            """Whether the connection took it. If it did not, what reading finds says why."""
            rest = memoryview(data)
            try:
                while rest:
                    if not exchange.is_head_started:
                        deadline.at = time() + self._seconds
                    await stream.write(bytes(rest[:_WRITE]))
                    rest = rest[_WRITE:]
            except ConnectionLostError:
                return False
            if not exchange.is_head_started:
                deadline.at = time() + self._seconds
            return True

        async def send() -> bool:
            if not await write(data):
                return False
            if pieces is None:
                return True
            iterator = aiter(pieces)
            try:
                while True:
                    if not exchange.is_head_started:
                        deadline.at = math.inf  # the user's own code may take its time
                    try:
                        piece = _piece(await anext(iterator))
                    except StopAsyncIteration:
                        return await write(exchange.end_body())
                    if not await write(exchange.send_body(piece)):
                        return False
            finally:
                await _close_iterator(iterator)

        async with SilentTasks() as tasks:
            tasks.start(read)
            with sending:
                self._is_sent = await send()
        if failure:
            raise failure[0]

    async def _await_end(self) -> None:
        """Read behind the answer until the server closes, and takes no more of the request."""
        try:
            while not self._is_cut:
                self._feed(await self._stream.read(_READ))
        except ConnectionLostError:
            pass

    async def read(self) -> bytes:
        """The next piece of the body; none at the end."""
        exchange, stream, time = self._exchange, self._stream, self._backend.time
        data = self._take_body()
        if data:
            return data
        if exchange.state is State.BODY:
            with self._backend.deadline(time() + self._seconds, stream) as deadline:
                while not data and exchange.state is State.BODY:
                    data = await self._read_body()
                    # What came stands around a chunk.
                    deadline.at = min(deadline.at, time() + _FRAMING_SECONDS)
            if deadline.expired:
                raise self._late()
        if not data and exchange.state is State.BROKEN:
            raise self._broken()
        return data

    def _take_body(self) -> bytes:
        """What has come of the body and was not taken."""
        data = self._exchange.take_body()
        if self._early:
            data = b"".join(self._early) + data
            self._early.clear()
        return data

    async def read_whole(self, limit: int) -> bytes:
        """All of the body, at most `limit` bytes of it."""
        exchange = self._exchange
        length = exchange.body_length
        if length is not None and length > limit:
            raise self._too_long(limit)
        data = self._take_body()
        if exchange.state is State.DONE:  # it came with the head
            if len(data) > limit:
                raise self._too_long(limit)
            return data
        parts = [data]
        size = len(data)
        while data := await self.read():
            parts.append(data)
            size += len(data)
            if size > limit:
                raise self._too_long(limit)
        return b"".join(parts)

    async def read_beginning(self) -> bytes:
        """As much of a refusal's body as comes, and is wanted."""
        body = b""
        try:
            with move_on_after(refusal_seconds()):
                while len(body) <= MAX_REFUSAL and (data := await self.read()):
                    body += data
        except (ConnectionLostError, ProtocolError):  # the status says enough
            pass
        return body

    def detach(self) -> ReusableStream:
        """The upgraded connection."""
        pooled, self._pooled = self._pooled, None
        assert pooled is not None
        return self._pool.detach(pooled)

    def end(self) -> None:
        """Give the socket back where it can be used again, else end it."""
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            exchange = self._exchange
            reusable = self._is_sent and exchange.reusable
            self._pool.release(pooled, reusable=reusable, keep_alive=exchange.keep_alive)

    def _late(self) -> ConnectionLostError:
        self.may_be_stale = False
        if self._exchange.is_head_started and self._exchange.head is None:
            return ConnectionLostError(
                f"no answer in time: {self._site.name} began one, but its head was not complete"
            )
        self._pool.lost(self._site.origin)
        return ConnectionLostError(
            f"no answer in time: {self._site.name} sent nothing for {self._seconds:g} s"
        )

    def _broken(self) -> RivetError:
        text = f"{self._exchange.error}, {self._site.name}"
        if self._is_cut:
            self._pool.lost(self._site.origin)
            return ConnectionLostError(f"the connection broke: {text}")
        return ProtocolError(text)

    def _too_long(self, limit: int) -> ProtocolError:
        assert self._exchange.head is not None
        return too_long(self._exchange.head.status, limit)


class WireAnswer:
    """See `OpenAnswer`."""

    def __init__(self, running: _Running, head: Head) -> None:
        self._running = running
        self._head = head

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def reason(self) -> str:
        return self._head.reason

    @property
    def version(self) -> str:
        return _version(self._head)

    @property
    def headers(self) -> Mapping[str, str]:
        return self._head.headers

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        return self._head.headers.raw

    async def read(self) -> bytes:
        return await self._running.read()

    async def aclose(self) -> None:
        self._running.end()


def _fields(site: _Site, headers: Mapping[str, str]) -> dict[str, str]:
    """All fields of a request but those of its body."""
    fields = {"Host": site.host, **headers, "Accept-Encoding": "identity"}
    if site.proxy is not None:
        fields.update(site.proxy.headers)
    return fields


def _url(origin: Origin) -> str:
    """What an error calls an origin."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host}:{origin.port}"


def _piece(given: object) -> bytes:
    """A piece of a body; its length counts bytes, as that of other buffers need not."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, (bytearray, memoryview)):
        return bytes(given)
    raise TypeError(f"content yields bytes, not {in_short(given)}")


async def _close_iterator(iterator: object) -> None:
    """Let an asynchronous generator clean up here, and not when it is collected."""
    if isasyncgen(iterator):
        with CancelScope(shield=True):
            await iterator.aclose()


def _seconds(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout


def _version(head: Head) -> str:
    return f"HTTP/{head.version}"


def _split(netloc: str) -> tuple[str, int | None]:
    """Host and port of a URL; the host as the resolver and certificates know it.

    Raises:
        ConfigError: the host's name cannot be looked up.
    """
    host, colon, port = netloc.rpartition(":")
    if not colon or "]" in port:
        host, port = netloc, ""
    host = host.removeprefix("[").removesuffix("]").lower()
    return ascii_host(host), int(port) if port else None
