"""The fields of a head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["Headers"]


class Headers(Mapping[str, str]):
    """Read-only; looked up without regard to case, in the order in which the server sent them.

    Several fields of one name are joined by ``", "``. (RFC 9110, section 5.3)
    """

    __slots__ = ("_block", "_raw", "_values")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """
        Args:
            raw: Names in lower case, and values.
        """
        self._raw: list[tuple[bytes, bytes]] | None = raw
        self._block = b""
        self._values: dict[str, str] | None = None

    @classmethod
    def from_block(cls, block: bytes) -> Headers:
        """Of fields that were checked before; they are taken apart when somebody asks for them.

        Args:
            block: ``\\r\\n``, then for each field its name, a colon, a blank, its value, and
                ``\\r\\n``.
        """
        headers = cls.__new__(cls)
        headers._raw = None
        headers._block = block
        headers._values = None
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, and values."""
        if self._raw is None:
            fields = [field.partition(b": ") for field in self._block[2:-2].split(b"\r\n")]
            self._raw = [(name.lower(), value) for name, _, value in fields]
        return self._raw

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of one name."""
        wanted = name.lower()
        return [value.decode("latin-1") for name, value in self.raw if _text(name) == wanted]

    def __getitem__(self, name: str) -> str:
        values = self._values
        if values is None:
            values = self._values = {}
            for key, value in self.raw:
                text = _text(key)
                known = values.get(text)
                new = value.decode("latin-1")
                values[text] = new if known is None else f"{known}, {new}"
        return values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(_text(name) for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def __repr__(self) -> str:
        # Values may be secrets.
        return f"<Headers: {', '.join(self)}>"


def _text(name: bytes) -> str:
    return name.decode("latin-1")
