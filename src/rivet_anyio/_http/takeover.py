"""Taking the socket of an upgraded connection over from httpx.

What httpx and AnyIO put between a message and its socket takes longer than all the rest, and an
upgraded connection would hold a place in the pool, its request and its answer for its whole life.
"""

from __future__ import annotations

import socket
from typing import Any

import httpx

from .._io.stream import ByteStream, current_backend

__all__ = ["detach", "innermost"]


def detach(response: httpx.Response) -> ByteStream | None:
    """A stream on the socket of a 101; the response is to be closed, and leaves the socket open.

    None where that is not possible, and nothing has changed: with TLS, with a transport of the
    user's, on event loops that cannot watch sockets, and where a version of httpcore or AnyIO
    keeps elsewhere what it has read.
    """
    stream = response.extensions["network_stream"]
    try:
        if stream.get_extra_info("ssl_object") is not None:
            return None
        sock = stream.get_extra_info("socket")
        data, transport = _read_before(stream)
        own = socket.fromfd(sock.fileno(), sock.family, sock.type)
    except (AttributeError, OSError):
        return None
    try:
        own.setblocking(False)
        detached = current_backend().stream(own, data)
    except BaseException as exc:
        own.close()
        if isinstance(exc, NotImplementedError):
            return None
        raise
    if transport is not None:
        # Some versions of AnyIO end the sending direction of what they close, for both of us.
        transport.abort()
    return detached


def innermost(stream: Any) -> Any:
    """What httpcore's streams, as far as they are known, are wrapped around."""
    while type(stream).__module__.startswith("httpcore.") and hasattr(stream, "_stream"):
        stream = stream._stream
    return stream


def _read_before(stream: Any) -> tuple[bytes, Any]:
    """What was read from the socket and not taken, and asyncio's transport.

    Raises `AttributeError` where that cannot be known.
    """
    data = stream._leading_data
    stream = innermost(stream)
    if hasattr(stream, "receive_some"):  # Trio's own, which holds nothing
        return data, None
    transport, protocol = stream._transport, stream._protocol
    if transport.is_reading() or transport.is_closing() or transport.get_write_buffer_size():
        raise AttributeError("the transport is in use")
    return data + b"".join(protocol.read_queue), transport
