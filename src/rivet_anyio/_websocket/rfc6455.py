"""WebSocket frames as bytes, for the client's side: a strict reader and a writer.

(RFC 6455, sections 5 and 7.4. No extensions: none are ever offered.)
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from io import BytesIO

from .framing import TOO_BIG, Close, Frame, FramingError, Ping, Pong, Received
from .masking import fastest_mask

__all__ = ["RFC6455Framer"]

_TEXT = 1
_BINARY = 2
_CLOSE = 8
_PING = 9
_PONG = 10
_FIN = 0x80
_MASKED = 0x80
_WHOLE_TEXT = _FIN | _TEXT
_WHOLE_BINARY = _FIN | _BINARY

_MAX_CONTROL = 125
_NO_CODE = 1005
_PROTOCOL_ERROR = 1002
_NOT_UTF8 = 1007
_REGISTERED_CODES = frozenset((*range(1000, 1004), *range(1007, 1015)))

_BATCH_BYTES = 16 * 1024
"""About how many bytes of what was read are kept as messages at a time."""

_BATCH_MESSAGES = 64
"""How many messages are kept at a time at most."""

_TRUSTED = 16
"""How much more of a message than came already is set aside because its header announces it."""

_MASKS_AT_ONCE = 64

_decoder = codecs.getincrementaldecoder("utf-8")


class RFC6455Framer:
    """Converts between bytes and frames; messages are put together and bounded.

    A violation is found as early as the bytes allow: a header before its payload, text that is
    not UTF-8 within a message, a message that is too long by the length that is announced.

    Args:
        max_message_size: The longest message accepted, in bytes.
    """

    def __init__(self, max_message_size: int) -> None:
        self._max_message_size = max_message_size
        self._rest = b""  # the beginning of a header, or of a control frame
        self._opcode = 0  # of the message that is under way, 0: none is
        self._pieces: BytesIO | None = None  # of that message, when it comes in more than one
        self._is_set_aside = False  # whether that buffer has the whole length
        self._size = 0  # of the message so far, with all that its last frame announced
        self._missing = 0  # bytes of the frame that is under way
        self._is_last = False  # whether that frame ends its message
        self._text: codecs.IncrementalDecoder | None = None
        self._closed = False
        self._mask = fastest_mask()
        self._masks = b""
        self._next_mask = 0

    def receive(self, data: bytes) -> Iterator[Received]:
        if self._closed:
            return
        at, end = 0, len(data)
        if self._missing:
            at = min(self._missing, end)
            self._missing -= at
            self._add(data if at == end else data[:at])
            if self._missing:
                return
            if self._is_last:
                yield [self._finish(self._put_together())]
        elif self._rest:
            data, self._rest = self._rest + data, b""
            end = len(data)
        while end - at >= 2:
            if not self._opcode:
                messages, at = self._whole_messages(data, at, end)
                if messages:
                    yield messages
                    continue
            header = self._header(data, at, end)
            if header is None:
                break
            start, size = header
            stop = start + size
            if data[at] & 0x08:
                if stop > end:
                    break
                frame = _control(data[at] & 0x0F, data[start:stop])
                at = stop
                self._closed = isinstance(frame, Close)
                yield frame
                if self._closed:
                    return
                continue
            if stop <= end and self._is_last and self._pieces is None:
                at = stop
                yield [self._finish(data[start:stop])]
                continue
            at = min(stop, end)
            self._missing = stop - at
            if start < at:
                self._add(data[start:at])
            if self._missing:
                return
            if self._is_last:
                yield [self._finish(self._put_together())]
        self._rest = data[at:]

    def _whole_messages(self, data: bytes, at: int, end: int) -> tuple[list[str | bytes], int]:
        """The next messages that came in one frame each, and where they end.

        Nearly all are such, and spend their time here. The first that is anything else, or whose
        frame is not whole or violates something, is left to `_header`.
        """
        messages: list[str | bytes] = []
        limit = self._max_message_size
        fence = min(end - 1, at + _BATCH_BYTES)
        while at < fence and len(messages) < _BATCH_MESSAGES:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size > _MAX_CONTROL:
                if size != 126 or at + 4 > end:
                    break
                size = data[start] << 8 | data[start + 1]
                start += 2
                if size <= _MAX_CONTROL:
                    break
            stop = start + size
            if stop > end or size > limit:
                break
            if first == _WHOLE_BINARY:
                messages.append(data[start:stop])
            elif first == _WHOLE_TEXT:
                try:
                    messages.append(data[start:stop].decode())
                except UnicodeDecodeError:
                    break
            else:
                break
            at = stop
        return messages, at

    def _header(self, data: bytes, at: int, end: int) -> tuple[int, int] | None:
        """Where a frame's payload starts and its length; None when the header is not whole.

        Checks all that can be wrong with a header, and begins or goes on with the message.
        """
        first, length = data[at], data[at + 1]
        opcode = first & 0x0F
        if first & 0x70:
            raise _violation("reserved bits are set")
        if length & _MASKED:
            raise _violation("a server's frame is masked")
        if opcode & 0x08:
            if opcode > _PONG:
                raise _violation(f"the opcode {opcode} is unknown")
            if not first & _FIN:
                raise _violation("a control frame in fragments")
            if length > _MAX_CONTROL:
                raise _violation(f"a control frame of more than {_MAX_CONTROL} bytes")
            return at + 2, length
        if opcode > _BINARY:
            raise _violation(f"the opcode {opcode} is unknown")
        if bool(opcode) is bool(self._opcode):
            raise _violation(
                "a message begins within another" if opcode else "a continuation of no message"
            )
        start = at + 2
        if length > _MAX_CONTROL:
            width = 2 if length == 126 else 8
            start += width
            if start > end:
                return None
            length = int.from_bytes(data[at + 2 : start], "big")
            if length >> 63:
                raise _violation("a length of more than 63 bits")
            if length < (126 if width == 2 else 65536):
                raise _violation("a length that is not minimal")
        if self._size + length > self._max_message_size:
            raise FramingError(
                f"a message of more than {self._max_message_size} bytes: "
                "raise max_message_size to accept it",
                TOO_BIG,
            )
        self._size += length
        self._is_last = bool(first & _FIN)
        if opcode:
            self._opcode = opcode
        return start, length

    def _add(self, piece: bytes) -> None:
        """Keep a piece of the message, in one buffer with the others."""
        if self._opcode == _TEXT:
            self._text = self._text or _decoder()
            try:
                self._text.decode(piece)
            except UnicodeDecodeError:
                raise _not_utf8() from None
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = BytesIO()
            self._is_set_aside = False
        elif self._is_last and not self._is_set_aside and pieces.tell() * _TRUSTED >= self._size:
            pieces, begun = BytesIO(bytes(self._size)), pieces.getvalue()
            pieces.write(begun)
            self._pieces, self._is_set_aside = pieces, True
        pieces.write(piece)

    def _put_together(self) -> bytes:
        # The buffer itself: nothing is copied once more.
        return b"" if self._pieces is None else self._pieces.getvalue()

    def _finish(self, whole: bytes) -> str | bytes:
        """The message that is whole now."""
        opcode, self._opcode, self._size = self._opcode, 0, 0
        self._pieces = self._text = None
        if opcode == _BINARY:
            return whole
        try:
            return whole.decode()
        except UnicodeDecodeError:
            raise _not_utf8() from None

    def encode(self, frame: Frame) -> bytes:
        if isinstance(frame, bytes):
            size = len(frame)
            if size > _MAX_CONTROL:
                return self._masked(_FIN | _BINARY, frame)
            # As `_masked` does, in fewer calls: most messages are short.
            mask = self._new_mask()
            return bytes((_WHOLE_BINARY, _MASKED | size)) + mask + self._mask(frame, mask)
        if isinstance(frame, str):
            return self._masked(_FIN | _TEXT, frame.encode())
        if isinstance(frame, Ping):
            return self._masked(_FIN | _PING, frame.payload)
        if isinstance(frame, Pong):
            return self._masked(_FIN | _PONG, frame.payload)
        if frame.code == _NO_CODE:
            return self._masked(_FIN | _CLOSE, b"")
        return self._masked(_FIN | _CLOSE, frame.code.to_bytes(2, "big") + frame.reason.encode())

    def encode_in_pieces(self, message: str | bytes, size: int) -> Iterator[bytes]:
        first, payload = (
            (_BINARY, message) if isinstance(message, bytes) else (_TEXT, message.encode())
        )
        mask = self._new_mask()
        header = _header(_FIN | first, len(payload)) + mask
        view = memoryview(payload)
        # A piece whose length is a multiple of four leaves the mask where it was.
        size -= size % 4
        begun = max(size - len(header), 0) & ~3
        yield header + self._mask(view[:begun], mask)
        for start in range(begun, len(payload), size):
            yield self._mask(view[start : start + size], mask)

    def _masked(self, first: int, payload: bytes) -> bytes:
        mask = self._new_mask()
        return _header(first, len(payload)) + mask + self._mask(payload, mask)

    def _new_mask(self) -> bytes:
        at = self._next_mask
        if at == len(self._masks):
            self._masks, at = os.urandom(4 * _MASKS_AT_ONCE), 0
        self._next_mask = at + 4
        return self._masks[at : at + 4]


def _header(first: int, size: int) -> bytes:
    """A masked frame's header without its mask."""
    if size < 126:
        return bytes((first, _MASKED | size))
    if size < 65536:
        return bytes((first, _MASKED | 126)) + size.to_bytes(2, "big")
    return bytes((first, _MASKED | 127)) + size.to_bytes(8, "big")


def _control(opcode: int, payload: bytes) -> Ping | Pong | Close:
    if opcode == _PING:
        return Ping(payload)
    if opcode == _PONG:
        return Pong(payload)
    if not payload:
        return Close(_NO_CODE, "")
    if len(payload) == 1:
        raise _violation("a close frame of one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in _REGISTERED_CODES and not 3000 <= code <= 4999:
        raise _violation(f"the close code {code}")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise _not_utf8() from None


def _violation(what: str) -> FramingError:
    return FramingError(f"malformed WebSocket frame: {what}", _PROTOCOL_ERROR)


def _not_utf8() -> FramingError:
    return FramingError("malformed WebSocket frame: text that is not UTF-8", _NOT_UTF8)
