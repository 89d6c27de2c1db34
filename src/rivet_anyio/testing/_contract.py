"""Whether actors written for tests are what typed classes or stubs say of the real ones."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from .._errors import ConfigError
from .._text import in_short
from .._typed.actor import TypedActor
from ._actors import Actor, actions_of
from ._registry import check_factories

__tracebackhide__ = True  # pytest shows the test in place of our source

__all__ = ["ContractError", "check_contract"]


class ContractError(AssertionError):
    """An actor of a test is not what its contract says; the message lists every difference."""


def check_contract(
    actors: Mapping[str, Callable[[], Actor]], *contracts: type[TypedActor[Any, Any]] | ModuleType
) -> None:
    """Compare actors of `ActorServer` with typed classes, or with modules of stubs.

    Compared are the names of actions, how many arguments an action takes and how many of them may
    be left out, the order of parameters that have the same names on both sides, the queues that
    the class declares, and the events: those that its text sends by ``broadcast``, ``send`` and
    ``send_to``. Where an event's name is no literal, nothing is said of events that are missing.
    Types are not compared: of arguments, of what an action returns, of events and of messages.

    Args:
        actors: The actors by name, as for `ActorServer`. A function is called for an actor.
        contracts: Classes derived from `rivet_anyio.TypedActor`, or modules that have some. Those
            of actors that are not in `actors` are left alone.

    Raises:
        ContractError: there are differences, or an actor has no contract.
        ConfigError: an actor or a contract is none, no contract is given, or two are of one actor.
    """
    check_factories(actors)
    known = _by_name(contracts)
    if not known:
        raise ConfigError("no contract is given: name a typed class, or a module of stubs")
    found: list[str] = []
    for name, factory in actors.items():
        contract = known.get(name)
        if contract is None:
            others = ", ".join(sorted(known)) or "none"
            found.append(f"{name}: no contract describes this actor, only: {others}")
            continue
        actor = factory if isinstance(factory, type) else type(factory())
        ours, theirs = _of_test(actor), _of_contract(contract)
        found += [f"{name}: {text}" for text in _differences(ours, theirs)]
    if found:
        count = f"{len(found)} difference{'s' * (len(found) != 1)}"
        raise ContractError("\n".join([f"{count} from the contract:", *found]))


@dataclass(frozen=True)
class _Parameters:
    """What an action takes, without the actor itself."""

    names: tuple[str, ...]
    required: int
    is_variadic: bool

    def __str__(self) -> str:
        shown = [
            name if number < self.required else f"{name}?" for number, name in enumerate(self.names)
        ]
        return f"({', '.join([*shown, *(['...'] if self.is_variadic else [])])})"


@dataclass
class _Surface:
    """What can be seen of an actor from outside; None: unknown."""

    actions: dict[str, _Parameters]
    queues: set[str] | None
    events: set[str] = field(default_factory=set)
    has_other_events: bool = False


def _by_name(contracts: tuple[Any, ...]) -> dict[str, type[TypedActor[Any, Any]]]:
    known: dict[str, type[TypedActor[Any, Any]]] = {}
    for contract in contracts:
        classes = list(_classes_in(contract))
        if not classes:
            raise ConfigError(
                f"{in_short(contract)} is no contract: give a class derived from "
                "rivet_anyio.TypedActor with the name of its actor, or a module that has some"
            )
        for cls in classes:
            name = cls._actor_name()
            if known.setdefault(name, cls) is not cls:
                raise ConfigError(f"{known[name]!r} and {cls!r} both describe the actor {name!r}")
    return known


def _classes_in(contract: Any) -> Iterator[type[TypedActor[Any, Any]]]:
    values = list(vars(contract).values()) if isinstance(contract, ModuleType) else [contract]
    for value in values:
        if isinstance(value, type) and issubclass(value, TypedActor) and value._rivet_name:
            yield value


def _of_contract(contract: type[TypedActor[Any, Any]]) -> _Surface:
    names: dict[str, dict[str, str]] = {"action": {}, "event": {}, "queue": {}}
    for (kind, name), server_name in contract._rivet_names.items():
        names[kind][server_name] = name
    return _Surface(
        {server_name: _parameters(contract, name) for server_name, name in names["action"].items()},
        set(names["queue"]),
        set(names["event"]),
    )


def _of_test(actor: type[Actor]) -> _Surface:
    surface = _Surface(
        {name: _parameters(actor, method) for name, method in actions_of(actor).items()},
        None if actor.queues is None else set(actor.queues),
    )
    for cls in actor.__mro__:
        if cls is not Actor and issubclass(cls, Actor):
            _look_for_events(cls, surface)
    return surface


def _parameters(cls: type[Any], method: str) -> _Parameters:
    """What a method takes when it is called on an object; its stub says it for a typed class."""
    function = inspect.unwrap(inspect.getattr_static(cls, method))
    bound = function.__get__(object(), cls)
    parameters = list(inspect.signature(bound).parameters.values())
    positional = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    return _Parameters(
        tuple(each.name for each in positional),
        sum(each.default is each.empty for each in positional),
        any(each.kind is each.VAR_POSITIONAL for each in parameters),
    )


def _look_for_events(cls: type[Any], surface: _Surface) -> None:
    """Note the events that a class sends, by its text."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        surface.has_other_events = True  # its text is not there
        return
    sockets = _parameters_of(tree, "on_websocket")
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        place = {"broadcast": 0, "send": 0, "send_to": 1}.get(node.func.attr)
        if place is None or len(node.args) <= place:
            continue
        if node.func.attr == "send" and _is_of_socket(node, sockets):
            continue
        event = node.args[place]
        if isinstance(event, ast.Constant) and isinstance(event.value, str):
            surface.events.add(event.value)
        else:
            surface.has_other_events = True


