"""The built site, which ``nox -s docs`` makes and names by RIVET_ANYIO_SITE."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def site() -> Path:
    given = os.environ.get("RIVET_ANYIO_SITE")
    if given is None:
        pytest.skip("the site is not built: nox -s docs")
    return ROOT / given
