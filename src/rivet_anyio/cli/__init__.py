"""The command ``rivet-anyio``; what it does is in docs/cli.md."""

from __future__ import annotations

import sys

__all__ = ["main"]

_INTERRUPTED = 130
"""`Exit.INTERRUPTED`: Ctrl-C may come before that is imported."""


def main() -> None:
    """Run the command and exit with its code."""
    try:
        code = _run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _run() -> int:
    from importlib.util import find_spec

    from ._exit import Exit

    if find_spec("click") is None or find_spec("rich") is None:
        print(
            "rivet-anyio: the command line needs more packages: pip install 'rivet-anyio[cli]'",
            file=sys.stderr,
        )
        return Exit.NOT_INSTALLED
    from ._app import run_app

    return run_app()
