"""What goes wrong with a WebSocket at its opening and at its end, which no toxic can express."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

__all__ = ["Frames", "Goodbye", "Reply", "Silence", "UpgradeFault"]


@dataclass(frozen=True)
class Reply:
    """An answer to the handshake in the server's place; then the connection ends."""

    data: bytes

    @classmethod
    def status(cls, status: int, *headers: str) -> Reply:
        """An HTTP answer that is no 101."""
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *headers,
            "Content-Length: 0",
            "Connection: close",
        ]
        return cls("\r\n".join([*lines, "", ""]).encode())

    @classmethod
    def wrong_accept(cls) -> Reply:
        """A 101 of somebody who has not understood the question."""
        return cls(
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"
            b"Sec-WebSocket-Protocol: rivet\r\n\r\n"
        )


@dataclass(frozen=True)
class Silence:
    """The server's 101, and then nothing: Init never comes."""


@dataclass(frozen=True)
class Goodbye:
    """A close frame in the server's name, at the first frame boundary after so many frames."""

    code: int
    reason: str = ""
    after_frames: int = 0

    @property
    def frame(self) -> bytes:
        payload = self.code.to_bytes(2, "big") + self.reason.encode()
        return bytes([0x88, len(payload)]) + payload


UpgradeFault = Reply | Silence | Goodbye


class Frames:
    """Where what a server sends can be cut: after its answer's head, and after every frame.

    (RFC 6455, section 5.2; a server does not mask.)
    """

    def __init__(self) -> None:
        self.count = 0
        self.refused = False
        self._head = bytearray()
        self._answered = False
        self._left = 0

    @property
    def at_boundary(self) -> bool:
        """Whether a frame may be put in here."""
        return self._answered and not self._head and not self._left

    def step(self, data: bytes) -> int:
        """How many of these bytes, at least one, belong to the unit that is under way."""
        if not self._answered:
            return self._answer(data)
        if self._left:
            taken = min(self._left, len(data))
            self._left -= taken
            self.count += not self._left
            return taken
        taken = 0
        while taken < len(data):
            self._head.append(data[taken])
            taken += 1
            if self._head_is_complete():
                break
        return taken

    def _answer(self, data: bytes) -> int:
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return len(data)
        self._answered = True
        self.refused = not self._head.startswith(b"HTTP/1.1 101")
        self._head.clear()
        return end + 4 - before

    def _head_is_complete(self) -> bool:
        head = self._head
        extended = {126: 2, 127: 8}.get(head[1] & 0x7F, 0) if len(head) > 1 else 0
        if len(head) < 2 + extended:
            return False
        short = head[1] & 0x7F
        self._left = int.from_bytes(head[2:], "big") if extended else short
        self.count += not self._left
        head.clear()
        return True
