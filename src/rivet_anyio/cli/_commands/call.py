"""``rivet-anyio call``."""

from __future__ import annotations

from typing import Any

import click

from .._app import execute
from .._arguments import VALUE, ArgumentsCommand, json_fault, read_values
from .._input import read_text
from .._options import Common, Target, common_options, complete_file, seconds_option, target_options
from .._output import Output
from .._timeout import limit

__all__ = ["call_command"]


@click.command(
    "call",
    cls=ArgumentsCommand,
    short_help="Call an action and print its result.",
    epilog="""\b
Examples:
  rivet-anyio call counter/visits getCount
  rivet-anyio call --create counter/visits increment 5
  rivet-anyio call chatRoom/acme/general sendMessage 'hello, everybody'
  rivet-anyio call -s probe/a echo 5            # the string "5"
  rivet-anyio call probe/a echo '{"a": [1]}' | jq .a""",
)
@target_options()
@click.argument("action")
@click.argument("args", nargs=-1, type=VALUE)
@click.option("--string", "-s", is_flag=True, help="Take every argument for a string.")
@click.option("--json", "-j", "strict", is_flag=True, help="Refuse an argument that is not JSON.")
@click.option(
    "--args-from",
    metavar="FILE",
    shell_complete=complete_file,
    help="Read the arguments, as one JSON array, from a file; '-' is stdin.",
)
@seconds_option("How long the answer may take.")
@common_options
def call_command(
    common: Common,
    target: Target,
    action: str,
    args: tuple[str, ...],
    string: bool,
    strict: bool,
    args_from: str | None,
    timeout: float | None,
) -> None:
    """Call an action of an actor and print its result.

    An argument that is JSON is that value; any other is a string. One that begins with {, [ or "
    and is not JSON is refused, unless --string is given.
    """
    if args and args_from is not None:
        raise click.UsageError("arguments and --args-from exclude each other")
    values = read_values(args, strings=string, strict=strict)

    async def main(output: Output) -> None:
        given = values if args_from is None else await _read_array(args_from)
        async with common.client() as client:
            with limit(timeout):
                result = await target.handle(client).action(action, *given)
        await output.value(result, raw=True)

    execute(common, main, target)


async def _read_array(name: str) -> list[Any]:
    from .._json import parse_json

    text = await read_text(name)
    try:
        found = parse_json(text)
    except ValueError as exc:
        raise click.UsageError(f"--args-from: not JSON: {json_fault(exc)}") from None
    if not isinstance(found, list):
        raise click.UsageError("--args-from: the JSON is not an array")
    return found
