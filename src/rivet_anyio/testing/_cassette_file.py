"""The file of a cassette: what it holds, how it is written and read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from .._errors import ActorError, ActorSpecifier, ConfigError
from ._cassette_values import from_json, to_json
from ._release import release_of

__all__ = [
    "CassetteError",
    "ErrorEntry",
    "Exchange",
    "Message",
    "Names",
    "RecordedConnection",
    "Tape",
    "error_entry",
    "read_tape",
    "write_tape",
]

_VERSION = 1
_WIDTH = 100
_SHORTEST_SECRET = 8


class CassetteError(AssertionError):
    """A call is not on the cassette, or something cannot be recorded, or the file is not right."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a cassette has; values are JSON trees as of `to_json`."""


class Signer(_Entry):
    """The actor that has signed an error."""

    id: str
    generation: int
    key: str | None = None


class ErrorEntry(_Entry):
    """An error that a server answered."""

    group: str
    code: str
    message: str = ""
    metadata: Any = None
    actor: Signer | None = None

    def load(self) -> ActorError:
        """The exception."""
        signer = None
        if self.actor is not None:
            signer = ActorSpecifier(self.actor.id, self.actor.generation, self.actor.key)
        return ActorError(
            self.group,
            self.code,
            self.message,
            metadata=from_json(self.metadata),
            actor=signer,
        )


class Exchange(_Entry):
    """A request and its answer. One that has neither `answer` nor `error` was never answered.

    Attributes:
        request: Method and path of a request to the management API.
        action: The name of an action.
        send: The name of a queue.
        fetch: Method and path of a request to the actor's own server.
        actor: The actor's id.
        query: Parameters of a request to the management API.
        args: The action's arguments.
        body: The body of a message or request.
        wait: Whether the sender waits for the message to be worked off.
        status: The HTTP status of an error.
    """

    request: str | None = None
    action: str | None = None
    send: str | None = None
    fetch: str | None = None
    actor: str | None = None
    query: dict[str, Any] | None = None
    args: list[Any] | None = None
    body: Any = None
    wait: bool = False
    answer: Any | UnsetType = UNSET
    status: int | None = None
    error: ErrorEntry | None = None

    @property
    def question(self) -> dict[str, Any]:
        """What is asked."""
        answer = ("answer", "status", "error")
        return {k: v for k, v in msgspec.to_builtins(self).items() if k not in answer}


class Message(_Entry):
    """What one side said on a connection or a raw WebSocket: one of these, or an error alone.

    Attributes:
        init: The server opened the connection, which has this id.
        subscribe: The client subscribed to events of this name.
        call: The client called `action` with `args`; its number.
        event: The server sent an event of this name with `args`.
        to: The server answered the call of this number by `answer` or `error`.
        sent: A message of the client on a raw WebSocket.
        received: A message of the server on a raw WebSocket.
        close: Code and reason of the server's close frame.
        lost: The connection broke.
    """

    init: str | None = None
    subscribe: str | None = None
    call: int | None = None
    action: str | None = None
    event: str | None = None
    args: list[Any] | None = None
    to: int | None = None
    answer: Any | UnsetType = UNSET
    error: ErrorEntry | None = None
    sent: Any = None
    received: Any = None
    close: tuple[int, str] | None = None
    lost: bool = False

    @property
    def is_from_client(self) -> bool:
        """Whether the client said it."""
        return not (self.call is None and self.subscribe is None and self.sent is None)

    @property
    def question(self) -> dict[str, Any]:
        """What the client asked."""
        if self.action is not None:
            return {"action": self.action, "args": self.args}
        return {"sent": self.sent} if self.subscribe is None else {"subscribe": self.subscribe}


class RecordedConnection(_Entry):
    """A connection to an actor; `status` and `error` of a handshake that was refused.

    Attributes:
        websocket: The path of a raw WebSocket.
    """

    actor: str
    websocket: str | None = None
    status: int | None = None
    error: ErrorEntry | None = None
    messages: list[Message] = []

    @property
    def name(self) -> str:
        """What it is."""
        if self.websocket is None:
            return f"connection to {self.actor}"
        return f"raw WebSocket {self.websocket} to {self.actor}"


class Tape(msgspec.Struct, forbid_unknown_fields=True):
    """All that a cassette has.

    Attributes:
        cassette: The version of the format.
        rivetkit: The version of the server.
        exchanges: Requests, in the order in which they began.
        connections: Connections, in the order in which they began.
    """

    cassette: int = _VERSION
    rivetkit: str = ""
    exchanges: list[Exchange] = []
    connections: list[RecordedConnection] = []


_FIELDS = frozenset(
    field
    for kind in (Tape, RecordedConnection, Message, Exchange, ErrorEntry, Signer)
    for field in kind.__struct_fields__
)


