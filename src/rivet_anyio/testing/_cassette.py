"""Cassettes: what a real server said, once, and again in memory."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal, Unpack

from .._checks import as_config_errors, check_choice
from .._client import Client
from .._errors import outside_block
from .._http.transport import HttpTransport
from .._text import in_short
from ..protocol.addressing import parse_endpoint_url
from ._cassette_file import CassetteError, Names, read_tape, write_tape
from ._memory import MemoryConnector
from ._player import Player, Playing
from ._recorder import Recorder, Recording
from ._server import ActorServer, ClientOptions

__all__ = ["Cassette", "CassetteError", "record", "replay"]

_ENDPOINT = "http://cassette.test"
_MOST_UNUSED = 10


class Cassette:
    """What `record` and `replay` give: clients whose calls are recorded, or answered.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, make_client: Callable[[ClientOptions], Client]) -> None:
        self.path = path
        self._make_client = make_client
        self._is_over = False

    def __repr__(self) -> str:
        return f"<Cassette {str(self.path)!r}>"

    def client(self, **options: Unpack[ClientOptions]) -> Client:
        """A client; enter it by ``async with``.

        Args:
            options: Those of `Client`, for a recording and for a replay alike. Two of them have no
                effect: `metadata_lookup` is always on, and `actor_check_interval` is None. In a
                replay `ping_interval` is None, too.

        Raises:
            ConfigError: as `Client`.
            ClosedError: outside the cassette's block.
        """
        if self._is_over:
            raise outside_block("the cassette", entered=True)
        options["metadata_lookup"] = True
        options["actor_check_interval"] = None
        return self._make_client(options)


def record(
    endpoint: str | ActorServer,
    path: str | os.PathLike[str],
    *,
    secrets: Sequence[str] = (),
) -> AbstractAsyncContextManager[Cassette]:
    """Record what clients ask a server, and what it answers, in a file for `replay`.

    Use it by ``async with record(...) as cassette``, and ``cassette.client()`` inside. The file
    is written when the block is left, and not when it is left by an error.

    It has actions, queue messages, requests to the actors' own HTTP servers and to the management
    API, connections with their events, and raw WebSockets. A body that is given piece by piece is
    sent when all pieces are there. It has no header of a request, no token, no params and
    no time. Ids that the server gives are numbered. A token, or a text in params, of at least 8
    characters is replaced by a name wherever it occurs.

    Args:
        endpoint: The server's URL, as for `Client`; or an `ActorServer`.
        path: The file. Its folder is made.
        secrets: Texts to replace by names wherever they occur; `replay` takes them, too.

    Raises:
        CassetteError: on leaving the block: something cannot be recorded, a request failed on its
            way, say. In a call: the server is of an unknown version.
        ConfigError: an argument cannot be used.
        OSError: the file cannot be written.
    """
    file, names = _checked(path, secrets)
    if not isinstance(endpoint, ActorServer):
        parse_endpoint_url(endpoint)
    return _record(endpoint, file, names)


@asynccontextmanager
async def _record(
    endpoint: str | ActorServer, path: Path, names: Names
) -> AsyncGenerator[Cassette]:
    path.parent.mkdir(parents=True, exist_ok=True)
    recording = Recording(names)

    def make_client(options: ClientOptions) -> Client:
        if isinstance(endpoint, str):
            return _RecordedClient(endpoint, recording, options)
        client = _RecordedClient(endpoint.endpoint, recording, options)
        client._connector = MemoryConnector(endpoint.network._dial)
        return client

    cassette = Cassette(path, make_client)
    try:
        yield cassette
    finally:
        cassette._is_over = True
    if recording.problems:
        raise CassetteError("\n".join([f"{path} was not recorded:", *recording.problems]))
    write_tape(recording.tape, names, path)


