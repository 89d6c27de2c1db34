"""Frames of a server that nobody wrote down: most of them right, some with one thing wrong."""

from __future__ import annotations

from hypothesis import strategies as st

from .wire import Sent, Width

__all__ = ["streams"]

payloads = st.one_of(
    st.binary(max_size=130),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.encode),
    st.sampled_from([b"", b"\xe2\x82", b"\xac", b"\xed\xa0\x80", b"x" * 125, b"x" * 126]),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(str.encode)
codes = st.sampled_from([1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 4999]) | st.integers(
    0, 65535
)


@st.composite
def streams(draw: st.DrawFn) -> list[Sent]:
    """Frames in an order that is right, most of the time."""
    sent: list[Sent] = []
    inside: int | None = None
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["data", "data", "data", "control", "close", "broken"]))
        if kind == "data":
            fin = draw(st.booleans())
            opcode = draw(st.sampled_from([1, 2])) if inside is None else 0
            is_text = (opcode or inside) == 1
            payload = draw(texts if is_text and draw(st.integers(0, 9)) else payloads)
            inside = None if fin else opcode or inside
            sent.append(Sent(opcode, payload, fin))
        elif kind == "control":
            sent.append(Sent(draw(st.sampled_from([9, 10])), draw(st.binary(max_size=125))))
        elif kind == "close":
            reason = draw(texts | st.just(b"\xff"))[: draw(st.integers(0, 124))]
            body = draw(codes).to_bytes(2, "big") + reason
            sent.append(Sent(8, draw(st.sampled_from([body, body, b"", b"\x03"]))))
        else:
            sent.append(draw(broken()))
    return sent


@st.composite
def broken(draw: st.DrawFn) -> Sent:
    """A frame with one thing wrong, wherever it comes."""
    payload = draw(st.binary(max_size=125))
    known = st.sampled_from([0, 1, 2, 8, 9, 10])
    how = draw(st.sampled_from(["rsv", "opcode", "mask", "width", "long", "unfinished", "order"]))
    if how == "rsv":
        return Sent(draw(known), payload, rsv=draw(st.integers(1, 7)))
    if how == "opcode":
        return Sent(draw(st.sampled_from([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])), payload)
    if how == "mask":
        return Sent(draw(known), payload, mask=draw(st.binary(min_size=4, max_size=4)))
    if how == "width":
        width: Width = draw(st.sampled_from((16, 64)))
        return Sent(draw(known), payload, width=width)
    if how == "long":
        return Sent(draw(st.sampled_from([8, 9, 10])), b"x" * draw(st.integers(126, 200)))
    if how == "unfinished":
        return Sent(draw(st.sampled_from([8, 9, 10])), payload, fin=False)
    return Sent(draw(st.sampled_from([0, 1, 2])), payload, fin=draw(st.booleans()))
