"""Runs the TypeScript compiler of the user's project over a registry."""

from __future__ import annotations

import importlib.resources
import shutil
import subprocess
from pathlib import Path

import msgspec

from .._errors import ConfigError
from ._description import RegistryShape

__all__ = ["describe_typescript"]

_SCRIPT = "describe.mjs"


def describe_typescript(
    path: Path, *, export: str | None, node: str | None, timeout: float
) -> RegistryShape:
    """What TypeScript knows of a registry.

    Raises:
        ConfigError: Node.js, TypeScript or the registry is missing, or the program is another; the
            message says which.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    program = node or shutil.which("node")
    if program is None:
        raise ConfigError("reading a TypeScript registry needs Node.js: there is no program node")
    package = importlib.resources.files("rivet_anyio.stubs")
    with importlib.resources.as_file(package / _SCRIPT) as script:
        command = [program, str(script), str(path.resolve()), *([export] if export else [])]
        try:
            done = subprocess.run(
                command,
                cwd=path.resolve().parent,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except OSError as exc:
            raise ConfigError(f"{program} cannot be run: {exc}") from exc
        except subprocess.TimeoutExpired as exc:
            raise ConfigError(f"TypeScript was not done with {path} in {timeout:g} s") from exc
    if done.returncode != 0:
        raise ConfigError(done.stderr.decode(errors="replace").strip() or f"{program} failed")
    try:
        return msgspec.json.decode(done.stdout, type=RegistryShape)
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"{program} wrote no description of {path}: is it Node.js?") from exc
