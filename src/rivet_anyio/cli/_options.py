"""The options that commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from ._arguments import (
    JSON,
    VALUE,
    WAIT_OPTION,
    Place,
    Seconds,
    parse_place,
    read_values,
)

if TYPE_CHECKING:
    from .._client import Client
    from .._handle import ActorHandle
    from ..protocol.codec import Encoding

__all__ = [
    "Common",
    "Format",
    "Target",
    "common_given",
    "common_options",
    "complete_file",
    "complete_name",
    "header_option",
    "output_options",
    "seconds_option",
    "server_options",
    "target_options",
]

Format = Literal["auto", "json", "text"]

_ENCODINGS = ("bare", "cbor", "json")  # those of `Encoding`, whose module `--help` does not import
_COMMON = (
    *("endpoint", "profile", "token", "namespace", "encoding", "connect_timeout"),
    *("wait_for_server", "no_metadata", "output", "verbose", "backend"),
)

_Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Common:
    """What every command takes: the server, and how to print."""

    endpoint: str | None = field(repr=False)
    token: str | None = field(repr=False)
    namespace: str | None
    pool: str | None
    encoding: Encoding
    connect_timeout: float
    no_metadata: bool
    wait_for_server: float | None
    output: Format
    verbose: bool
    backend: str
    warnings: tuple[str, ...] = ()

    def client(
        self,
        *,
        encoding: Encoding | None = None,
        pool: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Client:
        """A client of the server that is meant.

        Raises:
            ConfigError: when the options, the environment and the URL make no sense together.
        """
        from .._client import Client

        make = Client
        if self.verbose:
            from ._verbose import TracedClient as make
        return make(
            self.endpoint,
            token=self.token,
            namespace=self.namespace,
            pool=pool or self.pool,
            encoding=encoding or self.encoding,
            headers=headers,
            connect_timeout=self.connect_timeout,
            metadata_lookup=not self.no_metadata,
        )


def common_given(values: Mapping[str, Any]) -> Common:
    """What the options of `common_options` say, among other values, and the profile adds.

    Raises:
        click.UsageError: the profile cannot be used.
    """
    from ._profiles import choose_profile

    given = {name: values[name] for name in _COMMON}
    profile = choose_profile(given.pop("profile"), given["endpoint"])
    for name in ("endpoint", "token", "namespace"):
        given[name] = given[name] or getattr(profile, name)
    given["encoding"] = given["encoding"] or profile.encoding or "bare"
    if given["encoding"] not in _ENCODINGS:
        raise click.UsageError(
            f"the profile's encoding is {given['encoding']!r}: write one of {', '.join(_ENCODINGS)}"
        )
    return Common(**given, pool=profile.pool, warnings=profile.warnings)


@dataclass(frozen=True, slots=True)
class Target:
    """The actor that a command is about, and what to do when there is none."""

    place: Place
    params: Any = field(repr=False)
    create: bool
    input: tuple[Any] | None

    def handle(self, client: Client) -> ActorHandle:
        """A handle to the actor."""
        accessor = client.actor(self.place.name)
        if self.place.id is not None:
            return accessor.get_for_id(self.place.id, params=self.params)
        if not self.create:
            return accessor.get(self.place.key, params=self.params)
        given = {} if self.input is None else {"input": self.input[0]}
        return accessor.get_or_create(self.place.key, params=self.params, **given)


def common_options(function: _Function) -> _Function:
    """Give a command the options of `Common`, which becomes its first argument."""

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        common = common_given(given)
        rest = {name: value for name, value in given.items() if name not in _COMMON}
        return function(common, **rest)

    return server_options(output_options(command))


def server_options(function: _Function) -> _Function:
    """Give a command the options that say which server, and how to reach it."""
    return _with(
        function,
        click.option(
            "--endpoint",
            "-e",
            metavar="URL",
            help="The server; else RIVET_ENGINE, RIVET_ENDPOINT, http://localhost:6420.",
        ),
        click.option(
            "--profile",
            "-P",
            metavar="NAME",
            shell_complete=_complete_profile,
            help="A server of the configuration file; else RIVET_PROFILE.",
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            help="The token. RIVET_TOKEN is better: others can see a command line.",
        ),
        click.option("--namespace", metavar="NAME", help="The namespace; else RIVET_NAMESPACE."),
        click.option(
            "--encoding",
            type=click.Choice(_ENCODINGS),
            help="How messages are written; bare, the default, carries every value.",
        ),
        click.option(
            "--connect-timeout",
            type=Seconds(),
            default=30.0,
            help="How long one attempt to connect may take.",
        ),
        click.option(
            WAIT_OPTION,
            type=Seconds(),
            metavar="[SECONDS]",
            help="Wait until the server answers, 60 s if no number follows.",
        ),
        click.option(
            "--no-metadata",
            is_flag=True,
            help="Do not ask the server who it is: it may send clients on to another URL.",
        ),
    )


def output_options(function: _Function) -> _Function:
    """Give a command the options `output`, `verbose` and `backend`."""
    return _with(
        function,
        click.option(
            "--output",
            "-o",
            type=click.Choice(["auto", "json", "text"]),
            default="auto",
            help="json: one JSON document a line, errors too. auto: for people on a terminal.",
        ),
        click.option(
            "--verbose",
            "-v",
            is_flag=True,
            help="Show requests, answers and what happens on stderr, without secrets.",
        ),
        click.option(
            "--backend", type=click.Choice(["asyncio", "trio"]), default="asyncio", hidden=True
        ),
    )


def target_options(
    *, creates: bool = True, ids: bool = True, params: bool = True, required: bool = True
) -> Callable[[_Function], _Function]:
    """Give a command the argument ACTOR and its options, as a `Target` by the name `target`.

    Args:
        creates: Whether the actor may be created on the way.
        ids: Whether an id may name the actor.
        params: Whether connection params play a part.
        required: Whether ACTOR must be given; else `target` may be None.
    """

    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def command(
            *args: Any,
            actor: str | None,
            key: tuple[str, ...],
            id: str | None = None,
            params: Any = None,
            create: bool = False,
            **rest: Any,
        ) -> Any:
            target = None
            input = _input(rest.pop("input"), create, id) if creates else None
            if actor is None and (key or id is not None or create):
                raise click.UsageError("--key, --id and --create need ACTOR")
            if actor is not None:
                target = Target(parse_place(actor, key, id), params, create, input)
            return function(*args, target=target, **rest)

        options: list[Callable[[_Function], _Function]] = [
            click.argument("actor", required=required, shell_complete=_complete_actor),
            click.option(
                "--key",
                "-k",
                multiple=True,
                type=VALUE,
                metavar="PART",
                help="A part of the key, as it stands; ACTOR is the name then. Repeatable.",
            ),
        ]
        if ids:
            options.append(
                click.option("--id", metavar="ID", help="The actor's id; ACTOR is the name then.")
            )
        if params:
            options.append(
                click.option(
                    "--params", type=JSON, metavar="JSON", help="Connection params, as JSON."
                )
            )
        if creates:
            options += [
                click.option(
                    "--create", "-c", is_flag=True, help="Create the actor when there is none."
                ),
                click.option(
                    "--input",
                    type=VALUE,
                    metavar="VALUE",
                    help="With --create: what a new actor is given.",
                ),
            ]
        return _with(command, *options)

    return decorate


def header_option(text: str) -> Callable[[_Function], _Function]:
    """An option that is header fields, as `headers`."""
    return click.option(
        "--header", "-H", "headers", multiple=True, metavar="'NAME: VALUE'", help=text
    )


def seconds_option(text: str, *names: str) -> Callable[[_Function], _Function]:
    """An option that is a duration."""
    return click.option(*(names or ("--timeout",)), type=Seconds(), help=text)


def _input(text: str | None, create: bool, id: str | None) -> tuple[Any] | None:
    """The input in a tuple, because None is one, too; None without."""
    if create and id is not None:
        raise click.UsageError("--create needs a key: an id is given by the server")
    if text is None:
        return None
    if not create:
        raise click.UsageError("--input needs --create")
    (value,) = read_values((text,), strings=False, strict=False, hint="write text as a JSON string")
    return (value,)


def _with(function: _Function, *decorators: Callable[[_Function], _Function]) -> _Function:
    """The function under decorators, the first outermost."""
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _complete_actor(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from ._commands.completion import actors

    return actors(lambda: common_given(ctx.params).client(), incomplete)


def complete_file(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Have the shell complete the name of a file."""
    return [CompletionItem(incomplete, type="file")]


def complete_name(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete an actor's name."""
    from ._commands.completion import actors

    return actors(lambda: common_given(ctx.params).client(), incomplete, names=True)


def _complete_profile(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from ._profiles import profile_names

    try:
        found = profile_names()
    except click.UsageError:
        found = []
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]
