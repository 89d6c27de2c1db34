"""Sessions: `check` is everything on one Python; the others are its parts, and more."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["check"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.14t"]
PROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """Install the package, editable, and dependency groups."""
    requirements = [
        requirement
        for group in groups
        for requirement in nox.project.dependency_groups(PROJECT, group)
    ]
    session.install("-e", ".", *requirements)


def run_lint(session: nox.Session) -> None:
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


def run_tests(session: nox.Session) -> None:
    """Three at a time: most of them wait most of the time."""
    session.run("pytest", "-n", "3", "--dist", "loadfile", *session.posargs)


def run_types(session: nox.Session) -> None:
    session.run("mypy")
    session.run("pyright")


@nox.session
def check(session: nox.Session) -> None:
    """Lint, types and all tests, on the Python that runs nox."""
    install(session, "lint", "types", "plugins")
    run_lint(session)
    run_types(session)
    run_tests(session)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, on both backends and all servers."""
    install(session, "test", "plugins")
    run_tests(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """All tests but those of types and packaging, at the lowest versions that pyproject allows."""
    project = PROJECT["project"]
    requirements = [
        *project["dependencies"],
        *(
            one
            for extra, needed in project["optional-dependencies"].items()
            for one in needed
            if extra != "dev"  # the others together
        ),
        *nox.project.dependency_groups(PROJECT, "test"),
    ]
    constraints = Path(session.create_tmp()) / "lowest.txt"
    pins = (re.match(r"([\w.-]+)[^>]*>=([\w.]+)", one) for one in requirements)
    constraints.write_text("".join(f"{pin[1]}=={pin[2]}\n" for pin in pins if pin))
    session.install("-e", ".", *requirements, "--constraint", str(constraints))
    ignored = ("--ignore=tests/typing", "--ignore=tests/stubs", "--ignore=tests/test_dist.py")
    session.run("pytest", *ignored, *(session.posargs or ("tests",)))


@nox.session(python="3.12")
def loops(session: nox.Session) -> None:
    """The asynchronous tests on uvloop, on eager tasks, and where a loop cannot watch sockets."""
    install(session, "test")
    for options in (
        ["--loop", "uvloop", "-k", "uvloop"],
        ["--loop", "eager", "-k", "eager"],
        ["--fallback-streams", "-k", "asyncio"],
    ):
        session.run("pytest", "-n", "3", "--dist", "loadfile", *options, *session.posargs)


@nox.session
def versions(session: nox.Session) -> None:
    """The tests that need a server, on every RivetKit that can be installed, in every encoding."""
    install(session, "test")
    session.run("pytest", "--all-versions", "tests/real", *session.posargs)


@nox.session
def newest(session: nox.Session) -> None:
    """All tests with the newest versions of all dependencies, pre-releases included."""
    session.install(
        "--pre", "--upgrade", "-e", ".", *nox.project.dependency_groups(PROJECT, "test")
    )
    run_tests(session)


@nox.session
def newest_server(session: nox.Session) -> None:
    """The tests that need a server, on the newest RivetKit on npm, in every encoding."""
    install(session, "test")
    version = session.run("python", "-m", "tests.servers.newest", silent=True)
    assert isinstance(version, str)
    session.run("pytest", "--all-versions", "tests/real", "-k", version.strip(), *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict and pyright."""
    install(session, "types")
    run_types(session)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff."""
    install(session, "lint")
    run_lint(session)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz what reads a peer's bytes, under atheris: for 60 s, or `--seconds N`; `TARGET ...`."""
    install(session, "fuzz")
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def differ(session: nox.Session) -> None:
    """Compare our readers with wsproto and h11 on 100,000 random inputs, or as many as said."""
    install(session, "test")
    for module in ("tests.conformance.differ", "tests.http.differ"):
        session.run("python", "-m", module, *(session.posargs or ("100000",)))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into site/; check its links, its recipes, and how it looks in a browser."""
    install(session, "docs", "test")
    session.run("zensical", "build", "--strict", "--clean")
    session.run("python", "-m", "website.mermaid")
    env = {"RIVET_ANYIO_SITE": "site", "RIVET_ANYIO_SCREENSHOTS": "screenshots"}
    session.run("pytest", "tests/website", *session.posargs, env=env)


@nox.session
def dist(session: nox.Session) -> None:
    """Build wheel and source distribution into dist/, in a clean environment; check them."""
    install(session, "test")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    session.run("pytest", "tests/test_dist.py", *session.posargs, env={"RIVET_ANYIO_DIST": "dist"})


@nox.session
def sbom(session: nox.Session) -> None:
    """Write sbom.json: the package and what it installs, without extras, as CycloneDX."""
    session.install(".")
    python = str(Path(session.virtualenv.bin) / "python")
    tool = Path(session.create_tmp()) / "cyclonedx"
    session.run("python", "-m", "venv", str(tool))
    run = tool / Path(session.virtualenv.bin).name
    session.run(str(run / "pip"), "install", "-q", "cyclonedx-bom>=5", external=True)
    options = ("--pyproject", "pyproject.toml", "--output-reproducible", "-o", "sbom.json")
    session.run(str(run / "cyclonedx-py"), "environment", *options, python, external=True)


@nox.session
def release_notes(session: nox.Session) -> None:
    """Write release-notes.md from the changelog, for a tag: ``nox -s release_notes -- v0.1.0``."""
    install(session)
    session.run("python", "-m", "website.release", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Start a real RivetKit server and use it, on both backends."""
    install(session, "servers")
    session.install("anyio[trio]")
    session.run("python", "-m", "examples.demo", *session.posargs)


@nox.session
def gaps(session: nox.Session) -> None:
    """Lose a thousand connections beside another one, and look for events outside of gaps."""
    install(session, "test")
    session.run(
        "pytest",
        "tests/real/test_subscriptions.py",
        "--gap-losses=1000",
        "--timeout=3600",
        *session.posargs,
    )


@nox.session
def crowd(session: nox.Session) -> None:
    """A feed of a thousand actors, in memory and on a real server: memory, time, handshakes."""
    install(session, "test")
    for backend in ("asyncio", "trio"):  # memory is measured in a fresh process
        command = ("pytest", "-s", "--crowd=1000", "-k", backend, "tests/watch/test_crowd.py")
        session.run(*command, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """The tests with faults, for many seeds: ``nox -s faults -- --fault-runs 50``."""
    install(session, "test")
    more = ["--fault-runs=10", "--faults=200", "--reconnects=1000", "--cut-every=1", "--all-kills"]
    session.run("pytest", "tests/faults", *more, *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Weeks of losses in simulated time: ``nox -s simulate -- --seeds 100 --start 1000``."""
    install(session, "test")
    session.run("python", "-m", "tests.simulation", *session.posargs)


@nox.session
def mutations(session: nox.Session) -> None:
    """Put bugs into copies of the package, and look whether they are found: ``-- --only pool``."""
    install(session, "test")
    session.run("python", "-m", "tests.mutations", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Events and actions through random faults: ``nox -s soak -- --minutes 60 --backend trio``."""
    install(session, "test")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside the peers: all, `--quick`, or workloads by name."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)
