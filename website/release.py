"""What the changelog says of a version: ``python -m website.release v0.1.0`` writes it to a file.

It fails unless the tag is the package's version and the changelog has its date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import rivet_anyio

ROOT = Path(__file__).parent.parent


def notes_of(tag: str, version: str, changelog: str) -> str:
    """The section of this tag.

    Raises:
        ValueError: the tag is another version's, or the changelog has no dated section of it.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag {tag} is not v{version}, the version of the package")
    heading = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n(.*?)(?=^## |\Z)"
    section = re.search(heading, changelog, re.M | re.S)
    if section is None:
        raise ValueError(f"CHANGELOG.md needs a heading '## {version} (YYYY-MM-DD)'")
    return section[1].strip() + "\n"


def main(tag: str) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    notes = notes_of(tag, rivet_anyio.__version__, changelog)
    (ROOT / "release-notes.md").write_text(notes, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
