"""Running the command: in a pipe, in the background, on a terminal."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import pytest

from rivet_anyio.cli._app import app, run_app

COMMAND = str(Path(sys.executable).parent / "rivet-anyio")
PATIENCE = 60.0

# The terminal becomes the controlling one, so that Ctrl-C is what a keyboard makes of it.
_ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would configure the command."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RIVET_", "_RIVET")) and not name.lower().endswith("_proxy")
    }
    return {
        **found,
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "LC_ALL": "C.UTF-8",
        "XDG_CONFIG_HOME": "/nonexistent",
        "XDG_STATE_HOME": "/nonexistent",
        **(changes or {}),
    }


def usage_error(*arguments: str) -> str:
    """What the command says against a command line, which it must refuse."""
    with pytest.raises(click.UsageError) as caught:
        app.main([*arguments], prog_name="rivet-anyio", standalone_mode=False)
    return caught.value.format_message()


class Result:
    """How a run ended."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code = code
        self.raw = out
        self.out = out.decode(errors="replace")
        self.err = err.decode(errors="replace")

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def lines(self) -> list[Any]:
        """The lines of stdout, each as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """The command, with the environment that it runs in."""

    def __init__(self, **variables: str) -> None:
        self.environment = environment(variables)

    def __call__(self, *args: str, input: bytes | str = b"", code: int | None = 0) -> Result:
        """Run it and wait for its end; None for any exit code.

        It runs in this process, unless it has an input.
        """
        if input:
            return self.child(*args, input=input, code=code)
        return _checked(_run_here(args, self.environment), args, code)

    def child(self, *args: str, input: bytes | str = b"", code: int | None = 0) -> Result:
        """The same in a process of its own, with pipes."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            [COMMAND, *args],
            input=data,
            capture_output=True,
            env=self.environment,
            timeout=PATIENCE,
            check=False,
        )
        return _checked(Result(done.returncode, done.stdout, done.stderr), args, code)

    @contextmanager
    def background(self, *args: str) -> Iterator[Running]:
        """Run it beside the block, with pipes; the block must bring it to its end."""
        process = subprocess.Popen(
            [COMMAND, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdin and process.stdout and process.stderr
        with process:
            running = Running(process, process.stdout.fileno(), process.stderr.fileno())
            yield from _watched(running)

    @contextmanager
    def terminal(self, *args: str) -> Iterator[Terminal]:
        """Run it beside the block on a terminal of its own."""
        controller, terminal = pty.openpty()
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _ON_TERMINAL, COMMAND, *args],
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                env=self.environment,
            )
        finally:
            os.close(terminal)
        try:
            with process:
                yield from _watched(Terminal(process, controller, None))
        finally:
            os.close(controller)


def _run_here(args: tuple[str, ...], environment: Mapping[str, str]) -> Result:
    logger = logging.getLogger("rivet_anyio")
    handlers, level = list(logger.handlers), logger.level
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            with (
                patch.dict(os.environ, environment, clear=True),
                patch.multiple(sys, argv=[COMMAND, *args], stdout=out, stderr=err),
            ):
                code = int(run_app())
        finally:
            logger.handlers[:] = handlers
            logger.setLevel(level)
        texts: list[bytes] = []
        for file in (out, err):
            file.flush()
            file.seek(0)
            texts.append(bytes(file.buffer.read()))
    return Result(code, *texts)


def _checked(result: Result, args: tuple[str, ...], code: int | None) -> Result:
    assert code is None or result.code == code, result
    assert "-v" in args or "Traceback" not in result.err, result
    return result


def _watched(running: Any) -> Iterator[Any]:
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()


class Running:
    """A run that goes on."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, err: int | None) -> None:
        self.process = process
        self._fds = {"out": out} if err is None else {"out": out, "err": err}
        self._texts = dict.fromkeys(self._fds, b"")
        self._open = set(self._fds)

    @property
    def out(self) -> str:
        """What stdout has brought so far."""
        return self._texts["out"].decode(errors="replace")

    @property
    def err(self) -> str:
        """What stderr has brought so far."""
        return self._texts["err"].decode(errors="replace")

    def until(
        self, condition: Callable[[], object], *, step: Callable[[], object] | None = None
    ) -> None:
        """Read until the condition holds; `step` is done again and again meanwhile."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self._texts
            assert self._open, f"it ended: {self._texts}"
            if step is not None:
                step()
            self._read(0.1 if step is not None else 1.0)

    def end(self, signum: int | None = None) -> Result:
        """Send a signal, if any, and wait for the end."""
        if signum is not None:
            self.process.send_signal(signum)
        deadline = time.monotonic() + PATIENCE
        while self._open:
            assert time.monotonic() < deadline, self._texts
            self._read(1.0)
        code = self.process.wait(PATIENCE)
        result = Result(code, self._texts["out"], self._texts.get("err", b""))
        assert "Traceback" not in result.out + result.err, result
        return result

    def _read(self, seconds: float) -> None:
        fds = {self._fds[name]: name for name in self._open}
        for fd in select.select(list(fds), [], [], seconds)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:  # the terminal's last user has gone
                data = b""
            self._texts[fds[fd]] += data
            if not data:
                self._open.discard(fds[fd])


class Terminal(Running):
    """A run on a terminal."""

    @property
    def shown(self) -> str:
        """What the terminal shows, without colours."""
        return _CODES.sub("", self.out).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._fds["out"], text.encode())

    def press_ctrl_c(self) -> None:
        """What Ctrl-C does."""
        self.type("\x03")


SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
