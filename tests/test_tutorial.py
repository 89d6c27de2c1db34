"""The programs of docs/tutorial.md, run in processes of their own as the page says."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers._ports import reserve_port

from .test_docs import ROOT, blocks_of

TUTORIAL = ROOT / "docs" / "tutorial.md"
SECONDS = 90
"""More than the longest delay before a reconnect."""


class DevServer:
    """``rivet-anyio dev actors.py``, as a page says, at a port of its own."""

    def __init__(self, page: Path, directory: Path, port: int) -> None:
        actors = next(block for block in blocks_of(page) if block.title == "actors.py")
        # A directory of its own: the server starts anew when a file beside it changes.
        self._file = directory / "server" / "actors.py"
        self._file.parent.mkdir()
        self._file.write_text(actors.text, "utf-8")
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = ["dev", str(self._file), "--port", str(self.port), "-o", "json"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rivet_anyio.cli", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if self.endpoint in line:
                return
        raise AssertionError("it has not started")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=SECONDS)
            self._process = None


@contextmanager
def dev_server(page: Path, directory: Path) -> Iterator[DevServer]:
    with reserve_port() as port:
        server = DevServer(page, directory, port.number)
        try:
            server.start()
            yield server
        finally:
            server.stop()


class Terminal:
    """A program, its keyboard and its screen."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, expected: str) -> list[str]:
        """What it shows until this line, which is the last one."""
        seen: list[str] = []
        while not seen or seen[-1] != expected:
            try:
                line = self._lines.get(timeout=SECONDS)
            except queue.Empty:
                line = None
            assert line is not None, f"no {expected!r}, but {seen}"
            seen.append(line)
        return seen

    def close(self) -> int:
        """End its input, as Ctrl-D does; its exit status."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            return self.process.wait(SECONDS)
        finally:
            self.process.kill()
            self._reader.join()
            self.process.stdout.close()


class Desk:
    """Where the programs of the page are run."""

    def __init__(self, server: DevServer, directory: Path) -> None:
        self.server = server
        self._directory = directory
        self.environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith("RIVET_")},
            "RIVET_ENDPOINT": server.endpoint,
        }

    @contextmanager
    def running(self, program: str, *arguments: str) -> Iterator[Terminal]:
        terminal = Terminal(
            subprocess.Popen(
                [sys.executable, "-u", self._saved(program), *arguments],
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        try:
            yield terminal
        finally:
            terminal.close()

    def output(self, program: str, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, self._saved(program), *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=True,
        ).stdout

    def _saved(self, program: str) -> str:
        # Each run has a file of its own: the one before may still have to read it.
        path = Path(tempfile.mkdtemp(dir=self._directory)) / "chat.py"
        path.write_text(program, "utf-8")
        return str(path)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with dev_server(TUTORIAL, tmp_path) as server:
        yield Desk(server, tmp_path)


def test_the_first_screen_of_the_readme_and_of_the_site(tmp_path: Path) -> None:
    """The ten lines of client against the ten lines of actors; both pages begin the same."""
    readme, home = (ROOT / "README.md", ROOT / "docs" / "index.md")
    first = [block for block in blocks_of(readme) if block.title is not None]
    assert [block.title for block in first] == ["actors.py", "client.py"]
    assert [block.text for block in first] == [
        block.text for block in blocks_of(home) if block.title is not None
    ]
    printed = next(block.text for block in blocks_of(readme) if block.language == "text")
    with dev_server(readme, tmp_path) as server:
        assert Desk(server, tmp_path).output(first[1].text) == printed


@pytest.mark.timeout(600)
def test_the_tutorial(desk: Desk) -> None:
    blocks = blocks_of(TUTORIAL)
    steps = [index for index, block in enumerate(blocks) if block.title == "chat.py"]
    send, history, hear, chat = (blocks[index].text for index in steps)
    assert chat.count("\n") < 60

    assert desk.output(send) == blocks[steps[0] + 1].text
    assert desk.output(history, "alice") == blocks[steps[1] + 1].text

    with desk.running(hear, "bob") as bob:
        bob.until("alice: I am here")
        desk.output(history, "carol")
        bob.until("carol: I am here")
        bob.process.terminate()

    with desk.running(chat, "alice") as alice, desk.running(chat, "bob") as bob:
        for terminal in (alice, bob):
            terminal.until("* connected")
        alice.type("hello bob")
        for terminal in (alice, bob):
            terminal.until("alice: hello bob")
        bob.type("hello alice")
        alice.until("bob: hello alice")

        desk.server.stop()
        for terminal in (alice, bob):
            terminal.until("* disconnected")
        desk.server.start()
        for terminal in (alice, bob):
            seen = terminal.until("* connected")
            assert "* connecting" in seen
            # Two tasks tell of it, in any order.
            if "* you may have missed something" not in seen:
                terminal.until("* you may have missed something")
        # What another connection sends may overtake a subscription. A message that was sent after
        # it on the same connection proves it.
        for terminal, name in ((alice, "alice"), (bob, "bob")):
            terminal.type("back again")
            terminal.until(f"{name}: back again")
        alice.type("still there?")
        bob.until("alice: still there?")
        assert alice.close() == 0
        bob.type("bye")
        bob.until("bob: bye")


def test_the_actor_on_the_page_is_the_one_that_runs() -> None:
    page = next(
        block.text for block in blocks_of(ROOT / "docs" / "actors.md") if block.language == "js"
    )
    source = (ROOT / "tests" / "servers" / "actors.mjs").read_text("utf-8")
    body = page[page.index("actions: {") :].partition("});")[0]
    assert "".join(body.split()) in "".join(source.split())
