"""A TypeScript project as users have them: RivetKit of some version, and TypeScript."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tests.servers import install
from tests.servers._install import InstallError, _cache
from tests.servers._node import npm

TYPESCRIPT = "5.9.3"


def make_project(directory: Path, version: str) -> Path:
    """Make `directory` a project with everything installed, and return it."""
    modules = directory / "node_modules"
    modules.mkdir()
    for package in (install(version) / "node_modules").iterdir():
        (modules / package.name).symlink_to(package)
    if not (modules / "typescript").exists():
        (modules / "typescript").symlink_to(_typescript())
    return directory


def make_small_project(directory: Path) -> Path:
    """Make `directory` a project with TypeScript alone, and little of that."""
    (directory / "node_modules").mkdir()
    (directory / "node_modules" / "typescript").symlink_to(_typescript())
    options = {"compilerOptions": {"lib": ["es2022"], "types": []}}
    (directory / "tsconfig.json").write_text(json.dumps(options))
    return directory


def add(directory: Path, *files: Path) -> None:
    """Copy files into a project."""
    for file in files:
        shutil.copyfile(file, directory / file.name)


def _typescript() -> Path:
    target = _cache() / f"typescript-{TYPESCRIPT}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as scratch:
            staging = Path(scratch) / "staging"
            staging.mkdir()
            manifest = {"private": True, "dependencies": {"typescript": TYPESCRIPT}}
            (staging / "package.json").write_text(json.dumps(manifest))
            done = npm(["install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=staging)
            if done.returncode != 0:
                raise InstallError(f"npm could not install TypeScript:\n{done.stdout}")
            try:
                staging.rename(target)
            except OSError:
                # Another run was faster.
                if not target.is_dir():
                    raise
    return target / "node_modules" / "typescript"
