"""The page of `examples.live_page`, in a browser, over a restart of the server behind it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import Server, call, start_server

from .browser import browser, require_chromium

ROOT = Path(__file__).parent.parent


@contextmanager
def running_app(server: Server) -> Iterator[str]:
    """The application in a process of its own; its URL."""
    environment = {name: v for name, v in os.environ.items() if not name.startswith("RIVET_")}
    options = ["--port", "0", "--timeout-graceful-shutdown", "1"]
    app = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "examples.live_page:app", *options],
        cwd=ROOT,
        env={**environment, "RIVET_ENDPOINT": server.endpoint},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert app.stderr is not None
        said = ""
        for line in app.stderr:
            said += line
            if found := re.search(r"running on (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail(said)
    finally:
        app.terminate()
        app.communicate()


@pytest.mark.timeout(600)
def test_a_browser_follows_an_actor(tmp_path: Path) -> None:
    require_chromium()
    with (
        start_server("2.2.1") as server,
        running_app(server) as url,
        browser(str(tmp_path)) as page,
    ):
        page.open(url)
        page.until_shown("#count", "0")
        page.click("button")
        page.until_shown("#count", "1")

        server.stop()
        server.start()
        assert call(server.port, "counter", "live-page", "increment", 10) == 11
        page.until_shown("#count", "11")
        page.click("button")
        page.until_shown("#count", "12")
