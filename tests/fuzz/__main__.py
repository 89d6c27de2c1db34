"""``python -m tests.fuzz [--seconds N] [TARGET ...]``: the targets under atheris.

Each target runs in a process of its own, since libFuzzer ends the one it runs in; `--seconds` is
for all of them together. What a target found is kept in a directory that the output names.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_MEMORY_MEBIBYTES = 1024
_MALLOC_MEBIBYTES = 256
_MAX_LENGTH = 4096
_SECONDS_PER_INPUT = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--inside", metavar="DIRECTORY", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    given = parser.parse_args()
    if given.inside:
        _fuzz(given.targets[0], Path(given.inside), int(given.seconds))
    from .targets import TARGETS

    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown targets {sorted(unknown)}: there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    seconds = max(1, int(given.seconds / len(names)))
    failed: list[str] = []
    for name in names:
        directory = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
        print(f"{name}: {seconds} s in {directory}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--inside", str(directory)]
        done = subprocess.run([*command, "--seconds", str(seconds), name], check=False)
        if done.returncode:
            failed.append(name)
        else:
            shutil.rmtree(directory)
    print("found something: " + ", ".join(failed) if failed else "found nothing")
    return 1 if failed else 0


def _fuzz(name: str, directory: Path, seconds: int) -> None:
    """Fuzz one target; does not return."""
    # Not everywhere where the tests run is there an atheris to import.
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["rivet_anyio", "wsproto"]):
        from .hostile import HOSTILE
        from .targets import TARGETS
    target = TARGETS[name]
    corpus = directory / "corpus"
    corpus.mkdir()
    for number, seed in enumerate((*target.seeds, *HOSTILE.get(name, ()))):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        name,
        f"-max_total_time={seconds}",
        f"-max_len={_MAX_LENGTH}",
        f"-timeout={_SECONDS_PER_INPUT}",
        f"-rss_limit_mb={_MEMORY_MEBIBYTES}",
        f"-malloc_limit_mb={_MALLOC_MEBIBYTES}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
        "-verbosity=0",
        str(corpus),
    ]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
