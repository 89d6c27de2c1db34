# mypy: disable-error-code="empty-body"
"""The typed actors that the files here use."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import msgspec
import pydantic

from rivet_anyio import Event, Queue, TypedActor, action, event, queue


class Job(msgspec.Struct):
    number: int


@dataclasses.dataclass
class Result:
    text: str


class User(msgspec.Struct):
    token: str


class Post(pydantic.BaseModel):
    text: str


class Counter(TypedActor, name="counter", rename="camel"):
    new_count: Event[int]
    changed: Event[int | None]
    moved: ClassVar[Event[tuple[float, float]]]
    anything: Event[Any]
    odd: Event[str] = event(name="odd-name")
    plain = event(int)
    listed = event(list[Job], name="list")
    jobs: Queue[Job, Result]
    plain_jobs = queue(Job, Result)
    open_jobs = queue(Job)

    async def increment(self, by: int = 1) -> int: ...

    async def label(self, text: str, *tags: str) -> dict[str, Job]: ...

    async def left_to_server(self, limit: int = ...) -> None: ...

    @action("math.add")
    async def add(self, a: float, b: float) -> float:
        """Add two numbers."""
        raise NotImplementedError


class Room(TypedActor[User, Job], name="room"):
    message: Event[str]
    tasks: Queue[str, None]

    async def say(self, text: str) -> None: ...


class Lobby(Room, name="lobby"):
    greeted: Event[str]


class OnlyParams(TypedActor[User], name="only"):
    async def whoami(self) -> User: ...


class Board(TypedActor[Post, list[Post]], name="board"):
    posted: Event[Post]
    changed: Event[Post | None]
    plain = event(Post)
    drafts: Queue[Post, list[Post]]

    async def post(self, post: Post, after: Post | None = ..., limit: int = ...) -> list[Post]: ...
