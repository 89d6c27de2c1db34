"""The harness against the servers it plays: by one script, and by RivetKit's own clients."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest

from rivet_anyio import Client
from rivet_anyio.protocol.codec import Encoding
from rivet_anyio.testing import ActorServer
from tests.servers import CHECKED, Server, install, start_server
from tests.servers._node import node

from .actors import ACTORS, LONG
from .script import Transcript, play

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
PATIENCE = 90


@pytest.fixture(scope="module", params=CHECKED)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_server(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The actors fail on purpose."""
    caplog.set_level(logging.CRITICAL + 1, "rivet_anyio")


def minor_of(version: str) -> int:
    return int(version.split(".")[1])


@pytest.fixture(scope="module")
def real(server: Server) -> dict[str, list[tuple[str, Any]]]:
    """What a real server says to the script, in every encoding, all at once to save time."""
    transcripts = {encoding: Transcript() for encoding in ENCODINGS}

    async def run(encoding: Encoding) -> None:
        async with Client(server.endpoint, encoding=encoding) as client:
            minor = minor_of(server.version)
            await play(client, transcripts[encoding], encoding, minor=minor)

    async def main() -> None:
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as tasks:
                for encoding in ENCODINGS:
                    tasks.start_soon(run, encoding)

    anyio.run(main)
    return {encoding: transcript.lines for encoding, transcript in transcripts.items()}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_the_script(
    server: Server, real: dict[str, list[tuple[str, Any]]], encoding: Encoding
) -> None:
    script = Transcript()
    with anyio.fail_after(PATIENCE):
        async with (
            ActorServer(ACTORS, version=server.version, **LONG) as harness,
            harness.client(encoding=encoding) as client,
        ):
            await play(client, script, encoding, minor=minor_of(server.version))
    assert len(script.lines) > 95
    assert [name for name, _ in script.lines] == [name for name, _ in real[encoding]]
    for ours, theirs in zip(script.lines, real[encoding], strict=True):
        assert exactly(ours) == exactly(theirs)


def exactly(value: Any) -> Any:
    """The value with the types of everything in it, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (type(value), [exactly(item) for item in value])
    return (type(value), value)


@cache
def what_rivetkit_says(version: str, endpoint: str, encoding: str) -> list[Any]:
    """The steps of clients.mjs, run by node with that version's own client."""
    with tempfile.TemporaryDirectory() as directory:
        shutil.copy(Path(__file__).parent / "clients.mjs", directory)
        (Path(directory) / "node_modules").symlink_to(install(version) / "node_modules")
        done = subprocess.run(
            [str(node()), "clients.mjs", endpoint, encoding, version],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    # RivetKit logs to stdout, too.
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return [without_ids(json.loads(line)) for line in lines]


def without_ids(step: Any) -> Any:
    """A step whose metadata, and on a busy engine also its code, are not always the same."""
    if step[0] == "create twice":
        step[1]["error"][1:] = []
    return step


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_rivetkits_own_client(server: Server, encoding: str) -> None:
    """It finds no difference. (2.0.33 chokes on its own server's "nothing" in JSON: hence bare.)"""
    version = server.version
    theirs = await anyio.to_thread.run_sync(what_rivetkit_says, version, server.endpoint, "bare")
    assert len(theirs) > 50
    server_here = ActorServer(ACTORS, version=version, **LONG)
    async with server_here as harness, harness.listen() as endpoint:
        ours = await anyio.to_thread.run_sync(what_rivetkit_says, version, endpoint, encoding)
    assert ours == theirs
