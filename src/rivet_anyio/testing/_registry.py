"""Which actors there are: by id, and by name and key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .._checks import as_config_errors, check_name
from .._errors import ConfigError
from .._text import in_short
from ._actors import Actor, actions_of, check_class
from ._instance import Host, Instance, internal_error, logger
from ._records import ActorRef
from ._timeline import shown

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["Registry", "check_factories"]


class _Unregistered(Actor):
    """Stands for an actor that nobody can make."""

    async def on_create(self, input: Any) -> None:
        name = self.context.name
        raise LookupError(f"not_registered: Actor factory '{name}' is not registered.")


def check_factories(factories: object) -> None:
    """Raise `ConfigError` unless this maps names to classes of actors, or to functions for them."""
    if not isinstance(factories, Mapping):
        raise ConfigError(
            "actors is a mapping of names to classes derived from testing.Actor, not "
            f"{shown(factories)}"
        )
    for name, factory in factories.items():
        with as_config_errors():
            _check_factory(check_name("actor", name), factory)


def _check_factory(name: str, factory: object) -> None:
    """Raise `ConfigError` for what can make no actor."""
    if isinstance(factory, type):
        if not issubclass(factory, Actor):
            raise ConfigError(
                f"the actor {name!r} is {in_short(factory)}: derive it from testing.Actor"
            )
        check_class(factory)
        actions_of(factory)
    elif not callable(factory) or isinstance(factory, Actor):
        raise ConfigError(
            f"the actor {name!r} is a class derived from testing.Actor, or a function that makes "
            f"one, not {in_short(factory)}"
        )


class Registry:
    """The actors of a server; those that were destroyed are remembered by id."""

    def __init__(self, host: Host, factories: Mapping[str, Callable[[], Actor]]) -> None:
        self._host = host
        check_factories(factories)
        self._factories = dict(factories)
        self._by_id: dict[str, Instance] = {}
        self._by_key: dict[tuple[str, tuple[str, ...]], Instance] = {}
        self._ids: dict[tuple[str, tuple[str, ...]], str] = {}
        self._count = 0
        host.forget = self._forget

    def __iter__(self) -> Iterator[Instance]:
        return iter(tuple(self._by_id.values()))

    @property
    def names(self) -> list[str]:
        """The names of actors there can be."""
        return list(self._factories)

    def check_known(
        self, actor: str | None, action: str | None = None, queue: str | None = None
    ) -> None:
        """Look up names that a test has written.

        Raises:
            LookupError: there is no such actor, action or queue, as far as that can be known.
        """
        if actor is not None and actor not in self._factories:
            raise LookupError(f"there is no actor {actor!r}, only: {', '.join(self.names)}")
        self._check_member(actor, "an action", action, actions_of)
        self._check_member(actor, "a queue", queue, lambda cls: cls.queues)

    def _check_member(
        self,
        actor: str | None,
        what: str,
        wanted: str | None,
        members_of: Callable[[type[Actor]], Iterable[str] | None],
    ) -> None:
        if wanted is None:
            return
        found: set[str] = set()
        for name, factory in self._factories.items():
            if actor in (None, name):
                members = members_of(factory) if isinstance(factory, type) else None
                if members is None:
                    return  # It may have any, or nobody knows yet what a function will make.
                found.update(members)
        if wanted not in found:
            owner = "no actor" if actor is None else f"the actor {actor!r}"
            verb = "has" if actor is None else "does not have"
            known = ", ".join(sorted(found)) or "none"
            raise LookupError(f"{owner} {verb} {what} {wanted!r}, only: {known}")

    def by_id(self, id: str) -> Instance | None:
        """An actor by its id, also one that was destroyed."""
        return self._by_id.get(id)

    def find(self, name: str, key: tuple[str, ...]) -> Instance | None:
        """An actor by its name and key."""
        return self._by_key.get((name, key))

    def create(self, name: str, key: tuple[str, ...], input: Any) -> Instance:
        """A new actor.

        Raises:
            ActorError: in 2.1 and 2.2, when nobody knows how to make one of this name; the others
                find out when it is to start.
        """
        factory = self._factories.get(name)
        if factory is None:
            known = ", ".join(sorted(self._factories)) or "none"
            logger.error("no actors are named %r here, only: %s", name, known)
            if self._host.release.is_serial:
                raise internal_error(self._host.release)
            factory = _Unregistered
        ref = ActorRef(name, key, self._new_id(name, key))
        try:
            instance = Instance(self._host, ref, factory, input)
        except Exception as exc:
            logger.exception("%s: the actor cannot be made", ref)
            self._host.crashes.append((ref, exc))
            raise internal_error(self._host.release) from exc
        self._by_id[ref.id] = instance
        self._by_key[name, key] = instance
        return instance

    def _new_id(self, name: str, key: tuple[str, ...]) -> str:
        """Before 2.3 an id is made of name and key, so that who comes later has the same."""
        known = self._ids.get((name, key))
        if known is not None and not self._host.release.has_engine:
            return known
        self._count += 1
        self._ids[name, key] = id = f"actor{self._count:04d}"
        return id

    def clear(self) -> None:
        """Forget all of them; ids are not used again."""
        for instance in self:
            instance.forget()
        self._by_id.clear()
        self._by_key.clear()

    def _forget(self, instance: Instance) -> None:
        if self._by_key.get((instance.ref.name, instance.ref.key)) is instance:
            del self._by_key[instance.ref.name, instance.ref.key]
