"""``rivet-anyio resolve``, ``list``, ``names``, ``create``, ``destroy`` and ``sleep``."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from ..._text import escaped
from .._advice import find_alike
from .._app import execute
from .._arguments import VALUE, ArgumentsCommand, Place, read_values
from .._exit import Exit, Quit
from .._options import Common, Target, common_options, complete_name, target_options
from .._output import Output

if TYPE_CHECKING:
    from ..._management import Management
    from ...protocol.management import ActorInfo

__all__ = [
    "create_command",
    "destroy_command",
    "list_command",
    "names_command",
    "resolve_command",
    "sleep_command",
]

_YES = click.option("--yes", "-y", is_flag=True, help="Do not ask at a terminal.")


@click.command(
    "resolve",
    cls=ArgumentsCommand,
    short_help="Print an actor's id.",
    epilog="""\b
Examples:
  rivet-anyio resolve counter/visits
  id=$(rivet-anyio resolve --create counter/visits) || exit""",
)
@target_options(params=False)
@common_options
def resolve_command(common: Common, target: Target) -> None:
    """Print the id of an actor."""

    async def main(output: Output) -> None:
        async with common.client() as client:
            actor_id = await target.handle(client).resolve()
        await _print_id(output, target.place, actor_id)

    execute(common, main, target)


@click.command(
    "create",
    cls=ArgumentsCommand,
    short_help="Create an actor and print its id.",
    epilog="""\b
Examples:
  rivet-anyio create counter/visits
  rivet-anyio create counter/visits --input '{"initial": 10}'""",
)
@target_options(creates=False, ids=False, params=False)
@click.option("--input", type=VALUE, metavar="VALUE", help="What the actor is given.")
@click.option("--string", "-s", is_flag=True, help="Take the input for a string.")
@click.option("--region", metavar="NAME", help="The datacenter it lives in.")
@click.option("--pool", metavar="NAME", help="The pool it runs in; else RIVET_POOL, RIVET_RUNNER.")
@common_options
def create_command(
    common: Common,
    target: Target,
    input: str | None,
    string: bool,
    region: str | None,
    pool: str | None,
) -> None:
    """Create an actor, which must not exist, and print its id."""
    place = target.place
    values = read_values(() if input is None else (input,), strings=string, strict=False)
    given: dict[str, Any] = {"input": values[0]} if values else {}

    async def main(output: Output) -> None:
        async with common.client(pool=pool) as client:
            accessor = client.actor(place.name)
            handle = await accessor.create(place.key, region=region, **given)
            actor_id = await handle.resolve()
        await _print_id(output, place, actor_id)

    execute(common, main, target)


@click.command(
    "list",
    cls=ArgumentsCommand,
    short_help="List actor names, or the actors of a name.",
    epilog="""\b
Examples:
  rivet-anyio list
  rivet-anyio list counter
  rivet-anyio list counter --destroyed -o json | jq -r .actor_id""",
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_name)
@click.option("--destroyed", is_flag=True, help="Also those that were destroyed.")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="At most so many.")
@common_options
def list_command(common: Common, name: str | None, destroyed: bool, limit: int | None) -> None:
    """List the actors of a name: a table on a terminal, elsewhere lines of JSON.

    Without NAME, prints the names that the server knows.
    """

    async def main(output: Output) -> None:
        from ..._gateway.management import actor_names

        found: list[ActorInfo] = []
        async with common.client() as client:
            if name is None:
                await _print_names(output, (await actor_names(client._core))[:limit])
                return
            async for actor in client.actor(name).list(include_destroyed=destroyed):
                if output.is_json:
                    await output.json(_document(actor))
                found.append(actor)
                if len(found) == limit:
                    break
        if not found:
            alike = await find_alike(common, Place(name), creates=True)
            output.note(f"there is no actor {name!r}" + (f": {alike}" if alike else ""))
        elif not output.is_json:
            await output.show(_table(found))

    execute(common, main)


@click.command(
    "names",
    cls=ArgumentsCommand,
    short_help="List the names of actors.",
    epilog="""\b
