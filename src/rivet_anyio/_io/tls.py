"""TLS over a byte stream, by the standard library's `ssl`.

OpenSSL reads from one buffer and writes to another; this module moves the bytes between those and
the stream below. Only `write` waits for the stream below to take bytes. What reading produces (the
answer to a key update or a renegotiation) leaves at once as far as possible, and the rest of it
before the next write.
"""

from __future__ import annotations

import math
import os
import re
import ssl
import time
from collections.abc import Callable
from functools import partial

from anyio import to_thread
from anyio.lowlevel import checkpoint

from .._errors import ConfigError, ConnectError, ConnectionLostError
from .backend import ReusableStream
from .socket import broke, dropped
from .tasks import forbid_interrupts
from .waiting import Signal

__all__ = ["Resumption", "ResumptionError", "TLSStream", "default_tls_context", "start_tls"]

_READ_SIZE = 256 * 1024
_BUFFER_SIZE = 128 * 1024
"""How much goes through OpenSSL's buffers at a time. They keep the largest size they ever had."""

_RECORD_SIZE = 16 * 1024

_ALERT, _HANDSHAKE = 21, 22

_PLACES = re.compile(r"^\[\w+\] | \(_ssl\.c:\d+\)$")
"""Where in Python's source an error of OpenSSL was found."""

_RESUMED_SECONDS = 600.0
"""How long after a server's certificate was verified its session may be resumed."""


class Resumption:
    """The TLS session to resume with one server (RFC 8446, section 2.2), all of one context.

    A resumed handshake takes half the time, since no certificate is verified: the server shows by
    its ticket that it is the one whose certificate was. So a session has its time.
    """

    __slots__ = ("_session", "_tls", "_until")

    def __init__(self) -> None:
        self._session: ssl.SSLSession | None = None
        self._tls: ssl.SSLObject | None = None  # what has it, until somebody asks for it
        self._until = -math.inf

    def find(self) -> ssl.SSLSession | None:
        """What to resume, if there is anything."""
        if time.monotonic() >= self._until:
            return None
        if self._tls is not None:
            # Not before, because to ask takes a sixth of a handshake.
            session, self._tls = self._tls.session, None
            if session is not None and session.has_ticket:
                self._session = session
        return self._session

    def note(
        self, tls: ssl.SSLObject, until: float, refused: ssl.SSLSession | None, has_data: bool
    ) -> None:
        """After a handshake, the first data came or the connection ended without any.

        A server that ends what it has resumed without a word wants a full handshake.

        Args:
            tls: What made the handshake.
            until: Until when its session may be resumed, as `time.monotonic` counts.
            refused: What it was to resume, if it did not.
            has_data: Whether data came.
        """
        if tls.session_reused:
            if not has_data:
                self.forget()
        elif has_data and (refused is not None or time.monotonic() >= self._until):
            self._session, self._tls, self._until = None, tls, until

    def forget(self) -> None:
        """The next handshake is a full one."""
        self._session, self._tls, self._until = None, None, -math.inf


class ResumptionError(ConnectError):
    """The handshake failed, and it was to resume a session, which is forgotten now."""


