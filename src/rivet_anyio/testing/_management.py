"""The management API: actors are found, created, listed and destroyed."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import msgspec

from .._errors import ActorError, ProtocolError
from ..protocol.keys import escape_key, unescape_key
from ..protocol.values import COMPAT_CBOR, PLAIN_CBOR, dump_json, load_cbor, revive
from ._http import Answer, HttpRequest
from ._instance import Host, Instance, not_found
from ._registry import Registry

__all__ = ["JSON", "Management"]

JSON: tuple[str, str] = ("content-type", "application/json")

_NAMES_A_PAGE = 100
_KEY_BYTES = 1024

_ID = re.compile(r"actor\d{4,}")
"""What an actor's id looks like here; the 2.3 engine stumbles over what is none."""


class _Creation(msgspec.Struct):
    name: str
    key: str | None = None
    input: str | None = None
    runner_name_selector: str | None = None
    datacenter: str | None = None
    crash_policy: str | None = None


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

    def metadata(self) -> Answer:
        """What the server says of itself."""
        release = self._host.release
        if release.has_engine:
            return _json({"runtime": "engine", "version": release.version})
        runner: dict[str, Any] = {"kind": {"normal": {}}}
        own = {"version": release.version, "runner": runner, "actorNames": self._names()}
        return _json({"runtime": "rivetkit", **own})

    def _page_of_names(self, after: str) -> Answer:
        """The 2.3 engine gives pages, and a cursor even after the last one."""
        names, cursor = self._names(), None
        if self._host.release.has_engine:
            page = sorted(name for name in names if name > after)[:_NAMES_A_PAGE]
            names = {name: names[name] for name in page}
            cursor = page[-1] if page else None
        return _json({"names": names, "pagination": {"cursor": cursor}})

    def _names(self) -> dict[str, Any]:
        return {name: {"metadata": {}} for name in self._registry.names}

    def handle(self, request: HttpRequest) -> Answer:
        """Answer a request for ``/metadata``, or ``/actors`` and what is below.

        Raises:
            ActorError: what the API answers instead.
        """
        if request.path == "/metadata":
            return self.metadata()
        rest = request.path.removeprefix("/actors").strip("/")
        if rest == "names":
            return self._page_of_names(request.parameters.get("cursor", ""))
        if rest and not self._host.release.has_engine:
            return Answer(404, [("content-type", "text/plain")], b"Not Found (RivetKit)")
        id, _, verb = rest.partition("/")
        if rest and (request.method, verb) in (("DELETE", ""), ("POST", "sleep")):
            found = self._registry.by_id(unquote(id))
            if found is None:
                raise not_found(self._host.release, unquote(id))
            if not found.is_destroyed:
                found.stop("sleep" if verb else "destroy")
            return _json({})
        if rest:
            raise ActorError("api", "not_found", f"there is nothing at {request.path}")
        if request.method == "GET":
            return _json(self._list(request.parameters))
        if request.method not in ("PUT", "POST"):
            raise ActorError("api", "bad_request", f"no {request.method} here")
        try:
            wanted = msgspec.json.decode(request.body, type=_Creation)
        except msgspec.MsgspecError as exc:
            raise ActorError("api", "bad_request", str(exc)) from None
        key = unescape_key(wanted.key)
        found = self._registry.find(wanted.name, key)
        if found is not None and request.method == "POST":
            raise self._duplicate(found)
        created = found is None
        if found is None:
            self._check_key(escape_key(key))
            found = self._registry.create(wanted.name, key, self.read_input(wanted.input))
        body: dict[str, Any] = {"actor": self._info(found)}
        if request.method == "PUT":
            body["created"] = created
        return _json(body)

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
        if request.method == "GET":
            if "key" in query:
                return "get", query.get("name"), unescape_key(query["key"])
            return "list", query.get("name"), None
        kind = "create" if request.method == "POST" else "get_or_create"
        try:
            wanted = msgspec.json.decode(request.body, type=_Creation)
        except msgspec.MsgspecError:
            return kind, None, None
        return kind, wanted.name, unescape_key(wanted.key)

    def _list(self, query: dict[str, str]) -> Any:
        ids, name, key = query.get("actor_ids"), query.get("name"), query.get("key")
        everybody = [instance for instance in self._registry if not instance.is_destroyed]
        if query.get("include_destroyed") == "true":
            everybody = list(self._registry)
        if ids is not None:
            found = [instance for instance in everybody if instance.ref.id in ids.split(",")]
        elif name is None:
            raise ActorError("validation", "invalid_input", "name or actor_ids is missing")
        else:
            found = [instance for instance in everybody if instance.ref.name == name]
            if key is not None:
                parts = unescape_key(key)
                found = [instance for instance in found if instance.ref.key == parts]
        if not self._host.release.has_engine:
            return {"actors": [self._info(instance) for instance in found]}
        # A page may begin with actors of the page before, and the last one has a cursor, too.
        limit = int(query.get("limit") or 100)
        start = max(0, int(query.get("cursor") or 0) - (limit > 1))
        page = [self._info(instance) for instance in found[start : start + limit]]
        cursor = str(start + len(page)) if page else None
        return {"actors": page, "pagination": {"cursor": cursor}}

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
            raise ActorError("core", "internal_error", "An internal error occurred")
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

    def read_input(self, text: str | None, *, url_safe: bool = False) -> Any:
        """The input of a creation; None is none."""
        if text is None:
            return None
        form = COMPAT_CBOR if self._host.release.has_engine else PLAIN_CBOR
        try:
            if url_safe:
                text = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
            return revive(load_cbor(base64.b64decode(text, validate=True)), form)
        except (binascii.Error, ProtocolError) as exc:
            raise ActorError("guard", "query_invalid_cbor_input", str(exc)) from None

    def known(self, id: str) -> Instance:
        """The actor of an id.

        Raises:
            ActorError: when there is none, or it was destroyed.
        """
        found = self._registry.by_id(id)
        if found is None and self._host.release.has_engine and not _ID.fullmatch(id):
            raise ActorError("core", "internal_error", "An internal error occurred")
        if found is None or found.is_destroyed:
            raise not_found(self._host.release, id)
        return found


def _json(body: Any) -> Answer:
    return Answer(200, [JSON], dump_json(body))
