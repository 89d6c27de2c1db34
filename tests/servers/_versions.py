"""The RivetKit versions there are servers for, and where their files are."""

from pathlib import Path

SOURCES = Path(__file__).parent


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


VERSIONS = tuple(sorted((path.name[1:] for path in SOURCES.glob("v[0-9]*")), key=_numbers))

# Those of every run of the tests: one of each kind, and the newest.
CHECKED = ("2.0.33", "2.1.3", "2.2.1", "2.3.19")

_PROGRAMS = {
    "2.0": "start-2.0.mjs",
    "2.1": "start-2.1.mjs",
    "2.2": "start-2.1.mjs",
    "2.3": "start-2.3.mjs",
}
NEWEST = "start-2.3.mjs"
"""How versions are started that are newer than any that was tried."""


def sources(version: str) -> Path:
    """The directory with what only this version needs: its packages."""
    if version not in VERSIONS:
        raise ValueError(f"no server for RivetKit {version}, only for {', '.join(VERSIONS)}")
    return SOURCES / f"v{version}"


def program(version: str) -> str:
    """The name of the program that starts a server of this version."""
    return _PROGRAMS.get(version.rpartition(".")[0], NEWEST)
