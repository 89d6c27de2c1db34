"""Add the newest RivetKit on npm to the servers: ``python -m tests.servers.newest`` prints it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ._node import npm
from ._versions import SOURCES, VERSIONS


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        done = npm(["view", "rivetkit", "version"], cwd=Path(directory))
    *_, version = done.stdout.split() or [""]  # npm's warnings come first
    if done.returncode != 0 or not version.replace(".", "").isdigit():
        raise SystemExit(done.stdout)
    if version not in VERSIONS:
        manifest = json.loads((SOURCES / f"v{VERSIONS[-1]}" / "package.json").read_text("utf-8"))
        manifest["dependencies"]["rivetkit"] = version
        target = SOURCES / f"v{version}"
        target.mkdir()
        (target / "package.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    print(version)


if __name__ == "__main__":
    main()
