"""Runs a program in a child process with a deadline, and says what became of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

__all__ = ["Outcome", "run"]


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        hung: Whether it still ran at the deadline; it was killed then.
        code: Its exit code; negative for a signal.
        output: What it wrote to stdout.
        errors: What it wrote to stderr.
    """

    hung: bool
    code: int
    output: str
    errors: str


def run(program: str, *arguments: str, seconds: float = 60.0) -> Outcome:
    """Run Python source with these arguments, for at most so many seconds."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        hung = False
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            hung = True
            process.kill()
            output, errors = process.communicate()
        finally:
            process.kill()
    return Outcome(hung, process.returncode, output, errors)
