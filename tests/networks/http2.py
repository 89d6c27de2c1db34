"""An HTTP/2 server for one connection: passes plain requests on to a server behind it.

It has no WebSockets, because HTTP/2 has no Upgrade. (RFC 9113, section 8.6)
"""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import httpx
from anyio.abc import ByteStream

__all__ = ["serve_http2"]

_CHUNK = 64 * 1024
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "content-length")


class _Request:
    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.fields = [(name.decode(), value.decode()) for name, value in headers]
        self.body = b""

    def field(self, name: str) -> str:
        return dict(self.fields)[name]


async def serve_http2(client: ByteStream, target: str, requests: list[str]) -> None:
    """Answer requests until the client goes away; what came is noted in `requests`."""
    config = h2.config.H2Configuration(client_side=False)
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    await client.send(connection.data_to_send())
    under_way: dict[int, _Request] = {}
    async with httpx.AsyncClient(base_url=target, trust_env=False) as server:
        while True:
            for event in connection.receive_data(await client.receive(_CHUNK)):
                if isinstance(event, h2.events.RequestReceived):
                    under_way[event.stream_id] = _Request(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    under_way[event.stream_id].body += event.data
                    connection.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
                elif isinstance(event, h2.events.StreamEnded):
                    request = under_way.pop(event.stream_id)
                    requests.append(f"{request.field(':method')} {request.field(':path')}")
                    await _answer(connection, event.stream_id, request, server)
            await client.send(connection.data_to_send())


async def _answer(
    connection: h2.connection.H2Connection,
    stream_id: int,
    request: _Request,
    server: httpx.AsyncClient,
) -> None:
    answer = await server.request(
        request.field(":method"),
        request.field(":path"),
        headers=[(name, value) for name, value in request.fields if not name.startswith(":")],
        content=request.body,
    )
    headers = [(name, value) for name, value in answer.headers.items() if name not in _HOP_BY_HOP]
    connection.send_headers(stream_id, [(":status", str(answer.status_code)), *headers])
    # The tests' answers are smaller than a fresh stream's flow-control window.
    connection.send_data(stream_id, answer.content, end_stream=True)
