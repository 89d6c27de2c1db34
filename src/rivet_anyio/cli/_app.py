"""The command itself: its parts, and how it begins and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import click

from .._version import __version__
from ._exit import Exit, Interrupted, PipeClosed, Quit

if TYPE_CHECKING:
    from ._options import Common, Format
    from ._output import Output

__all__ = ["execute", "need", "reported", "run_app", "run_command"]

_COMMANDS = {
    "call": "_call",
    "events": "_events",
    "send": "_send",
    "fetch": "_fetch",
    "websocket": "_websocket",
    "resolve": "_actors",
    "list": "_actors",
    "names": "_actors",
    "create": "_actors",
    "sleep": "_actors",
    "destroy": "_actors",
    "doctor": "_doctor",
    "dev": "_dev",
    "stubs": "_stubs",
    "completion": "_complete",
}
"""Commands, in the order of the help, and the modules they are in."""


class _Commands(click.Group):
    """Imports a command's module when that is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f".{_COMMANDS[cmd_name]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="'rivet-anyio COMMAND --help' has examples.",
)
@click.version_option(__version__, "--version", "-V", message="rivet-anyio %(version)s")
def app() -> None:
    """Call Rivet Actors, follow their events, and find out why that does not work.

    ACTOR is an actor's name with its key after it: chatRoom, chatRoom/general,
    chatRoom/acme/general.
    """


def run_app() -> Exit:
    """Run the command line; returns the exit code."""
    try:
        code = app.main(prog_name="rivet-anyio", standalone_mode=False)
        return Exit(code) if isinstance(code, int) else Exit.OK
    except Quit as ended:
        return ended.code
    except Interrupted as interrupted:
        return interrupted.code
    except PipeClosed:
        return Exit.PIPE
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return Exit.USAGE


def need(package: str, extra: str) -> None:
    """End the command when a package is not installed, and say what installs it."""
    if find_spec(package) is None:
        click.echo(
            f"rivet-anyio: this needs {package}: pip install 'rivet-anyio[{extra}]'", err=True
        )
        raise Quit(Exit.NOT_INSTALLED)


def execute(common: Common, main: Callable[[Output], Awaitable[None]]) -> None:
    """Run a command's coroutine, and end with the code that what it raises stands for."""
    run_command(main, output=common.output, verbose=common.verbose, backend=common.backend)


def run_command(
    main: Callable[[Output], Awaitable[None]], *, output: Format, verbose: bool, backend: str
) -> None:
    """As `execute`, for commands that need no server."""
    from ._output import Output
    from ._run import run_async

    need(backend, backend)
    if verbose:
        _log()
    with reported(output, verbose=verbose):
        out = Output(output)
        run_async(lambda: main(out), backend=backend)


@contextmanager
def reported(output: Format, *, verbose: bool) -> Generator[None]:
    """Report what the block raises, and raise `Quit` with the code that it stands for."""
    try:
        yield
    except (Quit, Interrupted, PipeClosed, click.ClickException):
        raise
    except Exception as exc:
        from ._errors import report

        raise Quit(report(exc, as_json=output == "json", verbose=verbose)) from exc


def _log() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("rivet_anyio")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
