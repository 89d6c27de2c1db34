"""Completion in shells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from .._arguments import Place

if TYPE_CHECKING:
    from ..._client import Client

__all__ = ["actors", "completion_command"]

_TIMEOUT_SECONDS = 1.0
_MAX_KEYS = 200


@click.command(
    "completion",
    short_help="Print the completion script of a shell.",
    epilog="""\b
Examples:
  eval "$(rivet-anyio completion bash)"         # in ~/.bashrc
  eval "$(rivet-anyio completion zsh)"          # in ~/.zshrc, after compinit
  rivet-anyio completion fish | source          # in ~/.config/fish/config.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options and actors."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "rivet-anyio", "_RIVET_ANYIO_COMPLETE").source())


def actors(
    client: Callable[[], Client], incomplete: str, *, names: bool = False
) -> list[CompletionItem]:
    """Actors that begin so: their names, and once a name is complete, their keys.

    The server is asked, but not waited for: no answer completes to nothing. A name that is the
    only one comes with a slash as well, because shells put a space behind the only completion.

    Args:
        client: Makes a client of the server.
        incomplete: The beginning.
        names: Complete names only.
    """
    try:
        found = _ask(client, incomplete, names)
    except Exception:  # whatever it is, a command that is being typed leaves no place to say so
        return []
    found = [text for text in found if text.startswith(incomplete)]
    if len(found) == 1 and not names and "/" not in incomplete:
        found.append(f"{found[0]}/")
    return [CompletionItem(text) for text in found]


def _ask(make_client: Callable[[], Client], incomplete: str, names: bool) -> list[str]:
    import anyio

    from ..._gateway.management import actor_names

    found: list[str] = []

    async def ask() -> None:
        async with make_client() as client:
            name, slash, _ = incomplete.partition("/")
            if names or not slash:
                known = await actor_names(client._core)
                found.extend(known if names else (str(Place(name)) for name in known))
                return
            async for actor in client.actor(name).list():
                found.append(str(Place(actor.name, actor.key)))
                if len(found) == _MAX_KEYS:
                    return

    async def main() -> None:
        with anyio.move_on_after(_TIMEOUT_SECONDS):
            await ask()

    anyio.run(main)
    return found
