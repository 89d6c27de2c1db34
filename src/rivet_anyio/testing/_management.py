"""The management API: actors are found, created, listed and destroyed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import msgspec

from .._errors import ActorError, ProtocolError
from ..protocol.keys import escape_key, unescape_key
from ..protocol.values import COMPAT_CBOR, PLAIN_CBOR, dump_json, load_cbor, revive
from ._http import Answer, HttpRequest
from ._instance import Host, Instance, internal_error, not_found
from ._registry import Registry
from ._routes import Route

__all__ = ["JSON", "Management"]

JSON: tuple[str, str] = ("content-type", "application/json")

_NAMES_A_PAGE = 100
_KEY_BYTES = 1024

_ID = re.compile(r"actor\d{4,}")
"""What an actor's id looks like here; the 2.3 engine stumbles over what is none."""


class _Creation(msgspec.Struct, kw_only=True):
    """What is said of an actor that is to be there; up to 2.2."""

    name: str
    runner_name_selector: str
    crash_policy: str
    key: str | None = None
    input: str | None = None
    datacenter: str | None = None


class _EngineCreation(_Creation, kw_only=True, forbid_unknown_fields=True):
    """The same for 2.3, which takes no other fields."""


_CRASH_POLICIES = ("restart", "sleep", "destroy")


