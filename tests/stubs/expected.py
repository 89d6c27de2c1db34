# mypy: disable-error-code="empty-body"
"""The actors of registry.ts.

Written by rivet-anyio. What is `Any` is not known; a comment says why, and a better type may be
written in its place.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, TypeAlias

import msgspec

from rivet_anyio import Event, Queue, TypedActor, action

# JavaScript has one kind of number.
Number: TypeAlias = int | float


class CounterInput(msgspec.Struct, kw_only=True):
    initial: Number


class ChatRoomParams(msgspec.Struct, kw_only=True):
    name: str


class Message(msgspec.Struct, kw_only=True):
    sender: str
    text: str


class Circle(msgspec.Struct, kw_only=True, tag_field="kind", tag="circle"):
    radius: Number


class Square(msgspec.Struct, kw_only=True, rename="camel", tag_field="kind", tag="square"):
    side_length: Number


class WorkerJobsResponse(msgspec.Struct, kw_only=True):
    done: Message


class Everything(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    the_number: Number
    the_bigint: int
    the_date: dt.datetime
    the_bytes: bytes
    the_map: dict[Number, str]
    the_set: set[str]
    the_record: dict[str, Message]
    the_pair: tuple[str, Number]
    the_level: Literal["low", "high"]
    the_id: str
    the_union: str | list[Number] | None
    the_choice: Literal["a", "b", 3]
    anything: Any
    # endless: Any for Json, which has no end
    endless: str | Number | list[Any]
    maybe: bool | None = None
    maybe_null: Message | None = None
    url: str = msgspec.field(name="URL")
    class_: str
    odd_name: str | None = msgspec.field(default=None, name="odd-name")
    # undecidable: Any for Message | Tree
    undecidable: Any
    # moment: Any for string | Date
    moment: Any


class Tree(msgspec.Struct, kw_only=True):
    value: Number
    children: list[Tree]


class Page(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    items: list[Everything]
    next_page: Number | None = None


class ShapesTreeOptions(msgspec.Struct, kw_only=True, omit_defaults=True):
    depth: Number | None = None
    level: Literal["low", "high"]


class MovedEvent(msgspec.Struct, kw_only=True):
    label: str | None
    retry: Any


class Counter(TypedActor[Any, CounterInput], name="counter", rename="camel"):
    new_count: Event[Number]

    async def increment(self, by: Number = 1) -> Number: ...

    async def get_count(self) -> Number:
        """The count, as it is now."""
        raise NotImplementedError

    async def set_count(self, n: Number) -> Number: ...


class ChatRoom(TypedActor[ChatRoomParams], name="chatRoom", rename="camel"):
    message: Event[Message]

    async def send_message(self, text: str) -> Number: ...

    async def get_history(self) -> list[Message]: ...


class Probe(TypedActor, name="probe"):
    pair: Event[tuple[str, Number]]
    nothing: Event[tuple[()]]

    async def echo(self, value: Circle | Square) -> Circle | Square: ...

    async def args(self, *args: Number) -> list[Number]: ...

    async def emit(self, name: str, *args: Any) -> None: ...

    async def slow(self, ms: Number, value: str = ...) -> str | None: ...

    @action("math.add")
    async def math_add(self, a: Number, b: Number) -> Number: ...


class Worker(TypedActor, name="worker"):
    jobs: Queue[Message, WorkerJobsResponse]
    stuck: Queue[str, Any]

    async def processed(self) -> list[Message]: ...


class Shapes(TypedActor, name="shapes", rename="camel"):
    sent: Event[Literal["a", "b"]]
    moved: Event[tuple[Number, MovedEvent]]

    async def everything(self, value: Everything) -> Page: ...

    async def tree(
        self,
        arg1: Tree,
        options: ShapesTreeOptions | None,
    ) -> list[Number | ShapesTreeOptions | None]: ...

    async def send_(
        self,
        kind: Literal["a", "b"] = "a",
        retry: bool = False,
        label: str | None = None,
    ) -> None: ...

    # result: Any for never
    async def fail(self) -> Any: ...

    # result: Any for Error
    async def resolve_(self, from_: str, self_: Number) -> Any: ...
