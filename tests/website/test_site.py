"""The built site: every link inside it leads somewhere, and it can be read on a telephone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.browser import browser, require_chromium
from tests.test_signatures import internal

WIDTHS = {"phone": 390, "desktop": 1280}
HEIGHT = 900


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is not None and name in ("href", "src"):
                self.links.append(value)
            elif value is not None and name in ("id", "name"):
                self.anchors.add(value)


def pages_of(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}


def test_links_lead_somewhere(site: Path) -> None:
    pages = pages_of(site)
    assert len(pages) > 30
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links begin at the root of wherever the site is served
        for link in page.links:
            address, anchor = urldefrag(link)
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            target = path if not address else (path.parent / unquote(address)).resolve()
            if target.is_dir():
                target /= "index.html"
            found = target.is_file() and (
                not anchor or target not in pages or unquote(anchor) in pages[target].anchors
            )
            if not found:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_the_reference_shows_no_internals(site: Path) -> None:
    anchors = {
        anchor
        for path, page in pages_of(site).items()
        if path.parent.parent.name == "reference"
        for anchor in page.anchors
        if anchor.startswith("rivet_anyio")
    }
    assert "rivet_anyio.Client.get_or_create" in anchors
    assert "rivet_anyio.types.Observer" in anchors
    shown = {".".join(anchor.split(".")[-2:]) for anchor in anchors}
    assert not shown & internal()
    assert not [anchor for anchor in anchors if any(p.startswith("_") for p in anchor.split("."))]


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def served(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Wider than the window: what would have to be scrolled sideways. Boxes that scroll are fine.
_LOOK = """
const [done] = arguments;
const look = () => {
  const diagrams = [...document.querySelectorAll(".mermaid")];
  const origin = location.origin;
  return {
    excess: document.scrollingElement.scrollWidth - window.innerWidth,
    drawn: diagrams.filter((d) => d.tagName === "DIV" && d.offsetHeight > 50).length,
    diagrams: diagrams.length,
    foreign: performance.getEntriesByType("resource").map((e) => e.name)
      .filter((name) => !name.startsWith(origin) && !name.startsWith("data:")),
  };
};
const start = performance.now();
const check = () => {
  const seen = look();
  if (seen.drawn === seen.diagrams || performance.now() - start > 20000) done(seen);
  else setTimeout(check, 50);
};
check();
"""


@pytest.mark.timeout(900)
def test_pages_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Nothing is cut off at 390 px, diagrams are drawn, and nobody else is asked for anything.

    Screenshots go to the directory that RIVET_ANYIO_SCREENSHOTS names.
    """
    require_chromium()
    target = Path(os.environ.get("RIVET_ANYIO_SCREENSHOTS", tmp_path / "screenshots"))
    target.mkdir(parents=True, exist_ok=True)
    wrong = []
    with served(site) as url, browser(str(tmp_path / "profile")) as window:
        for device, width in WIDTHS.items():
            window.resize(width, HEIGHT)
            for path in pages_of(site):
                name = path.relative_to(site).parent.as_posix()
                if path.name == "404.html":
                    continue
                window.open(url + ("" if name == "." else f"{name}/"))
                seen = window.run_async(_LOOK)
                if seen["excess"] > 0 or seen["drawn"] < seen["diagrams"] or seen["foreign"]:
                    wrong.append(f"{name} at {width} px: {seen}")
                shot = f"{device}-{name.replace('/', '-').strip('.') or 'index'}.png"
                (target / shot).write_bytes(window.screenshot())
    assert not wrong, "\n".join(wrong)