class _Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a request to the 2.3 engine; which namespace it is plays no part here."""

    namespace: str


class _PageQuery(_Query, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    cursor: str | None = None


class _ActorsQuery(_PageQuery, kw_only=True, forbid_unknown_fields=True):
    name: str | None = None
    key: str | None = None
    actor_ids: str | None = None
    actor_id: str | None = None
    include_destroyed: bool = False


_Q = TypeVar("_Q", bound=_Query)


class _Answered(Exception):
    """The answer is not what was asked for."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class Management:
    """Answers requests to the management API as one RivetKit release does.

    Args:
        host: The server.
        registry: Its actors.
        timestamp: Milliseconds since 1970 for a time of `anyio.current_time`.
    """

    def __init__(self, host: Host, registry: Registry, timestamp: Callable[[float], int]) -> None:
        self._host = host
        self._registry = registry
        self._timestamp = timestamp

    async def handle(self, request: HttpRequest, route: Route) -> Answer:
        """Answer a request for ``/metadata``, or ``/actors`` and what is below.

        Raises:
            ActorError: what the API answers instead.
        """
        try:
            if route.path == "/metadata":
                return self._metadata()
            if route.path == "/actors/names":
                return self._page_of_names(request)
            if route.path != "/actors":
                return self._end(request, route)
            if request.method in ("GET", "HEAD"):
                return _json(self._list(request))
            return await self._create(request)
        except _Answered as answered:
            return answered.answer

    def _metadata(self) -> Answer:
        """What the server says of itself."""
        release = self._host.release
        if release.has_engine:
            return _json({"runtime": "engine", "version": release.version})
        runner: dict[str, Any] = {"kind": {"normal": {}}}
        own = {"version": release.version, "runner": runner, "actorNames": self._names()}
        return _json({"runtime": "rivetkit", **own})

    def _page_of_names(self, request: HttpRequest) -> Answer:
        """The 2.3 engine gives pages, and a cursor even after the last one."""
        names = self._names()
        if not self._host.release.has_engine:
            if "namespace" not in request.parameters:
                raise _invalid("namespace is missing")
            return _json({"names": names})
        query = _query(request, _PageQuery)
        page = sorted(name for name in names if name > (query.cursor or ""))
        page = page[: _NAMES_A_PAGE if query.limit is None else query.limit]
        cursor = page[-1] if page else None
        shown = {name: names[name] for name in page}
        return _json({"names": shown, "pagination": {"cursor": cursor}})

    def _names(self) -> dict[str, Any]:
        return {name: {"metadata": {}} for name in self._registry.names}

    def _end(self, request: HttpRequest, route: Route) -> Answer:
        """Put an actor to sleep, or destroy it."""
        id = unquote(route.name)
        if not _ID.fullmatch(id):
            raise _bad_request(f"Invalid URL: no id: {id}")
        _query(request, _Query)
        found = self._registry.by_id(id)
        if found is None:
            raise not_found(self._host.release, id)
        if not found.is_destroyed:
            found.stop("destroy" if route.path == "/actors/*" else "sleep")
        return _json({})

    async def _create(self, request: HttpRequest) -> Answer:
        wanted = self._wanted(request)
        key = unescape_key(wanted.key)
        found = self._registry.find(wanted.name, key)
        if found is not None and request.method == "POST":
            raise self._duplicate(found)
        created = found is None
        if found is None:
            self._check_key(escape_key(key))
            found = self._registry.create(wanted.name, key, self._input(wanted.input))
        body: dict[str, Any] = {"actor": self._info(found)}
        if request.method == "PUT":
            body["created"] = created
        if created:
            await found.begin()
        return _json(body)

    def _wanted(self, request: HttpRequest) -> _Creation:
        has_engine = self._host.release.has_engine
        if has_engine:
            _query(request, _Query)
        kind = request.headers.get("content-type", "").partition(";")[0]
        body = request.body if kind == "application/json" else b""
        if not request.body and not has_engine and "content-type" not in request.headers:
            body = b"{}"  # there, who sends nothing at all sends nothing wrong
        try:
            wanted = msgspec.json.decode(body, type=_EngineCreation if has_engine else _Creation)
            if wanted.key is None and request.method == "PUT":
                raise msgspec.ValidationError("key is missing")
            if has_engine and wanted.crash_policy not in _CRASH_POLICIES:
                raise msgspec.ValidationError(f"no crash policy: {wanted.crash_policy}")
        except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
            if has_engine:
                raise _bad_request(str(exc)) from None
            if isinstance(exc, msgspec.ValidationError):
                raise _invalid(str(exc)) from None
            raise internal_error(self._host.release) from None
        return wanted

    def subject(self, request: HttpRequest) -> tuple[str, str | None, tuple[str, ...] | None]:
        """What kind of request this is, and of which actor, as far as it says."""
        if request.path == "/metadata":
            return "metadata", None, None
        rest = request.path.removeprefix("/actors").strip("/")
        if rest == "names":
            return "names", None, None
        query = request.parameters
        if rest or "actor_ids" in query:
            id, _, verb = rest.partition("/")
            found = self._registry.by_id(unquote(id) if rest else query["actor_ids"])
            name, key = (None, None) if found is None else (found.ref.name, found.ref.key)
            return verb or ("destroy" if rest else "get"), name, key
        if request.method in ("GET", "HEAD"):
            if "key" in query:
                return "get", query.get("name"), unescape_key(query["key"])
            return "list", query.get("name"), None
        kind = "create" if request.method == "POST" else "get_or_create"
        try:
            wanted = msgspec.json.decode(request.body, type=_Creation)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return kind, None, None
        return kind, wanted.name, unescape_key(wanted.key)

    def _list(self, request: HttpRequest) -> Any:
        everybody = [instance for instance in self._registry if not instance.is_destroyed]
        if not self._host.release.has_engine:
            given = [request.parameters.get(field) for field in ("actor_ids", "name", "key")]
            found = self._chosen(everybody, *given)
            return {"actors": [self._info(instance) for instance in found]}
        query = _query(request, _ActorsQuery)
        if query.include_destroyed:
            everybody = list(self._registry)
        ids = ",".join(id for id in (query.actor_ids or "").split(",") if _ID.fullmatch(id))
        found = self._chosen(everybody, ids, query.name, query.key)
        # A page may begin with actors of the page before, and the last one has a cursor, too.
        limit = 100 if query.limit is None else query.limit
        try:
            start = max(0, int(query.cursor or 0) - (limit > 1))
        except ValueError:
            raise _failed() from None
        page = [self._info(instance) for instance in found[start : start + limit]]
        cursor = str(start + len(page)) if page else None
        return {"actors": page, "pagination": {"cursor": cursor}}

    def _chosen(
        self, everybody: list[Instance], ids: str | None, name: str | None, key: str | None
    ) -> list[Instance]:
        has_engine = self._host.release.has_engine
        if ids and (name or key) and not has_engine:
            raise self._unfit("Cannot provide both actor_ids and (name + key).")
        if ids:
            wanted = ids.split(",")
            return [instance for instance in everybody if instance.ref.id in wanted]
        if not name:
            when = "key is provided" if key else "not using actor_ids"
            raise self._unfit(f"Name is required when {when}.")
        found = [instance for instance in everybody if instance.ref.name == name]
        if key is None or (not key and not has_engine):
            return found
        return [instance for instance in found if instance.ref.key == unescape_key(key)]

    def _unfit(self, text: str) -> Exception:
        """The parameters do not fit together."""
        if self._host.release.has_engine:
            return ActorError("validation", "invalid_input", text, metadata={"message": text})
        return _Answered(_json({"error": text}, 400))

    def _info(self, instance: Instance) -> dict[str, Any]:
        def time(at: float | None) -> int | None:
            return None if at is None else self._timestamp(at)

        ref, release = instance.ref, self._host.release
        key = escape_key(ref.key)
        if release.minor == 0 and ref.key:
            # 2.0 takes what a client wrote for one part, and escapes it once more.
            key = escape_key((key,))
        info: dict[str, Any] = {
            "actor_id": ref.id,
            "name": ref.name,
            "key": key,
            "namespace_id": "default",
            "runner_name_selector": "default",
            "create_ts": self._timestamp(instance.created_at),
            "connectable_ts": time(instance.connectable_at),
            "start_ts": time(instance.started_at),
            "sleep_ts": time(instance.slept_at),
            "destroy_ts": time(instance.destroyed_at),
        }
        if release.has_engine:
            info |= {"datacenter": "default", "crash_policy": "sleep"}
            info |= {"pending_allocation_ts": None, "reschedule_ts": None}
            info["error"] = instance.start_error
        return info

    def _check_key(self, key: str) -> None:
        """The engine of 2.3 has no place for every key."""
        if not self._host.release.has_engine:
            return
        if "\0" in key:
            raise _failed()
        data = key.encode()
        if len(data) > _KEY_BYTES:
            preview = data[:_KEY_BYTES].decode(errors="ignore")
            text = f"Key label too large (max {_KEY_BYTES} bytes): {preview}"
            metadata = {"key_preview": preview, "max_size": _KEY_BYTES}
            raise ActorError("actor", "key_too_large", text, metadata=metadata)

    def _duplicate(self, found: Instance) -> ActorError:
        key = escape_key(found.ref.key)
        if self._host.release.has_engine:
            message = f"Actor key '{key}' already in use for actor '{found.ref.id}'"
            metadata = {"existing_actor_id": found.ref.id, "key": key}
            return ActorError("actor", "duplicate_key", message, metadata=metadata)
        shown = json.dumps(list(found.key_inside), ensure_ascii=False, separators=(",", ":"))
        page = "clients/javascript" if self._host.release.minor else "actors/clients/#actor-client"
        message = (
            f"Actor already exists with name '{found.ref.name}' and key '{shown}' "
            f"(https://www.rivet.dev/docs/{page})"
        )
        return ActorError("actor", "duplicate_key", message)

    def _input(self, text: str | None) -> Any:
        """The input of a creation; None is none, and so is bad base64 in 2.3."""
        if not text:
            return None
        release = self._host.release
        try:
            padding = "" if release.has_engine else "=="  # Node.js needs none
            return self._read_cbor(base64.b64decode(text + padding, validate=release.has_engine))
        except (ValueError, ProtocolError):
            if release.has_engine:
                return None
            raise internal_error(release) from None

    def input_of_query(self, text: str | None) -> Any:
        """The input in the query of 2.3; None is none.

        Raises:
            ActorError: it cannot be read.
        """
        if text is None:
            return None
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
        except ValueError:
            raise ActorError(
                "guard", "query_invalid_base64_input", "invalid base64url in query gateway input"
            ) from None
        try:
            return self._read_cbor(data)
        except ProtocolError as exc:
            raise ActorError("guard", "query_invalid_cbor_input", str(exc)) from None

    def _read_cbor(self, data: bytes) -> Any:
        return revive(load_cbor(data), COMPAT_CBOR if self._host.release.has_engine else PLAIN_CBOR)

    def known(self, id: str) -> Instance:
        """The actor of an id.

        Raises:
            ActorError: when there is none, or it was destroyed.
        """
        found = self._registry.by_id(id)
        if found is None and self._host.release.has_engine and not _ID.fullmatch(id):
            raise _failed()
        if found is None or found.is_destroyed:
            raise not_found(self._host.release, id)
        return found


def _query(request: HttpRequest, kind: type[_Q]) -> _Q:
    """The parameters of a request to the engine, which takes no others."""
    try:
        return msgspec.convert(request.parameters, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as exc:
        raise _bad_request(f"Failed to deserialize query string: {exc}") from None


def _bad_request(reason: str) -> ActorError:
    """The engine does not understand a request."""
    text = f"Request is invalid: {reason}"
    return ActorError("api", "bad_request", text, metadata={"reason": reason})


def _failed() -> ActorError:
    """The engine stumbles."""
    return ActorError("core", "internal_error", "An internal error occurred")


def _invalid(reason: str) -> _Answered:
    """Up to 2.2 a request is not what it should be."""
    error = {"name": "ZodError", "message": reason}
    return _Answered(_json({"success": False, "error": error}, 400))


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, [JSON], dump_json(body))
