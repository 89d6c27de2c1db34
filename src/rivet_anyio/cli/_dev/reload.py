"""``dev`` with a reload: a server in a process of its own, started anew when its code changes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.abc
import anyio.to_thread
from anyio import CancelScope

from .._exit import Exit, Quit
from .._output import Output
from .._run import until_first
from .port import port_errors

__all__ = ["supervise"]

_POLL_SECONDS = 0.5
_END_SECONDS = 5.0
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}

_Snapshot = dict[str, tuple[int, int]]


async def supervise(
    output: Output, module: str, *, port: int, host: str, version: str, backend: str
) -> None:
    """Run servers, one after another, until cancelled.

    Raises:
        Quit: a server ended for a reason that no change of a file mends.
        OSError: the port is taken.
    """
    with TemporaryDirectory(prefix="rivet-anyio-") as directory:
        await _supervise(output, module, port, host, version, backend, Path(directory, "loaded"))


async def _supervise(
    output: Output, module: str, port: int, host: str, version: str, backend: str, loaded: Path
) -> None:
    """As `supervise`; each server writes into a file which modules it has loaded."""
    root = _root(module)
    # The port stays the same over reloads. -P: a file here that is named like a module of Python
    # is not imported in its place.
    command = [
        *(sys.executable, "-P", "-m", "rivet_anyio.cli"),
        *("dev", module, "--lifeline", str(loaded)),
        *("--port", str(_free_port(host, port)), "--host", host, "--version", version),
        *("--backend", backend, "--output", output.format),
    ]
    mended_by_no_file = {Exit.USAGE, Exit.NOT_INSTALLED}
    while True:
        await anyio.Path(loaded).unlink(missing_ok=True)
        before = await anyio.to_thread.run_sync(_snapshot, root)
        # The pipe to its stdin ends the server when this process is gone, however it ended. A
        # session of its own keeps Ctrl-C from it: this process ends it.
        process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=None, stderr=None)
        try:

            async def report_end(process: anyio.abc.Process = process) -> None:
                code = await process.wait()
                if code in mended_by_no_file:
                    raise Quit(Exit(code))
                output.note(f"the server ended with code {code}; waiting for a change")
                await anyio.sleep_forever()

            async def wait_for_change(before: _Snapshot = before) -> None:
                while True:
                    await anyio.sleep(_POLL_SECONDS)
                    now = await anyio.to_thread.run_sync(_snapshot, root)
                    if _concerns(loaded, {path for path, _ in now.items() ^ before.items()}):
                        return
                    before = now

            await until_first(wait_for_change, report_end, output.closed)
        finally:
            await _end(process)
        # The options were right, so what may be wrong from now on is that the file is away.
        mended_by_no_file.discard(Exit.USAGE)
        output.note("a file changed: starting anew")


async def _end(process: anyio.abc.Process) -> None:
    with CancelScope(shield=True):
        if process.returncode is None:
            process.terminate()
            with anyio.move_on_after(_END_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _concerns(loaded: Path, changed: set[str]) -> bool:
    """Whether the server has loaded one of these files; while nobody knows, every file counts."""
    try:
        return not changed.isdisjoint(loaded.read_text("utf-8", "surrogateescape").split("\0"))
    except FileNotFoundError:
        return bool(changed)


def _root(module: str) -> Path:
    """The directory to watch."""
    path = Path(module)
    return path.resolve().parent if path.suffix == ".py" else Path.cwd()


def _snapshot(root: Path) -> _Snapshot:
    """Every Python file below a directory, with what changes when it is written."""
    found: _Snapshot = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _SKIPPED and not name.startswith(".")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                try:
                    status = os.stat(path)
                except OSError:  # it has just been removed
                    continue
                found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        OSError: it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with port_errors(host, port), socket.create_server((host, port), family=family) as found:
        chosen: int = found.getsockname()[1]
        return chosen
