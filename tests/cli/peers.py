"""HTTP servers that are not what one hopes for."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """What came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    """An answer in JSON."""
    found = {"content-type": "application/json", **headers}
    return Answer(status, json.dumps(value).encode(), found)


METADATA = as_json({"runtime": "rivetkit", "version": "2.2.1"})
NO_ACTORS = as_json({"actors": []})


def forward(port: int, request: Request) -> Answer:
    """Pass a request on like a proxy that knows no Upgrade: hop-by-hop headers stay behind."""
    dropped = ("connection", "upgrade", "host", "content-length", "transfer-encoding")
    headers = {name: value for name, value in request.headers.items() if name not in dropped}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        return Answer(
            response.status,
            response.read(),
            {"content-type": response.headers.get("content-type", "text/plain")},
        )
    finally:
        connection.close()


@contextmanager
def serving(
    answer: Callable[[Request], Answer], *, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """An HTTP server that answers like this; the value is its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:  # the client is gone, or speaks something else
                self.close_connection = True

        def respond(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = answer(Request(self.command, self.path, headers, self.rfile.read(size)))
            self.send_response_only(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        do_GET = do_POST = do_PUT = respond

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=lambda: server.serve_forever(0.05))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
