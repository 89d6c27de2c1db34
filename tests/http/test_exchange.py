"""What holds for every exchange, whatever comes in whatever pieces."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rivet_anyio._http.exchange import Exchange, Proof, State

from .cases import CASES, Case
from .playing import Result, new, play

_FRAGMENTS = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"content-length: 3\r\n",
    b"content-length: 0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"x: y\r\n",
    b"\r\n",
    b"3\r\nabc\r\n",
    b"1;a=b\r\n",
    b"0\r\n",
    b"abc",
    b"\r",
    b"\n",
    b"\0",
    b"H",
)
_DATA = st.one_of(
    st.sampled_from(_FRAGMENTS),
    st.sampled_from([case.data for case in CASES if 0 < len(case.data) < 300]),
    st.binary(min_size=1, max_size=20),
)
_METHODS = st.sampled_from(("GET", "POST", "HEAD", "CONNECT"))
_AFTER: dict[State, set[State]] = {
    State.HEAD: set(State),
    State.BODY: {State.BODY, State.DONE, State.BROKEN},
    State.DONE: {State.DONE},
    State.UPGRADED: {State.UPGRADED},
    State.BROKEN: {State.BROKEN},
}


class Machine(RuleBasedStateMachine):
    """An exchange, its request sent and its answer read in any order."""

    exchange: Exchange

    @initialize(
        method=_METHODS,
        kind=st.sampled_from(("content", "streams", "upgrade", "nothing")),
        starts=st.sampled_from((True, True, True, False)),
    )
    def make(self, method: str, kind: str, starts: bool) -> None:
        headers = {"Host": "server"}
        if kind == "upgrade":
            headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}

        def make() -> Exchange:
            return Exchange(
                method,
                "/",
                headers,
                content=b"abc" if kind == "content" else None,
                streams=kind == "streams",
                upgrade=kind == "upgrade",
            )

        self.exchange, self.other = make(), make()
        self.streams = kind == "streams"
        self.is_started = False
        self.is_complete = False
        self.before = State.HEAD
        self.fed = b""
        self.has_ended = False
        self.body = b""
        if starts:
            self.start()

    @precondition(lambda self: not self.is_started)
    @rule()
    def start(self) -> None:
        assert self.exchange.start()
        self.other.start()
        self.is_started = True
        self.is_complete = not self.streams

    @precondition(lambda self: self.is_started and not self.is_complete)
    @rule(data=st.binary(max_size=3))
    def send(self, data: bytes) -> None:
        assert data in self.exchange.send_body(data)

    @precondition(lambda self: self.is_started and not self.is_complete)
    @rule()
    def end_of_request(self) -> None:
        assert self.exchange.end_body() == b"0\r\n\r\n"
        self.other.end_body()
        self.is_complete = True

    @precondition(lambda self: not self.has_ended)
    @rule(data=_DATA)
    def feed(self, data: bytes) -> None:
        was_quiet = self.exchange.state is not State.DONE
        self.exchange.feed(data)
        for at in range(len(data)):
            self.other.feed(data[at : at + 1])
        self.fed += data
        if not was_quiet:
            assert not self.exchange.reusable

    @rule(really=st.sampled_from((True, False, False)))
    def end(self, really: bool) -> None:
        if not really:
            return
        self.exchange.feed(b"")
        self.other.feed(b"")
        self.has_ended = True
        assert self.exchange.state not in (State.HEAD, State.BODY)
        assert not self.exchange.reusable

    @rule()
    def take(self) -> None:
        self.body += self.exchange.take_body()

    @invariant()
    def states_go_forward(self) -> None:
        state = self.exchange.state
        assert state in _AFTER[self.before]
        self.before = state

    @invariant()
    def pieces_do_not_matter(self) -> None:
        for name in ("state", "head", "reusable", "leftover", "body_length", "is_head_started"):
            ours, other = getattr(self.exchange, name), getattr(self.other, name)
            if name == "head" and ours is not None and other is not None:
                ours, other = ours.headers.raw, other.headers.raw
            assert ours == other, name

    @invariant()
    def an_error_is_there_when_it_is_broken(self) -> None:
        assert (self.exchange.error is not None) is (self.exchange.state is State.BROKEN)

    @invariant()
    def proof(self) -> None:
        answered = self.exchange.state in (State.BODY, State.DONE, State.UPGRADED)
        proof = self.exchange.proof
        assert not answered or proof is Proof.ANSWERED
        assert (proof is Proof.NOTHING_SENT) is (not self.is_started)

    @invariant()
    def reusable_is_complete(self) -> None:
        if self.exchange.reusable:
            assert self.exchange.state is State.DONE
            assert self.is_complete
            assert not self.has_ended

    def teardown(self) -> None:
        if not hasattr(self, "exchange"):
            return
        body, other = self.body + self.exchange.take_body(), self.other.take_body()
        assert body == other
        assert len(body) <= len(self.fed)
        assert self.fed.endswith(self.exchange.leftover)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=25)


_PIECES = st.lists(_DATA, max_size=12)


@given(pieces=_PIECES, method=_METHODS, upgrade=st.booleans(), ends=st.booleans())
@settings(max_examples=300)
def test_pieces_do_not_matter(pieces: list[bytes], method: str, upgrade: bool, ends: bool) -> None:
    def read(parts: list[bytes]) -> Result:
        return play(new(method, upgrade=upgrade), [*parts, *([b""] if ends else [])])

    data = b"".join(pieces)
    whole = read([data] if data else [])
    assert read(pieces) == whole
    assert read([data[at : at + 1] for at in range(len(data))]) == whole


@given(pieces=_PIECES, method=_METHODS)
@settings(max_examples=300)
def test_an_exchange_is_reusable_by_its_last_byte_only(pieces: list[bytes], method: str) -> None:
    data = b"".join(pieces)
    exchange = new(method)
    for at in range(len(data)):
        before = exchange.state
        exchange.feed(data[at : at + 1])
        if exchange.reusable:
            assert before is not State.DONE
    if exchange.state is State.DONE:
        exchange.feed(b"\n")
        assert not exchange.reusable


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.reusable], ids=lambda case: case.name
)
def test_nothing_may_lie_behind_a_good_answer(case: Case) -> None:
    for behind in (b"\r\n", b"\n", b"\0", b" ", b"HTTP/1.1 200 OK\r\n\r\n", b""):
        together = new(case.method, upgrade=case.upgrade)
        together.feed(case.data + behind)
        assert together.reusable is (not behind)
        apart = new(case.method, upgrade=case.upgrade)
        apart.feed(case.data)
        assert apart.reusable
        apart.feed(behind)
        assert not apart.reusable
        assert apart.state is State.DONE


# What never ends

_PARTS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def _endless(begin: bytes, again: Callable[[int], bytes]) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield begin
        for number in count():
            yield again(number)

    return pieces


ENDLESS = {
    "a status line": _endless(b"HTTP/1.1 200 ", lambda _: b"x"),
    "a name": _endless(b"HTTP/1.1 200 OK\r\n", lambda _: b"x"),
    "a value": _endless(b"HTTP/1.1 200 OK\r\nx: ", lambda _: b"x"),
    "fields": _endless(b"HTTP/1.1 200 OK\r\n", lambda n: b"x%d: y\r\n" % n),
    "interim answers": _endless(b"", lambda _: b"HTTP/1.1 102 Processing\r\n\r\n"),
    "large interim answers": _endless(b"", lambda _: b"HTTP/1.1 103 E\r\nx: %30000d\r\n\r\n" % 0),
    "zeros of a size": _endless(_PARTS, lambda _: b"0"),
    "an extension": _endless(_PARTS + b"1;", lambda _: b"a=b;"),
    "extensions": _endless(_PARTS, lambda _: b"1;" + b"x" * 500 + b"\r\na\r\n"),
    "trailers": _endless(_PARTS + b"0\r\n", lambda _: b"t: x\r\n"),
    "a trailer": _endless(_PARTS + b"0\r\nt: ", lambda _: b"x"),
}  # fmt: skip


@pytest.mark.parametrize("pieces", ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends_is_broken_off(pieces: Callable[[], Iterator[bytes]]) -> None:
    exchange = new()
    fed = 0
    most = 17 * 31_000
    for piece in pieces():
        exchange.feed(piece)
        fed += len(piece)
        if exchange.state is State.BROKEN:
            break
        assert fed < most
    assert exchange.error is not None


def test_memory_is_bounded_by_what_is_taken() -> None:
    """A body of 64 MiB in chunks with extensions, of which one piece at a time is taken."""
    exchange = new()
    exchange.feed(_PARTS)
    piece = b"ff00;x=y\r\n" + b"a" * 0xFF00 + b"\r\n"
    tracemalloc.start()
    try:
        for _ in range(1000):
            exchange.feed(piece)
            assert len(exchange.take_body()) == 0xFF00
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(piece)


def test_bytes_behind_an_answer_are_not_kept() -> None:
    exchange = new()
    exchange.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    tracemalloc.start()
    try:
        for _ in range(100):
            exchange.feed(b"x" * 100_000)
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 200_000
    assert exchange.take_body() == b""


# An answer and its request

_GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"


def _streaming() -> Exchange:
    exchange = Exchange("POST", "/", {"Host": "server"}, streams=True)
    exchange.start()
    return exchange


def test_an_answer_before_the_end_of_the_request_leaves_no_socket_to_use_again() -> None:
    exchange = _streaming()
    exchange.send_body(b"abc")
    exchange.feed(_GOOD)
    assert exchange.state is State.DONE
    assert exchange.take_body() == b"abc"
    assert not exchange.reusable
    exchange.end_body()
    assert not exchange.reusable


def test_an_answer_that_ends_after_the_request_leaves_its_socket() -> None:
    exchange = _streaming()
    exchange.feed(_GOOD[:-1])
    assert exchange.state is State.BODY
    exchange.end_body()
    exchange.feed(_GOOD[-1:])
    assert exchange.reusable


def test_101_before_the_end_of_the_request() -> None:
    headers = {"Host": "server", "Connection": "Upgrade", "Upgrade": "websocket"}
    exchange = Exchange("POST", "/", headers, streams=True, upgrade=True)
    exchange.start()
    exchange.feed(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert exchange.error == "the server switched protocols (101) before it had the request"


def test_a_request_that_asks_to_close() -> None:
    exchange = Exchange("GET", "/", {"Host": "server", "Connection": "close"})
    exchange.start()
    exchange.feed(_GOOD)
    assert exchange.state is State.DONE
    assert not exchange.reusable


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (_GOOD, "the server sent something before the request"),
        (b"\n", "the server sent something before the request"),
        (b"", "the server closed the connection before the request was sent"),
    ],
)
def test_what_comes_before_the_request(data: bytes, error: str) -> None:
    exchange = Exchange("GET", "/", {"Host": "server"})
    exchange.feed(data)
    assert exchange.state is State.BROKEN
    assert exchange.error == error
    assert exchange.proof is Proof.NOTHING_SENT


def test_proof() -> None:
    exchange = Exchange("GET", "/", {"Host": "server"})
    seen = [exchange.proof]
    exchange.start()
    seen.append(exchange.proof)
    exchange.feed(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    seen.append(exchange.proof)
    exchange.feed(b"Content-Length: 1\r\n\r\n")
    seen.append(exchange.proof)
    exchange.feed(b"")
    seen.append(exchange.proof)
    assert seen == [
        Proof.NOTHING_SENT,
        Proof.MAY_HAVE_RUN,
        Proof.MAY_HAVE_RUN,
        Proof.ANSWERED,
        Proof.ANSWERED,
    ]
    assert exchange.state is State.BROKEN


def test_a_head_is_started_between_its_first_byte_and_its_last() -> None:
    exchange = new()
    seen = [exchange.is_head_started]
    for piece in (
        b"H",
        b"TTP/1.1 100 C\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Length: 1\r\n\r\n",
    ):
        exchange.feed(piece)
        seen.append(exchange.is_head_started)
    assert seen == [False, True, False, True, False]


@pytest.mark.parametrize(
    "fed", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na"]
)
def test_fail(fed: bytes) -> None:
    exchange = new()
    if fed:
        exchange.feed(fed)
    exchange.fail("the time is up")
    assert (exchange.state, exchange.error) == (State.BROKEN, "the time is up")
    exchange.feed(_GOOD)
    exchange.fail("another")
    assert (exchange.state, exchange.error) == (State.BROKEN, "the time is up")


def test_fail_leaves_what_is_over() -> None:
    exchange = new()
    exchange.feed(_GOOD)
    exchange.fail("the time is up")
    assert (exchange.state, exchange.error, exchange.reusable) == (State.DONE, None, True)


def test_what_comes_behind_a_101_in_more_pieces() -> None:
    exchange = new(upgrade=True)
    exchange.feed(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\na")
    exchange.feed(b"bc")
    assert exchange.leftover == b"abc"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"Timeout = 5", 5.0),
        (b"max=100, timeout=5", 5.0),
        (b"timeout=5, max=100", 5.0),
        (b'timeout="5"', 5.0),
        (b"timeout=0", 0.0),
        (b"timeout=1234567890", None),
        (b"timeout=-5", None),
        (b"timeout=x", None),
        (b"xtimeout=5", None),
        (b"max=100", None),
        (b"", None),
    ],
)
def test_keep_alive(value: bytes, seconds: float | None) -> None:
    exchange = new()
    assert exchange.keep_alive is None
    exchange.feed(b"HTTP/1.1 200 OK\r\nKeep-Alive: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    assert exchange.reusable
    assert exchange.keep_alive == seconds


def test_no_text_shows_what_the_server_sent() -> None:
    """An echo of the request may hold a token; of what is not HTTP a few bytes are shown."""
    for data in (
        b"HTTP/1.1 200 OK\r\nsekret token\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nsekret-token : x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: sekret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: sekret\r\n\r\n",
        b"HTTP/1.1 sekret OK\r\n\r\n",
        b"GET /a/path/that/has/a/sekret HTTP/1.1\r\n\r\n",
        _PARTS + b"sekret\r\n",
        _PARTS + b"0\r\nsekret\r\n\r\n",
    ):
        exchange = new()
        exchange.feed(data)
        assert exchange.error is not None
        assert "sekret" not in exchange.error
