"""The table of bugs fits the source, and two of them are found for real."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .finders import FINDERS, is_example
from .mutation import ROOT, SOURCE, Mutation, look_at_sound_code
from .table import MUTATIONS, QUICK


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_the_bug_can_be_planted(mutation: Mutation) -> None:
    compile(mutation.mutated(), mutation.file, "exec")


def test_finders_exist() -> None:
    for mutation in MUTATIONS:
        if is_example(mutation.finder):
            for test in mutation.finder.split(","):
                assert (ROOT / test.partition("::")[0]).exists(), test
        else:
            assert mutation.finder in FINDERS


def test_every_name_is_used_once() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 30
    assert set(QUICK) <= set(names)


@pytest.mark.parametrize("times", [0, 2])
def test_a_text_that_is_not_there_once(times: int) -> None:
    before = "nowhere to be found" if not times else "import"
    with pytest.raises(ValueError, match="not once"):
        Mutation("a bug", "_retry.py", before, "", "connection").mutated()


@pytest.mark.parametrize("name", QUICK)
def test_bugs_that_are_found(name: str) -> None:
    (mutation,) = [one for one in MUTATIONS if one.name == name]
    before = mutation.path.read_bytes()
    outcome = mutation.look(20.0)
    assert outcome.kind == "found", outcome.output
    assert mutation.path.read_bytes() == before


def test_nothing_is_found_in_sound_code() -> None:
    outcome = look_at_sound_code("frames", 0.5)
    assert outcome.kind == "not found", outcome.output


def test_a_package_that_cannot_be_imported_is_not_found() -> None:
    before = (SOURCE / "rivet_anyio" / "_retry.py").read_text("utf-8").splitlines()[0]
    broken = Mutation("no package", "_retry.py", before, f"{before}\nraise ImportError", "frames")
    outcome = broken.look(5.0)
    assert str(outcome) == "failed (exit code 1)", outcome.output


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_finder_that_is_killed_is_told_from_one_that_breaks(tmp_path: Path) -> None:
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    before = "from __future__ import annotations\n"
    outcome = Mutation("a kill", "_retry.py", before, before + kill, "frames").look(5.0)
    assert str(outcome) == "failed (killed by SIGKILL)", outcome.output
    test = tmp_path / "test_kill.py"
    test.write_text(kill)
    outcome = look_at_sound_code(str(test), 5.0)
    assert str(outcome) == "failed (exit code 1)", outcome.output
    assert outcome.last_line == "pytest: killed by SIGKILL"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no groups of processes")
@pytest.mark.timeout(60)
def test_what_a_finder_began_ends_with_it(tmp_path: Path) -> None:
    import fcntl

    lock = tmp_path / "lock"
    child = (
        "import fcntl, time\n"
        f"lock = open({str(lock)!r}, 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "time.sleep(3600)"
    )
    test = tmp_path / "test_leaves.py"
    test.write_text(
        "import subprocess, sys\n"
        "def test_leaves_a_program():\n"
        f"    command = [sys.executable, '-c', {child!r}]\n"
        "    left = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "    assert left.stdout.readline() == b'locked\\n'\n"
    )
    outcome = look_at_sound_code(str(test), 5.0)
    assert outcome.kind == "not found", outcome.output
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for its end
