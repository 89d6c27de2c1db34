"""Which files an event and an action pass through: those that docs/design.md names, no others."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import anyio

import rivet_anyio
from rivet_anyio.testing import Actor, ActorServer

SOURCE = Path(rivet_anyio.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"


class Chat(Actor):
    async def say(self, text: str) -> str:
        return text


@contextmanager
def passing() -> Generator[set[str]]:
    """The files whose functions are called meanwhile, without the server's."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(SOURCE) and frames_of_server not in path.parents:
                files.add(path.relative_to(SOURCE).with_suffix("").as_posix())

    frames_of_server = SOURCE / "testing"
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)


def named(sentence: str) -> set[str]:
    """The files that a sentence of docs/design.md names, which begins so."""
    text = " ".join(DESIGN.read_text().split())
    found = re.search(rf"{re.escape(sentence)}.*?\. ", text)
    assert found, sentence
    return set(re.findall(r"`([\w/]+)`", found[0]))


def is_asked(file: str) -> bool:
    """Whether files on the way only ask this one."""
    return file.startswith("_io/") or file in named("Beside these files")


async def test_an_event_passes_through_eight_files() -> None:
    async with (
        ActorServer({"chat": Chat}) as server,
        server.client() as client,
        client.chat.get_or_create("a").connect() as conn,
        conn.events("shout") as stream,
    ):
        actor = server.actor("chat", "a")
        actor.context.broadcast("shout", "first")
        assert await stream.receive() == "first"
        actor.context.broadcast("shout", "second")
        with passing() as files:
            assert await stream.receive() == "second"
    on_its_way = {file for file in files if not is_asked(file)}
    # The stand-in's streams are in memory: the eighth file is the loop's.
    assert on_its_way | {"_io/asyncio", "_io/trio"} == named("An event passes through eight files")


async def test_an_action_passes_through_nine_files() -> None:
    async with (
        ActorServer({"chat": Chat}) as server,
        server.client() as client,
        client.chat.get_or_create("a").connect() as conn,
    ):
        await conn.action("say", "first")
        await anyio.lowlevel.checkpoint()
        with passing() as files:
            assert await conn.action("say", "second") == "second"
    on_its_way = {file for file in files if not is_asked(file)}
    assert len(on_its_way) == 9
    assert on_its_way == named("An action and its answer pass through nine")