async def start_tls(
    stream: ReusableStream,
    context: ssl.SSLContext,
    hostname: str,
    resumption: Resumption | None = None,
    *,
    called: str | None = None,
) -> TLSStream:
    """Make the TLS handshake as a client.

    Args:
        stream: A new connection. It is dropped when there is an error.
        context: How to verify the server; it must not offer HTTP/2.
        hostname: The name or IP address that the server's certificate must have.
        resumption: What to resume with this server, and where to note what can be.
        called: What an error calls the server; the name by default.

    Returns:
        The encrypted stream; it owns the one below.

    Raises:
        ResumptionError: when a handshake failed that was to resume a session. Make another one on
            a new connection: some servers refuse to resume, and this session is forgotten.
        ConnectError: when the handshake failed: the server's certificate is not accepted (then
            the cause is an `ssl.SSLCertVerificationError`), it refused, went away, or does not
            speak TLS.
        ConfigError: when the context or the name cannot be used.

    The caller bounds the time. Cancellation: drops the stream.
    """
    forbid_interrupts(start_tls)  # Ctrl-C leaves no socket behind
    try:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = hostname.rstrip(".")
        is_usual = type(context) is ssl.SSLContext  # others may verify by themselves
        if not is_usual or context.options & ssl.OP_NO_TICKET:
            resumption = None
        session = None if resumption is None else resumption.find()
        try:
            if is_usual:
                tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
            else:  # and ask the operating system, which takes time
                tls = await to_thread.run_sync(
                    lambda: context.wrap_bio(incoming, outgoing, server_hostname=name)
                )
        except (ssl.SSLError, ValueError) as exc:
            raise ConfigError(f"TLS to {hostname!r} cannot be begun: {exc}") from exc
        try:
            await _handshake(stream, tls, incoming, outgoing, called or hostname)
        except BaseException as exc:  # or too late
            if resumption is not None:
                resumption.forget()
            is_trusted = not isinstance(exc.__cause__, ssl.SSLCertVerificationError)
            if session is not None and is_trusted and isinstance(exc, ConnectError):
                raise ResumptionError(str(exc)) from exc
            raise
        if tls.selected_alpn_protocol() == "h2":
            raise ConfigError(
                "the TLS context offers HTTP/2, and the server chose it: leave 'h2' out of "
                "set_alpn_protocols()"
            )
        encrypted = TLSStream(stream, tls, incoming, outgoing)
        if resumption is not None:
            until = time.monotonic() + _RESUMED_SECONDS
            encrypted.on_first_data = partial(resumption.note, tls, until, session)
        return encrypted
    except BaseException:
        stream.drop()
        raise


async def _handshake(
    stream: ReusableStream,
    tls: ssl.SSLObject,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    called: str,
) -> None:
    is_first = True
    try:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
            if outgoing.pending:
                await stream.write(outgoing.read())
            data = await stream.read(_READ_SIZE)
            if not data:
                raise ConnectError(f"{called} closed the connection during the TLS handshake")
            if is_first and data[0] not in (_ALERT, _HANDSHAKE):
                line = data.partition(b"\r")[0][:80]
                raise ConnectError(
                    f"{called} does not speak TLS on this port: it answered {line!r}. "
                    "If it serves plain HTTP, write http:// in place of https://"
                )
            is_first = False
            incoming.write(data)
        if outgoing.pending:
            await stream.write(outgoing.read())
    except ConnectionLostError as exc:
        raise ConnectError(f"the TLS handshake with {called} broke: {exc}") from exc
    except ssl.SSLError as exc:
        if outgoing.pending:
            stream.write_now(outgoing.read())  # it says to the server why
        if isinstance(exc, ssl.SSLCertVerificationError):
            raise ConnectError(
                f"the certificate of {called} is not accepted: {exc.verify_message}"
            ) from exc
        raise ConnectError(f"the TLS handshake with {called} failed: {_words(exc)}") from exc


def _words(exc: ssl.SSLError) -> str:
    """OpenSSL's reason in words, such as "tlsv1 alert protocol version"."""
    if exc.reason:
        return exc.reason.replace("_", " ").lower()
    return _PLACES.sub("", str(exc))


