"""Profiles: servers by name, in a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ._similar import did_you_mean

__all__ = ["Profile", "choose_profile", "config_path", "profile_names"]

_SETTINGS = ("endpoint", "namespace", "token", "pool", "encoding")
_VARIABLE = "RIVET_PROFILE"
_ENDPOINT_VARIABLES = ("RIVET_ENGINE", "RIVET_ENDPOINT")
_VARIABLES = {
    "namespace": ("RIVET_NAMESPACE",),
    "token": ("RIVET_TOKEN",),
    "pool": ("RIVET_POOL", "RIVET_RUNNER"),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile adds to the options and the environment; None where it adds nothing."""

    endpoint: str | None = field(default=None, repr=False)
    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    pool: str | None = None
    encoding: str | None = None
    warnings: tuple[str, ...] = ()


def config_path(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """The file of profiles, None where there is no home directory."""
    if platform == "win32":
        base = environ.get("APPDATA")
    elif not (base := environ.get("XDG_CONFIG_HOME")):
        home = environ.get("HOME")
        base = os.path.join(home, ".config") if home else None
    return Path(base, "rivet-anyio", "config.toml") if base else None


def choose_profile(
    name: str | None, endpoint: str | None, environ: Mapping[str, str] = os.environ
) -> Profile:
    """The profile that is meant, without what options or the environment say otherwise.

    Namespace, token and pool belong to the profile's server: they are left out where another
    endpoint is given.

    Args:
        name: Its name; None: RIVET_PROFILE, or the file's ``default``.
        endpoint: The option ``--endpoint``.
        environ: The environment.

    Raises:
        click.UsageError: there is none of this name, or it or the file cannot be used.
    """
    path = config_path(environ)
    found, default = _read(path)
    chosen = name or environ.get(_VARIABLE) or default
    if chosen is None:
        return Profile()
    if chosen not in found:
        there = did_you_mean(chosen, found) or "it has no such section [profiles.NAME]"
        if path is None or not path.exists():
            there = "there is no such file"
        raise click.UsageError(f"there is no profile {chosen!r} in {path}: {there}")
    assert path is not None
    settings = _checked(path, chosen, found[chosen])
    warnings = []
    if _holds_secret(settings) and _others_can_read(path):
        warnings.append(f"other users can read the token in {path}: chmod 600 {path}")
    variable = next((v for v in _ENDPOINT_VARIABLES if environ.get(v)), None)
    other = endpoint or (environ[variable] if variable else None)
    if other is not None and other != settings.get("endpoint"):
        if name is not None and endpoint is None:
            warnings.append(f"{variable} is set: the server of profile {name!r} is not used")
        return Profile(encoding=settings.get("encoding"), warnings=tuple(warnings))
    kept = {
        setting: value
        for setting, value in settings.items()
        if not any(environ.get(variable) for variable in _VARIABLES.get(setting, ()))
    }
    return Profile(**kept, warnings=tuple(warnings))


def profile_names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The names of all profiles.

    Raises:
        click.UsageError: the file cannot be used.
    """
    return list(_read(config_path(environ))[0])


def _read(path: Path | None) -> tuple[dict[str, Any], str | None]:
    """All profiles as they stand in the file, and the name of the default one.

    Raises:
        click.UsageError: the file cannot be used. No message repeats what stands in it.
    """
    import tomllib

    if path is None:
        return {}, None
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}, None
    except OSError as exc:
        raise click.UsageError(f"{path} cannot be read: {exc.strerror}") from None
    except ValueError as exc:  # TOML's errors, and those of UTF-8
        reason = str(exc) if isinstance(exc, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise click.UsageError(f"{path} is not TOML: {reason}") from None
    _check_names(path, "at its top", document, ("default", "profiles"))
    default, profiles = document.get("default"), document.get("profiles", {})
    if not isinstance(default, str | None):
        raise click.UsageError(f"{path}: default is the name of a profile")
    if not isinstance(profiles, dict):
        raise click.UsageError(f"{path}: profiles are written as sections [profiles.NAME]")
    return profiles, default


def _checked(path: Path, name: str, settings: Any) -> dict[str, str]:
    """The settings of a profile; raises click.UsageError where they cannot be used."""
    where = f"in profile {name!r}"
    if not isinstance(settings, dict):
        raise click.UsageError(f"{path}: profiles are written as sections [profiles.NAME]")
    _check_names(path, where, settings, _SETTINGS)
    for setting, value in settings.items():
        if not isinstance(value, str):
            raise click.UsageError(f"{path}: {setting} {where} is not a string")
    return settings


def _check_names(path: Path, where: str, found: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in found:
        if name not in known:
            there = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise click.UsageError(f"{path} has {name!r} {where}: {there}")


def _holds_secret(settings: Mapping[str, str]) -> bool:
    return "token" in settings or "@" in settings.get("endpoint", "")


def _others_can_read(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & 0o077)
