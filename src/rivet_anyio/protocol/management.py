"""The management API: finding and creating actors, and what a server says of itself.

(Rivet engine, ``/actors`` and ``/metadata``; RivetKit up to 2.2 serves the same paths itself.)
"""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any, TypeVar

import msgspec

from .._checks import check_actor_id
from .._errors import ActorError, ProtocolError
from .addressing import Endpoint
from .dialect import Dialect, ServerVersion
from .keys import escape_key, unescape_key
from .values import COMPAT_CBOR, PLAIN_CBOR, dump_cbor, dump_json, prepare, quote, shown
from .verdicts import is_host_loss

__all__ = [
    "ActorInfo",
    "ActorPage",
    "Metadata",
    "check_changed",
    "creation_body",
    "encode_input",
    "key_query",
    "not_found",
    "parse_actor",
    "parse_actors",
    "parse_metadata",
    "parse_names",
    "scheduling_error",
]

T = TypeVar("T")


class ActorInfo(msgspec.Struct, frozen=True):
    """An actor as the management API describes it.

    Attributes:
        actor_id: Its id.
        name: Its name.
        key: Its key's parts.
        datacenter: Where it lives, None where the server does not say.
        pool: The pool (formerly runner name) it runs in.
        created_at: When it was created.
        sleeping_since: When it went to sleep, None while it is awake.
        destroyed_at: When it was destroyed, None while it exists.
        error: Why it failed to start, as the server reports it, or None.
        namespace_id: The id of its namespace.
        crash_policy: What becomes of it when its host fails: ``"restart"``, ``"sleep"`` or
            ``"destroy"``; None up to RivetKit 2.2, which has no such policies.
        started_at: When it first started, None where it has not; up to RivetKit 2.2, when its
            present or last start began.
        connectable_since: When its present start began to take connections, None while there is
            no such start.
        pending_since: Since when it waits for a host with capacity, None if it does not.
        reschedule_at: When it is to be started again, None where that is not planned.
    """

    actor_id: str
    name: str
    key: tuple[str, ...]
    datacenter: str | None = None
    pool: str | None = None
    created_at: dt.datetime | None = None
    sleeping_since: dt.datetime | None = None
    destroyed_at: dt.datetime | None = None
    error: Any = None
    namespace_id: str | None = None
    crash_policy: str | None = None
    started_at: dt.datetime | None = None
    connectable_since: dt.datetime | None = None
    pending_since: dt.datetime | None = None
    reschedule_at: dt.datetime | None = None


class ActorPage(msgspec.Struct, frozen=True):
    """One page of a list of actors."""

    actors: tuple[ActorInfo, ...]
    cursor: str | None


class Metadata(msgspec.Struct, frozen=True):
    """What a server says of itself, and where it sends clients on to."""

    version: ServerVersion
    client_endpoint: str | None = None
    client_namespace: str | None = None
    client_token: str | None = None


class _Actor(msgspec.Struct):
    actor_id: str
    name: str
    key: str | None = None
    datacenter: str | None = None
    runner_name_selector: str | None = None
    create_ts: int | None = None
    sleep_ts: int | None = None
    destroy_ts: int | None = None
    error: Any = None
    namespace_id: str | None = None
    crash_policy: str | None = None
    start_ts: int | None = None
    connectable_ts: int | None = None
    pending_allocation_ts: int | None = None
    reschedule_ts: int | None = None


class _Pagination(msgspec.Struct):
    cursor: str | None = None


class _ActorList(msgspec.Struct):
    actors: list[_Actor]
    pagination: _Pagination | None = None


class _NameList(msgspec.Struct):
    names: dict[str, Any]
    pagination: _Pagination | None = None


class _Done(msgspec.Struct):
    pass


class _OneActor(msgspec.Struct):
    actor: _Actor


class _Metadata(msgspec.Struct):
    runtime: str = ""
    version: str = ""
    clientEndpoint: str | None = None
    clientNamespace: str | None = None
    clientToken: str | None = None


def key_query(endpoint: Endpoint, name: str, key: tuple[str, ...]) -> list[tuple[str, str]]:
    """The query that finds one actor by its key."""
    return [("name", name), ("key", escape_key(key)), ("namespace", endpoint.namespace)]


def encode_input(value: Any, dialect: Dialect) -> str:
    """An actor's input as creation carries it.

    Raises:
        TypeError: when something in it cannot travel.
    """
    form = COMPAT_CBOR if dialect is Dialect.COMPAT else PLAIN_CBOR
    return base64.b64encode(dump_cbor(prepare(value, form, "input"))).decode()


