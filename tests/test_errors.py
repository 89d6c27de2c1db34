"""Every public error survives being copied, pickled and raised in another process."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import anyio
import pytest

import rivet_anyio
import rivet_anyio.stubs
import rivet_anyio.testing
from rivet_anyio import (
    ActorError,
    ActorSpecifier,
    ConnectionLostError,
    EventGapError,
    ProtocolError,
    RivetError,
    TransportError,
)
from rivet_anyio._errors import again

SPECIFIER = ActorSpecifier("a1", 2, "k")

ARGUMENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ActorError": (
        ("user", "code", "text"),
        {"metadata": {"a": [1, b"x"]}, "actor": SPECIFIER, "ray_id": "r"},
    ),
    "ConnectError": (("text",), {"status": 503, "retry_after": 1.5}),
    "ConnectionLostError": (("text",), {"code": 4001, "reason": "because", "retry_after": 2.0}),
    "EventGapError": ((1.0, 2.5, 3), {}),
    "UserError": (("text",), {"code": "code", "metadata": [1]}),
    "CollectError": (("text", [1, "x"]), {}),
    "DeadlockError": ((), {}),
}
"""What to make an error of, where one text is not enough."""

ERRORS = sorted(
    {
        thing
        for module in (rivet_anyio, rivet_anyio.stubs, rivet_anyio.testing)
        for thing in (getattr(module, name) for name in module.__all__)
        if inspect.isclass(thing) and issubclass(thing, BaseException)
    },
    key=lambda error: error.__name__,
)


def pickled(error: BaseException, *, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


RIVET_ERRORS = [error for error in ERRORS if issubclass(error, RivetError)]


COPIES: dict[str, Callable[[BaseException], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": partial(pickled, protocol=protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


def made(kind: type[BaseException]) -> BaseException:
    args, options = ARGUMENTS.get(kind.__name__, (("text",), {}))
    error = kind(*args, **options)
    error.add_note("a note")
    error.custom = [1]  # type: ignore[attr-defined]
    return error


def check_same(one: BaseException, other: BaseException) -> None:
    assert type(one) is type(other)
    assert (str(one), repr(one), one.args) == (str(other), repr(other), other.args)
    assert vars(one) == vars(other)
    assert other.__notes__ == ["a note"]


def test_the_errors_were_found() -> None:
    names = {error.__name__ for error in ERRORS}
    assert set(ARGUMENTS) | {"ClosedError", "ActorCrashError", "EventOverflowError"} <= names


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_a_traceback_shows_the_name_that_programs_import(kind: type[BaseException]) -> None:
    assert kind.__module__ in ("rivet_anyio", "rivet_anyio.testing")
    assert getattr(sys.modules[kind.__module__], kind.__name__) is kind


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_copies(kind: type[BaseException], way: str) -> None:
    error = made(kind)
    twice = COPIES[way](COPIES[way](error))
    assert twice is not error
    check_same(error, twice)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_raised_in_one_more_place(kind: type[BaseException]) -> None:
    error = made(kind)
    error.__cause__ = OSError("why")
    other = again(error)
    assert other is not error and other.__cause__ is error.__cause__
    check_same(error, other)


class VaultError(Exception):
    """An error of a program's, whose text is not what it was made of."""

    def __init__(self, user: str) -> None:
        super().__init__(f"the vault of {user} is sealed")
        self.user = user


def test_an_error_of_the_users_is_raised_once_more_as_it_was() -> None:
    error = VaultError("ann")
    try:
        try:
            raise KeyError("ann")
        except KeyError:
            raise error  # noqa: B904
    except VaultError:
        pass
    error.add_note("a note")
    other = again(error)
    assert other is not error
    check_same(error, other)
    assert other.__context__ is error.__context__ is not None
    assert not other.__suppress_context__
    other.add_note("of one place")
    assert error.__notes__ == ["a note"]


@pytest.mark.parametrize("kind", RIVET_ERRORS, ids=lambda kind: kind.__name__)
def test_what_a_peer_wrote_commands_nothing(kind: type[RivetError]) -> None:
    evil = "a\x1b[2J\r\n\x00\t\x7f\x9b31m\u2028\u2029\u202e\u2066\u200f\u061c\ud800b"
    escaped = r"a\x1b[2J\r\n\x00\t\x7f\x9b31m\u2028\u2029\u202e\u2066\u200f\u061c\ud800b"
    args, options = ARGUMENTS.get(kind.__name__, (("text",), {}))
    if kind is not EventGapError:  # which is made of numbers
        error = kind(*(evil if isinstance(arg, str) else arg for arg in args), **options)
        assert escaped in str(error) and evil not in str(error)
        assert evil in error.args


def test_text_of_any_language_is_shown_as_it_is() -> None:
    for text in (
        "zu groß",
        "日本語\u3000です",
        "می\u200cخواهم",
        "👩\u200d👩",
        "1\u00a0000",
        r"\n",
        "",
    ):
        assert str(ProtocolError(text)) == text


def test_a_long_text_is_cut() -> None:
    error = ActorError("g", "c", "m" * 20_000_000)
    assert str(error).endswith("m... (20000005 characters in all)") and len(str(error)) < 4200
    assert str(ProtocolError("x" * 4096)) == "x" * 4096


def fail(kind: type[BaseException]) -> None:
    raise made(kind)


def test_a_process_pool() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind in ERRORS:
            raised = pool.submit(fail, kind).exception(60)
            assert raised is not None
            check_same(made(kind), raised)


def test_a_lost_connection_is_what_anyio_calls_one() -> None:
    lost = ConnectionLostError("gone", code=1006)
    assert isinstance(lost, TransportError) and isinstance(lost, anyio.BrokenResourceError)
    assert not isinstance(lost, anyio.ClosedResourceError)
    assert not issubclass(ActorError, anyio.BrokenResourceError)
    with pytest.raises(anyio.BrokenResourceError, match="gone"):
        raise lost
