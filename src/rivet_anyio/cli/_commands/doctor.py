"""``rivet-anyio doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..._text import escaped
from .._app import execute
from .._arguments import ArgumentsCommand
from .._exit import Exit, Quit
from .._options import Common, Target, common_options, target_options
from .._output import Output

if TYPE_CHECKING:
    from .._doctor.findings import Finding, Findings

__all__ = ["doctor_command"]

_MAX_SECONDS = 10.0
"""For each step."""


@click.command(
    "doctor",
    cls=ArgumentsCommand,
    short_help="Check the way to a server, and say what to fix.",
    epilog="""\b
Examples:
  rivet-anyio doctor
  rivet-anyio doctor --endpoint https://example.com/api/rivet counter/visits
  rivet-anyio doctor -o json | jq 'select(.verdict == "failed")'""",
)
@target_options(required=False)
@common_options
def doctor_command(common: Common, target: Target | None) -> None:
    """Check the way to a server step by step, and say what to fix.

    With ACTOR, also makes a round trip to it in each encoding, over HTTP and over a WebSocket: an
    action is called that the actor does not have. Ends with code 1 when a check failed.
    """

    async def main(output: Output) -> None:
        from .._doctor.findings import Findings, Stop

        async def report(finding: Finding) -> None:
            await _print(output, finding)

        findings = Findings(report)
        try:
            await _examine(findings, common, target)
        except Stop:
            pass
        if findings.failures:
            raise Quit(Exit.FAILED)

    execute(common, main)


async def _examine(findings: Findings, common: Common, target: Target | None) -> None:
    from ..._errors import ConfigError
    from .._doctor.actor import check_actor
    from .._doctor.network import check_network
    from .._doctor.server import check_access, check_server, check_websocket

    seconds = min(common.connect_timeout, _MAX_SECONDS)
    try:
        client = common.client()
    except ConfigError as exc:
        await findings.stop("configuration", str(exc), "Correct the options or the environment.")
        raise
    token = "a token" if client._core.config.endpoint.token is not None else "no token"
    await findings.ok(
        "configuration",
        f"{client.endpoint}, namespace {client.namespace!r}, {token}, encoding {common.encoding}",
    )
    async with client:
        core = client._core
        await check_network(findings, client.endpoint, seconds=seconds)
        await check_server(findings, core, seconds=seconds)
        server = await check_access(findings, core, seconds=seconds)
        await check_websocket(findings, core, server, seconds=seconds)
    if target is not None:
        await check_actor(findings, common, target, seconds=seconds)


async def _print(output: Output, finding: Finding) -> None:
    if output.is_json:
        fix = {} if finding.fix is None else {"fix": finding.fix}
        await output.json(
            {
                "check": finding.check,
                "verdict": finding.verdict,
                "detail": finding.detail,
                **fix,
            }
        )
        return
    from rich.text import Text

    style = {"ok": "green", "warning": "yellow", "failed": "bold red"}[finding.verdict]
    row = Text.assemble(
        (f"{finding.verdict:<8} ", style),
        (f"{finding.check:<14} ", "bold"),
        escaped(finding.detail),
    )
    if finding.fix is not None:
        row.append(f"\n{'':<24}{escaped(finding.fix)}", style)
    await output.show(row)
