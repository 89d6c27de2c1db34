"""Text that is UTF-8, and text that is not."""

from __future__ import annotations

from .case import CUT, Case, Group, Violation, case
from .wire import Sent, binary, close_body, more, text

__all__ = ["GROUPS"]

VALID = {
    "ASCII": "Hello, world",
    "two bytes each": "äöü",
    "three bytes each": "€κόσμε",
    "four bytes each": "💻🦀",
    "all lengths mixed": "aä€💻z",
    "NUL": "a\x00b",
    "first of two bytes, U+0080": "\x80",
    "last of two bytes, U+07FF": "\u07ff",
    "first of three bytes, U+0800": "\u0800",
    "before the surrogates, U+D7FF": "\ud7ff",
    "after the surrogates, U+E000": "\ue000",
    "replacement character, U+FFFD": "\ufffd",
    "byte order mark": "\ufeffa",
    "byte order mark alone": "\ufeff",
    "noncharacter U+FDD0": "\ufdd0",
    "noncharacter U+FDEF": "\ufdef",
    "noncharacter U+FFFE": "\ufffe",
    "noncharacter U+FFFF": "\uffff",
    "first of four bytes, U+10000": "\U00010000",
    "noncharacter U+1FFFF": "\U0001ffff",
    "noncharacter U+8FFFE": "\U0008fffe",
    "last of all, U+10FFFF": "\U0010ffff",
    "combining marks": "e\u0301\u0323",
}

INVALID = {
    "a continuation byte alone, 80": b"\x80",
    "a continuation byte alone, BF": b"\xbf",
    "continuation bytes only": b"\x80\xbf\x80\xbf",
    "a continuation byte too many": b"\xc3\xa4\xa4",
    "C0": b"\xc0",
    "C1": b"\xc1",
    "F5": b"\xf5",
    "FE": b"\xfe",
    "FF": b"\xff",
    "FE FE FF FF": b"\xfe\xfe\xff\xff",
    "two bytes, the second is none": b"\xc3\x28",
    "three bytes, the second is none": b"\xe2\x28\xa1",
    "three bytes, the third is none": b"\xe2\x82\x28",
    "four bytes, the second is none": b"\xf0\x28\x8c\xbc",
    "four bytes, the third is none": b"\xf0\x90\x28\xbc",
    "four bytes, the fourth is none": b"\xf0\x90\x8c\x28",
    "two bytes without the last": b"\xc3",
    "three bytes without the last": b"\xe2\x82",
    "four bytes without the last": b"\xf0\x9f\x92",
    "four bytes without the last two": b"\xf0\x9f",
    "overlong slash in two": b"\xc0\xaf",
    "overlong slash in three": b"\xe0\x80\xaf",
    "overlong slash in four": b"\xf0\x80\x80\xaf",
    "overlong slash in five": b"\xf8\x80\x80\x80\xaf",
    "overlong slash in six": b"\xfc\x80\x80\x80\x80\xaf",
    "overlong NUL in two": b"\xc0\x80",
    "overlong U+007F in two": b"\xc1\xbf",
    "overlong U+07FF in three": b"\xe0\x9f\xbf",
    "overlong U+FFFF in four": b"\xf0\x8f\xbf\xbf",
    "first high surrogate, U+D800": b"\xed\xa0\x80",
    "last high surrogate, U+DBFF": b"\xed\xaf\xbf",
    "first low surrogate, U+DC00": b"\xed\xb0\x80",
    "last low surrogate, U+DFFF": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb2\xbb",
    "U+110000": b"\xf4\x90\x80\x80",
    "U+1FFFFF": b"\xf7\xbf\xbf\xbf",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "six bytes": b"\xfc\x84\x80\x80\x80\x80",
    "Latin-1": b"caf\xe9",
    "UTF-16": b"\xff\xfea\x00",
}

LATE = "8.1 says when a client fails, not how early: it may wait for the message's end"


def octets(data: bytes) -> tuple[Sent, ...]:
    """A text message with a fragment for every byte."""
    first, *rest = (data[i : i + 1] for i in range(len(data)))
    return (text(first, fin=False), *map(more, rest), more(b"", fin=True))


def cut(name: str, *sent: Sent) -> Case:
    """Text that cannot become UTF-8 any more, although the message goes on."""
    return case(name, *sent, end=Violation(1007), also=CUT, note=LATE)


