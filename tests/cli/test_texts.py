"""How actors are written, and values printed."""

from __future__ import annotations

import datetime as dt
import json
import math

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio._text import escaped
from rivet_anyio.cli._arguments import Place, parse_place
from rivet_anyio.cli._json import json_text, parse_json

from .peers import METADATA, Answer, Request, as_json, serving
from .running import Cli


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a", ()),
        ("a/b", ("b",)),
        ("a/b/c d/é", ("b", "c d", "é")),
        (r"a/b\/c/\\", ("b/c", "\\")),
        (r"a/\0/x", ("", "x")),
        (r"a/\\0", ("\\0",)),
        ("a/0", ("0",)),
        ("a/b\n", ("b\n",)),
    ],
)
def test_places(text: str, key: tuple[str, ...]) -> None:
    assert parse_place(text) == Place("a", key)


@given(st.text(min_size=1), st.lists(st.text()))
def test_places_are_read_as_they_are_written(name: str, key: list[str]) -> None:
    place = Place(name, tuple(key))
    assert parse_place(str(place)) == place


@pytest.mark.parametrize("text", ["", "/a", "a/", "a//b", r"\0/a"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(click.UsageError):
        parse_place(text)


def test_name_as_it_stands() -> None:
    assert parse_place("a/b", ("c/d", "")) == Place("a/b", ("c/d", ""))
    assert parse_place("a/b", id="x") == Place("a/b", (), "x")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_comes_back(value: object) -> None:
    text = json_text(value)
    text.encode()
    assert "\n" not in text and escaped(text) == text
    assert json.loads(text) == value == parse_json(text)


def test_what_json_lacks() -> None:
    moment = dt.datetime(2020, 1, 2, tzinfo=dt.UTC)
    assert json_text([b"\1", {1: 2}, {5}, (1,), math.nan, -math.inf, moment]) == (
        '[["$Uint8Array","AQ=="],["$Map",[[1,2]]],["$Set",[5]],[1],null,null,'
        '"2020-01-02T00:00:00+00:00"]'
    )


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "1e999", "{", "'a'", "[" * 100_000, "01"])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_escaped() -> None:
    text = "a\x1b[31m\x9b\tä\xa0\r\n"
    assert escaped(text, keeps_lines=True) == "a\\x1b[31m\\x9b\tä\xa0\\r\n"
    assert escaped(text) == "a\\x1b[31m\\x9b\\tä\xa0\\r\\n"


EVIL = "a\x1b[2J\n\x9b31m\u202eb"
ESCAPED = r"a\x1b[2J\n\x9b31m\u202eb"


def named(request: Request) -> Answer:
    """A server whose actors were named by somebody who knows terminals."""
    if request.path.startswith("/actors/names"):
        return as_json({"names": {EVIL: {}}, "pagination": {"cursor": None}})
    if request.path.startswith("/actors"):
        actor = {"actor_id": f"a1{EVIL}", "name": EVIL, "key": EVIL, "runner_name_selector": EVIL}
        body = {"actors": [actor], "pagination": {"cursor": None}, "actor": actor, "created": True}
        return as_json(body)
    return METADATA


@pytest.mark.parametrize("command", [("names",), ("list", "any"), ("resolve", "any", "--create")])
def test_names_command_no_terminal(command: tuple[str, ...]) -> None:
    with serving(named) as url, Cli(RIVET_ENDPOINT=url).terminal(*command) as run:
        run.end()
    assert ESCAPED in run.shown, run.shown
    assert all(char.isprintable() for char in run.shown.replace("\n", "")), run.shown


def refusing(request: Request) -> Answer:
    """A server whose errors were written by somebody who knows terminals."""
    if request.path.startswith("/namespaces"):
        return as_json({"namespaces": [{"name": EVIL}]})
    if request.path.startswith("/metadata"):
        return as_json({"runtime": "engine", "version": "2.3.0"})
    error = {"group": "namespace", "code": EVIL, "message": EVIL, "metadata": {EVIL: EVIL}}
    return as_json(error, 400, **{"x-rivet-ray-id": "r1"})


@pytest.mark.parametrize("command", [("call", "a/b", "c"), ("doctor",)])
def test_no_peer_adds_lines_to_errors(command: tuple[str, ...]) -> None:
    with serving(refusing) as url:
        result = Cli(RIVET_ENDPOINT=url)(*command, "-o", "text", code=None)
    said = result.out + result.err
    assert ESCAPED in said and ESCAPED.partition("\\n")[2] not in said.replace(ESCAPED, ""), said
    assert all(char.isprintable() for char in said.replace("\n", "")), said


def test_a_result_commands_no_terminal() -> None:
    def answer(request: Request) -> Answer:
        actor = {"actor_id": "a1", "name": "a", "key": "b"}
        if request.path.startswith("/actors"):
            return as_json({"actors": [actor], "pagination": {"cursor": None}})
        return METADATA if request.path.startswith("/metadata") else as_json({"output": EVIL})

    command = ("call", "a/b", "c", "-o", "text", "--encoding", "json")
    with serving(answer) as url, Cli(RIVET_ENDPOINT=url).terminal(*command) as run:
        run.end()
    assert ESCAPED.replace("\\n", "\n") in run.shown.replace("\r\n", "\n"), run.shown
