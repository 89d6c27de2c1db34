"""The code in README.md and docs/ runs as it stands there.

A ``python`` block is one of these:

- A whole program, which ends with ``if __name__ == "__main__":``. Its ``main`` runs.
- A file, which its title names. The files of a page lie side by side, and pytest runs those that
  are tests, as the page says: in a process of its own, with AnyIO's plugin alone.
- A part. Its first line says where it belongs, in one of the three sentences below, and there it is
  put before it runs.

Each must print what the next ``text`` block says, if that follows at once. A path between two lines
``--8<--`` is the content of that file. A server in memory has the actors of ``examples/actors.py``,
which the site shows; pages about JavaScript's own values have a real one.
"""

import ast
import importlib
import inspect
import itertools
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import anyio.to_thread
import pytest

import rivet_anyio
import rivet_anyio.testing
import rivet_anyio.types
from examples import actors
from rivet_anyio.cli._dev.serve import actors_of
from rivet_anyio.protocol import verdicts
from rivet_anyio.testing import ActorServer
from rivet_anyio.testing._gateway import _STATUSES
from tests.servers import start_server

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = "".join(page.read_text("utf-8") for page in ROOT.glob("docs/reference/*.md"))
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


def included(text: str) -> str:
    """The text with the files that it names in place of their names."""
    return re.sub(
        r"^--8<--\n(.+)\n--8<--$",
        lambda found: (ROOT / found[1]).read_text("utf-8"),
        text,
        flags=re.M,
    )


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text("utf-8")
    return [
        Block(
            found["language"],
            found["title"],
            included(textwrap.dedent(found["text"])),
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


INSIDE = '# Inside "async with Client() as client:".'
CONTINUES = "# Continues the block above."
IN_PROGRAM = "# Continues the program above, where its client is open."

OPENING = """\
import anyio
from rivet_anyio import Client
async def main() -> None:
    async with Client() as client:
"""
INDENT = " " * 8
RUN = {"anyio.run(main)", "trio.run(main)", "asyncio.run(main())", "main()"}


def is_program(block: Block) -> bool:
    return 'if __name__ == "__main__":' in block.text


def first_line(block: Block) -> str:
    return block.text.partition("\n")[0]


def chains_of(page: Path) -> Iterator[list[tuple[int, Block]]]:
    """Programs, and parts with what continues them, each with its place among the blocks."""
    chain: list[tuple[int, Block]] = []
    for index, block in enumerate(blocks_of(page)):
        if block.language != "python" or block.title is not None:
            continue
        if is_program(block) or first_line(block) in (INSIDE, IN_PROGRAM):
            if chain:
                yield chain
            chain = []
        chain.append((index, block))
    if chain:
        yield chain


def assembled(page: Path, chain: list[tuple[int, Block]]) -> Any:
    """The code of a chain, with its lines where the page has them, for tracebacks."""
    source = "" if is_program(chain[0][1]) else OPENING
    for index, block in chain:
        source += "\n" * (block.line - source.count("\n") - 1)
        if is_program(block):
            source += block.text
        else:
            source += textwrap.indent(block.text, INDENT) + f"{INDENT}_printed({index})\n"
    return compile(source, str(page), "exec", dont_inherit=True)


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


JAVASCRIPT = {"docs/values.md"}


@asynccontextmanager
async def endpoint_for(page: Path) -> AsyncIterator[str]:
    if name_of(page) in JAVASCRIPT:
        with start_server("2.2.1") as server:
            yield server.endpoint
    else:
        memory = ActorServer(actors_of(actors))
        async with memory, memory.listen() as endpoint:
            yield endpoint


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
async def test_code_runs(
    page: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.NOTSET, "rivet_anyio")  # the end of the test undoes what a page sets
    for name in [name for name in os.environ if name.startswith("RIVET_")]:
        if name != "RIVET_ANYIO_SERVERS_CACHE":
            monkeypatch.delenv(name)
    blocks = blocks_of(page)

    def check_output(index: int) -> None:
        printed = capsys.readouterr().out
        expected = expected_output(page, blocks, index)
        if expected is not None:
            assert printed == expected, f"{page}:{blocks[index].line}"

    names: dict[str, Any] = {}
    async with endpoint_for(page) as endpoint:
        monkeypatch.setenv("RIVET_ENDPOINT", endpoint)
        for chain in chains_of(page):
            index, block = chain[0]
            if first_line(block) != IN_PROGRAM:
                names = {"__name__": "page", "_printed": check_output}
            exec(assembled(page, chain), names)
            with anyio.fail_after(PATIENCE):
                if inspect.iscoroutinefunction(names["main"]):
                    await names["main"]()
                else:
                    await anyio.to_thread.run_sync(names["main"])
            if is_program(block):
                check_output(index)


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
def test_blocks_can_be_pasted(page: Path) -> None:
    """Each says where it belongs, and a chain begins with what needs nothing else."""
    for block in blocks_of(page):
        if block.language != "python" or block.title is not None:
            continue
        where = f"{page}:{block.line}"
        if is_program(block):
            *_, last = ast.parse(block.text).body
            assert isinstance(last, ast.If), f"{where}: a program ends with its call of main"
            calls = [ast.unparse(node) for node in ast.walk(last) if isinstance(node, ast.Call)]
            assert RUN & set(calls), f"{where}: it runs {calls}, not main"
        else:
            assert first_line(block) in (INSIDE, CONTINUES, IN_PROGRAM), (
                f"{where}: neither a program, nor a file with a title, nor a part whose first line "
                f"is {INSIDE!r}, {CONTINUES!r} or {IN_PROGRAM!r}"
            )
    for before, chain in itertools.pairwise([[], *chains_of(page)]):
        line = first_line(chain[0][1])
        assert line != CONTINUES, f"{page}:{chain[0][1].line}: nothing to continue"
        for _, block in chain[1:]:
            assert not is_program(chain[0][1]), f"{page}:{block.line}: say {IN_PROGRAM!r}"
        if line == IN_PROGRAM:
            assert before, f"{page}:{chain[0][1].line}: no program above"


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
    assert not any(re.search("8 ?< ?-", block.text) for page in PAGES for block in blocks_of(page))
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
        for module in (rivet_anyio, rivet_anyio.testing, rivet_anyio.types)
        for name in sorted(set(module.__all__) - {"__version__"})
    ],
)
def test_public_names_are_documented(module: ModuleType, name: str) -> None:
    thing = getattr(module, name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        assert (thing.__doc__ or "").strip(), f"{name} has no docstring"
    assert f"::: {module.__name__}.{name}\n" in REFERENCE, f"{name} is not in docs/reference/"


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


def test_the_reference_names_nothing_else() -> None:
    for name in re.findall(r"^::: (\S+)$", REFERENCE, re.M):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_every_code_of_a_server_is_explained_once() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    table = page.partition("## Codes of servers")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    codes = [code for row in rows for code in re.findall(r"`([a-z]+\.[a-z0-9_]+)`", row)]
    assert len(codes) == len(set(codes))
    moving = {f"actor.{code}" for code in verdicts._MOVING}
    pairs = verdicts._NOT_READY | verdicts._UNPLACED
    known = moving | {f"{group}.{code}" for group, code in pairs} | set(codes_in_sources())
    known |= {".".join(pair) for pair in _STATUSES}
    assert known <= set(codes), known - set(codes)


def codes_in_sources() -> Iterator[str]:
    """What the client compares with, and what the actor server for tests answers."""
    package = ROOT / "src" / "rivet_anyio"
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts: list[ast.expr] = []
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ActorError":
                parts = node.args[:2]
            elif isinstance(node, ast.Tuple) and path.name == "verdicts.py":
                parts = node.elts
            texts = [
                part.value
                for part in parts
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            if len(parts) == len(texts) == 2:
                yield ".".join(texts)


def test_every_environment_variable_is_listed() -> None:
    sources = "".join(
        path.read_text("utf-8") for path in (ROOT / "src" / "rivet_anyio").rglob("*.py")
    )
    ours = {"RIVET_ANYIO_COMPLETE", "RIVET_PUBLIC_ENDPOINT"}  # of completion, and of servers
    known = set(re.findall(r"\bRIVET_[A-Z_]*[A-Z]\b", sources)) - ours
    page = (ROOT / "docs" / "reference" / "environment.md").read_text("utf-8")
    assert {"RIVET_ENDPOINT", "RIVET_POOL"} <= known
    for name in known:
        assert re.search(rf"^\| [^|]*`{name}`", page, re.M), name


def test_every_example_is_on_the_site() -> None:
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    for path in (ROOT / "examples").glob("*.py"):
        if path.stem != "__init__":
            assert f"\n--8<--\nexamples/{path.name}\n--8<--\n" in pages, path.name
