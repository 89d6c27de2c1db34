"""Which paths there are, on the server and on an actor, and which methods they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._release import Release

__all__ = ["Route", "actor_route", "is_method", "server_route"]

_SERVER: Mapping[str, str] = {
    "/": "GET",
    "/health": "GET",
    "/metadata": "GET",
    "/actors": "GET POST PUT",
    "/actors/names": "GET",
}
_ENGINE: Mapping[str, str] = {**_SERVER, "/actors/*": "DELETE", "/actors/*/sleep": "POST"}

_ACTOR: Mapping[str, str] = {"/": "GET", "/health": "GET", "/action/*": "POST"}
_WITH_QUEUES: Mapping[str, str] = {**_ACTOR, "/metadata": "GET", "/queue/*": "POST"}
_ACTORS: Mapping[int, Mapping[str, str]] = {
    0: _ACTOR,
    1: {**_WITH_QUEUES, "/queue": "POST"},
    2: {**_WITH_QUEUES, "/queue": "POST"},
    3: _WITH_QUEUES,
}

_NODE_METHODS = """
ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL
MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE
SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE
"""


@dataclass(frozen=True, slots=True)
class Route:
    """A path that there is.

    Attributes:
        path: With ``*`` in place of a name.
        name: What stands there, as it was written.
        methods: What can be done with it. HEAD is not among them where GET is.
    """

    path: str
    name: str
    methods: tuple[str, ...]

    def takes(self, method: str) -> bool:
        """Whether it takes this method."""
        return method in self.methods


def server_route(release: Release, path: str) -> Route | None:
    """Where a path of the server leads; None: there is nothing."""
    return _find(_ENGINE if release.has_engine else _SERVER, release, path)


def actor_route(release: Release, path: str) -> Route | None:
    """Where a path of an actor leads; None: there is nothing."""
    return _find(_ACTORS[release.minor], release, path)


def _find(routes: Mapping[str, str], release: Release, path: str) -> Route | None:
    if not release.has_engine and len(path) > 1:
        path = path.removesuffix("/")  # Up to 2.2 the last slash says nothing.
    name = ""
    if path not in routes:
        parts = path.split("/")
        if len(parts) < 3 or not parts[2]:
            return None
        name, parts[2] = parts[2], "*"
        path = "/".join(parts)
        if path not in routes:
            return None
    return Route(path, name, tuple(routes[path].split()))


def is_method(release: Release, method: str) -> bool:
    """Whether the server reads such a request at all; up to 2.2 Node.js does, which knows some."""
    return release.has_engine or method in _NODE_METHODS.split()