GROUPS = (
    Group(
        "valid UTF-8 in one frame",
        "8.1, 5.6; RFC 3629, section 3",
        tuple(case(f"UTF-8: {name}", text(data), got=[data]) for name, data in VALID.items()),
    ),
    Group(
        "valid UTF-8, a fragment for every octet",
        "5.6: a fragment might not be valid UTF-8 by itself",
        tuple(
            case(f"UTF-8 in octets: {name}", *octets(data.encode()), got=[data])
            for name, data in VALID.items()
        ),
    ),
    Group(
        "invalid UTF-8 in one frame",
        "8.1, 5.6; RFC 3629, section 3",
        tuple(
            case(f"no UTF-8: {name}", text(data), end=Violation(1007))
            for name, data in INVALID.items()
        ),
    ),
    Group(
        "invalid UTF-8, a fragment for every octet",
        "8.1, 5.6",
        tuple(
            case(f"no UTF-8 in octets: {name}", *octets(data), end=Violation(1007))
            for name, data in INVALID.items()
        ),
    ),
    Group(
        "invalid UTF-8 and what is around it",
        "8.1, 5.6",
        (
            case(
                "no UTF-8 after a good message",
                text("κόσμε"),
                text(b"\xce\xba\xed\xa0\x80"),
                got=["κόσμε"],
                end=Violation(1007),
            ),
            case(
                "no UTF-8 amid good text", text("ä".encode() + b"\xff" + b"b"), end=Violation(1007)
            ),
            case(
                "no UTF-8 at the end of 65536 bytes",
                text(b"a" * 65535 + b"\xc3"),
                end=Violation(1007),
            ),
            case(
                "a character that ends in the next message",
                text(b"\xc3"),
                text(b"\xa4"),
                end=Violation(1007),
            ),
            case(
                "no UTF-8 in the second fragment",
                text("good ", fin=False),
                more(b"\xff"),
                more("good", fin=True),
                end=Violation(1007),
            ),
            case(
                "a character left open by the last fragment",
                text("good ", fin=False),
                more(b"\xe2\x82", fin=True),
                end=Violation(1007),
            ),
            case(
                "a character left open, then an empty last fragment",
                text(b"\xe2\x82", fin=False),
                more(b"", fin=True),
                end=Violation(1007),
            ),
            case(
                "binary need not be UTF-8", binary(b"\xed\xa0\x80\xff"), got=[b"\xed\xa0\x80\xff"]
            ),
            case(
                "binary in fragments need not be UTF-8",
                binary(b"\xed", fin=False),
                more(b"\xa0\x80", fin=True),
                got=[b"\xed\xa0\x80"],
            ),
            case(
                "an open character is forgotten with its message",
                binary(b"\xe2\x82"),
                text("€"),
                got=[b"\xe2\x82", "€"],
            ),
            case("close reason that is no UTF-8", close_body(b"\x03\xe8\xff"), end=Violation(1007)),
        ),
    ),
    Group(
        "failing fast",
        "8.1, 5.6; a quality, not a must",
        (
            cut("fail fast: FF in an open message", text(b"a\xff", fin=False)),
            cut("fail fast: a surrogate in an open message", text(b"\xed\xa0\x80", fin=False)),
            cut("fail fast: U+110000 in an open message", text(b"\xf4\x90\x80\x80", fin=False)),
            cut("fail fast: two octets say it is above U+10FFFF", text(b"\xf4\x90", fin=False)),
            cut("fail fast: two octets say it is a surrogate", text(b"\xed\xa0", fin=False)),
            cut("fail fast: two octets say it is overlong", text(b"\xe0\x80", fin=False)),
            cut("fail fast: in the second fragment", text("a", fin=False), more(b"\x80")),
            cut("fail fast: inside a frame", Sent(1, b"ab\xffcd", length=20)),
            cut(
                "fail fast: inside a long frame", Sent(1, b"a" * 200 + b"\xff" * 100, length=70000)
            ),
            case("an open character in an open message", text(b"a\xe2\x82", fin=False), end=CUT),
            case("an open character in an open frame", Sent(1, b"a\xe2\x82", length=4), end=CUT),
        ),
    ),
)
