"""A server that costs next to nothing, where a real one would be what is measured.

It speaks just enough of RivetKit 2.2's protocol for the clients here, from frames it built before.
The name of an event says what to send: ``burst-1000-60`` is 1,000 events of 60 bytes each,
``flood-60`` is events of 60 bytes without end. Actions answer with a small number. A request whose
path ends with ``together-500`` is answered when there are 500 of them.

Run as a program; it prints its port, the one for TLS, and the file of the certificate authority
that signed for it, and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import resource
import ssl
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import trustme
import uvloop
from websockets.speedups import apply_mask

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = b"\x03\x00"
_PEEK = 512
_CHUNK = 64 * 1024
_ACTOR = {
    "actor_id": "a1",
    "name": "probe",
    "key": "k",
    "namespace_id": "default",
    "runner_name_selector": "default",
    "create_ts": 1,
    "connectable_ts": None,
    "destroy_ts": None,
    "sleep_ts": None,
    "start_ts": 1,
}


def frame(payload: bytes, *, text: bool = False) -> bytes:
    """One unmasked message."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    elif size < 65536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    return (b"\x81" if text else b"\x82") + length + payload


def uint(value: int) -> bytes:
    """BARE's unsigned integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def data(value: bytes) -> bytes:
    """BARE's bytes."""
    return uint(len(value)) + value


def event(encoding: str, name: str, size: int) -> bytes:
    """The frame of one event whose message has about `size` bytes."""
    if encoding == "bare":
        head = _VERSION + b"\x03" + data(name.encode())
        value: Any = b"x" * size if size > 65536 else "x" * max(1, size - len(head) - 5)
        if size > 65536:
            value = cbor2.CBORTag(64, value)
        return frame(head + data(cbor2.dumps([value])))
    value = "x" * max(1, size - 50)
    tree = {"body": {"tag": "Event", "val": {"name": name, "args": [value]}}}
    if encoding == "cbor":
        return frame(cbor2.dumps(tree))
    return frame(json.dumps(tree, separators=(",", ":")).encode(), text=True)


def init(encoding: str) -> bytes:
    """The frame of the first message."""
    if encoding == "bare":
        return frame(_VERSION + b"\x00" + data(b"a1") + data(b"c1"))
    tree = {"body": {"tag": "Init", "val": {"actorId": "a1", "connectionId": "c1"}}}
    if encoding == "cbor":
        return frame(cbor2.dumps(tree))
    return frame(json.dumps(tree).encode(), text=True)


class Connection(asyncio.Protocol):
    """HTTP requests with keep-alive, and WebSockets.

    Args:
        held: The answers that wait until there are enough of them.
    """

    def __init__(self, held: list[Callable[[], None]]) -> None:
        self._held = held
        self._buffer = bytearray()
        self._encoding: str | None = None
        self._transport: Any = None
        self._writable = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.set_write_buffer_limits(high=512 * 1024)
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._encoding is None:
            while self._encoding is None and self._request():
                pass
        if self._encoding is not None:
            self._frames()

    def _request(self) -> bool:
        """Answer one request; False when it is not whole yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._buffer[:end].decode("latin-1")
        end += 4
        if re.search(r"(?i)^transfer-encoding: chunked", head, re.M):
            last = self._buffer.find(b"0\r\n\r\n", end)
            if last < 0:
                return False
            end = last + 5
        elif found := re.search(r"(?i)^content-length: (\d+)", head, re.M):
            end += int(found[1])
            if len(self._buffer) < end:
                return False
        del self._buffer[:end]
        if key := re.search(r"(?i)^sec-websocket-key: (.*)$", head, re.M):
            self._upgrade(head, key[1].strip())
        else:
            self._answer(head)
        return True

    def _answer(self, head: str) -> None:
        method, path = head.split(" ", 2)[:2]
        kind = "application/json"
        if path.startswith("/metadata"):
            body = json.dumps({"runtime": "rivetkit", "version": "2.2.1"}).encode()
        elif path.startswith("/actors"):
            tree = {"actor": _ACTOR, "created": False} if method == "PUT" else {"actors": [_ACTOR]}
            body = json.dumps(tree).encode()
        elif "/request/" in path:
            body = b'{"hello":"world"}'
        else:
            kind = "application/octet-stream"
            body = _VERSION + data(cbor2.dumps(7))
        answer = partial(
            self._transport.write,
            b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (kind.encode(), len(body), body),
        )
        if found := re.search(r"/together-(\d+)$", path):
            self._held.append(answer)
            if len(self._held) == int(found[1]):
                for held in self._held:
                    held()
                self._held.clear()
        else:
            answer()

    def _upgrade(self, head: str, key: str) -> None:
        found = re.search(r"rivet_encoding\.(\w+)", head)
        self._encoding = found[1] if found else "bare"
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: rivet\r\n\r\n%s"
            % (accept, init(self._encoding))
        )

    def _frames(self) -> None:
        """Answer all whole frames in one write."""
        buffer, at = self._buffer, 0
        replies: list[bytes] = []
        while len(buffer) - at >= 6:
            size, start = buffer[at + 1] & 0x7F, at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                if len(buffer) - at < 14:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            end = start + 4 + size
            if len(buffer) < end:
                break
            mask = bytes(buffer[start : start + 4])
            # Only the beginning says what to do: a long payload is not worth unmasking.
            payload = apply_mask(bytes(buffer[start + 4 : min(end, start + 4 + _PEEK)]), mask)
            opcode, at = buffer[at] & 15, end
            if opcode == 8:
                self._transport.write(b"".join(replies) + b"\x88" + bytes((size,)) + payload)
                self._transport.close()
                return
            if opcode in (1, 2):
                replies.append(self._reply(payload))
        del buffer[:at]
        if replies:
            self._transport.write(b"".join(replies))

    def _reply(self, payload: bytes) -> bytes:
        if self._encoding == "bare":
            if payload[2] == 0:
                at = 3
                while payload[at] & 0x80:
                    at += 1
                return frame(_VERSION + b"\x02" + payload[3 : at + 1] + b"\x01\x07")
            length = payload[3]
            name, subscribe = payload[4 : 4 + length].decode(), payload[4 + length] == 1
        else:
            load = cbor2.loads if self._encoding == "cbor" else json.loads
            value = load(payload)["body"]["val"]
            name, subscribe = value["eventName"], value["subscribe"]
        if subscribe:
            task = asyncio.get_running_loop().create_task(self._send_events(name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return b""

    async def _send_events(self, name: str) -> None:
        kind, *numbers = name.split("-")
        assert self._encoding is not None
        one = event(self._encoding, name, int(numbers[-1]))
        left = int(numbers[0]) if kind == "burst" else sys.maxsize
        per_write = max(1, _CHUNK // len(one))
        block = one * per_write
        while left:
            await self._writable.wait()
            count = min(left, per_write)
            self._transport.write(block if count == per_write else one * count)
            left -= count
            if kind != "burst":
                await asyncio.sleep(0)


async def _serve(directory: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(directory / "authority.pem")
    loop = asyncio.get_running_loop()
    connection = partial(Connection, [])
    servers = [
        await loop.create_server(connection, "127.0.0.1", 0, backlog=2048, ssl=context)
        for context in (None, tls)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(*ports, directory / "authority.pem", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(_serve(Path(directory)))


if __name__ == "__main__":
    main()
