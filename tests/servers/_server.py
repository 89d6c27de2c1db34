"""Starting and ending one RivetKit server."""

import atexit
import contextlib
import http.client
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from . import _http, _processes
from ._install import install
from ._node import node
from ._ports import Port, reserve_port
from ._versions import SOURCES, program

_READY_TIMEOUT = 120.0
_STOP_TIMEOUT = 30.0
_POLL = 0.05
_PORT_ATTEMPTS = 5
_ENGINE_ATTEMPTS = 3
_CREATION_TIMEOUT = 30.0
_CREATION_INTERVAL = 15.0

# What would point a server at some other engine, make it talk to strangers or change how it logs.
_SCRUBBED = ("RIVET", "_RIVET", "OTEL_", "NODE_", "LOG_LEVEL", "TEST_SERVER_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class ServerError(RuntimeError):
    """A server did not come up; the message carries its log."""


class _PortTakenError(ServerError):
    """Somebody else was faster at the port."""


class _NotReadyError(ServerError):
    """The server runs, but no actor could be created in time."""


class _EngineGivenUpError(_NotReadyError):
    """RivetKit has ended its own engine, because that did not answer soon."""


def start_server(
    version: str, *, port: int | None = None, default_limits: bool = False
) -> "Server":
    """Install the version if needed, start a server with empty storage, wait until it answers.

    Its messages may be up to 64 MiB long, or as long as RivetKit's own limits let them be.
    """
    installation = install(version)
    for _ in range(_PORT_ATTEMPTS - 1):
        if port is not None:
            break
        with contextlib.suppress(_PortTakenError, _NotReadyError):
            return _start(version, installation, reserve_port(), default_limits)
    last = reserve_port() if port is None else Port(port)
    return _start(version, installation, last, default_limits)


def _start(version: str, installation: Path, port: Port, default_limits: bool) -> "Server":
    server = Server(version, installation, port, default_limits)
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


class Server:
    """A server on 127.0.0.1 with storage of its own; made by `start_server`.

    As a context manager it ends its processes and deletes the storage on exit.
    """

    def __init__(
        self, version: str, installation: Path, port: Port, default_limits: bool = False
    ) -> None:
        self.version = version
        self.default_limits = default_limits
        self.port = port.number
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._port = port
        self._token = secrets.token_hex(8)
        self._node: subprocess.Popen[bytes] | None = None
        self._created = float("-inf")
        self._directory = Path(tempfile.mkdtemp(prefix="rivet-anyio-server-"))
        self._program = self._directory / "program"
        self._storage = self._directory / "storage"
        self._log = self._directory / "server.log"
        self._engine_pid = self._directory / "engine.pid"
        # Also when nobody leaves the context, or there is none.
        atexit.register(self.close)
        self._lay_out(installation)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start on the same port with the same storage, and wait until an actor answers."""
        if self._node is not None:
            raise RuntimeError("the server runs already")
        for _ in range(_ENGINE_ATTEMPTS - 1):
            with contextlib.suppress(_EngineGivenUpError):
                return self._start_once()
        return self._start_once()

    def _start_once(self) -> None:
        if not self._is_own_engine():
            self._engine_pid.unlink(missing_ok=True)
        printed = len(self._node_log())
        with self._log.open("ab") as log:
            self._node = subprocess.Popen(
                [str(node()), program(self.version)],
                cwd=self._program,
                env=self._environment(),
                # Never written to: the server ends itself when this pipe breaks with this process.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready(self._node, printed)
        except BaseException:
            self.kill()
            raise

    def ensure_creates(self) -> None:
        """Try to create an actor; if that fails, start anew, with empty storage.

        On a busy machine the engine of 2.3.19 sometimes stops creating actors, for good. Answers
        at once if the last success is less than 15 s old.
        """
        if not self._has_engine or time.monotonic() < self._created + _CREATION_INTERVAL:
            return
        key = secrets.token_hex(8)
        try:
            _http.call(self.port, "instance", key, "token", timeout=_CREATION_TIMEOUT)
        except (OSError, http.client.HTTPException, _http.HttpError, ValueError):
            self.kill()
            shutil.rmtree(self._storage)
            self._storage.mkdir()
            self.start()
        self._created = time.monotonic()

    def stop(self) -> None:
        """End all processes in an orderly way: what actors have to save is saved."""
        if self._node is not None:
            self._node.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._node.wait(_STOP_TIMEOUT)
        # Last, because the actors save into the engine.
        engine = self._engine()
        if engine is not None:
            _processes.send(engine, signal.SIGTERM)
            _processes.wait_gone(engine, _STOP_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End all processes at once, as a crash of the machine would.

        After that, 2.3 needs half a minute to start: its engine waits that long until it is sure
        that the one which had the actors before is dead.
        """
        if self._node is not None:
            _processes.send_group(self._node.pid, signal.SIGKILL)
            self._node.wait()
        # Looked up only now: there is no one left who could still spawn it.
        engine = self._engine()
        if engine is not None:
            _processes.send(engine, signal.SIGKILL)
            if not _processes.wait_gone(engine, _STOP_TIMEOUT):
                raise RuntimeError(f"process {engine} survived SIGKILL")
        # Its number may become another process's.
        self._engine_pid.unlink(missing_ok=True)
        if self._node is not None and self._node.stdin is not None:
            self._node.stdin.close()
        self._node = None

    def kill_host(self) -> None:
        """End at once the process that runs the actors; an engine goes on without it.

        `start` brings it back.
        """
        if self._node is None:
            return
        _processes.send(self._node.pid, signal.SIGKILL)
        self._node.wait()
        if self._node.stdin is not None:
            self._node.stdin.close()
        self._node = None

    def close(self) -> None:
        """Stop, and delete the storage."""
        try:
            self.stop()
        finally:
            self._port.close()
            atexit.unregister(self.close)
            shutil.rmtree(self._directory, ignore_errors=True)

    def pids(self) -> list[int]:
        """The processes of the server that run now."""
        pids = [] if self._node is None else [self._node.pid, self._engine()]
        return [pid for pid in pids if pid is not None and _processes.alive(pid)]

    def log(self) -> str:
        """What the processes have printed so far."""
        engine = sorted(self._storage.rglob("rivet-engine/*.log"))
        return "\n".join(
            [self._node_log(), *(f"{path.name}:\n{_read(path)}" for path in engine)],
        )

    def _lay_out(self, installation: Path) -> None:
        # Copied to beside a link to the packages: an import finds packages only in directories
        # above the importing file, and the install is shared by servers of different checkouts.
        self._storage.mkdir()
        self._program.mkdir()
        for source in (*SOURCES.glob("*.mjs"), SOURCES / "engine.sh"):
            shutil.copy(source, self._program)
        (self._program / "node_modules").symlink_to(installation / "node_modules")

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_SCRUBBED) and name.lower() not in _PROXIES
        }
        return inherited | {
            "TEST_SERVER_TOKEN": self._token,
            "TEST_SERVER_PORT": str(self.port),
            "TEST_SERVER_DIRECTORY": str(self._directory),
            "TEST_SERVER_ENGINE_PID": str(self._engine_pid),
            **({"TEST_SERVER_DEFAULT_LIMITS": "1"} if self.default_limits else {}),
            "RIVET_LOG_LEVEL": "info",
            "RIVETKIT_STORAGE_PATH": str(self._storage),
            # Where 2.0 keeps its storage.
            "XDG_DATA_HOME": str(self._storage),
            # 2.3 only; the others do not know these.
            "RIVET_RUN_ENGINE_PORT": str(self.port),
            "RIVET_RUN_SERVICES": "0",
            "RIVET__TELEMETRY__ENABLED": "false",
            # On a busy machine the engine puts off new actors, for up to half a minute. Busy means
            # relative to this (in thousandths of a core), so it never is.
            "RIVET__RUNTIME__WORKER_CPU_MAX": "1000000",
            **({"RIVET_RUN_ENGINE": "1"} if self._has_engine else {}),
        }

    @property
    def _has_engine(self) -> bool:
        return self.version.startswith("2.3.")

    def _wait_until_ready(self, process: subprocess.Popen[bytes], printed: int) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        problem = "it never answered"
        while time.monotonic() < deadline:
            log = self._node_log()[printed:]
            # 2.0 ends when its port is taken; 2.2 goes on at the next one.
            if "EADDRINUSE" in log or f"port {self.port} is in use" in log:
                raise self._failure("its port is taken", _PortTakenError)
            # 2.3 ends an engine that is too busy to answer in ten seconds, and goes on without one.
            if "health_check_failed" in log:
                raise self._failure("RivetKit gave its engine up", _EngineGivenUpError)
            if process.poll() is not None:
                raise self._failure(f"it exited with status {process.returncode}")
            try:
                _http.request(self.port, "GET", "/metadata", timeout=5)
                # Short, because 2.3 may hold a request that came before the actors could start.
                token = _http.call(self.port, "instance", "ready", "token", timeout=5)
            except (OSError, http.client.HTTPException, _http.HttpError, ValueError) as error:
                problem = str(error)
                time.sleep(_POLL)
                continue
            if token != self._token or not self._is_own_engine():
                raise self._failure("another server answers on its port", _PortTakenError)
            return
        raise self._failure(
            f"it was not ready within {_READY_TIMEOUT:.0f} s: {problem}", _NotReadyError
        )

    def _is_own_engine(self) -> bool:
        # Rather than fail, 2.3 joins an engine that it finds on its port.
        if not self._has_engine:
            return True
        engine = self._engine()
        return engine is not None and _processes.alive(engine)

    def _engine(self) -> int | None:
        try:
            return int(self._engine_pid.read_text())
        except (OSError, ValueError):
            return None

    def _node_log(self) -> str:
        return _read(self._log) if self._log.exists() else ""

    def _failure(self, what: str, kind: type[ServerError] = ServerError) -> ServerError:
        return kind(f"RivetKit {self.version} on port {self.port}: {what}. Its log:\n{self.log()}")


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace")
