"""``rivet-anyio stubs``."""

from __future__ import annotations

import anyio
import click

from .._app import execute, reported
from .._arguments import ArgumentsCommand
from .._options import Common, common_options, complete_file
from .._output import Output

__all__ = ["stubs_command"]


@click.command(
    "stubs",
    cls=ArgumentsCommand,
    short_help="Write Python classes of typed actors.",
    epilog="""\b
Examples:
  rivet-anyio stubs src/registry.ts --to actors.py
  rivet-anyio stubs --endpoint http://localhost:6420 > actors.py""",
)
@click.argument("registry", required=False, metavar="[REGISTRY.TS]", shell_complete=complete_file)
@click.option("--export", metavar="NAME", help="The registry's name, where a file has several.")
@click.option("--node", metavar="PROGRAM", help="Node.js; else node on the PATH.")
@click.option(
    "--to",
    metavar="FILE",
    shell_complete=complete_file,
    help="Write to a file instead of stdout.",
)
@common_options
def stubs_command(
    common: Common, registry: str | None, export: str | None, node: str | None, to: str | None
) -> None:
    """Write a module of typed actors: from a TypeScript registry, with all types; without one, from
    the server, with the actors' names.
    """
    if registry is None and (export is not None or node is not None):
        raise click.UsageError("--export and --node need REGISTRY.TS")
    text = None
    if registry is not None:
        from ...stubs import stubs_from_typescript

        # Outside of the event loop, where Ctrl-C ends TypeScript, too.
        with reported(common.output, verbose=common.verbose):
            text = stubs_from_typescript(registry, export=export, node=node)

    async def main(output: Output) -> None:
        from ...stubs import stubs_from_server

        source = text
        if source is None:
            source = await stubs_from_server(
                common.endpoint, namespace=common.namespace, token=common.token
            )
        if to is not None:
            await anyio.Path(to).write_text(source, "utf-8")
        elif output.wants_json:
            await output.json({"source": source})
        else:
            await output.write(source.encode())

    execute(common, main)
