"""The servers that other tests run against, tested themselves."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import CHECKED, Server, ServerError, call, start_server
from tests.servers._processes import alive, wait_gone

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", params=CHECKED)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start_server(request.param) as server:
        yield server


def test_answers(server: Server) -> None:
    assert server.endpoint == f"http://127.0.0.1:{server.port}"
    assert call(server.port, "probe", "answers", "echo", {"a": [1, None, "ä"]}) == {
        "a": [1, None, "ä"]
    }
    assert call(server.port, "probe", "answers", "math.add", 1, 2) == 3


def test_state_survives_a_stop(server: Server) -> None:
    assert call(server.port, "counter", "survivor", "increment", 41) == 41
    endpoint, before = server.endpoint, server.pids()

    server.stop()
    assert server.pids() == []
    assert not any(alive(pid) for pid in before)
    with pytest.raises(OSError, match="refused"):
        call(server.port, "counter", "survivor", "getCount")

    server.start()
    assert server.endpoint == endpoint
    assert call(server.port, "counter", "survivor", "increment") == 42


def test_two_side_by_side(server: Server) -> None:
    with start_server(server.version) as other:
        assert other.port != server.port
        assert call(server.port, "counter", "shared", "increment", 5) == 5
        assert call(other.port, "counter", "shared", "getCount") == 0


def test_a_taken_port_is_an_error(server: Server) -> None:
    with pytest.raises(ServerError, match=r"port .* taken|another server"):
        start_server(server.version, port=server.port)
    assert call(server.port, "probe", "answers", "echo", 1) == 1


@pytest.mark.parametrize("version", CHECKED)
def test_kill_leaves_no_process(version: str) -> None:
    with start_server(version) as server:
        pids = server.pids()
        assert len(pids) == (2 if version.startswith("2.3.") else 1)
        server.kill()
        assert not any(alive(pid) for pid in pids)
        assert server.pids() == []


@pytest.mark.parametrize("version", CHECKED)
def test_what_the_ledger_acknowledged_survives_a_kill(version: str) -> None:
    if version.startswith("2.3."):
        pytest.skip("after a crash its engine hands out no old actors for 30 seconds")
    with start_server(version) as server:
        assert [call(server.port, "ledger", "x", "append", i) for i in range(3)] == [1, 2, 3]
        server.kill()
        server.start()
        assert call(server.port, "ledger", "x", "log") == [0, 1, 2]


@pytest.mark.parametrize("version", CHECKED)
def test_servers_die_with_their_parent(version: str) -> None:
    script = (
        "import sys, time\n"
        "from tests.servers import start_server\n"
        f"server = start_server({version!r})\n"
        "print(server._directory, *server.pids(), flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        directory, *numbers = parent.stdout.readline().split()
        pids = [int(number) for number in numbers]
        assert pids
        assert all(alive(pid) for pid in pids)
        os.kill(parent.pid, signal.SIGKILL)
    assert all(wait_gone(pid, 60) for pid in pids)
    assert not Path(directory).exists()


def test_the_command_ends_everything() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers", CHECKED[-1]],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as command:
        assert command.stdout is not None
        port = int(command.stdout.readline().rpartition(":")[2])
        assert call(port, "probe", "answers", "echo", 1) == 1
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 0
    with pytest.raises(OSError, match="refused"):
        call(port, "probe", "answers", "echo", 1)
