"""Which end of an attempt is final, and how long the next attempt waits: every kind of end."""

from __future__ import annotations

import ssl
from itertools import product

import pytest

from rivet_anyio import (
    ActorError,
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    Retry,
)
from rivet_anyio._connection.outcome import Ended, cause_of, delay_after, is_final
from rivet_anyio._websocket.framing import Close
from rivet_anyio.protocol.verdicts import Opening

AGAIN, FINAL = "again", "final"
GONE = "final unless the actor is created anew"

ALWAYS = (FINAL, FINAL, FINAL)
NEVER = (AGAIN, AGAIN, AGAIN)
AWAY = (FINAL, AGAIN, AGAIN)
BEFORE_THE_FIRST = (FINAL, FINAL, AGAIN)


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


def actor(name: str) -> ActorError:
    group, _, code = name.partition(".")
    return ActorError(group, code, "why")


def untrusted() -> Exception:
    return caused(ConnectError("no TLS"), ssl.SSLCertVerificationError("self-signed"))


def answered(opening: Opening, name: str = "guard.x", **more: bool) -> Ended:
    """An error in place of Init."""
    return Ended(actor(name), opened=False, opening=opening, **more)


FIRST_ENDS: list[tuple[str, Ended, tuple[str, str, str]]] = [
    # The attempt ended before Init: for the first connection; where a server that is away is
    # waited for; after a connection was open.
    ("get_params", Ended(OSError(), opened=False, by_user=True), BEFORE_THE_FIRST),
    ("get_params, TypeError", Ended(TypeError(), opened=False, by_user=True), BEFORE_THE_FIRST),
    ("get_params, ActorError", Ended(actor("a.b"), opened=False, by_user=True), BEFORE_THE_FIRST),
    ("client closed", Ended(ClosedError(), opened=False), ALWAYS),
    ("configuration", Ended(ConfigError(), opened=False), ALWAYS),
    ("params", Ended(TypeError(), opened=False), ALWAYS),
    ("refused connection", Ended(ConnectError("refused"), opened=False), AWAY),
    ("lost", Ended(ConnectionLostError("lost"), opened=False), AWAY),
    ("no WebSocket", Ended(ProtocolError("no frame"), opened=False), AWAY),
    ("fault of ours", Ended(RuntimeError(), opened=False), AWAY),
    ("certificate", Ended(untrusted(), opened=False), BEFORE_THE_FIRST),
    *(
        (f"HTTP {status}", Ended(ConnectError("no", status=status), opened=False), verdicts)
        for statuses, verdicts in (
            ((200, 301, 400, 401, 403, 404, 409, 410, 426, 499), ALWAYS),
            ((408, 425, 429, 500, 502, 503, 504), AWAY),
        )
        for status in statuses
    ),
    ("actor gone", answered(Opening.STALE), (GONE, GONE, GONE)),
    ("actor gone, perhaps", answered(Opening.UNSURE), ALWAYS),
    ("not ready", answered(Opening.NOT_READY), NEVER),
    ("not ready, and why", answered(Opening.NOT_READY, explained=True), AWAY),
    ("refused in a gateway's words", answered(Opening.REFUSED), ALWAYS),
    ("no host yet", answered(Opening.AWAY), AWAY),
    ("other", answered(Opening.OTHER), BEFORE_THE_FIRST),
    ("other, in place of Init", answered(Opening.OTHER, refused=True), ALWAYS),
    ("the actor's own", answered(Opening.OTHER, "user.x"), ALWAYS),
    ("authorization", answered(Opening.OTHER, "auth.x"), ALWAYS),
]

LATER_ENDS: list[tuple[str, Ended, str]] = [
    # The attempt led to an open connection, which has ended.
    ("lost", Ended(ConnectionLostError("lost"), opened=True), AGAIN),
    ("bad bytes", Ended(ProtocolError("no message"), opened=True), AGAIN),
    ("closed by the actor", Ended(actor("user.x"), opened=True), FINAL),
    ("closed by authorization", Ended(actor("auth.x"), opened=True), FINAL),
    *(
        (name, Ended(actor(name), opened=True), AGAIN)
        for name in ("actor.stopping", "actor.not_found", "guard.x", "ws.x", "message.x", "a.b")
    ),
]


def test_every_opening_has_a_row() -> None:
    assert {ended.opening for _, ended, _ in FIRST_ENDS} == set(Opening)


