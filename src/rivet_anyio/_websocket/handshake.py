"""The opening handshake of a WebSocket: what is sent, and what a server must answer.

(RFC 6455, section 4.1.)
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from .._errors import ProtocolError

__all__ = ["check_accepted", "handshake_headers", "new_key"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key(random: bytes) -> str:
    """The key of a handshake, from 16 random bytes."""
    return base64.b64encode(random).decode("ascii")


def handshake_headers(key: str, subprotocols: Sequence[str]) -> dict[str, str]:
    """The fields of a request that asks for a WebSocket, and offers these subprotocols."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
    }
    if subprotocols:
        headers["Sec-WebSocket-Protocol"] = ", ".join(subprotocols)
    return headers


def check_accepted(headers: Mapping[str, str], key: str, subprotocols: Sequence[str]) -> str:
    """Check the 101 that answers a handshake.

    Args:
        headers: Its headers, looked up without regard to case.
        key: The key that was sent.
        subprotocols: Those of which the server must select one.

    Returns:
        The one that it selected.

    Raises:
        ProtocolError: this is not the answer of a WebSocket server.
    """
    import hashlib  # loads OpenSSL, which takes milliseconds

    # Systems in FIPS mode refuse SHA-1 for security.
    digest = hashlib.sha1((key + _GUID).encode("ascii"), usedforsecurity=False).digest()
    accept = base64.b64encode(digest).decode("ascii")
    tokens = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in tokens:
        raise ProtocolError("the server's 101 does not upgrade to a WebSocket")
    if headers.get("sec-websocket-accept") != accept:
        raise ProtocolError("the server's Sec-WebSocket-Accept does not answer our key")
    selected = headers.get("sec-websocket-protocol")
    if selected is None or selected not in subprotocols:
        raise ProtocolError(
            f"the server selected the subprotocol {selected!r}, not {' or '.join(subprotocols)!r}"
        )
    if "sec-websocket-extensions" in headers:
        raise ProtocolError("the server selected WebSocket extensions that were not offered")
    return selected
