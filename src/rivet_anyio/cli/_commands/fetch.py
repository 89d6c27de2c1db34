"""``rivet-anyio fetch``."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import click

from ..._text import escaped
from .._app import execute
from .._arguments import VALUE, ArgumentsCommand
from .._exit import Exit, Quit
from .._input import read_bytes
from .._options import (
    Common,
    Target,
    common_options,
    complete_file,
    header_option,
    seconds_option,
    target_options,
)
from .._output import Output
from .._timeout import limit

if TYPE_CHECKING:
    import httpx

__all__ = ["fetch_command", "parse_headers"]


@click.command(
    "fetch",
    cls=ArgumentsCommand,
    short_help="Send an HTTP request to an actor's own server.",
    epilog="""\b
Examples:
  rivet-anyio fetch web/site /echo?loud=1
  rivet-anyio fetch web/site /echo -H 'x-tag: 1' --json '{"a": 1}'
  tar c . | rivet-anyio fetch web/site /upload -X PUT --data-from -
  rivet-anyio fetch web/site /bytes/100 --to bytes.bin --fail""",
)
@target_options()
@click.argument("path")
@click.option("--method", "-X", help="The method; else GET, or POST with a body.")
@header_option("A header; repeatable.")
@click.option("--data", "-d", type=VALUE, help="The body, as it stands.")
@click.option(
    "--data-from",
    metavar="FILE",
    shell_complete=complete_file,
    help="Read the body from a file; - is stdin.",
)
@click.option("--json", "json_data", type=VALUE, help="The body, with a content type of JSON.")
@click.option(
    "--to",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write the answer's body to a file.",
)
@click.option("--include", "-i", is_flag=True, help="Print the answer's status and headers first.")
@click.option("--fail", "-f", is_flag=True, help="End with code 8 when the status is 400 or above.")
@seconds_option("How long all of it may take.")
@common_options
def fetch_command(
    common: Common,
    target: Target,
    path: str,
    method: str | None,
    headers: tuple[str, ...],
    data: str | None,
    data_from: str | None,
    json_data: str | None,
    to: str | None,
    include: bool,
    fail: bool,
    timeout: float | None,
) -> None:
    """Send an HTTP request to an actor's own server (onRequest) and print the answer's body."""
    if sum(source is not None for source in (data, data_from, json_data)) > 1:
        raise click.UsageError("give one of --data, --data-from and --json")
    sent = parse_headers(headers)
    text = data if data is not None else json_data
    if json_data is not None and "content-type" not in map(str.lower, sent):
        sent["Content-Type"] = "application/json"

    async def main(output: Output) -> None:
        content = await read_bytes(data_from) if data_from is not None else None
        if text is not None:
            content = text.encode(errors="surrogateescape")
        verb = method or ("GET" if content is None else "POST")
        async with common.client() as client:
            with limit(timeout):
                async with target.handle(client).stream(
                    path, method=verb, headers=sent, content=content
                ) as response:
                    await _print(output, response, to, include)
        if response.status_code >= 400:
            if fail or not (include or output.wants_json):
                output.note(f"HTTP {response.status_code}", status=response.status_code)
            if fail:
                raise Quit(Exit.HTTP)

    execute(common, main, target)


def parse_headers(lines: tuple[str, ...]) -> dict[str, str]:
    """Headers that are written ``NAME: VALUE``.

    Raises:
        click.UsageError: one is not.
    """
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("a header is written 'NAME: VALUE'")
        found[name.strip()] = value.strip()
    return found


async def _print(output: Output, response: httpx.Response, to: str | None, include: bool) -> None:
    if to is None:
        await _copy(output, response, output.write, include)
        return
    async with await anyio.open_file(to, "wb") as file:
        await _copy(output, response, file.write, include)


async def _copy(
    output: Output,
    response: httpx.Response,
    write: Callable[[bytes], Awaitable[object]],
    include: bool,
) -> None:
    """Write the body as it comes; as JSON, whole and with what belongs to it."""
    if output.wants_json:
        body = await response.aread()
        is_apart = write != output.write
        if is_apart:
            await write(body)
        await output.json(_document(response, None if is_apart else body))
        return
    if include:
        head = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        lines = [head, *(f"{name}: {value}" for name, value in response.headers.items())]
        if output.is_terminal:
            lines = [escaped(line) for line in lines]
        await output.write("".join(f"{line}\n" for line in lines).encode() + b"\n")
    last = b""
    async for part in response.aiter_bytes():
        await write(part)
        last = part[-1:]
    if output.is_terminal and write == output.write and last not in (b"", b"\n"):
        await write(b"\n")


def _document(response: httpx.Response, body: bytes | None) -> Mapping[str, Any]:
    """The answer as JSON; a body that is no UTF-8 goes in base64."""
    found: dict[str, Any] = {"status": response.status_code, "headers": dict(response.headers)}
    if body is not None:
        try:
            found["body"] = body.decode()
        except UnicodeDecodeError:
            found["body_base64"] = base64.b64encode(body).decode()
    return found
