"""Real RivetKit servers for the tests, the demo and the benchmarks.

Blocking and free of dependencies on purpose: it must be usable from sync and async tests, from
either backend, and from scripts.

    from tests.servers import start_server

    with start_server("2.3.19") as server:
        print(server.endpoint)
"""

from ._http import call, get_or_create
from ._install import InstallError, install
from ._server import Server, ServerError, start_server
from ._versions import CHECKED, VERSIONS

__all__ = [
    "CHECKED",
    "VERSIONS",
    "InstallError",
    "Server",
    "ServerError",
    "call",
    "get_or_create",
    "install",
    "start_server",
]
