"""Which actor a handle means, and how its id is found."""

from __future__ import annotations

import msgspec

from .._errors import ActorError, ConnectError, ConnectionLostError
from .._types import CrashPolicy
from ..protocol.addressing import query_url
from ..protocol.management import (
    ActorInfo,
    creation_body,
    encode_input,
    key_query,
    not_found,
    parse_actor,
    parse_actors,
)
from ..protocol.verdicts import is_reserved_elsewhere
from .context import Core
from .management import check_engine
from .server import Server

__all__ = ["Creation", "Target", "create_actor", "find_by_id", "key_url"]


class Creation(msgspec.Struct, frozen=True):
    """How to create an actor; `input` as `encode_input` takes it, where `has_input` says so."""

    pool: str
    region: str | None
    input: object
    has_input: bool
    crash_policy: CrashPolicy | None = None


class Target:
    """One actor, by key or by id; remembers the id until it proves stale.

    Attributes:
        found: Its record, as `resolve` found it last; None where nothing had to be asked.

    Args:
        name: The actor's name.
        key: Its key's parts, None when it is meant by id.
        actor_id: Its id, None when it is meant by key.
        creation: How to create it when it does not exist, None to leave that.
    """

    def __init__(
        self,
        name: str,
        *,
        key: tuple[str, ...] | None = None,
        actor_id: str | None = None,
        creation: Creation | None = None,
    ) -> None:
        self.name = name
        self.key = key
        self.creation = creation
        self.found: ActorInfo | None = None
        self._id = actor_id

    @property
    def is_fixed(self) -> bool:
        """Whether this is one actor by id, which no other can replace."""
        return self.key is None

    def forget(self, actor_id: str) -> None:
        """This id is stale: the next `resolve` asks the server again."""
        if not self.is_fixed and self._id == actor_id:
            self._id = None

    async def resolve(
        self, core: Core, server: Server, *, fresh: bool = False, seconds: float | None = None
    ) -> str:
        """The actor's id; found or created when it is not known, or not trusted (`fresh`).

        Callers that ask at the same time share one request.

        Args:
            core: The client.
            server: The server to ask.
            fresh: Whether to ask although an id is known.
            seconds: How long to wait for the answer at most; None: ``connect_timeout``.

        Raises:
            ActorError: ``actor.not_found`` when it does not exist, or what the server says.
            ConnectError: when the server cannot be asked, or does not answer in time.
        """
        if self._id is not None:
            trusted = server.version is None or not server.version.hides_stale_ids
            if self.is_fixed or (trusted and not fresh):
                return self._id
        # Inputs cannot be compared, so handles with an input share nothing with others.
        creation: object = self.creation
        if self.creation is not None and self.creation.has_input:
            creation = id(self.creation)
        what = server, self.name, self.key, creation
        with core.limit(seconds) as limit:
            found = await core.lookups_of_actors.run(what, lambda: self._find(core, server))
            self.found = found
            self._id = found.actor_id
            return found.actor_id
        core.forget_server()
        url = server.endpoint.url
        raise ConnectError(
            f"the id of actor {self.name!r} could not be resolved by {url}{core.via(url)} within "
            f"{limit:g} s: raise connect_timeout to wait longer"
        )

    async def _find(self, core: Core, server: Server) -> ActorInfo:
        assert self.key is not None
        try:
            if self.creation is None:
                found = await _find_by_key(core, server, self.name, self.key)
                if found is None:
                    raise not_found(self.name, self.key)
                return found
            return await self._get_or_create(core, server, self.key, self.creation)
        except ConnectionLostError as lost:
            # Finding an actor runs none of its code, so the caller's action did not run.
            raise ConnectError(
                f"the actor's id could not be resolved: {lost}", retry_after=lost.retry_after
            ) from lost

    async def _get_or_create(
        self, core: Core, server: Server, key: tuple[str, ...], creation: Creation
    ) -> ActorInfo:
        try:
            return await create_actor(core, server, "PUT", self.name, key, creation)
        except ActorError as error:
            if not is_reserved_elsewhere(error):
                raise
            found = await _find_by_key(core, server, self.name, key)
            if found is None:
                raise
            return found


async def create_actor(
    core: Core, server: Server, method: str, name: str, key: tuple[str, ...], creation: Creation
) -> ActorInfo:
    """Create an actor: ``POST`` insists on a new one, ``PUT`` takes one that exists."""
    if creation.crash_policy is not None:
        check_engine(server, "crash policies")
    body = creation_body(
        name,
        key,
        pool=creation.pool,
        region=creation.region,
        input=encode_input(creation.input, server.dialect) if creation.has_input else None,
        crash_policy=creation.crash_policy,
    )
    namespace = [("namespace", server.endpoint.namespace)]
    answer = await core.manage(server, method, "/actors", namespace, body)
    return parse_actor(answer.body, server.version)


async def find_by_id(core: Core, server: Server, actor_id: str) -> ActorInfo | None:
    """An actor by its id, None when there is none."""
    query = [("actor_ids", actor_id), ("namespace", server.endpoint.namespace)]
    answer = await core.manage(server, "GET", "/actors", query)
    actors = parse_actors(answer.body, server.version).actors
    return actors[0] if actors else None


async def _find_by_key(
    core: Core, server: Server, name: str, key: tuple[str, ...]
) -> ActorInfo | None:
    query = key_query(server.endpoint, name, key)
    answer = await core.manage(server, "GET", "/actors", query)
    actors = parse_actors(answer.body, server.version).actors
    return actors[0] if actors else None


def key_url(target: Target, server: Server, path: str) -> str:
    """The URL of something of an actor by its key.

    Raises:
        ActorError: the server has no gateway that finds actors by their keys.
        ValueError: the actor is meant by id, or as `query_url`.
    """
    if target.key is None:
        raise ValueError("this is a handle by id, and by='key' needs a key: use by='id'")
    check_engine(server, "URLs by key")
    creation: list[tuple[str, str]] | None = None
    if target.creation is not None:
        given = target.creation
        creation = [("rvt-runner", given.pool)]
        if given.has_input:
            text = encode_input(given.input, server.dialect)
            creation.append(("rvt-input", text.translate({43: "-", 47: "_", 61: None})))
        if given.region is not None:
            creation.append(("rvt-region", given.region))
        creation.append(("rvt-crash-policy", given.crash_policy or "sleep"))
    return query_url(server.endpoint, target.name, target.key, path, creation=creation)
