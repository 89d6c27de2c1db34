"""``rivet-anyio websocket``."""

from __future__ import annotations

import base64
import math
import sys
from typing import TYPE_CHECKING

import anyio
import click

from ..._text import escaped
from .._app import execute
from .._arguments import ArgumentsCommand
from .._input import Lines, line_input
from .._options import Common, Target, common_options, header_option, seconds_option, target_options
from .._output import Output
from .fetch import parse_headers

if TYPE_CHECKING:
    from ..._raw_websocket import ActorWebSocket

__all__ = ["websocket_command"]

_LINGER_SECONDS = 1.0


@click.command(
    "websocket",
    cls=ArgumentsCommand,
    short_help="Talk to an actor's own WebSocket, line by line.",
    epilog="""\b
Examples:
  rivet-anyio websocket web/site /chat
  echo hello | rivet-anyio websocket web/site -n 2
  rivet-anyio websocket web/site --no-input > messages.txt""",
)
@target_options()
@click.argument("path", required=False, default="")
@click.option(
    "--subprotocol", "subprotocols", multiple=True, metavar="NAME", help="Offer one; repeatable."
)
@header_option("A header of the handshake; repeatable.")
@click.option("--binary", "-b", is_flag=True, help="Send lines as binary messages.")
@click.option("--no-input", is_flag=True, help="Send nothing, read no stdin.")
@click.option("--count", "-n", type=click.IntRange(min=1), help="End after so many messages.")
@seconds_option(
    "After the end of the input: how long a silence ends it. Else 1 s, at a terminal none.",
    "--linger",
)
@common_options
def websocket_command(
    common: Common,
    target: Target,
    path: str,
    subprotocols: tuple[str, ...],
    headers: tuple[str, ...],
    binary: bool,
    no_input: bool,
    count: int | None,
    linger: float | None,
) -> None:
    """Send lines of stdin to an actor's own WebSocket (onWebSocket), and print what it sends.

    Each line is a message without its end of line; each message that comes is printed as a line.
    Ends with the input, when the actor closes, or by Ctrl-C. At a terminal, lines can be edited,
    and the arrow keys bring back earlier ones.
    """
    sent = parse_headers(headers)
    if linger is None:
        linger = 0.0 if sys.stdin is not None and sys.stdin.isatty() else _LINGER_SECONDS

    async def main(output: Output) -> None:
        from .._run import until_first

        async with (
            common.client(headers=sent) as client,
            target.handle(client).websocket(path, subprotocols=subprotocols) as socket,
        ):
            if subprotocols:
                output.note(f"the actor selected the subprotocol {socket.subprotocol!r}")
            with line_input(output, enabled=not no_input) as lines:
                talk = _Talk(socket, output, lines, binary=binary, linger=linger)
                await until_first(
                    output.closed,
                    lambda: talk.receive(count),
                    anyio.sleep_forever if no_input else talk.send,
                )
            await socket.aclose()

    execute(common, main, target)


class _Talk:
    """Both directions of one WebSocket."""

    def __init__(
        self,
        socket: ActorWebSocket,
        output: Output,
        lines: Lines,
        *,
        binary: bool,
        linger: float,
    ) -> None:
        self._socket = socket
        self._output = output
        self._lines = lines
        self._binary = binary
        self._linger = linger
        self._heard = -math.inf

    async def send(self) -> None:
        """Send lines until the input ends and nothing came for a while after it."""
        rest = b""
        while data := await self._lines.receive():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                await self._send(line.removesuffix(b"\r"))
        if rest:
            await self._send(rest)
        deadline = anyio.current_time() + self._linger
        while (now := anyio.current_time()) < deadline:
            await anyio.sleep(deadline - now)
            deadline = max(deadline, self._heard + self._linger)

    async def receive(self, count: int | None) -> None:
        """Print messages until there were enough, or the peer closes."""
        received = 0
        async for message in self._socket:
            await self._print(message)
            self._heard = anyio.current_time()
            received += 1
            if received == count:
                return

    async def _send(self, line: bytes) -> None:
        await self._socket.send(line if self._binary else line.decode(errors="replace"))

    async def _print(self, message: str | bytes) -> None:
        output = self._output
        if output.wants_json:
            await output.json(_document(message))
        elif isinstance(message, str):
            text = escaped(message, keeps_lines=True) if output.is_terminal else message
            await output.write(self._lines.beside(text).encode())
        elif output.is_terminal:
            text = f"({len(message)} bytes) {message[:64].hex(' ')}"
            await output.write(self._lines.beside(text).encode())
        else:
            await output.write(message + b"\n")


def _document(message: str | bytes) -> dict[str, str]:
    if isinstance(message, str):
        return {"type": "text", "data": message}
    return {"type": "binary", "data": base64.b64encode(message).decode()}
