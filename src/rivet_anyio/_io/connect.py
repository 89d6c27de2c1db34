"""Opening TCP connections: names are resolved, and their addresses raced (RFC 8305)."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Coroutine
from itertools import zip_longest
from typing import Any, NamedTuple, Protocol

import anyio
from anyio import move_on_after

from .._errors import ConnectError
from .backend import ReusableStream, current_backend
from .tasks import SilentTasks, forbid_interrupts
from .waiting import Signal

__all__ = ["Connector", "DialError", "TcpConnector", "stream_over"]

_STAGGER_SECONDS = 0.25
"""How long an address is tried before the next one is tried beside it."""

_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What the addresses of a family give where this machine has no network of that family."""

_RESOLVER_ERRORS = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}


class DialError(ConnectError):
    """No TCP connection could be opened.

    Attributes:
        reason: Why, in words, without the host and port.
        out_of_descriptors: Whether this process or the system had no file descriptor left.
    """

    def __init__(
        self, host: str, port: int, reason: str, *, out_of_descriptors: bool = False
    ) -> None:
        place = f"[{host}]" if ":" in host else host
        super().__init__(f"cannot connect to {place}:{port}: {reason}")
        self.reason = reason
        self.out_of_descriptors = out_of_descriptors


class Connector(Protocol):
    """What opens connections."""

    async def connect(self, host: str, port: int) -> ReusableStream:
        """A new connection to a host name or IP address.

        Raises `ConnectError`. The caller bounds the time. Cancellation: leaves nothing open.
        """
        ...


class TcpConnector:
    """See `Connector`."""

    async def connect(self, host: str, port: int) -> ReusableStream:
        # Ctrl-C leaves no socket behind.
        forbid_interrupts(_connected, stream_over, _first_connected, _Address.attempt)
        try:
            addresses = await _resolve(host, port)
        except (OSError, UnicodeError, ValueError) as exc:
            raise _resolver_error(host, port, exc) from exc
        return await _connected(host, port, addresses)


async def _connected(host: str, port: int, addresses: list[_Address]) -> ReusableStream:
    errors: list[OSError] = []
    sock = await _first_connected(addresses, errors)
    if sock is None:
        raise _dial_error(host, port, errors)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as exc:  # it broke meanwhile
        sock.close()
        raise _dial_error(host, port, [exc]) from exc
    return await stream_over(sock)


async def stream_over(sock: socket.socket) -> ReusableStream:
    """The stream of a connected socket, which it closes at the end, also when this is cancelled."""
    try:
        return current_backend().stream(sock, b"")
    except NotImplementedError:
        from .asyncio_transport import TransportStream

        return await TransportStream.over(sock)
    except BaseException:
        sock.close()
        raise


class _Address(NamedTuple):
    family: int
    sockaddr: tuple[Any, ...]

    async def attempt(self) -> socket.socket:
        """A socket that is connected to it; raises `OSError`."""
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            code = sock.connect_ex(self.sockaddr)
            if code in _IN_PROGRESS:
                if not _is_connected(sock):  # within one machine it is
                    await anyio.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            if sock.getsockname() == sock.getpeername():
                # TCP lets a socket meet itself when its own port is the one that it asks for.
                raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except BaseException:
            sock.close()
            raise
        return sock


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


async def _first_connected(
    addresses: list[_Address], errors: list[OSError]
) -> socket.socket | None:
    """The socket of the address that answers first; None when all gave errors."""
    if len(addresses) == 1:
        try:
            return await addresses[0].attempt()
        except OSError as exc:
            errors.append(exc)
            return None
    sockets: list[socket.socket] = []
    changed = Signal()

    def attempt_of(address: _Address) -> Callable[[], Coroutine[Any, Any, None]]:
        async def attempt() -> None:
            try:
                sockets.append(await address.attempt())
            except OSError as exc:
                errors.append(exc)
            changed.set()

        return attempt

    try:
        async with SilentTasks() as tasks:
            for started, address in enumerate(addresses, 1):
                tasks.start(attempt_of(address))
                with move_on_after(_STAGGER_SECONDS if started < len(addresses) else None):
                    while not sockets and len(errors) < started:
                        changed = Signal()
                        await changed.wait()
                if sockets:
                    break
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    for sock in sockets[1:]:
        sock.close()
    return sockets[0] if sockets else None


async def _resolve(host: str, port: int) -> list[_Address]:
    """A host's addresses, in the order in which to try them: families alternate."""
    try:
        found: list[Any] = list(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
    except OSError:  # it is a name
        found = list(await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    addresses = list(dict.fromkeys(_Address(each[0], each[4]) for each in found))
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    pairs = zip_longest(first, others)
    return [address for pair in pairs for address in pair if address is not None]


def _resolver_error(host: str, port: int, exc: Exception) -> DialError:
    if isinstance(exc, OSError) and exc.errno in _NO_DESCRIPTOR:
        return _dial_error(host, port, [exc])
    reason = str(exc)
    if isinstance(exc, socket.gaierror):
        reason = f"{exc.strerror} ({_RESOLVER_ERRORS.get(exc.errno, exc.errno)})"
    return DialError(host, port, f"the name cannot be resolved: {reason}")


def _dial_error(host: str, port: int, errors: list[OSError]) -> DialError:
    """The error for all addresses together: it has the words of the one that says most."""
    no_descriptor = [error for error in errors if error.errno in _NO_DESCRIPTOR]
    answers = [error for error in errors if error.errno not in _NO_WAY]
    error = (no_descriptor or answers or errors)[0]
    reason = f"[Errno {error.errno}] {os.strerror(error.errno or 0)}"
    if len(errors) > 1:
        reason += f" ({len(errors)} addresses were tried)"
    dial_error = DialError(host, port, reason, out_of_descriptors=bool(no_descriptor))
    dial_error.__cause__ = error
    return dial_error
