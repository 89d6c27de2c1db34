"""What a typed actor's class is made of: actions, events, queues.

A member knows its name on both sides and its types. Types are looked up at the first use, so that
annotations may name what is defined further down in the module.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeGuard,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

import msgspec

from .._checks import check_flag, check_name, check_seconds
from .._connection.events import NamedEvent
from .._convert import convert
from .._types import NOT_GIVEN
from ..protocol.objects import UNDEFINED
from .plain import Plain, Unresolved, check_type

if TYPE_CHECKING:
    from typing_extensions import TypeVar
else:
    from typing import TypeVar

__all__ = [
    "RETRY_FOR",
    "SERVER_NAME",
    "Action",
    "Event",
    "Queue",
    "Rename",
    "TypedEvent",
    "TypedQueue",
    "action",
    "check_now",
    "event",
    "is_stub",
    "queue",
    "server_name_of",
]

T = TypeVar("T")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
Body_contra = TypeVar("Body_contra", contravariant=True)
Owner = TypeVar("Owner")
Owner_contra = TypeVar("Owner_contra", contravariant=True)
Stub = TypeVar("Stub", bound=Callable[..., Awaitable[Any]])

Rename = (
    Literal["lower", "upper", "camel", "pascal", "kebab"]
    | Callable[[str], str | None]
    | Mapping[str, str]
)
"""As msgspec's ``rename``: ``"camel"`` and others, a function, or a mapping."""

SERVER_NAME = "__rivet_name__"
RETRY_FOR = "__rivet_retry_for__"
_RETRY_SECONDS = 30.0


def renamed(name: str, rename: Rename | None) -> str:
    """The server's name for a Python name, by msgspec's own rules."""
    if rename is None:
        return name
    return msgspec.defstruct("Name", [name], rename=rename).__struct_encode_fields__[0]


def _types_of(annotated: Any, what: str) -> dict[str, Any]:
    """The types that the annotations of a function or a class stand for.

    Raises:
        Unresolved: for what means nothing at run time.
    """
    try:
        return get_type_hints(annotated, include_extras=True)
    except (NameError, AttributeError) as exc:
        raise Unresolved(
            f"an annotation of {what} cannot be resolved: {exc}; "
            "what annotations name must be there in the module at run time"
        ) from exc


def check_now(check: Callable[[], object]) -> None:
    """Check types when a class is made; those that name what comes later wait for their use."""
    try:
        check()
    except Unresolved:
        pass


