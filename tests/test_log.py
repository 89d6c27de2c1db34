"""What is logged is text: a handler that keeps its records keeps no exception alive."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rivet_anyio
from rivet_anyio._log import logger

ROOT = Path(rivet_anyio.__file__).parent
ERRORS = {"cause", "end", "err", "error", "exc", "exception", "failure"}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls of a logger's methods, also by a name of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            owner = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            if isinstance(owner, ast.Name) and owner.id in ("logger", "level"):
                yield node


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: path.stem)
def test_no_exception_is_an_argument(path: Path) -> None:
    for call in calls(ast.parse(path.read_text("utf-8"))):
        for given in call.args:
            name = getattr(given, "attr", getattr(given, "id", None))
            assert name not in ERRORS, f"{path}:{call.lineno}: write str({name})"


def test_it_finds_what_it_looks_for() -> None:
    tree = ast.parse("logger.info('%s', error)\nlevel('%s', self.end)\nlogger.info('%s', str(exc))")
    given = [ast.unparse(call.args[1]) for call in calls(tree)]
    assert given == ["error", "self.end", "str(exc)"]


def test_what_a_peer_wrote_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    logger.warning("actor %s: %d, %.1f", "a\x1b[2J\nERROR b", 1, 0.5)
    assert caplog.messages == [r"actor a\x1b[2J\nERROR b: 1, 0.5"]
