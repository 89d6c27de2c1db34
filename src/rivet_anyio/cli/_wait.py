"""``--wait-for-server``."""

from __future__ import annotations

from dataclasses import replace

import anyio

from .._errors import ConnectError, ConnectionLostError, ProtocolError
from ..protocol.verdicts import is_away
from ._doctor.server import get_metadata
from ._options import Common
from ._output import Output

__all__ = ["wait_for_server"]

_INTERVAL_SECONDS = 0.25


async def wait_for_server(common: Common, output: Output, seconds: float) -> None:
    """Wait until something answers at the endpoint, and not that it is away.

    Raises:
        ConnectError: nothing did in time.
        ConfigError: the endpoint cannot be used.
    """
    quiet = replace(common, verbose=False)
    failure: ConnectError | None = None
    cause: Exception | None
    with anyio.move_on_after(seconds):
        while True:
            async with quiet.client() as client:
                try:
                    answer = await get_metadata(client._core, client.endpoint)
                except (ConnectError, ConnectionLostError) as error:
                    reason, cause = str(error), error
                except ProtocolError:
                    return
                else:
                    if not is_away(answer.status):
                        return
                    reason, cause = f"HTTP {answer.status}", None
            if failure is None:
                output.note(f"waiting for the server: {reason}")
            failure = ConnectError(f"no server answered within {seconds:g} s: {reason}")
            failure.__cause__ = cause
            await anyio.sleep(_INTERVAL_SECONDS)
    raise failure or ConnectError(f"no server answered within {seconds:g} s")
