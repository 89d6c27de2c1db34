"""Free ports on 127.0.0.1."""

import errno
import random
import socket

# Below what operating systems hand out to outgoing connections, so nobody takes one by accident.
_RANGE = range(20_000, 32_000)

# The engine of 2.3 listens on its port and on two more at these distances.
_OFFSETS = (0, 1, 10)


def free_port() -> int:
    """A port whose neighbours that an engine needs are free as well, as of now."""
    for _ in range(1000):
        port = random.choice(_RANGE)
        if all(_is_free(port + offset) for offset in _OFFSETS):
            return port
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do it: connections that linger from an earlier one are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
