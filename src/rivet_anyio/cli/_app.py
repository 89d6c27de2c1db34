"""The command itself: its parts, and how it begins and ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .._version import __version__
from ._arguments import with_seconds
from ._exit import Exit, Interrupted, PipeClosed, Quit
from ._options import output_options, server_options
from ._similar import did_you_mean

if TYPE_CHECKING:
    from ._options import Common, Format, Target
    from ._output import Output

__all__ = ["execute", "need", "reported", "run_app", "run_command"]

_COMMANDS = {
    "call": "call",
    "events": "events",
    "send": "send",
    "fetch": "fetch",
    "websocket": "websocket",
    "resolve": "actors",
    "list": "actors",
    "names": "actors",
    "create": "actors",
    "sleep": "actors",
    "destroy": "actors",
    "bench": "bench",
    "doctor": "doctor",
    "dev": "dev",
    "stubs": "stubs",
    "completion": "completion",
}
"""Commands, in the order of the help, and the modules they are in."""


class _Commands(click.Group):
    """Imports a command's module when that is needed, and takes its options before its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"._commands.{_COMMANDS[cmd_name]}", __package__)
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command: they are the defaults of its own."""
        rest = super().parse_args(ctx, with_seconds(args))
        given = {
            name: value
            for name, value in ctx.params.items()
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        ctx.default_map = dict.fromkeys(_COMMANDS, given)
        return rest

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant.

        Raises:
            click.UsageError: there is none of this name, or it lacks an option that was given.
        """
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            if ctx.resilient_parsing:
                return None, None, args[1:]
            there = did_you_mean(name, _COMMANDS)
            ctx.fail(f"no such command {name!r}{f': {there}' if there else ''}")
        known = {parameter.name for parameter in command.params}
        for option in self.params:
            is_given = ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
            if is_given and option.name not in known and not ctx.resilient_parsing:
                ctx.fail(f"{name} has no option {option.opts[0]}")
        return name, command, args[1:]


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="These options may stand before or behind COMMAND. "
    "'rivet-anyio COMMAND --help' has all options and examples.",
)
@click.version_option(__version__, "--version", "-V", message="rivet-anyio %(version)s")
@server_options
@output_options
def app(**options: Any) -> None:
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


def execute(
    common: Common, main: Callable[[Output], Awaitable[None]], target: Target | None = None
) -> None:
    """Run a command's coroutine, and end with the code that what it raises stands for.

    Args:
        common: Which server, and how to print.
        main: The coroutine.
        target: The actor that it is about; an error that there is none says which there are.
    """

    async def prepared(output: Output) -> None:
        for warning in common.warnings:
            output.note(f"warning: {warning}")
        if common.wait_for_server is not None:
            from ._wait import wait_for_server

            await wait_for_server(common, output, common.wait_for_server)
        await main(output)

    async def advised(output: Output) -> None:
        from .._errors import ActorError

        try:
            await prepared(output)
        except ActorError as error:
            from ._advice import add_advice

            if target is not None:
                await add_advice(error, common, target)
            raise

    run_command(advised, output=common.output, verbose=common.verbose, backend=common.backend)


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
