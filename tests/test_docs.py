"""The code in README.md and docs/ runs as it stands there.

Conventions, page by page:

- The ``python`` blocks of a page run in order and share their names. `client` is there from the
  beginning, a `Client` of a server that runs. ``await`` and ``async with`` may stand anywhere.
- A block with a title is a file. The files of a page lie side by side, and pytest runs those that
  are tests, as the page says: in a process of its own, with AnyIO's plugin alone.
- A block that defines ``main`` under ``if __name__ == "__main__"`` is a whole program: its
  ``main`` runs, and must print what the next ``text`` block says, if that follows at once.
"""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

import rivet_anyio
import rivet_anyio.testing
from rivet_anyio import Client
from tests.servers import Server, start_server

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PATIENCE = 120

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    text: str
    line: int
    end: int
    start: int


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text("utf-8")
    return [
        Block(
            found["language"],
            found["title"],
            textwrap.dedent(found["text"]),
            source.count("\n", 0, found.start()) + 2,
            found.end(),
            found.start(),
        )
        for found in _FENCE.finditer(source)
    ]


def expected_output(page: Path, blocks: list[Block], index: int) -> str | None:
    """The text block that follows this one with nothing but white space between them."""
    if index + 1 == len(blocks) or blocks[index + 1].language != "text":
        return None
    between = page.read_text("utf-8")[blocks[index].end : blocks[index + 1].start]
    return None if between.strip() else blocks[index + 1].text


def compiled(page: Path, block: Block) -> Any:
    # Blank lines in front, so that tracebacks and errors show the line of the page.
    source = "\n" * (block.line - 1) + block.text
    return compile(
        source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


PAGES_WITH_TESTS = [
    page
    for page in PAGES
    if any((block.title or "").startswith("test_") for block in blocks_of(page))
]
PAGES_WITH_CODE = [
    page for page in PAGES if any(block.language == "python" for block in blocks_of(page))
]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture(scope="module")
def server(anyio_backend: str) -> Iterator[Server]:
    """A server for each backend: pages begin with actors that do not exist yet."""
    with start_server("2.2.1") as server:
        yield server


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
async def test_code_runs(
    page: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("RIVET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RIVET_ENDPOINT", server.endpoint)
    names: dict[str, Any] = {"__name__": "page"}
    blocks = blocks_of(page)
    with anyio.fail_after(PATIENCE):
        async with Client() as client:
            names["client"] = client
            for index, block in enumerate(blocks):
                if block.language != "python" or block.title is not None:
                    continue
                code = compiled(page, block)
                capsys.readouterr()
                result = eval(code, names)
                if inspect.iscoroutine(result):
                    await result
                if 'if __name__ == "__main__":' in block.text:
                    await names["main"]()
                expected = expected_output(page, blocks, index)
                if expected is not None:
                    assert capsys.readouterr().out == expected, f"{page}:{block.line}"


@pytest.mark.parametrize("page", PAGES_WITH_TESTS, ids=name_of)
def test_tests_pass(page: Path, tmp_path: Path) -> None:
    files = {block.title: block.text for block in blocks_of(page) if block.title is not None}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    # Installed, the plugin is loaded by itself.
    options = [
        "-p",
        "rivet_anyio.testing.pytest_plugin",
        "-p",
        "no:asyncio",
        "-p",
        "no:trio",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "anyio_mode=auto", *options, "--timeout=120"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules = sum(name.startswith("test_") for name in files)
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= 2 * modules, done.stdout
    for name, text in files.items():
        if "__main__" in text:
            subprocess.run([sys.executable, name], cwd=tmp_path, timeout=PATIENCE, check=True)


def test_there_is_code() -> None:
    names = {name_of(page) for page in PAGES_WITH_CODE}
    assert {"README.md", "docs/quickstart.md", "docs/values.md"} <= names
    assert ROOT / "docs" / "testing.md" in PAGES_WITH_TESTS
    assert all(block.language for page in PAGES for block in blocks_of(page)), (
        "a fence without a language is a fence that nobody checks"
    )


def test_sessions_that_are_named_exist() -> None:
    noxfile = ast.parse((ROOT / "noxfile.py").read_text("utf-8"))
    sessions = {
        node.name
        for node in noxfile.body
        if isinstance(node, ast.FunctionDef)
        and any("session" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    for page, most in ((ROOT / "README.md", {"demo", "check"}), (CONTRIBUTING, sessions)):
        named = set(re.findall(r"nox -s (\w+)", page.read_text("utf-8")))
        assert most <= named <= sessions


def test_contributing_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(tests/[\w./]+)`", CONTRIBUTING.read_text("utf-8")))
    assert "tests/protocol" in named
    for path in named:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for module in (rivet_anyio, rivet_anyio.testing)
        for name in sorted(set(module.__all__) - {"__version__"})
    ],
)
def test_public_names_are_documented(module: ModuleType, name: str) -> None:
    thing = getattr(module, name)
    assert (thing.__doc__ or "").strip(), f"{name} has no docstring"
    api = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert f"::: {module.__name__}.{name}\n" in api, f"{name} is not in docs/api.md"


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("[CS]*.md")], ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(_FENCE, "", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        path = page.relative_to(ROOT / "docs").as_posix()
        assert re.search(rf": {re.escape(path)}$", navigation, re.M), path


def test_api_names_nothing_else() -> None:
    api = (ROOT / "docs" / "api.md").read_text("utf-8")
    for name in re.findall(r"^::: (\S+)$", api, re.M):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
