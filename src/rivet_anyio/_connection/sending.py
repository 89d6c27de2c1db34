"""A call from the caller's side: it waits for capacity, is sent, and waits for its answer."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .._websocket.outbox import capacity
from ..protocol.messages import Raw
from .link import Link
from .state import ConnectionState

__all__ = ["call_action", "noting_answers"]

_noting: ContextVar[tuple[ConnectionState, Callable[[], None]] | None] = ContextVar(
    "rivet_anyio_noting", default=None
)


@contextmanager
def noting_answers(state: ConnectionState, note: Callable[[], None]) -> Generator[None]:
    """Call this at each answer, meanwhile, to the calls that the task makes on this connection.

    The tasks that it starts inherit that, and may outlive it.
    """
    is_over = False

    def note_in_time() -> None:
        if not is_over:
            note()

    token = _noting.set((state, note_in_time))
    try:
        yield
    finally:
        is_over = True
        _noting.reset(token)


async def call_action(link: Link, name: str, args: tuple[Any, ...]) -> Raw:
    """Send a call and wait for its answer; raises as `Connection.action`.

    Cancellation: a call that has not left is never sent.
    """
    link.check_usable()
    if (cancelled := link.cancellation()) is not None:
        await cancelled
    state = link.state
    call = state.call(name, args)
    noting = _noting.get()
    if noting is not None and noting[0] is state:
        call.note = noting[1]
    if state.outbox.must_wait:
        await capacity(state.outbox)
        if not state.is_open:
            raise state.closed_error()
        if (cancelled := link.cancellation()) is not None:  # and it has not been noticed
            state.outbox.notify()
            await cancelled
    state.send(call)
    try:
        await call.settled.wait()
    except BaseException:
        state.give_up(call)
        raise
    if call.error is not None:
        try:
            raise call.error
        finally:
            del call  # the error holds this frame, which would hold the error
    assert call.output is not None
    return call.output