def replay(
    path: str | os.PathLike[str],
    *,
    secrets: Sequence[str] = (),
    unused: Literal["error", "ignore"] = "error",
) -> AbstractAsyncContextManager[Cassette]:
    """Answer clients from a file that `record` wrote: in memory, at once, without a server.

    Use it by ``async with replay(path) as cassette``, and ``cassette.client()`` inside. It works
    in virtual time, too.

    Each recorded answer is given once, to a call of the same action of the same actor with the
    same arguments; equal calls get theirs in the order in which they were recorded. Only what
    finds actors is answered by its last answer again. The n-th connection to an actor plays the
    n-th that was recorded: events come in their place between the answers on it. The n-th raw
    WebSocket of a path plays the n-th, too: its messages wait for what the client sent before them.
    A call that was never answered waits.

    Args:
        path: The file.
        secrets: What stands for the `secrets` of `record`, in the same order.
        unused: What leaving the block does when something was recorded and never asked for: a
            call, a message, a subscription, a connection, a raw WebSocket. ``"error"`` raises
            `CassetteError`, unless the block itself raised; ``"ignore"`` does nothing.

    Raises:
        CassetteError: the file does not exist or cannot be read. In a call, or on entering a
            connection: it is not on the cassette; the message has the nearest that is. On leaving
            the block: such an error was suppressed, or see `unused`.
        ConfigError: an argument cannot be used.
    """
    with as_config_errors():
        check_choice("unused", unused, ("error", "ignore"))
    return _replay(*_checked(path, secrets), unused == "error")


@asynccontextmanager
async def _replay(path: Path, names: Names, checks_unused: bool) -> AsyncGenerator[Cassette]:
    playing = Playing(path, read_tape(path), names)

    def make_client(options: ClientOptions) -> Client:
        options["ping_interval"] = None
        return _PlayedClient(_ENDPOINT, playing, options)

    cassette = Cassette(path, make_client)
    try:
        yield cassette
    except BaseException as exc:
        for error in playing.missing:
            if error is not exc:
                exc.add_note(str(error))
        raise
    finally:
        cassette._is_over = True
    if playing.missing:
        raise CassetteError("\n".join(str(error) for error in playing.missing))
    if checks_unused and (unused := playing.unused):
        raise CassetteError(_unused_text(path, unused))


def _unused_text(path: Path, unused: list[str]) -> str:
    shown = unused[:_MOST_UNUSED]
    if len(shown) < len(unused):
        shown.append(f"and {len(unused) - len(shown)} others")
    return "\n".join(
        [
            f"the cassette {path} has what nobody asked for. Record it anew, or give "
            'replay(unused="ignore"):',
            *shown,
        ]
    )


def _checked(path: str | os.PathLike[str], secrets: Sequence[str]) -> tuple[Path, Names]:
    with as_config_errors():
        if not isinstance(path, (str, os.PathLike)) or not Path(path).name:
            raise TypeError(f"path is the path of a file, not {in_short(path)}")
        if Path(path).is_dir():
            raise ValueError(f"path is the path of a file, not of a directory: {str(path)!r}")
        if isinstance(secrets, (str, bytes)) or not isinstance(secrets, Sequence):
            raise TypeError(f"secrets is a sequence of strings, not a {type(secrets).__name__}")
        for secret in secrets:
            if not isinstance(secret, str) or not secret:
                raise TypeError("secrets has something that is not a string, or is empty")
        return Path(path), Names(tuple(secrets))


class _RecordedClient(Client):
    def __init__(self, endpoint: str, recording: Recording, options: ClientOptions) -> None:
        super().__init__(endpoint, **options)
        self._recording = recording

    def _transport(self) -> HttpTransport:
        return Recorder(super()._transport(), self._core, self._recording)


class _PlayedClient(Client):
    def __init__(self, endpoint: str, playing: Playing, options: ClientOptions) -> None:
        super().__init__(endpoint, **options)
        self._playing = playing

    def _transport(self) -> HttpTransport:
        return Player(self._core, self._playing)
