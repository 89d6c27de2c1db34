"""A little Rivet gateway on the `websockets` library, in threads of its own."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

Talk = Callable[[ServerConnection], None]


def message(tag: str, **value: Any) -> str:
    """A message of the JSON encoding."""
    return json.dumps({"body": {"tag": tag, "val": value}}, ensure_ascii=False)


def init(connection_id: str = "c1") -> str:
    """The first message."""
    return message("Init", actorId="a1", connectionId=connection_id)


def requests(socket: ServerConnection) -> Iterator[dict[str, Any]]:
    """What the client asks for until it closes: the ``val`` of every message."""
    for data in socket:
        yield json.loads(data)["body"]["val"]


class Gateway:
    """Serves ``/metadata``, ``/actors`` and WebSockets.

    Attributes:
        url: Where.
        version: Which RivetKit it says it is.
        client_endpoint: Where it sends clients on to.
        requested: The path and query of every request.
        closes: Code and reason of the client's side of every WebSocket that ended.
    """

    def __init__(self, talk: Talk, version: str) -> None:
        self.url = ""
        self.version = version
        self.client_endpoint: str | None = None
        self.requested: list[str] = []
        self.headers: list[Headers] = []
        self.closes: list[tuple[int | None, str | None]] = []
        self.failures: list[BaseException] = []
        self._talk = talk
        self._busy = threading.Semaphore(0)
        self._accepted = 0

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """A plain answer, or None for a WebSocket."""
        self.requested.append(request.path)
        self.headers.append(request.headers)
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if path == "/metadata":
            body: Any = {"runtime": "rivetkit", "version": self.version}
            if self.client_endpoint is not None:
                body["clientEndpoint"] = self.client_endpoint
        elif path == "/actors":
            key = query.get("key", [None])[0]
            found = [{"actor_id": "a1", "name": query["name"][0], "key": key}]
            body = {"actors": [] if key == "missing" else found}
        else:
            return None
        response = connection.respond(200, json.dumps(body))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def handle(self, socket: ServerConnection) -> None:
        """Talk over one WebSocket and keep what goes wrong."""
        self._accepted += 1
        try:
            try:
                self._talk(socket)
            except ConnectionClosed:
                pass
            socket.close()
            self.closes.append((socket.close_code, socket.close_reason))
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            self._busy.release()

    def finish(self) -> None:
        """Wait for every WebSocket's end."""
        for _ in range(self._accepted):
            assert self._busy.acquire(timeout=60), "a WebSocket did not end"
        if self.failures:
            raise self.failures[0]


@contextmanager
def running(
    talk: Talk,
    *,
    version: str = "2.3.19",
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Gateway]:
    """A gateway whose WebSockets all talk like `talk`."""
    gateway = Gateway(talk, version)
    logger = logging.getLogger("tests.peers.gateway")
    with serve(
        gateway.handle,
        host,
        port,
        ssl=tls,
        subprotocols=[Subprotocol("rivet")],
        process_request=gateway.answer,
        max_size=None,
        logger=logger,
    ) as server:
        gateway.url = f"http{'s' if tls else ''}://{host}:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()
    gateway.finish()