def _parameters_of(tree: ast.AST, function: str) -> set[str]:
    return {
        argument.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef) and node.name == function
        for argument in node.args.args
    }


def _is_of_socket(call: ast.Call, sockets: set[str]) -> bool:
    """Whether it sends on a raw WebSocket."""
    assert isinstance(call.func, ast.Attribute)
    return isinstance(call.func.value, ast.Name) and call.func.value.id in sockets - {"self"}


def _differences(ours: _Surface, theirs: _Surface) -> Iterator[str]:
    for name in sorted(theirs.actions.keys() - ours.actions.keys()):
        yield f"the action {name!r}{theirs.actions[name]} of the contract is missing"
    for name in sorted(ours.actions.keys() - theirs.actions.keys()):
        yield f"the action {name!r}{ours.actions[name]} is not in the contract"
    for name in sorted(ours.actions.keys() & theirs.actions.keys()):
        one, other = ours.actions[name], theirs.actions[name]
        if not _is_same(one, other):
            yield f"the action {name!r} takes {one}, and {other} in the contract"
    for event in sorted(ours.events - theirs.events):
        yield f"the event {event!r} is not in the contract"
    if not ours.has_other_events:
        for event in sorted(theirs.events - ours.events):
            yield f"the event {event!r} of the contract is never sent"
    if ours.queues is not None and theirs.queues is not None:
        for queue in sorted(theirs.queues - ours.queues):
            yield f"the queue {queue!r} of the contract is missing"
        for queue in sorted(ours.queues - theirs.queues):
            yield f"the queue {queue!r} is not in the contract"


def _is_same(one: _Parameters, other: _Parameters) -> bool:
    def spelt(parameters: _Parameters) -> list[str]:
        return [name.replace("_", "").lower() for name in parameters.names]

    shape, other_shape = (
        (len(each.names), each.required, each.is_variadic) for each in (one, other)
    )
    if shape != other_shape:
        return False
    return spelt(one) == spelt(other) or sorted(spelt(one)) != sorted(spelt(other))