def error_entry(error: ActorError) -> ErrorEntry:
    """An error for a cassette; raises `TypeError` as `to_json`."""
    signer = None
    if error.actor is not None:
        signer = Signer(error.actor.id, error.actor.generation, error.actor.key)
    metadata = to_json(error.metadata)
    return ErrorEntry(error.group, error.code, error.message, metadata, signer)


class Names:
    """Names that stand for ids, which differ in each recording, and for secrets.

    Args:
        secrets: What is not to be in the file.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._names: dict[str, str] = {}
        self._secrets: dict[str, str] = {}
        self._forms: dict[str, str] = {}  # how secrets may be written, the longest first
        self._cursors: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        for secret in secrets:
            self._add_secret("secret", secret)

    def add_id(self, kind: str, id: str) -> None:
        """The server has named something."""
        self._add(self._names, kind, id)

    def keep_id(self, id: str) -> None:
        """The client has named something: an id that did not come from the server stays."""
        self._names.setdefault(id, id)

    def cursor(self, cursor: str) -> str:
        """The name of a cursor of the server's, which may be any short text."""
        self._add(self._cursors, "cursor", cursor)
        return self._cursors[cursor]

    def known_cursor(self, cursor: str) -> str:
        """The name of a cursor that the client repeats."""
        return self._cursors.get(cursor, cursor)

    def add_secrets(self, kind: str, value: Any) -> None:
        """All texts in a value are secrets; short ones, which may mean anything, are not."""
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET:
            self._add_secret(kind, value)
        elif isinstance(value, dict):
            for item in value.values():
                self.add_secrets(kind, item)
        elif isinstance(value, list):
            for item in value:
                self.add_secrets(kind, item)

    def _add(self, names: dict[str, str], kind: str, value: str) -> None:
        if value not in names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            names[value] = f"{kind}-{self._counts[kind]}"

    def _add_secret(self, kind: str, value: str) -> None:
        if value in self._secrets:
            return
        self._add(self._secrets, kind, value)
        as_json = (json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False))
        forms = dict.fromkeys((value, quote(value, safe=""), *as_json), self._secrets[value])
        known = {**self._forms, **forms}
        self._forms = {form: known[form] for form in sorted(known, key=len, reverse=True)}

    def hide(self, tree: Any) -> Any:
        """A JSON tree with names for ids and secrets."""
        return _replaced(tree, self._hidden)

    def _hidden(self, text: str) -> str:
        # An expression with all that is known would be compiled anew for each new id.
        found = [re.escape(form) for form in self._forms if form in text]
        if found:
            text = re.sub("|".join(found), lambda match: self._forms[match[0]], text)
        return _ID.sub(lambda match: self._names.get(match[0], match[0]), text)

    def show(self, tree: Any) -> Any:
        """A JSON tree with the secrets for their names."""
        secrets = {name: secret for secret, name in self._secrets.items()}
        return _replaced(tree, partial(_SECRET.sub, lambda match: secrets.get(match[0], match[0])))


_ID = re.compile(r"[\w-]+")
_SECRET = re.compile(r"(?:secret|token|param)-\d+")


def _replaced(tree: Any, replace: Callable[[str], str]) -> Any:
    """A JSON tree with other texts; the names of an entry's own fields stay."""
    if isinstance(tree, str):
        return replace(tree)
    if isinstance(tree, list):
        return [_replaced(item, replace) for item in tree]
    if isinstance(tree, dict):
        return {
            key if key in _FIELDS else replace(key): _replaced(item, replace)
            for key, item in tree.items()
        }
    return tree


def write_tape(tape: Tape, names: Names, path: Path) -> None:
    """Write a cassette, whole or not at all."""
    tree = json.loads(msgspec.json.encode(tape))
    for part in ("exchanges", "connections"):
        tree[part] = names.hide(tree[part])
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        text = _laid_out(tree, "", whole=True) + "\n"
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _laid_out(tree: Any, indent: str, *, whole: bool = False, taken: int = 0) -> str:
    """JSON that is broken up where it does not fit."""
    text = json.dumps(tree, ensure_ascii=False)
    fits = len(indent) + taken + len(text) < _WIDTH and not whole
    if fits or not tree or not isinstance(tree, (list, dict)):
        return text
    inner = indent + "  "
    if isinstance(tree, list):
        parts = [_laid_out(item, inner) for item in tree]
    else:
        parts = []
        for key, item in tree.items():
            name = json.dumps(key, ensure_ascii=False) + ": "
            is_list = whole and isinstance(item, list)
            parts.append(name + _laid_out(item, inner, whole=is_list, taken=len(name)))
    opening, closing = "[]" if isinstance(tree, list) else "{}"
    body = f",\n{inner}".join(parts)
    return f"{opening}\n{inner}{body}\n{indent}{closing}"