@pytest.mark.parametrize(("name", "ended", "verdicts"), FIRST_ENDS, ids=[r[0] for r in FIRST_ENDS])
def test_is_final_before_init(name: str, ended: Ended, verdicts: tuple[str, str, str]) -> None:
    first, waiting, later = verdicts
    for has_been_open, creates, waits in product((False, True), repeat=3):
        verdict = later if has_been_open else waiting if waits else first
        expected = verdict == FINAL or (verdict == GONE and not creates)
        assert (
            is_final(ended, has_been_open=has_been_open, creates=creates, waits=waits) is expected
        ), (has_been_open, creates, waits)


@pytest.mark.parametrize(("name", "ended", "verdict"), LATER_ENDS, ids=[r[0] for r in LATER_ENDS])
def test_is_final_after_init(name: str, ended: Ended, verdict: str) -> None:
    for creates, waits in product((False, True), repeat=2):
        found = is_final(ended, has_been_open=True, creates=creates, waits=waits)
        assert found is (verdict == FINAL), (creates, waits)


WORST = Retry(initial=1.0, maximum=8.0, random=lambda: 1.0)
HALF = Retry(initial=1.0, maximum=8.0, random=lambda: 0.5)
SHORT = Retry(initial=0.25, maximum=0.5, random=lambda: 1.0)


def asked(seconds: float) -> Ended:
    return Ended(ConnectError("busy", status=503, retry_after=seconds), opened=False)


def asked_in_error(seconds: float) -> Ended:
    error = actor("guard.x")
    error.retry_after = seconds
    return Ended(error, opened=False)


def closed(code: int) -> Ended:
    return Ended(ConnectionLostError("closed", code=code), opened=True, close_code=code)


LOST = Ended(ConnectionLostError("lost"), opened=True)


@pytest.mark.parametrize(
    ("ended", "failures", "retry", "seconds"),
    [
        (LOST, 0, WORST, 1.0),
        (LOST, 1, WORST, 2.0),
        (LOST, 3, WORST, 8.0),
        (LOST, 4, WORST, 8.0),
        (LOST, 10**6, WORST, 8.0),
        (LOST, 2, HALF, 2.0),
        (LOST, 0, SHORT, 0.25),
        # The server says how long: never less than that, and at most `maximum`.
        (asked(5.0), 0, WORST, 5.0),
        (asked(0.0), 0, WORST, 1.0),
        (asked(0.5), 0, WORST, 1.0),
        (asked(3600.0), 0, WORST, 8.0),
        (asked(5.0), 0, HALF, 5.0),
        (asked(5.0), 0, SHORT, 0.5),
        (asked_in_error(5.0), 0, WORST, 5.0),
        # A server that restarts: all its connections come back at once.
        (closed(1012), 0, WORST, 2.0),
        (closed(1013), 0, WORST, 2.0),
        (closed(1012), 1, HALF, 1.5),
        (closed(1013), 0, SHORT, 0.75),
        (closed(1000), 0, WORST, 1.0),
        (closed(1001), 0, WORST, 1.0),
        (closed(1011), 0, WORST, 1.0),
        (closed(1014), 0, WORST, 1.0),
    ],
)
def test_delay_after(ended: Ended, failures: int, retry: Retry, seconds: float) -> None:
    assert delay_after(ended, failures, retry) == seconds


@pytest.mark.parametrize(
    ("close", "opened", "unopened"),
    [
        # What the close means on an open connection, and in place of Init.
        (Close(1000, ""), 1000, 1000),
        (Close(1000, "user.x"), 1000, 1000),
        (Close(1000, "forbidden"), 1000, 1000),
        (Close(1005, ""), None, None),
        (Close(1011, ""), 1011, 1011),
        (Close(1011, "two words"), 1011, 1011),
        (Close(1011, "forbidden"), 1011, "user.forbidden"),
        (Close(1011, "stopping"), 1011, "actor.stopping"),
        (Close(1011, "internal_error"), 1011, "internal.internal_error"),
        (Close(1008, "forbidden"), 1008, 1008),
        (Close(1011, "guard.rate_limit#ray"), "guard.rate_limit", "guard.rate_limit"),
        (Close(1008, "user.x"), "user.x", "user.x"),
    ],
)
def test_cause_of(close: Close, opened: int | str | None, unopened: int | str | None) -> None:
    for is_open, expected in ((True, opened), (False, unopened)):
        cause = cause_of(close, opened=is_open)
        if isinstance(expected, str):
            assert isinstance(cause, ActorError)
            assert f"{cause.group}.{cause.code}" == expected
        else:
            assert isinstance(cause, ConnectionLostError)
            assert (cause.code, cause.reason) == (expected, close.reason)


def test_an_error_is_its_own_cause() -> None:
    error = ConnectionLostError("lost")
    assert cause_of(error, opened=True) is cause_of(error, opened=False) is error
