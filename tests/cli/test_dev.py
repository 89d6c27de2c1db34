"""``dev``: actors of a file, on a port, anew when the file changes."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import signal
import socket
from pathlib import Path

import anyio
import pytest

from rivet_anyio.cli._dev.reload import _concerns
from rivet_anyio.cli._dev.serve import _keep_loaded, _print, _write_loaded
from rivet_anyio.cli._options import Format
from rivet_anyio.cli._output import Output
from rivet_anyio.testing import run_virtual
from rivet_anyio.testing._records import ActorRef, Requested, SocketOpened
from tests.servers._ports import reserve_port

from .running import PATIENCE, Cli, Running

ACTORS = """
from rivet_anyio.testing import Actor

class ChatRoom(Actor):
    async def greet(self, name):
        self.context.broadcast("said", name)
        return "hello, " + name
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rooms.py"
    path.write_text(ACTORS)
    return path


def endpoint(run: Running, count: int = 1) -> str:
    """Where the server listens, once it has started so often."""
    run.until(lambda: len(re.findall(r" at http://\S+\n", run.err)) >= count)
    return str(re.findall(r" at (http://\S+)\n", run.err)[-1])


def test_serves_and_reloads(file: Path) -> None:
    # Nobody else may take the port while one server ends and the next one starts.
    with (
        reserve_port() as port,
        Cli().background("dev", str(file), "--port", str(port.number)) as run,
    ):
        cli = Cli(RIVET_ENDPOINT=endpoint(run))
        assert cli("list").out == "chatRoom\n"
        assert cli("call", "-c", "chatRoom/a", "greet", "ann").out == '"hello, ann"\n'
        run.until(lambda: '"ActionCalled"' in run.out)
        file.write_text(ACTORS.replace("hello", "good day"))
        assert endpoint(run, 2) == cli.environment["RIVET_ENDPOINT"]
        assert cli("call", "-c", "chatRoom/a", "greet", "ann").out == '"good day, ann"\n'
        file.write_text("oops oops")
        run.until(lambda: "waiting for a change" in run.err)
        assert "SyntaxError" in run.err and "importlib" not in run.err
        file.write_text(ACTORS)
        endpoint(run, 3)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(PATIENCE) == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(
            ("127.0.0.1", int(cli.environment["RIVET_ENDPOINT"].rpartition(":")[2]))
        )


def test_waits_for_a_file_that_was_removed(file: Path) -> None:
    """As an editor or a checkout of another branch does for a moment."""
    with (
        reserve_port() as port,
        Cli().background("dev", str(file), "--port", str(port.number)) as run,
    ):
        cli = Cli(RIVET_ENDPOINT=endpoint(run))
        file.unlink()
        run.until(lambda: "waiting for a change" in run.err)
        assert f"there is no file {file}" in run.err
        file.write_text(ACTORS)
        assert endpoint(run, 2) == cli.environment["RIVET_ENDPOINT"]
        assert cli("list").out == "chatRoom\n"
        assert run.end(signal.SIGINT).code == 130


def test_only_files_that_it_loaded_start_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's program beside the actors is none of them; what an action imports later is."""
    loaded = tmp_path / "loaded"
    names = ("rivet_early", "rivet_late", "rivet_client")
    early, late, client = (tmp_path / f"{name}.py" for name in names)
    for path in (early, late, client):
        path.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("rivet_early")
    assert _concerns(loaded, {str(client)}) and not _concerns(loaded, set())
    _write_loaded(loaded)
    assert _concerns(loaded, {str(client), str(early)})
    assert not _concerns(loaded, {str(late), str(client)})

    async def main() -> None:
        with anyio.move_on_after(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_keep_loaded, loaded)
                await anyio.sleep(1)
                importlib.import_module("rivet_late")

    run_virtual(main)
    assert _concerns(loaded, {str(late)}) and not _concerns(loaded, {str(client)})


def test_doctor_likes_it(file: Path) -> None:
    with Cli().background("dev", str(file), "-p", "0", "--no-reload", "--version", "2.2") as run:
        url = endpoint(run)
        result = Cli()("doctor", "-e", url, "-c", "chatRoom/a")
        assert {line["verdict"] for line in result.lines} == {"ok"}, result
        assert run.end(signal.SIGTERM).code == 143


