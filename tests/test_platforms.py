"""No module needs POSIX to be imported: this simulates a platform that lacks what POSIX adds."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import rivet_anyio

PACKAGE = Path(rivet_anyio.__file__).parent

POSIX_MODULES = {
    "fcntl",
    "grp",
    "posix",
    "pty",
    "pwd",
    "readline",
    "resource",
    "syslog",
    "termios",
    "tty",
}
GUARDED = {"cli/_typed_lines.py": "cli/_input.py"}
"""Modules that need POSIX, and those that import them and do without."""

ELSEWHERE = """
import importlib, os, pkgutil, select, signal, socket, sys
import anyio._backends._asyncio, anyio._backends._trio, click, httpx, pytest, rich.console, trio
import opentelemetry.trace, opentelemetry.metrics, tempfile, subprocess, getpass, shutil

for name in sys.argv[1].split():
    sys.modules[name] = None
lacking = {
    os: ["fork", "forkpty", "geteuid", "getpgid", "getuid", "killpg", "mkfifo", "openpty"]
    + ["sched_getaffinity", "sendfile", "setsid", "statvfs", "sysconf", "uname"],
    signal: ["SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2"]
    + ["SIGWINCH", "alarm", "pthread_sigmask", "setitimer", "set_wakeup_fd"],
    select: ["PIPE_BUF", "epoll", "poll"],
    socket: ["AF_UNIX", "SO_REUSEPORT", "MSG_DONTWAIT", "CMSG_LEN"],
}
for module, names in lacking.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

sys.platform = "win32"
import rivet_anyio

for found in pkgutil.walk_packages(rivet_anyio.__path__, "rivet_anyio."):
    if found.name.endswith(("__main__", "_typed_lines")):
        continue
    importlib.import_module(found.name)
    print(found.name)
from rivet_anyio import Client
Client()
"""


def test_every_module_can_be_imported() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            ELSEWHERE,
            " ".join(sorted(POSIX_MODULES - {"posix"})),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"rivet_anyio.cli._commands.dev", "rivet_anyio.testing"} <= set(done.stdout.split())


def imports_of_posix(path: Path) -> Iterator[str]:
    """What a module imports of POSIX's, outside of functions and of ``try`` and ``if``."""
    text = path.read_text("utf-8")
    if not any(name in text for name in POSIX_MODULES):
        return  # Parsing all modules takes a second.
    for node in ast.parse(text).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        yield from POSIX_MODULES.intersection(name.partition(".")[0] for name in names)


def test_who_needs_posix_is_imported_by_those_who_do_without() -> None:
    needs = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if set(imports_of_posix(path))
    }
    assert needs == set(GUARDED)
    for module, user in GUARDED.items():
        name = Path(module).stem
        importers = {
            path.relative_to(PACKAGE).as_posix()
            for path in PACKAGE.rglob("*.py")
            if f"from .{name} import" in path.read_text("utf-8")
        }
        assert importers == {user}
        tries = [
            node
            for node in ast.walk(ast.parse((PACKAGE / user).read_text("utf-8")))
            if isinstance(node, ast.Try) and f"from .{name} import" in ast.unparse(node.body[0])
        ]
        assert len(tries) == 1
        assert ast.unparse(tries[0].handlers[0]).startswith("except ImportError:")
