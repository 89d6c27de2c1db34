"""Ports that several processes choose, and nobody gets twice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.servers import _ports

ROOT = Path(__file__).parent.parent
PORT = 19_984
"""Nobody else chooses it."""

RESERVE = f"""
import sys
from tests.servers import _ports

_ports._RANGE = range({PORT}, {PORT} + 1)
print(_ports.reserve_port().number, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def only_one_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(_ports, "_RANGE", range(PORT, PORT + 1))


def test_a_port_is_ours_until_it_is_closed() -> None:
    """Also while nobody listens there: a server may be about to start, or to start again."""
    with _ports.reserve_port() as port:
        assert port.number == PORT
        with pytest.raises(RuntimeError, match="no free ports"):
            _ports.reserve_port()
    with _ports.reserve_port() as port:
        assert port.number == PORT


def test_a_port_is_another_process_s_until_that_has_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RESERVE],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == PORT
        with pytest.raises(RuntimeError, match="no free ports"):
            _ports.reserve_port()
        other.kill()
    with _ports.reserve_port() as port:
        assert port.number == PORT
