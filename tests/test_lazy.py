"""What an import brings along: modules, not time, so that a busy machine does not matter."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(code: str, *, beside: str = "pass") -> set[str]:
    """The modules that are loaded by one piece of code and not by the other."""
    program = f"""
import sys
{beside}
before = set(sys.modules)
{code}
print("\\n".join(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_the_package_alone_brings_nothing() -> None:
    ours = {name for name in loaded_by("import rivet_anyio") if name.startswith("rivet_anyio")}
    assert ours == {"rivet_anyio", "rivet_anyio._version"}
    assert "anyio" not in loaded_by("import rivet_anyio")


def test_a_client_brings_what_every_program_uses() -> None:
    """What only some use is imported by them: httpx by `fetch`, h11 by heads that are not plain."""
    found = loaded_by("from rivet_anyio import Client; Client()", beside="import anyio, asyncio")
    theirs = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
    assert theirs <= {"rivet_anyio", "anyio", "msgspec", "cbor2", "sniffio", "typing_extensions"}
    heavy = {"importlib.metadata", "email", "http", "urllib.request", "zipfile", "tempfile"}
    assert not found & (heavy | {"anyio.streams.memory", "rivet_anyio.cli", "rivet_anyio.testing"})


@pytest.mark.parametrize("arguments", ["--help", "call --help", "--version"])
def test_help_brings_no_client(arguments: str) -> None:
    code = f"""
from rivet_anyio.cli._app import app
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()):
    app.main({arguments.split()!r}, standalone_mode=False)
"""
    found = loaded_by(code)
    assert not found & {"asyncio", "msgspec", "rivet_anyio._client", "rivet_anyio._handle"}
    assert "ssl" not in found - loaded_by("import anyio")  # which some versions of AnyIO import
