"""The source uses the field's standard words: names, docstrings, comments and error texts.

Each word below stood for something that RFC 6455, RFC 9110, AnyIO or RivetKit have a word for. A
reader who knows those should need no glossary. `EXCEPT` has the uses of a word that are ordinary.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rivet_anyio

PACKAGE = Path(rivet_anyio.__file__).parent

WORDS = {
    "room": "capacity",
    "turn": "waiter, next, alternate",
    "tell": "notify, report, distinguish",
    "told": "notified, reported",
    "untold": "not reported",
    "doubt": "invalidate",
    "sweep": "reap",
    "desert": "drop",
    "farewell": "close frame, stopped notice",
    "goodbye": "close frame, closing handshake",
    "patience": "grace period, timeout",
    "line": "socket, channel",
    "heads": "event-prefix cache, headers",
    "pump": "WebSocket connection",
    "twin": "copy",
    "held": "paused, kept",
    "of use": "healthy",
    "uninterrupted": "protected from Ctrl-C",
    "what is no": "a value that is not",
}
"""A private word, and what to write in its place."""

EXCEPT = {
    "room": r"chatRooms?|ChatRooms?|\bRooms?\.",  # actors of examples
    "turn": r"returns?",
    "tell": r"\.tell\(",  # of a file
    "heads": r"Heads of answers",
    "line": r"[Cc]ommand line|one_line|splitlines|keepends|end of line",
}
"""Ordinary uses, which are not looked at."""

LINES_OF_TEXT = (
    "cli",
    "stubs",
    "_http",
    "_io/tls.py",
    "testing/_records.py",
    "testing/_faults.py",
    "testing/_server.py",
    "testing/_stuck.py",
    "_text.py",
    "testing/_timeline.py",
    "testing/pytest_plugin.py",
    "_convert.py",
)
"""What reads and writes text has lines of it."""


def finds(word: str, text: str) -> list[str]:
    """What has the word, as a part of names, too, in one of its forms."""
    text = re.sub(EXCEPT.get(word, "(?!)"), "", text)
    form = re.escape(word).replace(r"\ ", r"\s+")
    return re.findall(rf"(?i:(?<![a-z]){form}(?:s|ed|ing|er|ers)?(?![a-z]))", spaced(text))


def spaced(text: str) -> str:
    """CamelCase and snake_case as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)


def is_below(name: str, places: tuple[str, ...]) -> str | None:
    return next((at for at in places if name == at or name.startswith(f"{at}/")), None)


@pytest.mark.parametrize("word", WORDS)
def test_words(word: str) -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if word == "line" and is_below(name, LINES_OF_TEXT):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if finds(word, line):
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert not wrong, f"write {WORDS[word]} in place of {word!r}:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("def has_room(self):", "room"),
        ("class WebSocketLine:", "line"),
        ("self._lines = []", "line"),
        ("is_held", "held"),
        ("# It is told of the end.", "told"),
        ("no socket of use", "of use"),
        ("Sweeping the pool", "sweep"),
    ],
)
def test_what_is_found(text: str, word: str) -> None:
    assert finds(word, text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("client.chatRoom", "room"),
        ("return saturn", "turn"),
        ("stream.tell()", "tell"),
        ("the deadline of online", "line"),
        ("on the command line", "line"),
        ("withheld, upheld, pumpkin", "held"),
        ("deserted", "turn"),
    ],
)
def test_what_is_not_found(text: str, word: str) -> None:
    assert not finds(word, text)