def creation_body(
    name: str,
    key: tuple[str, ...],
    *,
    pool: str,
    region: str | None,
    input: str | None,
    crash_policy: str | None = None,
) -> bytes:
    """The body that creates an actor; `input` as `encode_input` wrote it."""
    fields = {
        "name": name,
        "key": escape_key(key),
        "runner_name_selector": pool,
        "crash_policy": crash_policy or "sleep",
    }
    if region is not None:
        fields["datacenter"] = region
    if input is not None:
        fields["input"] = input
    return dump_json(fields)


def parse_actors(body: bytes, version: ServerVersion | None) -> ActorPage:
    """Read a list of actors."""
    page = _decode(body, _ActorList)
    return ActorPage(tuple(_info(actor, version) for actor in page.actors), _cursor(page))


def parse_names(body: bytes) -> tuple[tuple[str, ...], str | None]:
    """Read a list of actors' names, and where it goes on."""
    page = _decode(body, _NameList)
    return tuple(page.names), _cursor(page)


def parse_actor(body: bytes, version: ServerVersion | None) -> ActorInfo:
    """Read the answer to a creation."""
    return _info(_decode(body, _OneActor).actor, version)


def check_changed(body: bytes) -> None:
    """Read the answer to a request that changes an actor; it says nothing but that it was done."""
    _decode(body, _Done)


def parse_metadata(body: bytes) -> Metadata:
    """Read what a server says of itself."""
    found = _decode(body, _Metadata)
    return Metadata(
        ServerVersion(found.runtime, found.version),
        found.clientEndpoint or None,
        found.clientNamespace or None,
        found.clientToken or None,
    )


def not_found(name: str, key: tuple[str, ...]) -> ActorError:
    """What a lookup by key raises when there is no such actor."""
    shown = "[" + ", ".join(repr(part) for part in key) + "]"
    return ActorError("actor", "not_found", f"there is no actor {name!r} with the key {shown}")


def scheduling_error(error: ActorError, actor: ActorInfo) -> ActorError:
    """An error of an actor that failed to start, with the reason the API knows."""
    reason = dump_json(actor.error).decode()
    what = "lost its host" if is_host_loss(actor.error) else "failed to start"
    return ActorError(
        error.group,
        error.code,
        f"actor {actor.actor_id} {what}: {reason}",
        metadata={"actorId": actor.actor_id, "details": actor.error},
        actor=error.actor,
        ray_id=error.ray_id,
        retry_after=error.retry_after,
    )


def _info(actor: _Actor, version: ServerVersion | None) -> ActorInfo:
    try:
        # As an id that a user gives: whatever asks for this actor stays below its path.
        check_actor_id(actor.actor_id)
    except ValueError as exc:
        raise ProtocolError(f"the management API gave an id that no URL can carry: {exc}") from exc
    key = unescape_key(actor.key)
    if version is not None and version.returns_keys_escaped_twice:
        key = unescape_key("/".join(key))
    connectable_ts, sleep_ts = actor.connectable_ts, actor.sleep_ts
    if connectable_ts is not None and sleep_ts is not None:
        # Up to 2.1 the time of what is over stays.
        if sleep_ts < connectable_ts:
            sleep_ts = None
        else:
            connectable_ts = None
    return ActorInfo(
        actor_id=actor.actor_id,
        name=actor.name,
        key=key,
        datacenter=actor.datacenter,
        pool=actor.runner_name_selector,
        created_at=_time(actor.create_ts),
        sleeping_since=_time(sleep_ts),
        destroyed_at=_time(actor.destroy_ts),
        error=actor.error,
        namespace_id=actor.namespace_id,
        crash_policy=actor.crash_policy,
        started_at=_time(actor.start_ts),
        connectable_since=_time(connectable_ts),
        pending_since=_time(actor.pending_allocation_ts),
        reschedule_at=_time(actor.reschedule_ts),
    )


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _time(milliseconds: int | None) -> dt.datetime | None:
    if milliseconds is None:
        return None
    try:
        return _EPOCH + dt.timedelta(milliseconds=milliseconds)
    except OverflowError as exc:
        raise ProtocolError(f"no time is {shown(milliseconds)} ms after 1970") from exc


def _cursor(page: _ActorList | _NameList) -> str | None:
    return page.pagination.cursor if page.pagination else None


def _decode(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise ProtocolError(f"the management API answered {quote(body)}: {exc}") from exc
