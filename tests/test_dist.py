"""What is released: the contents of the wheel and of the source distribution.

``nox -s dist`` builds them in a clean environment and lets these tests look at them, by the
environment variable RIVET_ANYIO_DIST; else they are built here.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rivet_anyio

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "rivet_anyio"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if given := os.environ.get("RIVET_ANYIO_DIST"):
        return Path(given)
    directory = tmp_path_factory.mktemp("dist")
    run("build", "--no-isolation", "--outdir", str(directory), str(ROOT))
    return directory


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


@pytest.fixture(scope="module")
def wheel(dist: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(only(dist, "*.whl"))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return BytesParser().parsebytes(wheel.read(name))


@pytest.fixture(scope="module")
def sdist(dist: Path) -> set[str]:
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_twine_finds_nothing_to_say(dist: Path) -> None:
    run("twine", "check", "--strict", *(str(path) for path in dist.iterdir()))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if not name.endswith("/")}
    package = {name for name in names if name.startswith("rivet_anyio/")}
    sources = {
        path.relative_to(SOURCES.parent).as_posix()
        for path in SOURCES.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package == sources
    assert "rivet_anyio/py.typed" in package
    plugin = "rivet_anyio_pytest.py"
    assert plugin in names
    (info,) = {name.partition("/")[0] for name in names - package - {plugin}}
    assert info == f"rivet_anyio-{rivet_anyio.__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in names


def test_pytest_finds_the_plugin(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "[pytest11]\nrivet_anyio_pytest = rivet_anyio_pytest" in wheel.read(name).decode()


def test_the_wheel_runs(dist: Path) -> None:
    """As it lies there, without being unpacked."""
    code = "import rivet_anyio, sys; print(rivet_anyio.__version__, rivet_anyio.__file__)"
    path = only(dist, "*.whl").resolve()
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    version, file = done.stdout.split(maxsplit=1)
    assert version == rivet_anyio.__version__
    assert file.startswith(str(path))


def test_the_version_comes_from_one_place(metadata: Message, dist: Path) -> None:
    version = rivet_anyio.__version__
    assert metadata["Version"] == version
    assert only(dist, "*.tar.gz").name == f"rivet_anyio-{version}.tar.gz"
    for path in (ROOT / "pyproject.toml", *SOURCES.rglob("*.py")):
        if path.name != "_version.py":
            assert f'"{version}"' not in path.read_text("utf-8"), path
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert changelog.startswith(f"# Changelog\n\n## {version}")


def test_the_metadata(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert str(metadata.get_payload()).startswith("# rivet-anyio")


def test_no_link_of_the_description_is_broken(metadata: Message) -> None:
    """A package index knows nothing of the repository's files."""
    targets = re.findall(r"\]\(([^)\s]+)\)", str(metadata.get_payload()))
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_a_build_that_knows_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    hook = importlib.import_module("hatch_build")
    url = "https://forge.example/rivet-anyio"
    text = "see [the guide](docs/cli.md#dev), [Rivet](https://rivet.dev) and [below](#below)"
    assert hook.described(text, url) == text.replace("(docs", f"({url}/blob/main/docs")
    assert hook.described(text, "") == text.replace("[the guide](docs/cli.md#dev)", "the guide")
    assert hook.urls(url, "")["Issues"] == f"{url}/issues"
    assert hook.urls(url, "https://docs.example")["Documentation"] == "https://docs.example"


def test_one_extra_has_all_of_a_first_program(metadata: Message) -> None:
    """``rivet-anyio dev`` and a client on either backend, from the wheel and its extra ``dev``."""
    assert set(metadata.get_all("Provides-Extra", [])) == {"cli", "trio", "otel", "testing", "dev"}
    requirements = [Requirement(one) for one in metadata.get_all("Requires-Dist", [])]
    needed = {
        extra: {r.name for r in requirements if r.marker and r.marker.evaluate({"extra": extra})}
        for extra in ("cli", "testing", "trio", "dev")
    }
    assert needed.pop("dev") == set().union(*needed.values())


def test_the_source_distribution_holds_what_a_packager_needs(sdist: set[str]) -> None:
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        assert name in sdist
    for directory in ("src", "tests", "docs", "examples"):
        wanted = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / directory).rglob("*")
            if path.suffix in (".py", ".md", ".mjs", ".txt", ".json", ".typed")
            and not {"__pycache__", "node_modules"} & set(path.parts)
        }
        assert wanted <= sdist, wanted - sdist
    assert {"pyproject.toml", "noxfile.py", "mkdocs.yml", "hatch_build.py"} <= sdist


def test_the_source_distribution_holds_no_litter(sdist: set[str]) -> None:
    for name in sdist:
        parts = set(Path(name).parts)
        assert not parts & {".git", ".venv", ".nox", "node_modules", "__pycache__", "dist", "site"}