Examples:
  rivet-anyio names
  rivet-anyio names -o json | jq -r .name""",
)
@common_options
def names_command(common: Common) -> None:
    """Print the names of actors that the server knows, sorted."""

    async def main(output: Output) -> None:
        from ..._management import Management

        async with common.client() as client:
            await _print_names(output, await Management(client).names())

    execute(common, main)


@click.command(
    "destroy",
    cls=ArgumentsCommand,
    short_help="Destroy an actor and what it has stored.",
    epilog="""\b
Examples:
  rivet-anyio destroy counter/visits
  rivet-anyio destroy counter --id "$id" --yes""",
)
@target_options(creates=False, params=False)
@_YES
@common_options
def destroy_command(common: Common, target: Target, yes: bool) -> None:
    """Destroy an actor and what it has stored, and print its id. Needs RivetKit 2.3.

    Asks first at a terminal; elsewhere --yes must be given.
    """
    _confirm(f"Destroy {target.place} and what it has stored?", yes)
    _change(common, target, lambda management, actor_id: management.destroy(actor_id))


@click.command(
    "sleep",
    cls=ArgumentsCommand,
    short_help="Put an actor to sleep.",
    epilog="""\b
Examples:
  rivet-anyio sleep counter/visits
  rivet-anyio sleep counter/visits --yes""",
)
@target_options(creates=False, params=False)
@_YES
@common_options
def sleep_command(common: Common, target: Target, yes: bool) -> None:
    """Put an actor to sleep until somebody calls it, and print its id. Needs RivetKit 2.3.

    Asks first at a terminal; elsewhere --yes must be given.
    """
    _confirm(f"Put {target.place} to sleep and close its connections?", yes)
    _change(common, target, lambda management, actor_id: management.sleep(actor_id))


def _change(
    common: Common, target: Target, change: Callable[[Management, str], Awaitable[None]]
) -> None:
    """Make one change to an actor, and print its id."""

    async def main(output: Output) -> None:
        from ..._management import Management

        async with common.client() as client:
            actor_id = await target.handle(client).resolve()
            await change(Management(client), actor_id)
        await _print_id(output, target.place, actor_id)

    execute(common, main, target)


def _confirm(question: str, yes: bool) -> None:
    """Ask whether to go on; the command ends if not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: give --yes")
    if not click.confirm(escaped(question), err=True):
        click.echo("nothing was done", err=True)
        raise Quit(Exit.FAILED)


async def _print_names(output: Output, names: list[str]) -> None:
    for name in names:
        if output.wants_json:
            await output.json({"name": name})
        else:
            await output.line(escaped(name))


async def _print_id(output: Output, place: Place, actor_id: str) -> None:
    if output.wants_json:
        await output.json({"actor_id": actor_id, "name": place.name, "key": place.key})
    else:
        await output.line(escaped(actor_id) if output.is_terminal else actor_id)


def _state(actor: ActorInfo) -> str:
    if actor.destroyed_at is not None:
        return "destroyed"
    if actor.error is not None:
        return "failed"
    return "asleep" if actor.sleeping_since is not None else "awake"


def _document(actor: ActorInfo) -> dict[str, Any]:
    import msgspec

    return {**msgspec.structs.asdict(actor), "state": _state(actor)}


def _table(actors: list[ActorInfo]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("actor", "id", "state", "created", "pool"):
        table.add_column(title, no_wrap=True)
    for actor in actors:
        created = f"{actor.created_at.astimezone():%Y-%m-%d %H:%M:%S}" if actor.created_at else ""
        cells = (
            str(Place(actor.name, actor.key)),
            actor.actor_id,
            _state(actor),
            created,
            actor.pool or "",
        )
        table.add_row(*(Text(escaped(cell)) for cell in cells))
    return table
