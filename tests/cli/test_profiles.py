"""Profiles of the configuration file, and what comes before them."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from rivet_anyio.cli._profiles import choose_profile, config_path, profile_names

from .peers import Answer, Request, as_json, serving
from .running import Cli

SECRET = "s3cr3t-of-a-profile"
TEXT = f"""
default = "local"

[profiles.local]
endpoint = "http://localhost:7000"

[profiles.staging]
endpoint = "https://staging.example"
namespace = "blue"
token = "{SECRET}"
pool = "gpu"
encoding = "cbor"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "rivet-anyio").mkdir()
    path = tmp_path / "rivet-anyio" / "config.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """One whose file is `config`, on every platform."""
    return {"XDG_CONFIG_HOME": str(tmp_path), "APPDATA": str(tmp_path)}


def test_where_the_file_is() -> None:
    linux = {"HOME": "/home/ann", "APPDATA": "/no"}
    assert config_path(linux, "linux") == Path("/home/ann/.config/rivet-anyio/config.toml")
    assert config_path(linux, "darwin") == config_path(linux, "linux")
    elsewhere = {**linux, "XDG_CONFIG_HOME": "/etc/ann"}
    assert config_path(elsewhere, "linux") == Path("/etc/ann/rivet-anyio/config.toml")
    windows = {"APPDATA": "C:/Roaming", "HOME": "/no", "XDG_CONFIG_HOME": "/no"}
    assert config_path(windows, "win32") == Path("C:/Roaming/rivet-anyio/config.toml")
    assert config_path({}, "linux") is config_path({}, "win32") is None


def test_which_profile(config: Path, environ: dict[str, str]) -> None:
    assert choose_profile(None, None, environ).endpoint == "http://localhost:7000"
    by_variable = {**environ, "RIVET_PROFILE": "staging"}
    staging = choose_profile(None, None, by_variable)
    assert (staging.endpoint, staging.namespace) == ("https://staging.example", "blue")
    assert (staging.token, staging.pool, staging.encoding) == (SECRET, "gpu", "cbor")
    assert choose_profile("local", None, by_variable).endpoint == "http://localhost:7000"
    assert profile_names(environ) == ["local", "staging"]
    assert SECRET not in repr(staging) and not staging.warnings


def test_a_profile_that_is_not_there(config: Path, environ: dict[str, str]) -> None:
    for path, says in ((config, "has no such section"), (None, "there is no such file")):
        if path is None:
            config.unlink()
        with pytest.raises(click.UsageError, match=f"no profile 'nope' in .*{says}"):
            choose_profile("nope", None, environ)


def test_environment_comes_before_a_profile(config: Path, environ: dict[str, str]) -> None:
    environ |= {"RIVET_TOKEN": "other", "RIVET_RUNNER": "cpu", "RIVET_NAMESPACE": ""}
    staging = choose_profile("staging", None, environ)
    assert (staging.token, staging.pool) == (None, None)
    assert (staging.endpoint, staging.namespace) == ("https://staging.example", "blue")


def test_an_encoding_that_is_none_is_named(config: Path, environ: dict[str, str]) -> None:
    config.write_text(TEXT.replace('"cbor"', '"xml"'))
    result = Cli(**environ)("names", "-P", "staging", code=2)
    assert "the profile's encoding is 'xml': write one of bare, cbor, json" in result.err


@pytest.mark.parametrize("variable", ["RIVET_ENGINE", "RIVET_ENDPOINT", None])
def test_a_token_goes_to_its_own_server_only(
    config: Path, environ: dict[str, str], variable: str | None
) -> None:
    other = "http://127.0.0.1:1"
    if variable is not None:
        environ[variable] = other
    found = choose_profile("staging", None if variable else other, environ)
    assert found.token is found.namespace is found.pool is found.endpoint is None
    assert found.encoding == "cbor"
    told = [warning for warning in found.warnings if "is not used" in warning]
    assert bool(told) == (variable is not None)
    same = choose_profile("staging", "https://staging.example", environ)
    assert same.token == SECRET


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_a_file_that_others_can_read(config: Path, environ: dict[str, str]) -> None:
    config.chmod(0o644)
    (warning,) = choose_profile("staging", None, environ).warnings
    assert f"chmod 600 {config}" in warning
    assert choose_profile("local", None, environ).warnings == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'token = "{SECRET}', "is not TOML"),
        (f'[profiles.staging]\ntokn = "{SECRET}"', "did you mean token?"),
        (f'[profile.staging]\ntoken = "{SECRET}"', "did you mean profiles?"),
        ("[profiles.staging]\ntoken = 5", "token in profile 'staging' is not a string"),
        ("[profiles]\nstaging = 5", "sections"),
        ("profiles = 5", "sections"),
        ("default = 5", "default is"),
        ('[profiles.stagign]\ntoken = ""', "did you mean stagign?"),
        ("", "no profile 'staging'"),
    ],
)
def test_a_file_that_cannot_be_used(
    config: Path, environ: dict[str, str], text: str, says: str
) -> None:
    config.write_text(text)
    with pytest.raises(click.UsageError) as caught:
        choose_profile("staging", None, environ)
    message = caught.value.format_message()
    assert says in message and str(config) in message and SECRET not in message


@pytest.mark.parametrize(
    "other", ["[profiles.other]\ntokn = 1", "[profiles.other]\ntoken = 5", "[profiles]\nother = 5"]
)
def test_a_mistake_in_another_profile_refuses_nothing(
    config: Path, environ: dict[str, str], other: str
) -> None:
    config.write_text(f'{other}\n[profiles.staging]\nnamespace = "blue"')
    assert choose_profile("staging", None, environ).namespace == "blue"
    assert choose_profile(None, None, environ) == choose_profile(None, None, {})
    assert profile_names(environ) == ["other", "staging"]
    with pytest.raises(click.UsageError):
        choose_profile("other", None, environ)


def test_bytes_that_are_no_text(config: Path, environ: dict[str, str]) -> None:
    config.write_bytes(b"\xff")
    with pytest.raises(click.UsageError, match="not UTF-8"):
        choose_profile(None, None, environ)


def test_no_file_is_no_profile(environ: dict[str, str]) -> None:
    assert choose_profile(None, None, environ) == choose_profile(None, None, {})
    with pytest.raises(click.UsageError, match="no profile 'staging'"):
        choose_profile("staging", None, environ)


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_command_uses_it_and_shows_no_token(config: Path, tmp_path: Path) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Answer:
        seen.append(request)
        if request.path.startswith("/metadata"):
            return as_json({"runtime": "rivetkit", "version": "2.2.1"})
        return as_json({"names": {}, "pagination": {}})

    with serving(answer) as url:
        config.write_text(TEXT.replace("https://staging.example", url))
        config.chmod(0o640)
        cli = Cli(XDG_CONFIG_HOME=str(tmp_path))
        result = cli("list", "--profile", "staging", "-v")
        assert seen[-1].headers["authorization"] == f"Bearer {SECRET}"
        assert "namespace=blue" in seen[-1].path
        assert SECRET not in result.out + result.err
        assert "warning: other users can read the token" in result.err
        stubs = cli("-P", "staging", "stubs", code=None)
        assert seen[-1].headers["authorization"] == f"Bearer {SECRET}", stubs
