"""``stubs``; what it writes is tested in tests/stubs."""

from __future__ import annotations

from pathlib import Path

from .running import Cli


def test_from_the_server(cli: Cli, tmp_path: Path) -> None:
    source = cli("stubs").out
    assert 'class ChatRoom(TypedActor, name="chatRoom"):' in source
    assert cli("stubs", "--to", str(tmp_path / "actors.py")).out == ""
    assert (tmp_path / "actors.py").read_text("utf-8") == source
    assert cli("stubs", "-o", "json").lines == [{"source": source}]
    compile(source, "actors.py", "exec")


def test_from_typescript_that_is_missing(tmp_path: Path) -> None:
    result = Cli()("stubs", str(tmp_path / "registry.ts"), code=2)
    assert result.err.startswith("error: ") and "registry.ts" in result.err
    assert "REGISTRY.TS" in Cli()("stubs", "--export", "x", code=2).err


def test_from_typescript(tmp_path: Path) -> None:
    """The command passes on what the library makes of a registry; here Node.js is played."""
    registry = tmp_path / "registry.ts"
    registry.write_text("")
    node = tmp_path / "node"
    node.write_text('#!/bin/sh\necho "played: $3" >&2\nexit 1\n')
    node.chmod(0o755)
    result = Cli()("stubs", str(registry), "--node", str(node), "--export", "shop", code=2)
    assert result.err == "error: played: shop\n"
