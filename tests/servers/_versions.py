"""The RivetKit versions there are servers for, and where their files are."""

from pathlib import Path

VERSIONS = ("2.0.33", "2.2.1", "2.3.19")

SOURCES = Path(__file__).parent


def sources(version: str) -> Path:
    """The directory with what only this version needs."""
    if version not in VERSIONS:
        raise ValueError(f"no server for RivetKit {version}, only for {', '.join(VERSIONS)}")
    return SOURCES / f"v{version}"
