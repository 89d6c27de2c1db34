# mypy: disable-error-code="empty-body"
"""Actors of tests beside typed classes and generated stubs."""

from __future__ import annotations

import types
from collections.abc import Collection
from typing import Any, ClassVar

import pytest

from rivet_anyio import ConfigError, Event, Queue, TypedActor, action
from rivet_anyio.testing import (
    Actor,
    ActorConnection,
    ActorSocket,
    ContractError,
    check_contract,
)
from tests.stubs import expected


class Room(TypedActor, name="room", rename="camel"):
    opened: Event[str]
    said: Event[str]
    jobs: Queue[str, str]

    async def send_message(self, text: str, to_all: bool = True) -> int: ...

    async def add(self, *numbers: int) -> int: ...

    @action("math.sub")
    async def sub(self, a: int, b: int) -> int: ...


class Same(Actor):
    queues: ClassVar[Collection[str]] = ("jobs",)

    async def on_connect(self, connection: ActorConnection) -> None:
        connection.send("opened", "x")

    async def sendMessage(self, text: str, toAll: bool = True) -> int:
        self.context.broadcast("said", text)
        return 1

    async def add(self, *numbers: int) -> int:
        return sum(numbers)

    @action("math.sub")
    async def subtract(self, a: int, b: int) -> int:
        return a - b

    async def on_websocket(self, socket: ActorSocket) -> None:
        await socket.send("no event")

    def helper(self) -> None: ...


def differences(actor: Any, *contracts: Any) -> list[str]:
    with pytest.raises(ContractError) as caught:
        check_contract({"room": actor}, *(contracts or (Room,)))
    first, *found = str(caught.value).splitlines()
    assert first.startswith(f"{len(found)} difference") and first.endswith(" from the contract:")
    assert all(text.startswith("room: ") for text in found)
    return [text.removeprefix("room: ") for text in found]


def test_the_same() -> None:
    check_contract({"room": Same}, Room)
    check_contract({"room": lambda: Same()}, Room)
    module = types.ModuleType("stubs")
    vars(module).update({"Room": Room, "Base": TypedActor, "other": 5})
    check_contract({"room": Same}, module)

    class Inherited(Same):
        pass

    check_contract({"room": Inherited}, Room)


def test_actions() -> None:
    class Drifted(Same):
        add: Any = None

        async def remove(self, id: str, reason: str = "") -> None: ...

    assert differences(Drifted) == [
        "the action 'add'(...) of the contract is missing",
        "the action 'remove'(id, reason?) is not in the contract",
    ]


def test_parameters() -> None:
    class Drifted(Same):
        async def sendMessage(self, text: str) -> int:  # type: ignore[override]
            return 1

        async def add(self, a: int, b: int) -> int:  # type: ignore[override]
            return 1

        @action("math.sub")
        async def subtract(self, b: int, a: int) -> int:  # type: ignore[override]
            return 1

    assert differences(Drifted) == [
        "the action 'add' takes (a, b), and (...) in the contract",
        "the action 'math.sub' takes (b, a), and (a, b) in the contract",
        "the action 'sendMessage' takes (text), and (text, to_all?) in the contract",
    ]

    class Required(Same):
        async def sendMessage(self, text: str, toAll: bool) -> int:  # type: ignore[override]
            return 1

    (difference,) = differences(Required)
    assert "takes (text, toAll), and (text, to_all?)" in difference

    class OtherNames(Same):
        async def sendMessage(self, words: str, everybody: bool = True) -> int:
            return 1

        @action("math.sub")
        async def static(self, x: int, y: int) -> int:
            return 1

        subtract: Any = None

    check_contract({"room": OtherNames}, Room)


def test_events_and_queues() -> None:
    class Drifted(Same):
        queues = frozenset({"job", "mail"})

        async def sendMessage(self, text: str, toAll: bool = True) -> int:
            self.context.broadcast("sayd", text)
            return 1

    assert differences(Drifted) == [
        "the event 'sayd' is not in the contract",
        "the queue 'jobs' of the contract is missing",
        "the queue 'job' is not in the contract",
        "the queue 'mail' is not in the contract",
    ]

    class Silent(Actor):
        async def sendMessage(self, text: str, toAll: bool = True) -> int:
            self.context.send_to(self.context.connections[0], "opened")
            return 1

        async def add(self, *numbers: int) -> int:
            return 1

        @action("math.sub")
        async def subtract(self, a: int, b: int) -> int:
            return 1

    assert differences(Silent) == ["the event 'said' of the contract is never sent"]

    class Echo(Silent):
        async def on_websocket(self, socket: ActorSocket) -> None:
            async for message in socket:
                await socket.send(message)

    assert differences(Echo) == ["the event 'said' of the contract is never sent"]

    class Computed(Silent):
        async def add(self, *numbers: int) -> int:
            for name in ("opened", "said"):
                self.context.broadcast(name)
            return 1

    check_contract({"room": Computed}, Room)


def test_generated_stubs() -> None:
    class Counter(Actor):
        count = 0

        async def increment(self, by: int = 1) -> int:
            self.count += by
            self.context.broadcast("newCount", self.count)
            return self.count

        async def getCount(self) -> int:
            return self.count

        async def setCount(self, n: int) -> int:
            self.count = n
            return n

    check_contract({"counter": Counter}, expected)

    class Old(Counter):
        setCount: Any = None

    missing = r"counter: the action 'setCount'\(n\) of the contract is missing"
    with pytest.raises(ContractError, match=missing):
        check_contract({"counter": Old}, expected)
    with pytest.raises(ContractError, match="clock: no contract describes this actor, only: ch"):
        check_contract({"clock": Counter}, expected)


def test_what_is_no_contract() -> None:
    class Nameless(TypedActor):
        pass

    class Twice(TypedActor, name="room"):
        pass

    for wrong in (Nameless, int, 5, types.ModuleType("empty"), Same):
        contract: Any = wrong
        with pytest.raises(ConfigError, match=r"is no contract.*rivet_anyio\.TypedActor"):
            check_contract({"room": Same}, contract)
    with pytest.raises(ConfigError, match="no contract is given"):
        check_contract({"room": Same})
    with pytest.raises(ConfigError, match="both describe the actor 'room'"):
        check_contract({"room": Same}, Room, Twice)
