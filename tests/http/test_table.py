"""Every answer of the table, in whatever pieces it comes."""

from __future__ import annotations

import pytest

from rivet_anyio._http.exchange import Proof

from .cases import CASES, Case
from .playing import cuts, new, play


def test_the_names_are_different() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 150


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_answer(case: Case) -> None:
    ends = [b""] if case.ends else []
    whole = None
    for pieces in cuts(case.data):
        exchange = new(case.method, upgrade=case.upgrade)
        got = play(exchange, [*pieces, *ends])
        whole = whole or got
        assert got == whole, pieces
        assert got.state is case.state, got
        assert (got.status, got.body, got.leftover) == (case.status, case.body, case.leftover)
        assert got.reusable is case.reusable
        assert case.error in (got.error or "")
        assert (got.error is None) is (not case.error)
        assert (exchange.proof is Proof.ANSWERED) is (case.status is not None)
