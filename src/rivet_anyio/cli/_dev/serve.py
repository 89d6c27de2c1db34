"""One run of the server of ``dev``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio

from ..._text import escaped
from ...testing import Actor, ActorServer
from ...testing._records import Log, Record, Requested, SocketOpened
from .._arguments import Place
from .._input import Stdin
from .._json import json_text
from .._output import Output
from .._run import until_first
from .._verbose import masked_url
from .port import port_errors

__all__ = ["ModuleFailed", "serve"]

_OURS = (__file__, importlib.__file__, "<frozen importlib")
_POLL_SECONDS = 0.5
_HIDDEN = ("at", "actor", "params")
"""Fields of records that are printed otherwise, or may be secret."""


class ModuleFailed(Exception):
    """The module of actors raised when it was imported, or has no actors."""


async def serve(
    output: Output, module: str, *, port: int, host: str, version: str, lifeline: Path | None
) -> None:
    """Serve the actors of a module until the block's task is cancelled.

    Args:
        output: Where to print what arrives.
        module: A file, or a module's name.
        port: The port.
        host: The address.
        version: The RivetKit version to play.
        lifeline: Also end when stdin does, and write into this file which modules are loaded.

    Raises:
        ModuleFailed: the module cannot be used.
        ConfigError: for an unknown version.
        OSError: the port is taken.
    """
    actors = actors_of(load(module))
    if lifeline is not None:
        _write_loaded(lifeline)
    server = ActorServer(actors, version=version, leaks=False, epoch=dt.datetime.now(dt.UTC))
    async with server, AsyncExitStack() as stack:
        with port_errors(host, port):
            endpoint = await stack.enter_async_context(server.listen(port, host=host))
        output.note(f"{', '.join(actors)} at {endpoint}", endpoint=endpoint, actors=list(actors))
        ends: list[Callable[[], Awaitable[None]]] = [output.closed]
        if lifeline is not None:
            ends = [_stdin_ends, partial(_keep_loaded, lifeline)]
        await until_first(lambda: _print_records(output, server.log), *ends)


async def _stdin_ends() -> None:
    stdin = Stdin()
    while await stdin.receive():
        pass


async def _keep_loaded(file: Path) -> None:
    """Note modules that are imported later, too."""
    count = 0
    while True:
        await anyio.sleep(_POLL_SECONDS)
        if len(sys.modules) != count:
            count = len(sys.modules)
            _write_loaded(file)


def _write_loaded(file: Path) -> None:
    """Write the paths of all modules, whole or not at all."""
    modules = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    paths = {module.__dict__.get("__file__") for module in modules}
    unfinished = file.with_name("unfinished")
    unfinished.write_text("\0".join(filter(None, paths)), "utf-8", "surrogateescape")
    unfinished.replace(file)


async def _print_records(output: Output, log: Log) -> None:
    while True:
        records = log[:]
        log.clear()
        for record in records:
            await _print(output, record)
        if not log:
            await log._grown()


async def _print(output: Output, record: Record) -> None:
    kind, place = type(record).__name__, str(Place(record.actor.name, record.actor.key))
    fields = {
        field.name: getattr(record, field.name)
        for field in dataclasses.fields(record)
        if field.name not in _HIDDEN
    }
    if isinstance(record, (Requested, SocketOpened)):
        fields["path"] = masked_url(record.path)
    if output.is_json:
        await output.json({"type": kind, "actor": place, **fields})
        return
    shown = " ".join(
        f"{name}={json_text(value)}" for name, value in fields.items() if value is not None
    )
    now = dt.datetime.now()
    await output.line(f"{now:%H:%M:%S} {kind:<14} {escaped(place)}  {shown}".rstrip())


def load(name: str) -> ModuleType:
    """Import a file, or a module by its name, with the current directory in the search path.

    Raises:
        ModuleFailed: it raises something, or another module has its name.
    """
    path = Path(name)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        name = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(name)
    except SystemExit as exc:
        raise ModuleFailed(f"it ends the program when it is imported: {exc!r}") from exc
    except Exception as exc:
        raise ModuleFailed(_shown(exc)) from exc
    if path.suffix == ".py" and not path.samefile(module.__file__ or os.devnull):
        found = module.__file__ or "which is part of Python"
        raise ModuleFailed(f"its name is that of another module, {found}: rename the file")
    return module


def _shown(exc: Exception) -> str:
    """An exception with the part of its traceback that is not ours."""
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(exc), exc, tb)).rstrip()


def actors_of(module: ModuleType) -> dict[str, type[Actor]]:
    """The actors of a module: its mapping ``actors``, or the classes of actors it defines.

    Raises:
        ModuleFailed: it has none.
    """
    named = getattr(module, "actors", None)
    if isinstance(named, Mapping):
        found: dict[str, Any] = {str(name): actor for name, actor in named.items()}
    else:
        found = {
            name[0].lower() + name[1:]: value
            for name, value in vars(module).items()
            if inspect.isclass(value)
            and issubclass(value, Actor)
            and value.__module__ == module.__name__
            and not name.startswith("_")
        }
    if not found:
        text = "it defines no class derived from rivet_anyio.testing.Actor"
        if named is not None and not isinstance(named, Mapping):
            text += f", and its actors is {named!r}: write a mapping of names to classes"
        raise ModuleFailed(text)
    return found