class TLSStream:
    """See `ReusableStream`."""

    __slots__ = (
        "_below",
        "_data",
        "_encrypted",
        "_incoming",
        "_is_over",
        "_is_reading",
        "_is_writing",
        "_loss",
        "_outgoing",
        "_raw",
        "_reading_ended",
        "_tls",
        "_written_ahead",
        "on_first_data",
        "writes_now",
    )

    def __init__(
        self,
        below: ReusableStream,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self._below = below
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self.writes_now = below.writes_now
        # Called once: with True when data come, with False at an end without any. The ticket of
        # TLS 1.3 comes between the handshake and those, so to ask for a session before is in vain.
        self.on_first_data: Callable[[bool], None] | None = None
        self._raw = memoryview(b"")  # read from below, and not in `_incoming`
        self._data = b""  # decrypted, and not read
        self._is_over = False  # the reading direction
        self._loss = ""  # why, unless by close_notify
        self._is_reading = False  # from below
        self._reading_ended: Signal | None = None
        self._encrypted = b""  # taken from `_outgoing`, and not written
        self._written_ahead = 0  # bytes encrypted, but not yet reported as written
        self._is_writing = False  # in `write`, and for ever once one did not end well

    @property
    def version(self) -> str | None:
        """``"TLSv1.3"``, say."""
        return self._tls.version()

    # Reading

    async def read(self, max_bytes: int) -> bytes:
        if self._has_input():
            await checkpoint()
            data = self._decrypt(max_bytes)
            if data is not None:
                return data
        while True:
            await self._fetch()
            data = self._decrypt(max_bytes)
            if data is not None:
                return data

    def read_now(self, max_bytes: int) -> bytes | None:
        data = self._decrypt(max_bytes)
        while data is None:
            raw = self._below.read_now(_READ_SIZE)
            if raw is None:
                return None
            self._feed(raw)
            data = self._decrypt(max_bytes)
        return data

    def unread(self, data: bytes) -> None:
        self._data = data + self._data

    def is_quiet(self) -> bool:
        if self._is_writing or self._encrypted:
            return False
        if not self._has_input() and self._below.is_quiet():
            return True
        try:
            data = self.read_now(_READ_SIZE)  # all that the next read would give
        except ConnectionLostError:
            return False
        if data is None:
            return True
        self.unread(data)
        return False

    def _has_input(self) -> bool:
        """Whether a read may end without bytes from below."""
        return bool(self._data or self._is_over or self._has_encrypted())

    def _has_encrypted(self) -> bool:
        return bool(self._incoming.pending or self._raw or self._tls.pending())

    async def _fetch(self) -> None:
        """Let more bytes come from below; where another task does so, wait until it has."""
        if self._is_reading:
            if self._reading_ended is None:
                self._reading_ended = Signal()
            await self._reading_ended.wait()
            return
        self._is_reading = True
        try:
            self._feed(await self._below.read(_READ_SIZE))
        finally:
            self._is_reading = False
            if self._reading_ended is not None:
                self._reading_ended.set()
                self._reading_ended = None

    def _feed(self, raw: bytes) -> None:
        if len(raw) > _BUFFER_SIZE:
            self._raw = memoryview(raw)
            self._fill()
        elif raw:
            self._incoming.write(raw)
        elif not self._is_over:
            self._is_over = True
            self._loss = "the connection ended without TLS's close_notify: bytes may be missing"

    def _fill(self) -> bool:
        """Give OpenSSL some more of what was read; whether there was any."""
        piece, self._raw = self._raw[:_BUFFER_SIZE], self._raw[_BUFFER_SIZE:]
        self._incoming.write(piece)
        return bool(piece)

    def _decrypt(self, max_bytes: int) -> bytes | None:
        """Some bytes; none at the end; None where more must come from below first."""
        if self._data:
            data, self._data = self._data[:max_bytes], self._data[max_bytes:]
            return data
        parts = []
        while max_bytes and not self._is_over and self._has_encrypted():
            try:
                part = self._tls.read(min(max_bytes, _RECORD_SIZE))
            except ssl.SSLWantReadError:
                if self._fill():
                    continue
                break
            except ssl.SSLError as exc:
                self._is_over = True
                self._loss = f"the connection broke: {_words(exc)}"
                break
            if not part:  # close_notify
                self._is_over = True
                break
            parts.append(part)
            max_bytes -= len(part)
        if self._encrypted or self._outgoing.pending:
            self._push()
        if parts:
            if self.on_first_data is not None:
                self._note_data(True)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if not self._is_over:
            return None
        if self._loss:
            raise ConnectionLostError(self._loss)
        return b""

    def _note_data(self, has_data: bool) -> None:
        note, self.on_first_data = self.on_first_data, None
        if note is not None:
            note(has_data)

    # Writing

    async def write(self, data: bytes) -> None:
        if self._is_writing:
            raise ConnectionLostError(self._loss or "a write before this one did not end")
        self._is_writing = True
        rest = memoryview(data)[self._written_ahead :]
        self._written_ahead = 0
        await self._flush()
        while rest:
            piece = rest[:_BUFFER_SIZE]
            try:
                self._tls.write(piece)
            except ssl.SSLWantReadError:  # the server renegotiates
                await self._flush()
                if not self._fill():
                    await self._fetch()
                continue
            except ssl.SSLError as exc:
                raise broke(exc) from exc
            rest = rest[len(piece) :]
            await self._flush()
        self._is_writing = False

    async def _flush(self) -> None:
        """Write what is encrypted."""
        while self._encrypted or self._outgoing.pending:
            encrypted = self._encrypted or self._outgoing.read()
            self._encrypted = b""
            await self._below.write(encrypted)

    def write_now(self, data: bytes) -> int:
        if self._is_writing or not self.writes_now or not self._push():
            return 0
        written, self._written_ahead = self._written_ahead, 0
        while written < len(data):
            if len(data) == 1:  # see below: it could only be reported when all of it left
                return 0
            piece = data[written : written + _BUFFER_SIZE]
            try:
                self._tls.write(piece)
            except ssl.SSLError:  # `write` waits, or raises
                break
            written += len(piece)
            if not self._push():
                # What is encrypted must leave, and whoever writes must go on with `write` until
                # it has: so one byte is reported only then.
                self._written_ahead = 1
                return written - 1
        return written

    def _push(self) -> bool:
        """Write what is encrypted as far as possible at once; return whether that was all."""
        if self._is_writing or not self.writes_now:
            return False
        while True:
            encrypted = self._encrypted or self._outgoing.read()
            if not encrypted:
                return True
            self._encrypted = encrypted[self._below.write_now(encrypted) :]
            if self._encrypted:
                return False

    def unsent(self) -> int:
        return len(self._encrypted) + self._outgoing.pending + self._below.unsent()

    # Ending

    def drop(self) -> None:
        self._forget()
        self._below.drop()

    async def aclose(self) -> None:
        if not self._is_writing and not self._written_ahead:
            try:
                self._tls.unwrap()
            except OSError:  # it waits for nothing, also not for the server's close_notify
                pass
            self._push()
        self._forget()
        await self._below.aclose()

    def _forget(self) -> None:
        self._data = b""
        self._raw = memoryview(b"")
        self._is_over = self._is_writing = True
        self._loss = str(dropped())
        self._note_data(False)


async def default_tls_context() -> ssl.SSLContext:
    """How servers are verified by default: as this system does, or as the environment says.

    It is made in a thread, because reading the certificates takes up to a tenth of a second.

    Raises:
        ConfigError: when an environment variable cannot be followed.
    """
    return await to_thread.run_sync(_default_tls_context)


def _default_tls_context() -> ssl.SSLContext:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        value = os.environ.get(variable, "")
        # OpenSSL takes several directories, and passes over those that it cannot read.
        paths = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
        if value and not any(os.access(path, os.R_OK) for path in paths):
            raise ConfigError(
                f"{variable} is {value!r}, which cannot be read: name an existing one, or unset it"
            )
    try:
        context = ssl.create_default_context()
    except OSError as exc:
        raise ConfigError(
            f"SSLKEYLOGFILE is {os.environ.get('SSLKEYLOGFILE')!r}, which cannot be written: {exc}"
        ) from exc
    context.set_alpn_protocols(["http/1.1"])
    path = os.environ.get("SSL_CERT_FILE")
    if path:
        try:  # the context was made without a word if there is none in it
            context.load_verify_locations(path)
        except OSError as exc:
            raise ConfigError(
                f"SSL_CERT_FILE is {path!r}, which has no certificates: name a file of "
                f"certificates in PEM, or unset it ({exc})"
            ) from exc
    default = ssl.get_default_verify_paths().openssl_capath
    folders = os.environ.get("SSL_CERT_DIR", default).split(os.pathsep)
    if not context.cert_store_stats()["x509_ca"] and not any(map(_has_entries, folders)):
        try:
            import certifi
        except ImportError:
            pass
        else:
            context.load_verify_locations(certifi.where())
    return context


def _has_entries(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return False
