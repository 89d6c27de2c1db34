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
#               another head that has no body                   DONE
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
# The two meet in three places. What comes before `start()` breaks the exchange. An answer may come
# while the request still leaves; then the socket is not `reusable`. And a 101 may not.
#
# How an answer is read
# =====================
#
# A head that came in one piece and is plain is read by `plain.py`. Any other is collected by
# `head.py`, which refuses what h11 would let through, and then has h11 read it. Bodies that end by
# their length or with the stream are counted here; `chunks.py` reads the rest. (h11 takes bare line
# feeds in trailers, and extensions without end. To refuse these, one has to find the line of each
# chunk, and then nothing is left to do for h11.)
#
# Refused rather than guessed:
#
# - any version but 1.0 and 1.1;
# - half of a CRLF, NUL and other control characters, a field that goes on in the next line, white
#   space before a colon;
# - a head of more than 32 KiB or 100 fields, more than 16 interim answers;
# - Content-Length twice, as a list, or beside Transfer-Encoding; any Transfer-Encoding but
#   `chunked`, or one in HTTP/1.0; either of them in an interim answer;
# - a 101 unasked, to another protocol, or before the request is complete;
# - chunks with an extension of more than 1 KiB, or that are mostly extensions; trailers beyond the
#   bounds of a head. Trailers are checked and dropped: they never change the head.
#
# Not refused, but the last answer on its socket: HTTP/1.0, `close`, a body that ends with the
# stream, a 204 that announces a body, any byte behind the answer.

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

from .._errors import ConfigError
from .chunks import ChunkReader
from .head import HeadReader
from .headers import Head
from .plain import read_plain
from .request import Fields, tokens, write_head

__all__ = ["MAX_INTERIM", "Exchange", "Head", "Proof", "State"]

MAX_INTERIM = 16
"""Answers of 1xx before the final one."""

_KEEP_ALIVE = re.compile(r"(?i)(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])")


class State(Enum):
    """Where an answer is: see the table at the head of this file."""

    HEAD = "head"
    BODY = "body"
    DONE = "done"
    UPGRADED = "upgraded"
    BROKEN = "broken"


class Proof(Enum):
    """What an exchange proves about its request."""

    NOTHING_SENT = "nothing sent"
    MAY_HAVE_RUN = "may have run"
    ANSWERED = "answered"
    """The head of the final answer came; its body may still be missing."""


_HEAD, _BODY, _DONE = State.HEAD, State.BODY, State.DONE
_UPGRADED, _BROKEN = State.UPGRADED, State.BROKEN


