"""The command ``rivet-anyio``; what it does is in docs/cli.md."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ._exit import Exit

__all__ = ["main"]


def main() -> None:
    """Run the command and exit with its code."""
    if find_spec("click") is None or find_spec("rich") is None:
        print(
            "rivet-anyio: the command line needs more packages: pip install 'rivet-anyio[cli]'",
            file=sys.stderr,
        )
        sys.exit(Exit.NOT_INSTALLED)
    try:
        from ._app import run_app

        code = run_app()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    sys.exit(code)
