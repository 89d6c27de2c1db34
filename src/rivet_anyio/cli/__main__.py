"""``python -m rivet_anyio.cli``."""

from . import main

main()
