"""What a package index shows: links of README.md that work there, and where the project lives.

The repository's URL is not in the source: ``REPO_URL=https://... python -m build`` puts it
into the metadata. Without it, links to files of the repository are left out of the description.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")


class CustomMetadataHook(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling."""
        root = Path(self.root)
        url = os.environ.get("REPO_URL", "").rstrip("/")
        text = (root / "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": described(text, url)}
        if url:
            metadata["urls"] = urls(url, os.environ.get("SITE_URL", ""))


def described(text: str, url: str) -> str:
    """The README with absolute links to the repository at this URL; "" leaves their words only."""
    return _LINK.sub(rf"[\1]({url}/blob/main/\2)" if url else r"\1", text)


def urls(url: str, site: str) -> dict[str, str]:
    """The project's URLs, by the names that package indexes know."""
    found = {
        "Source": url,
        "Issues": f"{url}/issues",
        "Changelog": f"{url}/blob/main/CHANGELOG.md",
    }
    return {"Documentation": site, **found} if site else found