def test_server_ends_with_its_parent(file: Path) -> None:
    with Cli().background("dev", str(file), "--port", "0") as run:
        port = int(endpoint(run).rpartition(":")[2])
        run.process.kill()
        # The server holds the other ends of these pipes until it is gone.
        assert run.end().code == -signal.SIGKILL
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.parametrize("format", ["json", "text"])
async def test_secrets_in_queries_are_not_printed(
    format: Format, capfd: pytest.CaptureFixture[str]
) -> None:
    actor, path = ActorRef("web", ("a",), "id"), "/chat?token=s3cr3t&page=2&params=s3cr3t"
    for record in (Requested(0.0, actor, "GET", path, b""), SocketOpened(0.0, actor, "c", path)):
        await _print(Output(format), record)
        shown = capfd.readouterr().out
        assert type(record).__name__ in shown and "/chat?token=***&page=2&params=***" in shown
        assert "s3cr3t" not in shown


def test_module_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "actors.py").write_text(
        ACTORS + 'actors = {"room-1": ChatRoom, "room-2": ChatRoom}\n'
    )
    monkeypatch.chdir(tmp_path)
    with Cli().background("dev", "shop.actors", "-p", "0", "--no-reload", "-o", "json") as run:
        run.until(lambda: "endpoint" in run.err)
        assert '"actors":["room-1","room-2"]' in run.err
        assert run.end(signal.SIGINT).code == 130


def test_files_that_are_named_like_modules_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lies beside the actors is no matter; the actors' own file cannot be imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text(ACTORS)
    (tmp_path / "rooms.py").write_text(ACTORS)
    with Cli().background("dev", "rooms.py", "-p", "0") as run:
        endpoint(run)
        assert run.end(signal.SIGINT).code == 130
    result = Cli()("dev", "json.py", "-p", "0", "--no-reload", code=1)
    assert "json.py cannot be loaded: its name is that of another module, " in result.err
    assert str(Path(json.__file__)) in result.err


def test_nothing_to_serve_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its reload, too: it does not wait for a file that nobody writes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.py").write_text(ACTORS)
    cli = Cli()
    assert "there is no file none.py" in cli("dev", "none.py", code=2).err
    assert "there is no file and no module none.actors" in cli("dev", "none.actors", code=2).err
    assert "no module lib/shop" in cli("dev", "lib/shop", code=2).err
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "shop.py").write_text(ACTORS)
    assert "write lib/shop.py" in cli("dev", "lib/shop", code=2).err
    for directory in (".", "..", "/"):
        assert "it is a directory" in cli("dev", directory, code=2).err
    (tmp_path / "hall").write_text(ACTORS)
    assert "hall: the name of a Python file ends with .py" in cli("dev", "hall", code=2).err


def test_what_no_change_of_a_file_mends_ends_the_command(file: Path) -> None:
    # A server that reloads runs in a process of its own, and writes to this one's stderr.
    cli = Cli().child
    assert "2.2" in cli("dev", str(file), "-p", "0", "--version", "1.0", code=2).err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = cli("dev", str(file), "-p", port, code=1)
    assert f"another program listens on port {port}" in result.err and "--port" in result.err


def test_what_cannot_be_served(tmp_path: Path) -> None:
    cli = Cli()
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert "no class" in cli("dev", str(tmp_path / "empty.py"), "--no-reload", code=1).err
    (tmp_path / "list.py").write_text("actors = [1]\n")
    result = cli("dev", str(tmp_path / "list.py"), "--no-reload", code=1)
    assert "its actors is [1]: write a mapping of names to classes" in result.err
    (tmp_path / "exits.py").write_text("import sys\nsys.exit('no server today')\n")
    result = cli("dev", str(tmp_path / "exits.py"), "--no-reload", code=1)
    assert "exits.py cannot be loaded: it ends the program" in result.err
    assert "no server today" in result.err
    (tmp_path / "actors.py").write_text(ACTORS)
    actors = str(tmp_path / "actors.py")
    assert "2.2" in cli("dev", actors, "--no-reload", "--version", "1.0", code=2).err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = cli("dev", actors, "--no-reload", "-p", port, code=1)
    assert os.strerror(errno.EADDRINUSE).lower() in result.err.lower()
