# One request and its answer: what an HTTP/1.1 connection says between two uses of it.
#
# Rule 1: this file takes bytes and gives bytes. It has no I/O, no clock and no randomness. Who
# reads and writes, and until when, is the caller's business.
#
# Rule 2: everything that decides what an answer is, where it ends, and whether its socket may be
# used again, is decided here, from the bytes and from the method of the request.
#
# Rule 3: nothing that the peer sends raises. An answer that cannot be read, or that two readers
# could read in two ways, ends the exchange as BROKEN, with `error` saying what the server did.
# (RFC 9112, section 11.2)
#
# Rule 4: it does not matter in which pieces bytes arrive.
#
# Theory of operation
# ===================
#
# There are two machines. The request goes one way:
#
#     new --start()--> head sent --send_body()...end_body()--> complete
#
# (`start` alone makes it complete unless the body is streamed.) The answer goes another, and never
# back:
#
#     state     what comes                                      next state
#     --------  ----------------------------------------------  -----------------------------------
#     HEAD      1xx but 101, up to 16 of them                   HEAD; it is dropped
#               101 that `upgrade` asked for                    UPGRADED
#               2xx to CONNECT                                  UPGRADED
#               another head: HEAD, 204, 304, or length 0       DONE
#               another head                                    BODY
#               the end of the stream                           BROKEN
#     BODY      the last byte of the length, or of the chunks   DONE
#               the end of the stream                           DONE if nothing else ends the body,
#                                                               else BROKEN
#     HEAD,     what is refused; `fail()`                       BROKEN
#     BODY
#     DONE      anything                                        DONE, and no longer `reusable`
#     UPGRADED  anything                                        UPGRADED; `leftover` grows
#     BROKEN    anything                                        BROKEN; it is ignored
#
# The two meet in two places. Nothing may come before `start()`: a server that sends something
# unasked breaks the exchange. And a socket is `reusable` only if the request was complete when
# the answer was: an answer may come while the request still leaves.
#
# How an answer is read
# =====================
#
# A head that came in one piece and is plain is read by `plain.read_plain`. Every other head is
# collected, up to 32 KiB; what h11 would take and this file refuses is refused; then h11 reads it.
# Bodies are read here, by all means of framing that there are: a length, chunks, or the end of the
# stream. (h11 would take bare line feeds in trailers, and extensions and trailers without end; to
# refuse these one has to find each chunk's line, and then nothing is left to do for h11.)
#
# Refused rather than guessed: any version but 1.0 and 1.1; a lone CR or LF, NUL, and control
# characters; a field that goes on in the next line; white space before a colon; a head of more
# than 32 KiB or 100 fields; more than 16 answers of 1xx; Content-Length twice, with a list, or
# beside Transfer-Encoding; any Transfer-Encoding but `chunked`, or one in HTTP/1.0; either of them
# in 1xx; 101 unasked, or to another protocol; chunks whose line has an extension of more than
# 1 KiB; chunks and extensions that are mostly overhead; trailers beyond the bounds of a head.
# Trailers are checked and dropped.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal

import h11
import msgspec

from .._checks import is_http_token
from .._errors import ConfigError
from .chunks import ChunkReader
from .headers import Headers
from .plain import MAX_FIELDS, MAX_HEAD, read_plain

__all__ = ["Exchange", "Head", "Proof", "State"]

MAX_INTERIM = 16
"""Answers of 1xx before the final one."""

_TARGET = re.compile(r"[!-~]+")
_BAD_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
_SPECIAL = frozenset(
    ("content-length", "transfer-encoding", "connection", "upgrade", "expect", "trailer")
)
_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"))

