"""Installs a RivetKit version from npm, once, into a cache that survives between runs."""

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from pathlib import Path

from ._node import npm
from ._versions import sources

_ATTEMPTS = 3

# The lock files come from Linux on x86-64 and name the binaries of no other platform; elsewhere
# the exact versions in package.json have to do.
_LOCKED = (platform.system(), platform.machine()) == ("Linux", "x86_64")
_MANIFESTS = ("package.json", "package-lock.json") if _LOCKED else ("package.json",)


class InstallError(RuntimeError):
    """npm could not install a version; the message carries what npm said."""


def install(version: str) -> Path:
    """The directory whose `node_modules` holds this version, installed if it is not there yet."""
    source = sources(version)
    target = _cache() / f"{version}-{_fingerprint(source)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Tests run in several processes, which need it all at once.
    with (target.parent / f".{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            _install(version, source, target)
    return target


def _install(version: str, source: Path, target: Path) -> None:
    # The name `target` exists only when the install is complete: a run that is killed leaves
    # nothing that looks finished.
    with tempfile.TemporaryDirectory(
        prefix=f".{version}-", dir=target.parent, ignore_cleanup_errors=True
    ) as scratch:
        staging = Path(scratch) / "staging"
        staging.mkdir()
        for name in _MANIFESTS:
            if (source / name).exists():  # `newest` has no lock file
                shutil.copyfile(source / name, staging / name)
        _npm_install(version, staging)
        staging.rename(target)


def _npm_install(version: str, directory: Path) -> None:
    output = ""
    for _ in range(_ATTEMPTS):
        # Not `npm ci`, which insists on lock entries for other platforms' binaries. No scripts: the
        # only ones there are compile an optional speed-up that also comes prebuilt.
        done = npm(["install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=directory)
        if done.returncode == 0:
            return
        output = done.stdout
    raise InstallError(f"npm could not install RivetKit {version}, {_ATTEMPTS} times:\n{output}")


def _cache() -> Path:
    if explicit := os.environ.get("RIVET_ANYIO_SERVERS_CACHE"):
        # Where node runs, the working directory is another one.
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "rivet-anyio" / "servers"


def _fingerprint(source: Path) -> str:
    digest = hashlib.sha256()
    for name in _MANIFESTS:
        if (source / name).exists():
            digest.update((source / name).read_bytes())
    return digest.hexdigest()[:16]
