"""One bug: a change of the package's text, what finds it, and whether it does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from .finders import COPY, FOUND, LATE_SECONDS, NOT_FOUND, ending

__all__ = ["ROOT", "SECONDS", "SOURCE", "Mutation", "Outcome", "look_at_sound_code"]

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src"
SECONDS = 60.0
"""How long a finder may look for one bug, in seconds of the processor."""
_OTHERS = 8
"""How many times as long that may take where the processor has other work."""


@dataclass(frozen=True)
class Mutation:
    """A bug.

    Attributes:
        name: What goes wrong, in few words.
        file: Where, below the package.
        before: What the file says, which occurs once.
        after: What it says in place of that.
        finder: A name of `finders.FINDERS`; or pytest's ids of tests with commas between, where
            nothing but an example finds the bug.
    """

    name: str
    file: str
    before: str
    after: str
    finder: str

    @property
    def path(self) -> Path:
        return SOURCE / "rivet_anyio" / self.file

    @property
    def module(self) -> str:
        return ".".join(("rivet_anyio", *Path(self.file).with_suffix("").parts))

    def mutated(self) -> str:
        """The file's text with the bug.

        Raises:
            ValueError: the file does not have the text, or has it more than once.
        """
        text = self.path.read_text("utf-8")
        times = text.count(self.before)
        if times != 1:
            raise ValueError(f"{self.name}: {self.file} has the text {times} times, not once")
        return text.replace(self.before, self.after)

    @contextmanager
    def planted(self) -> Iterator[Path]:
        """A copy of the source that has the bug."""
        with _copy() as copy:
            (copy / "rivet_anyio" / self.file).write_text(self.mutated(), "utf-8")
            yield copy

    def look(self, seconds: float = SECONDS) -> Outcome:
        """Let the finder look for the bug."""
        with self.planted() as copy:
            return _run(self.finder, copy, seconds, self.module)


@dataclass(frozen=True)
class Outcome:
    """What came of one search.

    Attributes:
        kind: "hung": the finder did not end, although it ends with the sound package; "failed":
            it ended, and did not come to look.
        seconds: How long it took.
        output: What the finder wrote.
        ending: How the finder ended, "killed by SIGKILL" say; "" where it was stopped.
    """

    kind: Literal["found", "not found", "hung", "failed"]
    seconds: float
    output: str
    ending: str = ""

    @property
    def is_found(self) -> bool:
        return self.kind in ("found", "hung")

    def __str__(self) -> str:
        return f"{self.kind} ({self.ending})" if self.kind == "failed" else self.kind

    @property
    def last_line(self) -> str:
        lines = self.output.strip().splitlines()
        return lines[-1] if lines else ""


@contextmanager
def _copy() -> Iterator[Path]:
    with TemporaryDirectory(prefix="mutation-") as name:
        directory = Path(name).resolve()
        ignored = shutil.ignore_patterns("__pycache__")
        copy = shutil.copytree(SOURCE, directory / "src", ignore=ignored)
        yield copy


def look_at_sound_code(finder: str, seconds: float) -> Outcome:
    """Let a finder look at a copy without a bug."""
    with _copy() as copy:
        return _run(finder, copy, seconds)


def _run(finder: str, copy: Path, seconds: float, module: str = "rivet_anyio") -> Outcome:
    """Run a finder in a process of its own, on the package in this directory."""
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutations.finders", finder, str(seconds), module],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            COPY: str(copy),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=_OTHERS * (seconds + LATE_SECONDS))
        except subprocess.TimeoutExpired:
            _end(process)
            return Outcome("hung", time.monotonic() - began, process.communicate()[0])
        finally:
            _end(process)
    kinds: dict[int, Literal["found", "not found", "hung"]]
    hung = -getattr(signal, "SIGXCPU", 24)
    kinds = {FOUND: "found", NOT_FOUND: "not found", hung: "hung"}
    code = process.returncode
    return Outcome(kinds.get(code, "failed"), time.monotonic() - began, output, ending(code))


def _end(process: subprocess.Popen[str]) -> None:
    """End a finder, and what it began: a test with a bug may leave a program that runs for ever."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
