"""``rivet-anyio send``."""

from __future__ import annotations

import click

from .._app import execute
from .._arguments import VALUE, ArgumentsCommand, json_fault, read_values
from .._exit import Exit, Quit
from .._input import read_text
from .._json import parse_json
from .._options import Common, Target, common_options, complete_file, seconds_option, target_options
from .._output import Output

__all__ = ["send_command"]


@click.command(
    "send",
    cls=ArgumentsCommand,
    short_help="Put a message into a queue.",
    epilog="""\b
Examples:
  rivet-anyio send --create worker/main jobs '{"id": 7}'
  rivet-anyio send worker/main jobs '{"id": 8}' --wait --timeout 10
  jq .job file.json | rivet-anyio send worker/main jobs --from -""",
)
@target_options()
@click.argument("queue")
@click.argument("body", required=False, type=VALUE)
@click.option(
    "--from",
    "source",
    metavar="FILE",
    shell_complete=complete_file,
    help="Read the body from a file of JSON; - is stdin.",
)
@click.option("--string", "-s", is_flag=True, help="Take the body for a string.")
@click.option("--json", "-j", "strict", is_flag=True, help="Refuse a body that is not JSON.")
@click.option("--wait", "-w", is_flag=True, help="Wait until the actor has completed it.")
@seconds_option("With --wait: how long the server waits before it says timedOut.")
@common_options
def send_command(
    common: Common,
    target: Target,
    queue: str,
    body: str | None,
    source: str | None,
    string: bool,
    strict: bool,
    wait: bool,
    timeout: float | None,
) -> None:
    """Put a message into a queue of an actor.

    A body that is JSON is that value; any other is a string. One that begins with {, [ or " and is
    not JSON is refused, unless --string is given. With --wait, prints what the actor completed the
    message with.
    """
    if (body is None) == (source is None):
        raise click.UsageError("give either BODY or --from")
    if timeout is not None and not wait:
        raise click.UsageError("--timeout needs --wait")
    values = read_values(() if body is None else (body,), strings=string, strict=strict)

    async def main(output: Output) -> None:
        given = values[0] if source is None else await _read_body(source, string)
        async with common.client() as client:
            handle = target.handle(client)
            if not wait:
                await handle.send(queue, given)
                if output.wants_json:
                    await output.json({"status": "stored"})
                return
            result = await handle.send_and_wait(queue, given, timeout=timeout)
        if result.status == "completed" and result.response is None:
            output.note(
                f"completed without a response: RivetKit answers so, and drops the message, when "
                f"the actor declares no queue {queue!r}: check the name"
            )
        if output.wants_json:
            await output.json({"status": result.status, "response": result.response})
        elif result.status == "completed":
            await output.value(result.response, raw=True)
        if result.status != "completed":
            text = "the message was stored, but the actor did not complete it"
            output.note(f"{text}: {result.status}")
            raise Quit(Exit.TIMED_OUT)

    execute(common, main, target)


async def _read_body(source: str, string: bool) -> object:
    text = await read_text(source)
    try:
        return text if string else parse_json(text)
    except ValueError as exc:
        raise click.UsageError(f"--from: not JSON: {json_fault(exc)}") from None