def read_tape(path: Path) -> Tape:
    """Read a cassette.

    Raises:
        CassetteError: there is none, or it cannot be read; the message names the place.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CassetteError(f"there is no cassette {path}: make it with record()") from None
    except ValueError as exc:
        raise CassetteError(f"the cassette {path} is not JSON: {exc}") from None
    version = tree.get("cassette") if isinstance(tree, dict) else None
    if version != _VERSION:
        raise CassetteError(
            f"the cassette {path} has the format {version!r}, and this version of rivet-anyio "
            f"reads {_VERSION}: make it anew with record()"
        )
    try:
        tape = msgspec.convert(tree, Tape)
        if not (tape.rivetkit or tape.exchanges or tape.connections):
            tape.rivetkit = "2.3"  # nothing was asked, so the server has not said its version
        release_of(tape.rivetkit)
    except (msgspec.ValidationError, ConfigError) as exc:
        raise CassetteError(f"the cassette {path} cannot be read: {exc}") from None
    for number, exchange in enumerate(tape.exchanges):
        _check(path, f"$.exchanges[{number}]", exchange, _fault_of(exchange))
    for number, connection in enumerate(tape.connections):
        if (connection.error is None) != (connection.status is None):
            raise _unreadable(path, "an error has a status", f"$.connections[{number}]")
        calls: set[int] = set()
        for index, message in enumerate(connection.messages):
            at = f"$.connections[{number}].messages[{index}]"
            fault = _fault_of_message(message, calls, is_raw=connection.websocket is not None)
            _check(path, at, message, fault)
    return tape


def _check(path: Path, at: str, entry: Exchange | Message, fault: str | None) -> None:
    if fault is None:
        try:
            answer = None if entry.answer is UNSET else entry.answer
            data = [entry.sent, entry.received] if isinstance(entry, Message) else []
            from_json([entry.args, answer, entry.error and entry.error.metadata, *data])
        except ValueError as exc:
            fault = str(exc)
    if fault is not None:
        raise _unreadable(path, fault, at)


def _unreadable(path: Path, fault: str, at: str) -> CassetteError:
    return CassetteError(f"the cassette {path} cannot be read: {fault} - at `{at}`")


def _fault_of(entry: Exchange) -> str | None:
    kinds = [kind for kind in ("request", "action", "send", "fetch") if getattr(entry, kind)]
    if len(kinds) != 1:
        return "it has one of request, action, send and fetch"
    if (entry.request is None) != (entry.actor is not None):
        return "it has an actor, if it is not a request"
    if (entry.action is not None) != (entry.args is not None):
        return "it has args, if it is an action"
    if (entry.error is not None) != (entry.status is not None):
        return "an error has a status"
    if entry.error is not None and (entry.answer is not UNSET or entry.fetch is not None):
        return "it has an answer or an error, and a fetch has no error"
    kind = _Response if entry.fetch else _Reply if entry.send else Any
    if entry.answer is not UNSET:
        try:
            msgspec.convert(entry.answer, kind)
        except msgspec.ValidationError as exc:
            return f"its answer is wrong: {exc}"
    return None


_TextOrBytes = str | tuple[Literal["$Uint8Array"], str]
"""What is not text has a marker."""


class _Reply(_Entry):
    """What became of a message for a queue."""

    status: str
    response: Any = None


class _Response(_Entry):
    """What an actor's own server answered; the end of an unfinished body was not read."""

    status: int
    headers: dict[str, str]
    body: _TextOrBytes
    unfinished: bool = False


def _fault_of_message(entry: Message, calls: set[int], *, is_raw: bool) -> str | None:
    fields = tuple(msgspec.to_builtins(entry))
    if fields not in (_RAW_MESSAGES if is_raw else _MESSAGES):
        of = "a raw WebSocket" if is_raw else "a connection"
        return f"no message of {of} has {', '.join(fields) or 'nothing'}"
    if fields in (("sent",), ("received",)):
        try:
            msgspec.convert(entry.received if entry.sent is None else entry.sent, _TextOrBytes)
        except msgspec.ValidationError as exc:
            return f"a message is text or bytes: {exc}"
    if entry.call is not None:
        calls.add(entry.call)
    if entry.to is not None and entry.to not in calls:
        return f"there is no call {entry.to} before it"
    if entry.close is not None and not 1000 <= entry.close[0] <= 4999:
        return f"no close frame has the code {entry.close[0]}"
    return None


_MESSAGES = {
    ("init",),
    ("subscribe",),
    ("call", "action", "args"),
    ("event", "args"),
    ("to", "answer"),
    ("to", "error"),
    ("error",),
    ("close",),
    ("lost",),
}
"""The fields that messages have."""

_RAW_MESSAGES = {("sent",), ("received",), ("close",), ("lost",)}
"""Those of messages on raw WebSockets."""