class Exchange:
    """One request and its answer.

    Attributes:
        state: Where the answer is.
        head: The head of the final answer or of a 101, None before.
        error: What the server did, in one sentence, when the state is `BROKEN`.
        body_length: The length of the body in bytes, None where only its end says it.
        is_until_close: Whether nothing but the end of the stream ends the body.
        leftover: What came behind a 101, or behind a 2xx to CONNECT.
        reusable: Whether the socket may carry another request. The answer is complete, framed by
            its length or by chunks, of HTTP/1.1, without ``close`` on either side; the request was
            complete by then; and no byte came behind the answer.
    """

    __slots__ = (
        "_body",
        "_chunks",
        "_interim",
        "_is_complete",
        "_is_started",
        "_keeps_alive",
        "_method",
        "_reader",
        "_request",
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
        headers: Sequence[tuple[str, str]] | Mapping[str, str] | Fields,
        *,
        content: bytes | None = None,
        streams: bool = False,
        upgrade: bool = False,
    ) -> None:
        """
        Args:
            method: Methods are case-sensitive.
            target: A path with its query; a whole URL for a proxy; host and port for CONNECT.
            headers: Names and values; Host is among them.
            content: The whole body. Content-Length is added.
            streams: The body comes by `send_body` and `end_body`, in chunks unless the headers
                have a Content-Length.
            upgrade: The headers ask for a 101.

        Raises:
            ConfigError: for what cannot be sent. The text shows no values.
        """
        self._request, self._to_send, self._keeps_alive, self._upgrade = write_head(
            method, target, headers, content, streams=streams, upgrade=upgrade
        )
        if content:
            self._request += content
        self._method = method
        self._is_started = False
        self._is_complete = not streams
        self._interim = 0
        self._reader: HeadReader | None = None
        self._chunks: ChunkReader | None = None
        self._to_read = 0
        self._body: list[bytes] = []
        self.state = _HEAD
        self.head: Head | None = None
        self.error: str | None = None
        self.body_length: int | None = None
        self.is_until_close = False
        self.leftover = b""
        self.reusable = False

    # The request

    def start(self) -> bytes:
        """The head of the request, and its body unless that is streamed.

        From here on something may have been sent.
        """
        if self._is_started:
            raise RuntimeError("the request was started before")
        self._is_started = True
        request, self._request = self._request, b""
        return request

    def send_body(self, data: bytes) -> bytes:
        """A piece of the body, as it is to be written.

        Raises:
            ConfigError: when the body is longer than the Content-Length that was given.
        """
        self._check_streaming()
        if self._to_send is None:
            # A chunk of no bytes would end the body.
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if len(data) > self._to_send:
            raise ConfigError("the body is longer than the header 'Content-Length' says")
        self._to_send -= len(data)
        return data

    def end_body(self) -> bytes:
        """The end of the body, as it is to be written.

        Raises:
            ConfigError: when the body is shorter than the Content-Length that was given.
        """
        self._check_streaming()
        if self._to_send:
            raise ConfigError(
                f"the body is {self._to_send} bytes shorter than the header 'Content-Length' says"
            )
        self._is_complete = True
        return b"0\r\n\r\n" if self._to_send is None else b""

    def _check_streaming(self) -> None:
        if self._is_complete or not self._is_started:
            raise RuntimeError("the body of this request is not being streamed")

    # What is known

    @property
    def proof(self) -> Proof:
        """What is proved about the request."""
        if self.head is not None:
            return Proof.ANSWERED
        return Proof.MAY_HAVE_RUN if self._is_started else Proof.NOTHING_SENT

    @property
    def has_whole_request(self) -> bool:
        """Whether all of the body was given, though perhaps not yet its end."""
        return self._is_complete or self._to_send == 0

    @property
    def is_head_started(self) -> bool:
        """Whether the beginning of a head came and its end did not. Between two it is False."""
        return self.state is _HEAD and self._reader is not None and self._reader.is_started

    @property
    def keep_alive(self) -> float | None:
        """For how many seconds the server keeps an idle connection, None if it does not say."""
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
        """Read what came; ``b""`` is the end of the stream. Never raises for what came."""
        state = self.state
        if state is _HEAD:
            if not data:
                self._end_in_head()
            elif self._is_started:
                self._read_head(data)
            else:
                self._break("the server sent something before the request")
        elif state is _BODY:
            if data:
                self._read_body(data)
            else:
                self._end_in_body()
        elif state is _DONE:
            self.reusable = False
        elif state is _UPGRADED:
            self.leftover += data

    def fail(self, error: str) -> None:
        """End an exchange that is not over, because its socket broke or its time is up.

        Args:
            error: What happened, in one sentence.
        """
        if self.state is _HEAD or self.state is _BODY:
            self._break(error)

    def _break(self, error: str) -> None:
        self.state = _BROKEN
        self.error = error
        self._reader = self._chunks = None

    def _read_head(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            if self._method != "HEAD" and self._method != "CONNECT":
                plain = read_plain(data)
                if plain is not None:
                    head, length, begins = plain
                    if length is None:
                        self._judge_upgrade(head, data[begins:])
                    else:
                        self.head = head
                        self._begin_body(length, data, begins)
                    return
            reader = self._reader = HeadReader(self._method)
        while data and self.state is _HEAD:
            found = reader.read(data)
            if found is None:
                if reader.error is not None:
                    self._break(reader.error)
                return
            head, data = found
            if "close" in tokens(head.headers.get("connection", "")):
                self._keeps_alive = False
            if head.status == 101:
                self._judge_upgrade(head, data)
            elif head.status < 200:
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    self._break(f"the server sent more than {MAX_INTERIM} interim (1xx) answers")
            else:
                self._judge_final(head, data)

    def _judge_upgrade(self, head: Head, behind: bytes) -> None:
        protocols = tokens(head.headers.get("upgrade", ""))
        if not self._upgrade:
            self._break("the server switched protocols (101) without being asked")
        elif not self._is_complete:
            self._break("the server switched protocols (101) before it had the request")
        elif (
            head.version == "1.0"
            or "upgrade" not in tokens(head.headers.get("connection", ""))
            or not protocols
            or not protocols <= self._upgrade
        ):
            self._break("the server switched (101) to a protocol that was not asked for")
        else:
            self._switch(head, behind)

    def _judge_final(self, head: Head, behind: bytes) -> None:
        headers = head.headers
        if self._method == "CONNECT" and head.status < 300:
            self._switch(head, behind)
            return
        self.head = head
        if self._method == "HEAD" or head.status in (204, 304):
            # What a 204 announces may follow it.
            is_empty = "transfer-encoding" not in headers and not _length(head)
            self._finish(is_framed=head.status != 204 or is_empty, is_last=not behind)
        elif "content-length" in headers:
            self._begin_body(_length(head), behind, 0)
        else:
            self.state = _BODY
            if "transfer-encoding" in headers:
                self._chunks = ChunkReader()
            else:
                self.is_until_close = True
            if behind:
                self._read_body(behind)

    def _switch(self, head: Head, behind: bytes) -> None:
        self.head = head
        self.leftover = behind
        self.state = _UPGRADED

    def _begin_body(self, length: int, data: bytes, begins: int) -> None:
        self.body_length = length
        ends = begins + length
        if ends > begins < len(data):
            self._body.append(data[begins:ends])
        if ends <= len(data):
            self._finish(is_framed=True, is_last=ends == len(data))
        else:
            self._to_read = ends - len(data)
            self.state = _BODY

    def _read_body(self, data: bytes) -> None:
        if self._chunks is not None:
            is_last = self._chunks.read(data, self._body)
            if self._chunks.error is not None:
                self._break(self._chunks.error)
            elif self._chunks.is_done:
                self._finish(is_framed=True, is_last=is_last)
        elif self.is_until_close:
            self._body.append(data)
        elif len(data) < self._to_read:
            self._to_read -= len(data)
            self._body.append(data)
        else:
            self._body.append(data[: self._to_read])
            self._finish(is_framed=True, is_last=len(data) == self._to_read)

    def _finish(self, *, is_framed: bool, is_last: bool) -> None:
        """The answer is complete.

        Args:
            is_framed: Whether its end is certain.
            is_last: Whether nothing came behind it.
        """
        assert self.head is not None
        self.state = _DONE
        self.reusable = (
            is_framed
            and is_last
            and self._keeps_alive
            and self._is_complete
            and self.head.version == "1.1"
        )

    def _end_in_head(self) -> None:
        if not self._is_started:
            self._break("the server closed the connection before the request was sent")
        elif self.is_head_started:
            self._break("the server closed the connection in the middle of the head of its answer")
        elif self._interim:
            self._break("the server closed the connection after an interim (1xx) answer")
        else:
            self._break("the server closed the connection before it answered")

    def _end_in_body(self) -> None:
        if self.is_until_close:
            self._finish(is_framed=False, is_last=True)
        elif self.body_length is None:
            self._break("the server closed the connection before the last chunk of its answer")
        else:
            self._break(
                "the server closed the connection after "
                f"{self.body_length - self._to_read} of {self.body_length} bytes of its answer"
            )


def _length(head: Head) -> int:
    return int(head.headers.get("content-length", "0"))
