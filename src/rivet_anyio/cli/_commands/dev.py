"""``rivet-anyio dev``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click

from .._app import need, run_command
from .._exit import Exit, Quit
from .._options import Format, complete_file, output_options
from .._output import Output

__all__ = ["dev_command"]

_DEFAULT_PORT = 6420


@click.command(
    "dev",
    short_help="Serve actors written in Python, in memory, on a port.",
    epilog="""\b
Examples:
  rivet-anyio dev actors.py
  rivet-anyio dev shop.actors --port 8080 --version 2.2""",
)
@click.argument("module", metavar="FILE|MODULE", shell_complete=complete_file)
@click.option(
    "--port",
    "-p",
    type=click.IntRange(0, 65535),
    default=_DEFAULT_PORT,
    show_default=True,
    help="The port; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. There is no access control.",
)
@click.option(
    "--version", default="2.3", show_default=True, help="The RivetKit version to play: 2.0 to 2.3."
)
@click.option(
    "--reload/--no-reload", default=True, help="Start anew when a file that was loaded changes."
)
@click.option("--lifeline", type=click.Path(path_type=Path), hidden=True)
@output_options
def dev_command(
    module: str,
    port: int,
    host: str,
    version: str,
    reload: bool,
    lifeline: Path | None,
    output: Format,
    verbose: bool,
    backend: str,
) -> None:
    """Serve the actors of a Python file or module, in memory, for any RivetKit client.

    An actor is a class derived from rivet_anyio.testing.Actor; ChatRoom serves as "chatRoom". A
    mapping by the name "actors" of names to classes says otherwise. What arrives is printed. When
    FILE, or a file beside it that it imports, changes, the server starts anew, with no actors.
    """
    _check_module(module)
    need("wsproto", "dev")
    if lifeline is not None:
        reload = False

    async def main(out: Output) -> None:
        if reload:
            from .._dev.reload import supervise

            await supervise(out, module, port=port, host=host, version=version, backend=backend)
            return
        from .._dev.serve import ModuleFailed, serve

        try:
            await serve(out, module, port=port, host=host, version=version, lifeline=lifeline)
        except ModuleFailed as failed:
            out.note(f"{module} cannot be loaded: {failed}")
            raise Quit(Exit.FAILED) from failed

    run_command(main, output=output, verbose=verbose, backend=backend)


def _check_module(name: str) -> None:
    """End the command when there is no such file or module."""
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise click.UsageError(f"there is no file {name}")
        return
    package = name.partition(".")[0]
    if (
        name.isascii()
        and all(part.isidentifier() for part in name.split("."))
        and (
            (Path.cwd() / package).is_dir()
            or (Path.cwd() / f"{package}.py").is_file()
            or find_spec(package) is not None
        )
    ):
        return
    hint = ""
    if path.is_dir():
        hint = ": it is a directory, name a file in it"
    elif Path(f"{name}.py").is_file():
        hint = f": write {name}.py"
    elif path.exists():
        hint = ": the name of a Python file ends with .py"
    raise click.UsageError(f"there is no file and no module {name}{hint}")
