"""The stream of a connection's states, when nobody takes them."""

from __future__ import annotations

import anyio
import pytest

from rivet_anyio import ConnectionLostError, Status
from rivet_anyio._connection.status import StatusChange, StatusStream


async def test_of_too_many_changes_the_oldest_are_forgotten() -> None:
    stream = StatusStream(StatusChange(Status.CONNECTING), lambda: None)
    changes = [
        StatusChange(Status.DISCONNECTED, ConnectionLostError(str(number))) for number in range(300)
    ]
    for change in changes:
        stream._push(change)
    stream._push(end := StatusChange(Status.CLOSED))
    stream._push(StatusChange(Status.CONNECTED))  # nothing comes after the end
    assert stream.dropped == 302 - 256 == 302 - stream.statistics().current_buffer_used
    assert [await stream.receive() for _ in range(255)] == changes[-255:]
    assert stream.receive_nowait() == end
    with pytest.raises(anyio.EndOfStream):
        await stream.receive()
