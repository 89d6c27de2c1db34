"""The RivetKit versions there are servers for, and where their files are."""

from pathlib import Path

VERSIONS = ("2.0.33", "2.1.3", "2.2.1", "2.3.11", "2.3.17", "2.3.18", "2.3.19")

# Those of every run of the tests: one of each kind, and the newest.
CHECKED = ("2.0.33", "2.1.3", "2.2.1", "2.3.19")

SOURCES = Path(__file__).parent

_PROGRAMS = {
    "2.0": "start-2.0.mjs",
    "2.1": "start-2.1.mjs",
    "2.2": "start-2.1.mjs",
    "2.3": "start-2.3.mjs",
}


def sources(version: str) -> Path:
    """The directory with what only this version needs: its packages."""
    if version not in VERSIONS:
        raise ValueError(f"no server for RivetKit {version}, only for {', '.join(VERSIONS)}")
    return SOURCES / f"v{version}"


def program(version: str) -> str:
    """The name of the program that starts a server of this version."""
    return _PROGRAMS[version.rpartition(".")[0]]
