"""Names that are no actions and no actors: what Python and users of other clients would call."""

from __future__ import annotations

import ast
import contextlib
import gc
import inspect
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from starlette.background import BackgroundTask

import rivet_anyio
import rivet_anyio.testing
from rivet_anyio import Client, ClosedError, TypedActor
from rivet_anyio._actions import CLIENT_ADVICE, CONNECTION_ADVICE, HANDLE_ADVICE

EVERYWHERE = [
    *("close", "aclose", "dispose", "disconnect", "on", "once"),
    *("getOrCreate", "onOpen", "onClose", "onError"),
]
OF_CONNECTIONS = ["events", "next_event", "status", "status_changes", "wait_connected"]
OF_HANDLES = ["fetch", "stream", "websocket", "resolve", "gateway_url", "connect"]

client: Any = Client("http://127.0.0.1:9", metadata_lookup=False)
handle: Any = client.chatRoom.get("key")
conn: Any = handle.connect()


def test_the_lists_are_complete() -> None:
    assert set(CLIENT_ADVICE) == set(EVERYWHERE)
    assert set(HANDLE_ADVICE) == {*EVERYWHERE, *OF_CONNECTIONS}
    assert set(CONNECTION_ADVICE) == {*EVERYWHERE, *OF_HANDLES}
    for advice in (CLIENT_ADVICE, HANDLE_ADVICE, CONNECTION_ADVICE):
        assert all(advice.values())


@pytest.mark.parametrize(
    ("owner", "name", "way"),
    [
        *((client, name, rf"\.actor\('{name}'\)$") for name in EVERYWHERE),
        *((client.chatRoom, name, r"get_or_create\(key\)") for name in EVERYWHERE),
        *((handle, name, rf"\.action\('{name}', \.\.\.\)$") for name in HANDLE_ADVICE),
        *((conn, name, rf"\.action\('{name}', \.\.\.\)$") for name in CONNECTION_ADVICE),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_name_that_is_refused_says_what_to_write(owner: Any, name: str, way: str) -> None:
    assert not hasattr(owner, name)
    kind = type(owner).__name__
    with pytest.raises(AttributeError, match=rf"^'{kind}' has no attribute '{name}'; .*; .*{way}"):
        getattr(owner, name)


def test_what_is_there_stays_there() -> None:
    for name in OF_CONNECTIONS:
        assert hasattr(conn, name)
    for name in OF_HANDLES:
        assert hasattr(handle, name)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_ways_out(name: str) -> None:
    assert client.actor(name).get("key").name == name
    for owner in (handle, conn):
        call = owner.action(name)
        assert call.cr_code.co_name == "action"
        call.close()
        assert repr(getattr(owner.a, name)) == f"<action 'a.{name}' of {owner!r}>"


async def test_protocols_of_python_are_not_sent_to_the_actor() -> None:
    for owner in (client, handle, conn):
        with pytest.raises(AttributeError, match="aclose"):
            async with contextlib.aclosing(owner):
                pass
        with pytest.raises(AttributeError, match="aclose"):
            await anyio.aclose_forcefully(owner)
        with pytest.raises(AttributeError, match="close"), contextlib.closing(owner):
            pass


class Room(TypedActor, name="room"):
    async def say(self) -> None: ...


@pytest.mark.parametrize("method", ["get", "get_or_create", "create", "get_for_id", "list"])
async def test_a_name_in_place_of_a_class_says_what_to_write(method: str) -> None:
    arguments = [] if method == "list" else ["key"]

    async def use(given: Any) -> None:
        made = getattr(client, method)(given, *arguments)
        if method == "create":
            await made

    argument = {"list": "", "get_for_id": "actor_id"}.get(method, "key")
    for name, accessor in (
        ("counter", "client.counter"),
        ("my-actor", r"client.actor\('my-actor'\)"),
        ("get", r"client.actor\('get'\)"),
        ("close", r"client.actor\('close'\)"),
        ("class", r"client.actor\('class'\)"),
    ):
        with pytest.raises(
            TypeError, match=rf"not '{name}'; .*write {accessor}\.{method}\({argument}\)$"
        ):
            await use(name)
    room: Any = client.get(Room)
    for given in ("", None, 5, int, Client, object(), room):
        with pytest.raises(TypeError, match=rf"^{method} of a client takes a class .*, not "):
            await use(given)


def test_arguments_by_name_are_refused_in_the_call() -> None:
    for owner in (handle, handle.connect()):
        for call in (owner.increment, owner.math.add):
            with pytest.raises(TypeError, match=r"takes arguments by position, not by=; a typed"):
                call(1, by=5)


def test_options_of_a_call_by_name_say_where_they_are_given() -> None:
    for owner in (handle, handle.connect()):
        with pytest.raises(
            TypeError, match=r"write \.action\('math\.add', \.\.\., retry_for=\.\.\.\)$"
        ):
            owner.math.add(1, retry_for=5)
    with pytest.raises(
        TypeError, match=r"write \.action\('add', \.\.\., skip_ready_wait=\.\.\.\)$"
    ):
        handle.add(skip_ready_wait=True)


@pytest.mark.parametrize("names", [["a", "b"], {"a"}, ["a"]], ids=repr)
def test_several_events_are_a_tuple(names: Any) -> None:
    with pytest.raises(TypeError, match=r"several names of events are a tuple, not "):
        conn.events(names)


def test_frameworks_see_that_a_call_is_awaited() -> None:
    async def task() -> None:
        # Starlette runs what is not async in a thread, and would drop the coroutine.
        with pytest.raises(ClosedError):
            await BackgroundTask(handle.sendMessage, "x")()

    anyio.run(task)
    # Starlette 0.46 to 0.47.2 asks `inspect`; other versions asked asyncio before Python 3.13.
    assert inspect.iscoroutinefunction(handle.sendMessage.__call__)


@pytest.mark.parametrize(
    ("forget", "name"),
    [
        (lambda: handle.sendMessage("x"), "chatRoom.sendMessage"),
        (lambda: handle.math.add(1, 2), "chatRoom.math.add"),
        (lambda: conn.sendMessage("x", type=int), "chatRoom.sendMessage"),
        (lambda: cast("Any", client.get(Room)).say(), "Room.say"),
    ],
)
def test_a_forgotten_await_names_the_action(forget: Any, name: str) -> None:
    with pytest.warns(RuntimeWarning, match=rf"^coroutine '{name}' was never awaited"):
        forget()
        gc.collect()


def test_no_name_stands_for_two_things() -> None:
    """A wrong import would look right."""
    assert not set(rivet_anyio.__all__) & set(rivet_anyio.testing.__all__)


def test_names_are_where_they_are_looked_for() -> None:
    """Names are imported at their first use; type checkers read the imports above the table."""
    tree = ast.parse(Path(rivet_anyio.__file__).read_text("utf-8"))
    places = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module != "_version"
        for alias in node.names
    }
    assert places == rivet_anyio._PLACES
    assert sorted([*places, "__version__"]) == sorted(rivet_anyio.__all__)
    for name in places:
        assert getattr(rivet_anyio, name) is getattr(rivet_anyio, name)
    assert set(rivet_anyio.__all__) <= set(dir(rivet_anyio))
    with pytest.raises(AttributeError, match="module 'rivet_anyio' has no attribute 'Actr'"):
        rivet_anyio.Actr  # type: ignore[attr-defined]  # noqa: B018
