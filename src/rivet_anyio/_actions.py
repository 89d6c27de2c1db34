"""Actions by attribute: ``handle.increment(1)``, ``handle.math.add(1, 2)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

__all__ = ["ActionCall", "ActionCaller"]


class ActionCaller(Protocol):
    """What can call an action by its name."""

    @property
    def action(self) -> Callable[..., Awaitable[Any]]:
        """Call an action: its name, its arguments, and ``type=``."""
        ...


class ActionCall:
    """An action, not called yet; further attributes are joined to its name by dots."""

    __slots__ = ("_caller", "_name")

    def __init__(self, caller: ActionCaller, name: str) -> None:
        self._caller = caller
        self._name = name

    async def __call__(self, *args: Any, type: Any = Any) -> Any:
        """Call the action with positional arguments; `type` checks and converts the result."""
        return await self._caller.action(self._name, *args, type=type)

    def __getattr__(self, name: str) -> ActionCall:
        if name.startswith("__"):
            raise AttributeError(name)
        return ActionCall(self._caller, f"{self._name}.{name}")

    def __repr__(self) -> str:
        return f"<action {self._name!r} of {self._caller!r}>"


def action_attribute(caller: ActionCaller, name: str) -> ActionCall:
    """What ``caller.name`` is; names that begin with an underscore are never actions here."""
    if name.startswith("_"):
        raise AttributeError(
            f"{type(caller).__name__!r} has no attribute {name!r}; "
            f"an action of this name is called by .action({name!r}, ...)"
        )
    return ActionCall(caller, name)