class Action:
    """An action of a typed actor: binds and checks arguments, checks the result.

    Args:
        owner: The class that declares it.
        function: Its stub.
        server_name: Its name at the server.

    Raises:
        TypeError: the stub has a shape that no action can have.
    """

    def __init__(self, owner: type[Any], function: Callable[..., Any], server_name: str) -> None:
        self.name = function.__name__
        self.server_name = server_name
        self.retry_for: float | None = getattr(function, RETRY_FOR, None)
        self.place = f"{owner.__qualname__}.{self.name}"
        self._function = function
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
                raise TypeError(
                    f"{self.place}: {parameter.name!r} can be given by keyword only, but the "
                    "arguments of an action are positional"
                )
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"{self.place}: the first parameter is self")
        self._parameters = parameters[1:]
        self._signature = inspect.Signature(self._parameters)
        self._variadic = bool(self._parameters) and (
            self._parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        )
        self._plain: list[Plain] | None = None
        self._result: Any = Any
        check_now(self._resolved)

    def arguments(self, actor: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """What goes to the server for one call.

        Raises:
            TypeError: the arguments do not fit the signature or its types.
        """
        values = self._bind(args, kwargs)
        plain = self._resolved()
        last = len(self._parameters) - 1
        return [
            plain[min(index, last)](value, self._argument(actor, index))
            for index, value in enumerate(values)
        ]

    def result(self, actor: str, output: Any) -> Any:
        """The server's answer to a call with `arguments`, as the stub's return type.

        Raises:
            ProtocolError: it is not of this type.
        """
        what = f"result of action {self.server_name!r} of actor {actor!r}"
        return convert(output, self._result, what)

    def _resolved(self) -> list[Plain]:
        """What makes arguments plain, by position.

        Raises:
            TypeError: a type cannot be checked.
        """
        if self._plain is None:
            types = _types_of(self._function, self.place)
            for name, type_ in types.items():
                check_type(type_, f"{self.place}, {name}")
            self._plain = [Plain(types.get(p.name, Any), self.place) for p in self._parameters]
            self._result = types.get("return", Any)
        return self._plain

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The values by position, defaults included; ``...`` is left to the server.

        What is left out before another argument is ``undefined``: JavaScript's own defaults stand
        in for that, too.
        """
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as exc:
            declares = "retry_for" in kwargs and "retry_for" not in self._signature.parameters
            way = "; it belongs to @action above the declaration" if declares else ""
            raise TypeError(f"{self.place}(): {exc}{way}") from None
        values: list[Any] = []
        left_out = 0
        for parameter in self._parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                given = list(bound.get(parameter.name, ()))
            else:
                value = bound.get(parameter.name, parameter.default)
                given = [value]
                if value is ...:
                    left_out += 1
                    continue
            if given:
                values += [UNDEFINED] * left_out + given
                left_out = 0
        return values

    def _argument(self, actor: str, index: int) -> str:
        last = len(self._parameters) - 1
        parameter = self._parameters[min(index, last)].name
        if self._variadic and index >= last:
            parameter = f"{parameter}[{index - last}]"
        return f"argument {parameter} of action {self.server_name!r} of actor {actor!r}"


class TypedEvent(Generic[Owner_contra, T_co]):
    """An event of a typed actor, as ``Counter.new_count``; `TypedActor.events` takes it.

    Attributes:
        owner: The class that declares it.
        name: Its name in Python.
        server_name: Its name at the server.
    """

    def __init__(self, owner: type[Any], name: str, server_name: str, type: Any) -> None:
        self.owner = owner
        self.name = name
        self.server_name = server_name
        self._type = type
        self._is_checked = False
        check_now(lambda: self.type)

    @property
    def type(self) -> Any:
        """The type of its values."""
        if not self._is_checked:
            (self._type,) = _checked_types(self.owner, self.name, (self._type,))
            self._is_checked = True
        return self._type

    def match(self, item: object) -> TypeGuard[NamedEvent[T_co]]:
        """Whether an item of a stream of several events is of this one.

        ``if Room.opened.match(item): use(item.value)``: type checkers know the value's type then.
        """
        return isinstance(item, NamedEvent) and item.name == self.server_name

    def __repr__(self) -> str:
        return f"<event {self.owner.__qualname__}.{self.name}>"


class TypedQueue(Generic[Owner_contra, Body_contra, R_co]):
    """A queue of a typed actor, as ``Worker.jobs``; `TypedActor.send` takes it.

    Attributes:
        owner: The class that declares it.
        name: Its name in Python.
        server_name: Its name at the server.
    """

    def __init__(
        self, owner: type[Any], name: str, server_name: str, body: Any, response: Any
    ) -> None:
        self.owner = owner
        self.name = name
        self.server_name = server_name
        self._types = (body, response)
        self._is_checked = False
        self._plain: Plain | None = None
        check_now(self._resolved)

    def _to_plain(self, body: Any, actor: str) -> Any:
        """A message as it travels; a `TypeError` when it is not of the queue's type."""
        if self._plain is None:
            self._plain = Plain(self._resolved()[0], repr(self))
        return self._plain(body, f"message for queue {self.server_name!r} of actor {actor!r}")

    @property
    def response(self) -> Any:
        """The type of what messages are completed with."""
        return self._resolved()[1]

    def _resolved(self) -> tuple[Any, Any]:
        if not self._is_checked:
            body, response = _checked_types(self.owner, self.name, self._types)
            self._types = (body, response)
            self._is_checked = True
        return self._types

    def __repr__(self) -> str:
        return f"<queue {self.owner.__qualname__}.{self.name}>"


def _checked_types(owner: type[Any], name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The types that were given by value, or those in the brackets of ``name: Event[...]``.

    Raises:
        TypeError: one cannot be checked.
    """
    what = f"{owner.__qualname__}.{name}"
    types = given
    if given[0] is NOT_GIVEN:
        declaration = {"__annotations__": {name: owner.__annotations__[name]}}
        alone = type(owner.__name__, (), {**declaration, "__module__": owner.__module__})
        annotation = _types_of(alone, what)[name]
        if get_origin(annotation) is ClassVar:
            (annotation,) = get_args(annotation)
        types = get_args(annotation) or (Any,) * len(given)
    for type_ in types:
        check_type(type_, what)
    return types


class Event(Generic[T_co]):
    """Declares an event in a typed actor's class: ``new_count: Event[int]``.

    The parameter is the type of the event's argument; of several arguments, a tuple. On the class
    and on its instances the attribute is a `TypedEvent`.
    """

    if not TYPE_CHECKING:

        def __class_getitem__(cls, type: Any) -> Any:
            if isinstance(type, tuple):
                raise TypeError(
                    "Event has one type in its brackets; an event of several arguments is a tuple: "
                    "Event[tuple[int, str]]"
                )
            return super().__class_getitem__(type)

    def __init__(self, type: Any = NOT_GIVEN, name: str | None = None) -> None:
        if name is not None:
            name = check_name("event", name)
        self._type = type
        self._name = name
        self._event: TypedEvent[Any, T_co] | None = None

    def _place(self, owner: type[Any], name: str, rename: Rename | None) -> str:
        """Make it the event of this class and name; returns the server's name."""
        server_name = self._name or renamed(name, rename)
        self._event = TypedEvent(owner, name, server_name, self._type)
        return server_name

    def __get__(self, instance: object, owner: type[Owner]) -> TypedEvent[Owner, T_co]:
        assert self._event is not None
        return self._event


class Queue(Generic[Body_contra, R_co]):
    """Declares a queue in a typed actor's class: ``jobs: Queue[Job, Result]``.

    The parameters are the types of messages and of what they are completed with. On the class and
    on its instances the attribute is a `TypedQueue`.
    """

    if not TYPE_CHECKING:

        def __class_getitem__(cls, types: Any) -> Any:
            if not isinstance(types, tuple) or len(types) != 2:
                raise TypeError(
                    "Queue has two types in its brackets, of its messages and of their responses: "
                    "Queue[Job, Any] where the response does not matter"
                )
            return super().__class_getitem__(types)

    def __init__(
        self, body: Any = NOT_GIVEN, response: Any = NOT_GIVEN, name: str | None = None
    ) -> None:
        if name is not None:
            name = check_name("queue", name)
        self._types = (body, response)
        self._name = name
        self._queue: TypedQueue[Any, Body_contra, R_co] | None = None

    def _place(self, owner: type[Any], name: str, rename: Rename | None) -> str:
        """Make it the queue of this class and name; returns the server's name."""
        server_name = self._name or renamed(name, rename)
        self._queue = TypedQueue(owner, name, server_name, *self._types)
        return server_name

    def __get__(self, instance: object, owner: type[Owner]) -> TypedQueue[Owner, Body_contra, R_co]:
        assert self._queue is not None
        return self._queue


@overload
def event(type: type[T], /, *, name: str | None = None) -> Event[T]: ...


@overload
def event(*, name: str) -> Any: ...


def event(type: Any = NOT_GIVEN, /, *, name: str | None = None) -> Any:
    """Declare an event by value: ``new_count = event(int)``.

    Args:
        type: The type of its argument, a class. A type that is not a class (a union, a `Literal`)
            goes into an annotation: ``changed: Event[int | None] = event(name="changed")``.
        name: Its name at the server, where the class's ``rename`` does not give it.
    """
    return Event(type, name)


@overload
def queue(body: type[T], response: type[R], /, *, name: str | None = None) -> Queue[T, R]: ...


@overload
def queue(body: type[T], /, *, name: str | None = None) -> Queue[T, Any]: ...


@overload
def queue(*, name: str) -> Any: ...


def queue(body: Any = NOT_GIVEN, response: Any = Any, /, *, name: str | None = None) -> Any:
    """Declare a queue by value: ``jobs = queue(Job, Result)``.

    Args:
        body: The type of its messages, a class.
        response: The type of what they are completed with, a class.
        name: Its name at the server, where the class's ``rename`` does not give it; alone as in
            ``jobs: Queue[Job, Result] = queue(name="jobs")``.
    """
    return Queue(body, response, name)


def action(
    name: str | None = None, /, *, idempotent: bool = False, retry_for: float | None = None
) -> Callable[[Stub], Stub]:
    """Say more of an action than its ``async def`` does: ``@action("math.add")`` above it.

    In the class of a `TypedActor`, or of an actor of `rivet_anyio.testing`, which takes the name
    alone.

    Args:
        name: Its name at the server, where the class's ``rename`` does not give it.
        idempotent: It may run more than once, also at the same time: calls are repeated as by
            ``retry_for=`` of `ActorHandle.action`.
        retry_for: For how many seconds an idempotent action is repeated; None: 30.

    Raises:
        TypeError: an argument has a wrong type.
        ValueError: the name is empty, `retry_for` is not a finite number of seconds, more than 0,
            or it is given for an action that is not idempotent.
    """
    if inspect.isfunction(name):
        raise TypeError(f"write @action(...) with brackets above {name.__qualname__}, or nothing")
    if name is not None:
        name = check_name("action", name)
    check_flag("idempotent", idempotent)
    retry_for = check_seconds("retry_for", retry_for, none=True)
    if retry_for is not None and not idempotent:
        raise ValueError("retry_for is for actions that may run more than once: idempotent=True")

    def mark(stub: Stub) -> Stub:
        if name is not None:
            setattr(stub, SERVER_NAME, name)
        if idempotent:
            setattr(stub, RETRY_FOR, _RETRY_SECONDS if retry_for is None else retry_for)
        return stub

    return mark


def server_name_of(stub: Callable[..., Any], rename: Rename | None) -> str:
    """An action's name at the server."""
    given: str | None = getattr(stub, SERVER_NAME, None)
    return given or renamed(stub.__name__, rename)


def is_stub(function: Callable[..., Any]) -> bool:
    """Whether an ``async def`` has nothing in its body that could run.

    A body that does something names a global or an attribute, keeps a local, holds a constant or a
    function, or reads an argument, and each of these shows in the function's code object, whatever
    its bytecode. `NotImplementedError` is the one name a stub may have, with a text. What this
    cannot see is taken for a stub; a real stub is never refused.
    """
    code = function.__code__
    names = set(code.co_names)
    is_raised = names == {"NotImplementedError"}
    constants = [
        constant
        for constant in code.co_consts
        if constant not in (None, ..., function.__doc__)
        and not (is_raised and isinstance(constant, str))
    ]
    arguments = code.co_argcount + code.co_kwonlyargcount
    arguments += sum(bool(code.co_flags & flag) for flag in _VARIADIC)
    return (
        (is_raised or not names)
        and not constants
        and not code.co_freevars
        and len(code.co_varnames) == arguments
        and not any(step.opname.startswith("LOAD_FAST") for step in dis.get_instructions(code))
    )


_VARIADIC = (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS)
