"""Keys as servers write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rivet_anyio.protocol.keys import escape_key, parse_key, unescape_key

TABLE = [
    ([], "/"),
    (["test"], "test"),
    (["a", "b", "c"], "a/b/c"),
    (["a/b"], r"a\/b"),
    (["a/b", "c"], r"a\/b/c"),
    (["/"], r"\/"),
    (["a/b", "/", "c/d"], r"a\/b/\//c\/d"),
    ([""], r"\0"),
    (["a", "", "b"], r"a/\0/b"),
    (["", "", ""], r"\0/\0/\0"),
    (["", "/", ""], r"\0/\//\0"),
    (["\\0"], r"\\0"),
    (["a\\0b"], r"a\\0b"),
    (["\\0", ""], r"\\0/\0"),
    (["abc\\"], "abc\\\\"),
    (["path\\to\\file", "with/slash"], r"path\\to\\file/with\/slash"),
    (["abc\\/"], r"abc\\\/"),
    (["a//b"], r"a\/\/b"),
    (["abc", "/def"], r"abc/\/def"),
    (
        ["special\\chars", "more:complex,keys", "final key"],
        r"special\\chars/more:complex,keys/final key",
    ),
    (["a💻b", "c🔑d"], "a💻b/c🔑d"),
]

parts = st.text(alphabet=st.sampled_from("ab\\/0,💻"), max_size=6) | st.text(max_size=20)
keys = st.lists(parts, max_size=5)


@pytest.mark.parametrize("key, text", TABLE)
def test_table(key: list[str], text: str) -> None:
    assert escape_key(key) == text
    assert unescape_key(text) == tuple(key)


@pytest.mark.parametrize(
    "text, key",
    [
        (None, ()),
        ("", ()),
        ("/", ()),
        ("a\\", ("a\\",)),
        ("a/b\\", ("a", "b\\")),
        (r"a\b", ("ab",)),
    ],
)
def test_only_read(text: str | None, key: tuple[str, ...]) -> None:
    assert unescape_key(text) == key


@given(keys)
def test_there_and_back(key: list[str]) -> None:
    assert unescape_key(escape_key(key)) == tuple(key)


@given(keys, keys)
def test_different_keys_stay_different(one: list[str], other: list[str]) -> None:
    assert (escape_key(one) == escape_key(other)) == (one == other)


@given(st.text(alphabet=st.sampled_from("a0\\/"), max_size=12) | st.text())
def test_anything_is_read(text: str) -> None:
    assert all(isinstance(part, str) for part in unescape_key(text))


def test_parse() -> None:
    assert parse_key("a/b") == ("a/b",)
    assert parse_key("") == ("",)
    assert parse_key([]) == ()
    assert parse_key(("a", "b")) == ("a", "b")


@pytest.mark.parametrize("key", [b"a", bytearray(b"a"), 1, None, {"a"}, ["a", 1], [b"a"], [None]])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(TypeError, match="key"):
        parse_key(key)


def test_lone_surrogates() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        parse_key(["a", "\ud800"])
