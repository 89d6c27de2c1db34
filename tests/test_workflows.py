"""The workflows of .github run what exists here: sessions of noxfile.py, commands of the README."""

from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path

import pytest

import rivet_anyio
from website.release import notes_of

ROOT = Path(__file__).parent.parent
WORKFLOWS = {path.stem: path.read_text("utf-8") for path in ROOT.glob(".github/workflows/*.yml")}
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")

SESSIONS = {
    node.name
    for node in NOXFILE.body
    if isinstance(node, ast.FunctionDef)
    and any("session" in ast.unparse(decorator) for decorator in node.decorator_list)
}
PYTHONS: list[str] = next(
    ast.literal_eval(node.value)
    for node in NOXFILE.body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS"
)


def listed(name: str, text: str) -> list[list[str]]:
    """The values of each list of this name in a matrix."""
    found = re.findall(rf"^ +{name}: \[([^\]]+)\]$", text, re.M)
    return [[value.strip().strip('"') for value in values.split(",")] for values in found]


def sessions_of(text: str) -> set[str]:
    """The sessions that a workflow runs, with the values of its matrices."""
    named: set[str] = set()
    for arguments in re.findall(r"- run: [^\n]*nox -s ([^\n]+)", text):
        words = arguments.partition(" -- ")[0].strip().strip('"')
        if words == "${{ matrix.session }}":
            named.update(name for names in listed("session", text) for name in names)
        elif words == "tests-${{ matrix.python }}":
            named.add("tests")
        else:
            named.update(words.split())
    return named


def test_workflows_name_sessions_that_exist() -> None:
    assert WORKFLOWS.keys() == {"ci", "nightly", "release"}
    for name, text in WORKFLOWS.items():
        named = sessions_of(text)
        assert named, name
        assert named <= SESSIONS, f"{name}.yml: {named - SESSIONS}"


def test_ci_runs_every_part_of_the_checks() -> None:
    wanted = {"lint", "types", "tests", "demo", "check", "lowest", "docs", "dist"}
    assert wanted <= sessions_of(WORKFLOWS["ci"])
    assert listed("python", WORKFLOWS["ci"]) == [PYTHONS]
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(classifiers) <= set(PYTHONS)


def test_ci_runs_the_commands_of_the_readme() -> None:
    for language in ("bash", "powershell"):
        commands = re.findall(rf"```{language}\n([^\n]*nox -s [^\n]*)\n```", README)
        assert len(commands) == 2
        for command in commands:
            assert f"- run: {command}\n" in WORKFLOWS["ci"]
    assert re.findall(r"```bash\n([^\n]*nox -s check)\n", README)[0] in (
        ROOT / ".ci" / "run"
    ).read_text("utf-8")


def test_permissions_are_least_and_tokens_are_not_needed() -> None:
    for name, text in WORKFLOWS.items():
        assert re.search(r"^permissions:\n  contents: read\n", text, re.M), name
        assert "secrets." not in text, name
    assert WORKFLOWS["release"].count("id-token: write") == 2


@pytest.mark.parametrize("heading", ["(2026-01-02)", f"({date.min})"])
def test_release_notes(heading: str) -> None:
    changelog = f"# Changelog\n\n## 1.2.0 {heading}\n\n- New.\n\n## 1.1.0 (2025-01-02)\n\n- Old.\n"
    assert notes_of("v1.2.0", "1.2.0", changelog) == "- New.\n"
    assert notes_of("v1.1.0", "1.1.0", changelog) == "- Old.\n"


def test_what_cannot_be_released() -> None:
    version = rivet_anyio.__version__
    with pytest.raises(ValueError, match=r"not v1\.2\.0"):
        notes_of("v1.2", "1.2.0", "")
    with pytest.raises(ValueError, match=r"heading '## 1\.2\.0"):
        notes_of("v1.2.0", "1.2.0", "# Changelog\n\n## 1.2.0 (unreleased)\n")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
