"""mypy and pyright say of typed actors what users count on: each runs once, over all files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = sorted(
    [
        *(path for path in HERE.rglob("*.py") if path != Path(__file__)),
        *(ROOT / "examples").glob("typed*.py"),
        ROOT / "tests" / "stubs" / "expected.py",
    ]
)
PATIENCE = 280

Places = set[tuple[str, int]]


def places_to_refuse() -> Places:
    return {
        (path.relative_to(ROOT).as_posix(), number)
        for path in FILES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.endswith("  # wrong")
    }


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, *(str(path.relative_to(ROOT)) for path in FILES)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    # Both say 1 for errors found and something else for troubles of their own.
    assert done.returncode == 1, done.stdout
    return done.stdout


def check(found: Places, output: str) -> None:
    expected = places_to_refuse()
    assert len(expected) > 40
    assert found == expected, f"{sorted(found ^ expected)}\n{output}"


def test_mypy() -> None:
    output = run("mypy", "--strict", "--no-error-summary", "--warn-unreachable")
    check(
        {
            (found["path"].replace("\\", "/"), int(found["line"]))
            for found in re.finditer(r"^(?P<path>[^:\n]+):(?P<line>\d+): error:", output, re.M)
        },
        output,
    )


def test_pyright() -> None:
    output = run("pyright", "--outputjson", "--pythonpath", sys.executable)
    report = json.loads(output[output.index("{") :])
    check(
        {
            (
                Path(item["file"]).resolve().relative_to(ROOT).as_posix(),
                item["range"]["start"]["line"] + 1,
            )
            for item in report["generalDiagnostics"]
            if item["severity"] == "error"
        },
        output,
    )
