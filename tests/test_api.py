"""The public surface changes only on purpose."""

import difflib

from .api import SNAPSHOT, public_modules, surface


def test_the_public_surface_is_the_announced_one() -> None:
    announced, found = SNAPSHOT.read_text("utf-8"), surface()
    changes = difflib.unified_diff(
        announced.splitlines(), found.splitlines(), "tests/api.txt", "the code", lineterm=""
    )
    assert found == announced, (
        "the public surface has changed; if that is meant, say so in CHANGELOG.md and run "
        "`python -m tests.api`:\n" + "\n".join(changes)
    )


def test_public_names_are_in_order() -> None:
    for module in public_modules():
        names = module.__all__
        assert len(set(names)) == len(names), module.__name__
        for name in names:
            assert hasattr(module, name), f"{module.__name__}.{name}"
