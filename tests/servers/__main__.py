"""Runs one server until it is interrupted: `python -m tests.servers 2.2.1`."""

import argparse
import signal
import sys

from . import VERSIONS, start_server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("version", nargs="?", default=VERSIONS[-1], choices=VERSIONS)
    parser.add_argument("--port", type=int, help="a free one by default")
    parser.add_argument("--log", action="store_true", help="print the server's log at the end")
    arguments = parser.parse_args()

    # One way out for Ctrl-C and for a polite kill. A shell that starts this in the background
    # has SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with start_server(arguments.version, port=arguments.port) as server:
        print(server.endpoint, flush=True)
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            pass
        if arguments.log:
            server.stop()
            print(server.log(), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
