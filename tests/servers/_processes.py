"""Ending processes, children or not, and knowing that they have ended."""

import contextlib
import os
import signal
import time
from pathlib import Path

_POLL = 0.02


def alive(pid: int) -> bool:
    """Whether the process runs. One that has ended but was not reaped does not."""
    if not _exists(pid):
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        # There is no such file system here, or the process went away just now: ask once more.
        return _exists(pid)
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def send_group(pid: int, number: signal.Signals) -> None:
    """Signal the process group that this process leads; it may be gone."""
    # macOS says "not permitted" for a group of which only unreaped processes are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def wait_gone(pid: int, timeout: float) -> bool:
    """Wait for a process that need not be a child; False if it still runs after `timeout`."""
    deadline = time.monotonic() + timeout
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        # Not permitted: the number belongs to a process of somebody else by now.
        return False
    return True