_PREFIX = b"HTTP/1."
_STATUS = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: [^\r]*)?\r\n")
_FORBIDDEN = re.compile(rb"\r(?=[^\n])|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLDED = re.compile(rb"\r\n[ \t]")
_FRAMING = re.compile(rb"(?i)\r\n(content-length|transfer-encoding):([^\r]*)")
_DIGITS = re.compile(rb"[0-9]{1,16}")
_KEEP_ALIVE = re.compile(r"(?i)(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])")


class State(Enum):
    """Where an answer is: see the table at the head of this file."""

    HEAD = "head"
    BODY = "body"
    DONE = "done"
    UPGRADED = "upgraded"
    BROKEN = "broken"


class Proof(Enum):
    """What an exchange proves about the request."""

    NOTHING_SENT = "nothing sent"
    MAY_HAVE_RUN = "may have run"
    ANSWERED = "answered"
    """The head of the final answer came; its body may still be missing."""


class Head(msgspec.Struct, frozen=True):
    """The head of a final answer, or of a 101.

    Attributes:
        status: From 101 to 999.
        reason: The reason phrase, often empty.
        headers: The fields.
        version: Of HTTP.
    """

    status: int
    reason: str
    headers: Headers
    version: Literal["1.0", "1.1"]


_HEAD, _BODY, _DONE = State.HEAD, State.BODY, State.DONE
_UPGRADED, _BROKEN = State.UPGRADED, State.BROKEN


class Exchange:
    """One request and its answer.

    Attributes:
        state: Where the answer is.
        head: The head of the final answer, None before.
        error: What the server did, in one sentence, when the state is `BROKEN`.
        body_length: The Content-Length of a body that has one.
        is_until_close: Whether nothing but the end of the stream ends the body.
        leftover: What came behind a 101, or behind a 2xx to CONNECT.
        reusable: Whether the socket may carry another request: the answer is complete, framed by
            its length or by chunks, of HTTP/1.1, without ``close`` on either side; the request was
            complete by then; and no byte came behind it.
        is_head_started: Whether the beginning of a head is there and its end is not.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_interim",
        "_is_complete",
        "_keeps_alive",
        "_method",
        "_pending",
        "_reader",
        "_request",
        "_started",
        "_streams",
        "_to_read",
        "_to_send",
        "_upgrade",
        "body_length",
        "error",
        "head",
        "is_until_close",
        "leftover",
        "reusable",
        "state",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] | Mapping[str, str],
        *,
        content: bytes | None = None,
        streams: bool = False,
        upgrade: bool = False,
    ) -> None:
        """
        Args:
            method: In upper case, where it is a known one.
            target: What stands behind the method: a path with its query, a whole URL for a proxy,
                or a host and a port for CONNECT.
            headers: Names and values; Host is among them.
            content: The whole body.
            streams: The body comes by `send_body` and `end_body`: in chunks, unless the headers
                have a Content-Length.
            upgrade: A 101 is what the headers ask for.

        Raises:
            ConfigError: for what cannot be sent. The text shows no values.
        """
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = [name.lower() for name, _ in pairs]
        if (
            (method not in _METHODS and not is_http_token(method))
            or not _TARGET.fullmatch(target)
            or "" in names
            or not _NAMES.fullmatch("".join(names))
            or _BAD_IN_VALUE.search("".join([value for _, value in pairs]))
            or names.count("host") != 1
        ):
            raise _refused(method, target, pairs)
        if content is None and not streams and method in ("POST", "PUT", "PATCH"):
            content = b""
        self._keeps_alive = True
        self._upgrade: frozenset[str] | None = None
        self._to_send = 0
        framed = False
        if upgrade or not _SPECIAL.isdisjoint(names):
            framed = self._judge_request(pairs, content, streams=streams, upgrade=upgrade)
        elif streams:
            self._to_send = -1
        text = "".join([f"{name}: {value}\r\n" for name, value in pairs])
        if not framed:
            if content is not None:
                text = f"{text}Content-Length: {len(content)}\r\n"
            elif streams:
                text = f"{text}Transfer-Encoding: chunked\r\n"
        try:
            request = f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode("latin-1")
        except UnicodeEncodeError:
            raise _refused(method, target, pairs) from None
        self._request = request + content if content else request
        self._method = method
        self._streams = streams
        self._started = False
        self._is_complete = False
        self._reader: h11.Connection | None = None
        self._interim = 0
        self._pending = b""
        self._body: list[bytes] = []
        self._chunks: ChunkReader | None = None
        self._to_read = 0
        self.state = _HEAD
        self.head: Head | None = None
        self.error: str | None = None
        self.body_length: int | None = None
        self.is_until_close = False
        self.leftover = b""
        self.reusable = False

    # The request

    def _judge_request(
        self,
        pairs: Sequence[tuple[str, str]],
        content: bytes | None,
        *,
        streams: bool,
        upgrade: bool,
    ) -> bool:
        """Look at the headers that mean something here; whether they frame the body."""
        values: dict[str, list[str]] = {}
        for name, value in pairs:
            values.setdefault(name.lower(), []).append(value)
        if "expect" in values:
            raise ConfigError("the header 'Expect' cannot be sent: the body never waits; remove it")
        if "trailer" in values:
            raise ConfigError("the header 'Trailer' cannot be sent: no trailers follow; remove it")
        self._keeps_alive = "close" not in _tokens(values.get("connection", ()))
        if upgrade:
            self._upgrade = _tokens(values.get("upgrade", ()))
            if not self._upgrade:
                raise ConfigError("an upgrade needs the header 'Upgrade'")
        lengths = values.get("content-length", [])
        codings = values.get("transfer-encoding", [])
        if codings:
            if lengths or not streams or [coding.lower() for coding in codings] != ["chunked"]:
                raise ConfigError(
                    "the header 'Transfer-Encoding' contradicts the body: remove it; "
                    "the body is framed without it"
                )
            self._to_send = -1
            return True
        if not lengths:
            self._to_send = -1 if streams else 0
            return False
        (text, *more) = lengths
        length = int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else -1
        if more or length < 0 or (not streams and length != len(content or b"")):
            given = "" if streams else f" of {len(content or b'')} bytes"
            raise ConfigError(
                f"the header 'Content-Length' contradicts the body{given}: remove it, "
                "or give the number of bytes once"
            )
        self._to_send = length if streams else 0
        return True

    def start(self) -> bytes:
        """The head of the request, and its body unless that is streamed.

        From here on something may have been sent.
        """
        if self._started:
            raise RuntimeError("the request was started before")
        self._started = True
        self._is_complete = not self._streams
        request, self._request = self._request, b""
        return request

    def send_body(self, data: bytes) -> bytes:
        """A piece of the body, as it is to be written.

        Raises:
            ConfigError: when the body gets longer than the Content-Length that the caller gave.
        """
        self._check_streaming()
        if self._to_send < 0:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if len(data) > self._to_send:
            raise ConfigError("the body is longer than its header 'Content-Length' says")
        self._to_send -= len(data)
        return data

    def end_body(self) -> bytes:
        """The end of the body, as it is to be written: often nothing.

        Raises:
            ConfigError: when the body is shorter than the Content-Length that the caller gave.
        """
        self._check_streaming()
        if self._to_send > 0:
            raise ConfigError(
                f"the body is {self._to_send} bytes shorter than its header 'Content-Length' says"
            )
        self._is_complete = True
        return b"0\r\n\r\n" if self._to_send < 0 else b""

    def _check_streaming(self) -> None:
        if not self._streams or not self._started or self._is_complete:
            raise RuntimeError("this request has no body that is being streamed")

    # What is known

    @property
    def proof(self) -> Proof:
        """What this exchange proves about the request."""
        if self.head is not None:
            return Proof.ANSWERED
        return Proof.MAY_HAVE_RUN if self._started else Proof.NOTHING_SENT

    @property
    def is_head_started(self) -> bool:
        return self.state is _HEAD and bool(self._pending)

    @property
    def keep_alive(self) -> float | None:
        """The seconds for which the server keeps an idle connection, if it says so."""
        if self.head is None or "keep-alive" not in self.head.headers:
            return None
        found = _KEEP_ALIVE.search(self.head.headers["keep-alive"])
        return float(found[1]) if found else None

    def take_body(self) -> bytes:
        """The bytes of the body that came since the last call."""
        parts = self._body
        if not parts:
            return b""
        self._body = []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # The answer

    def feed(self, data: bytes) -> None:
        """Read what came; ``b""`` is the end of the stream.

        Never raises for what the peer sent.
        """
        state = self.state
        if state is _HEAD:
            if not data:
                self._ended_in_head()
            elif not self._started:
                self._break("the server sent something before it was asked")
            else:
                self._read_head(data)
        elif state is _BODY:
            if data:
                self._read_body(data)
            else:
                self._ended_in_body()
        elif state is _DONE:
            self.reusable = False
        elif state is _UPGRADED:
            self.leftover += data

    def fail(self, error: str) -> None:
        """End an exchange that is not over, because the stream broke or time is up.

        Args:
            error: What happened, in one sentence.
        """
        if self.state is _HEAD or self.state is _BODY:
            self._break(error)

    def _break(self, error: str) -> None:
        self.state = _BROKEN
        self.error = error
        self.reusable = False
        self._pending = b""

    def _done(self, *, is_framed: bool, behind: bool) -> None:
        assert self.head is not None
        self.state = _DONE
        self._pending = b""
        self.reusable = (
            is_framed
            and not behind
            and self._keeps_alive
            and self._is_complete
            and self.head.version == "1.1"
        )

    # Heads

    def _read_head(self, data: bytes) -> None:
        if not self._pending:
            plain = None
            if self._method != "HEAD" and self._method != "CONNECT" and not self._interim:
                plain = read_plain(data)
            if plain is not None:
                status, reason, headers, length, end = plain
                self.head = Head(status, reason, headers, "1.1")
                self._begin_body(length, data, end)
                return
        else:
            data = self._pending + data
        while self.state is _HEAD and data:
            searched = max(0, len(self._pending) - 3)
            end = data.find(b"\r\n\r\n", searched)
            text = data if end < 0 else data[: end + 4]
            if not self._is_head_possible(text, searched):
                return
            if end < 0:
                self._pending = data
                return
            self._pending = b""
            data = data[end + 4 :]
            self._judge_head(text, data)

    def _is_head_possible(self, text: bytes, searched: int) -> bool:
        """Look at a head, or at what there is of it; breaks if it is none."""
        if not text.startswith(_PREFIX) and not _PREFIX.startswith(text):
            self._break(f"the server answered with something else than HTTP/1.1: {text[:16]!r}")
        elif len(text) > MAX_HEAD:
            self._break("the server sent a head of more than 32 KiB")
        elif bad := _FORBIDDEN.search(text, searched):
            self._break(f"the server sent a head with the control character {bad[0]!r}")
        else:
            return True
        return False

    def _judge_head(self, text: bytes, rest: bytes) -> None:
        """Read a whole head, and what is known by it.

        Args:
            text: The head.
            rest: What came behind it.
        """
        if not _STATUS.match(text):
            self._break("the server sent a status line that is not one of HTTP/1.0 or 1.1")
            return
        if text.count(b"\r\n") - 2 > MAX_FIELDS:
            self._break(f"the server sent a head of more than {MAX_FIELDS} fields")
            return
        if _FOLDED.search(text):
            self._break("the server sent a field that goes on in the next line")
            return
        framing: dict[bytes, list[bytes]] = {}
        for name, value in _FRAMING.findall(text):
            framing.setdefault(name.lower(), []).append(value.strip(b" \t"))
        lengths = framing.get(b"content-length", [])
        codings = framing.get(b"transfer-encoding", [])
        if len(lengths) > 1:
            self._break("the server sent the field Content-Length twice")
        elif lengths and codings:
            self._break("the server sent both Content-Length and Transfer-Encoding")
        elif lengths and not _DIGITS.fullmatch(lengths[0]):
            self._break("the server sent a Content-Length that is no number")
        elif codings and [coding.lower() for coding in codings] != [b"chunked"]:
            self._break("the server sent a Transfer-Encoding that is not 'chunked'")
        elif codings and text.startswith(b"HTTP/1.0"):
            self._break("the server sent Transfer-Encoding in HTTP/1.0")
        else:
            event = self._parse(text)
            if event is not None:
                self._judge_event(event, bool(lengths or codings), rest)

    def _parse(self, text: bytes) -> h11.InformationalResponse | h11.Response | None:
        if self._reader is None:
            self._reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            # What h11 needs to know of the request is its method, and that a 101 may come.
            self._reader.send(
                h11.Request(
                    method=self._method,
                    target="/",
                    headers=[("Host", ""), ("Upgrade", "any")],
                )
            )
            self._reader.send(h11.EndOfMessage())
        try:
            self._reader.receive_data(text)
            event = self._reader.next_event()
        except h11.RemoteProtocolError as exc:
            # Its text shows what the server sent.
            self._break(f"the server sent a head with an {str(exc).partition(':')[0]}")
            return None
        assert isinstance(event, (h11.InformationalResponse, h11.Response))
        return event

    def _judge_event(
        self, event: h11.InformationalResponse | h11.Response, is_framed: bool, rest: bytes
    ) -> None:
        status = event.status_code
        if status < 200 and is_framed:
            self._break(f"the server sent {status} with a Content-Length or Transfer-Encoding")
            return
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._break(f"the server sent more than {MAX_INTERIM} interim (1xx) answers")
            return
        headers = Headers(list(event.headers))
        version: Literal["1.0", "1.1"] = "1.0" if event.http_version == b"1.0" else "1.1"
        head = Head(status, event.reason.decode("latin-1"), headers, version)
        connection = _tokens(headers.get_all("connection"))
        if status == 101:
            upgrade = _tokens(headers.get_all("upgrade"))
            if self._upgrade is None:
                self._break("the server switched protocols (101) without being asked")
            elif (
                not upgrade
                or not upgrade <= self._upgrade
                or "upgrade" not in connection
                or version == "1.0"
                or not self._is_complete
            ):
                self._break("the server switched (101) to another protocol than was asked for")
            else:
                self._switch(head, rest)
            return
        if self._method == "CONNECT" and status < 300:
            self._switch(head, rest)
            return
        self.head = head
        if "close" in connection:
            self._keeps_alive = False
        if self._method == "HEAD" or status in (204, 304):
            # A 204 that announces a body may be followed by one.
            announces = status == 204 and headers.get("content-length", "0") != "0"
            announces = announces or (status == 204 and "transfer-encoding" in headers)
            self._done(is_framed=not announces, behind=bool(rest))
        elif "transfer-encoding" in headers:
            self.state = _BODY
            self._chunks = ChunkReader()
            if rest:
                self._read_body(rest)
        elif "content-length" in headers:
            self._begin_body(int(headers["content-length"]), rest, 0)
        else:
            self.state = _BODY
            self.is_until_close = True
            if rest:
                self._read_body(rest)

    def _switch(self, head: Head, rest: bytes) -> None:
        self.head = head
        self.state = _UPGRADED
        self.leftover = rest

    def _ended_in_head(self) -> None:
        if not self._started:
            self._break("the server closed the connection before the request was sent")
        elif self._pending:
            self._break("the server closed the connection in the middle of the head of its answer")
        elif self._interim:
            self._break("the server closed the connection after an interim (1xx) answer")
        else:
            self._break("the server closed the connection before it answered")

    # Bodies

    def _begin_body(self, length: int, data: bytes, at: int) -> None:
        """A body of known length begins at a place of some data."""
        self.body_length = length
        came = len(data) - at
        if came >= length:
            if length:
                self._body.append(data[at : at + length])
            self._done(is_framed=True, behind=came > length)
            return
        self.state = _BODY
        self._to_read = length - came
        if came:
            self._body.append(data[at:])

    def _read_body(self, data: bytes) -> None:
        if self._chunks is not None:
            behind = self._chunks.read(data, self._body)
            if self._chunks.error is not None:
                self._break(self._chunks.error)
            elif self._chunks.is_done:
                self._done(is_framed=True, behind=behind)
        elif self.is_until_close:
            self._body.append(data)
        else:
            left = self._to_read
            self._to_read = max(0, left - len(data))
            self._body.append(data if len(data) <= left else data[:left])
            if len(data) >= left:
                self._done(is_framed=True, behind=len(data) > left)

    def _ended_in_body(self) -> None:
        if self.is_until_close:
            self._done(is_framed=False, behind=False)
        elif self._chunks is not None:
            self._break("the server closed the connection before the last chunk of its answer")
        else:
            length = self.body_length or 0
            self._break(
                "the server closed the connection after "
                f"{length - self._to_read} of {length} bytes of its answer"
            )


def _tokens(values: Sequence[str]) -> frozenset[str]:
    """The members of a list of tokens, in lower case."""
    members = (one.strip(" \t").lower() for value in values for one in value.split(","))
    return frozenset(filter(None, members))


def _refused(method: str, target: str, pairs: Sequence[tuple[str, str]]) -> ConfigError:
    """Why this request cannot be sent; no values stand in it."""
    if not is_http_token(method):
        return ConfigError(f"the method {method!r} cannot be sent: it is not a token, like 'GET'")
    if not _TARGET.fullmatch(target):
        bad = next((one for one in target if not "!" <= one <= "~"), None)
        what = "is empty" if bad is None else f"has the character {bad!r}: percent-encode it"
        return ConfigError(f"the request's target cannot be sent: it {what}")
    hosts = 0
    for name, value in pairs:
        if not is_http_token(name):
            return ConfigError(f"the header {name!r} cannot be sent: its name is not a token")
        bad = next((one for one in value if _BAD_IN_VALUE.match(one) or ord(one) > 255), None)
        if bad is not None:
            return ConfigError(f"the header {name!r} cannot be sent: its value has {bad!r}")
        hosts += name.lower() == "host"
    return ConfigError(f"a request has one header 'Host', not {hosts}")
