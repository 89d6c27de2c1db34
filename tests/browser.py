"""A headless Chromium, driven by plain WebDriver over HTTP."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

__all__ = ["Browser", "browser", "require_chromium"]

_PROGRAMS = ("chromium", "chromedriver")
_PACKAGES = ("chromium", "chromium-driver")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_SECONDS = 60

# Resolves when the page shows the text, however it comes to.
_UNTIL_SHOWN = """
const [selector, text, done] = arguments;
const check = () => document.querySelector(selector)?.textContent === text && done(true);
new MutationObserver(check).observe(
    document, {subtree: true, childList: true, characterData: true});
check();
"""


def require_chromium() -> None:
    """Install Debian's Chromium where that is possible; else skip the test."""
    if all(shutil.which(program) for program in _PROGRAMS):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        pytest.skip("Chromium is not installed, and only root can install it, with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *_PACKAGES]):
        done = subprocess.run(
            ["apt-get", "-q", "-o", "Acquire::Retries=3", *command],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


class Browser:
    """One window."""

    def __init__(self, client: httpx.Client, session: str) -> None:
        self._client = client
        self._session = session

    def open(self, url: str) -> None:
        self._post("url", {"url": url})

    def click(self, selector: str) -> None:
        self._run("sync", "document.querySelector(arguments[0]).click()", selector)

    def until_shown(self, selector: str, text: str) -> None:
        """Wait until the element's text is this."""
        assert self._run("async", _UNTIL_SHOWN, selector, text) is True

    def resize(self, width: int, height: int) -> None:
        """Make the page so wide and high, narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._post(
            "goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        )

    def run_async(self, script: str, *args: str) -> Any:
        """Run a script in the page, and wait until it calls the last of its arguments."""
        return self._run("async", script, *args)

    def screenshot(self) -> bytes:
        """What is seen now, as PNG."""
        answer = self._client.get(f"{self._session}/screenshot")
        assert answer.is_success, answer.text
        return base64.b64decode(answer.json()["value"])

    def _run(self, how: str, script: str, *args: str) -> Any:
        return self._post(f"execute/{how}", {"script": script, "args": list(args)})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._client.post(f"{self._session}/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]


@contextmanager
def browser(profile: str) -> Generator[Browser]:
    """A browser with a fresh profile in this empty directory, as long as the block lasts."""
    # Its own process group: Chromium has many processes.
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        with httpx.Client(base_url=_url(driver), timeout=2 * _SECONDS, trust_env=False) as client:
            options = {"args": [*_OPTIONS, f"--user-data-dir={profile}"]}
            answer = client.post(
                "/session",
                json={
                    "capabilities": {
                        "alwaysMatch": {
                            "goog:chromeOptions": options,
                            "timeouts": {"script": _SECONDS * 1000},
                        }
                    }
                },
            )
            assert answer.is_success, answer.text
            session = f"/session/{answer.json()['value']['sessionId']}"
            try:
                yield Browser(client, session)
            finally:
                client.delete(session)
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        assert driver.stdout is not None
        driver.stdout.close()


def _url(driver: subprocess.Popen[str]) -> str:
    assert driver.stdout is not None
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return f"http://127.0.0.1:{found[1]}"
    raise RuntimeError("chromedriver did not start")
