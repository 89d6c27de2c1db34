"""A client that nobody observes pays nothing for it."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import anyio
import pytest

from rivet_anyio import Client, Connection
from rivet_anyio._observe import Call, PoolFigures, Subject
from tests.peers.raw import play_along, serving

GUARD = 60

EVENT = json.dumps({"body": {"tag": "Event", "val": {"name": "news", "args": [1]}}})

NOTHING_IMPORTED = """
import sys
import rivet_anyio
rivet_anyio.Client("http://127.0.0.1:1").room.get_for_id("a1").connect()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""

NOT_INSTALLED = """
import sys
sys.modules["opentelemetry"] = None
import rivet_anyio
try:
    import rivet_anyio.otel
except ImportError as error:
    assert "rivet-anyio[otel]" in str(error)
else:
    raise AssertionError("imported")
"""


@pytest.mark.parametrize("program", [NOTHING_IMPORTED, NOT_INSTALLED])
async def test_imports(program: str) -> None:
    done = await anyio.run_process([sys.executable, "-c", program], check=False)
    assert done.returncode == 0, done.stderr


class Silent:
    """Observes and says nothing; everything in it is named `observed`, to be told apart."""

    @contextmanager
    def call(self, call: Call) -> Iterator[Mapping[str, str]]:
        yield {}

    def connection(self, subject: Subject) -> Silent:
        return self

    def context(self) -> Mapping[str, str]:
        return {}

    def pool(self, url: str, count: Callable[[], PoolFigures]) -> Callable[[], None]:
        return lambda: None

    def background(self) -> None: ...

    def attempt(self) -> Silent:
        return self

    @contextmanager
    def current(self) -> Iterator[Mapping[str, str]]:
        yield {}

    def end(self, error: BaseException | None) -> None: ...

    def connected(self) -> None: ...

    def event(self, name: str) -> None: ...

    def dropped(self, name: str) -> None: ...

    def gap(self, name: str) -> None: ...


def calls_of_one_event(conn: Connection) -> list[str]:
    """The functions, of Python and of C, that one event takes on its way to a stream."""
    called: list[str] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            called.append(frame.f_code.co_qualname)
        elif event == "c_call":
            called.append(argument.__qualname__)

    assert conn._link.socket is not None
    sink = conn._link.socket._sink
    sink.take([EVENT])  # the first event of a stream may make what the others share
    # Finalizers of what other tests left are no part of it.
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        sink.take([EVENT])
    finally:
        sys.setprofile(None)
        gc.enable()
    return [name for name in called if name != "setprofile"]


async def test_an_event_takes_no_call_more() -> None:
    calls: list[list[str]] = []
    for observer in (None, Silent()):
        with anyio.fail_after(GUARD):
            async with (
                serving(play_along) as url,
                Client(url, metadata_lookup=False, encoding="json", observer=observer) as client,
                client.room.get_for_id("a1").connect() as conn,
            ):
                stream = conn.events("news")
                calls.append(calls_of_one_event(conn))
                assert stream.buffered == 2
    unobserved, observed = calls
    assert len(unobserved) > 3
    assert [name for name in observed if name != "Silent.event"] == unobserved
    assert observed.count("Silent.event") == 1
