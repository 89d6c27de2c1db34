"""A blocking script: the client runs in a thread with an event loop, behind a portal.

For scripts, notebooks and frameworks that know no ``await``.
"""

from anyio.from_thread import start_blocking_portal

from rivet_anyio import Client


def main() -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client()) as client,
    ):
        counter = client.counter.get_or_create("blocking")
        print("a call:", portal.call(counter.increment, 5))

        with portal.wrap_async_context_manager(counter.connect()) as conn:
            # Everything that belongs to the event loop is called there, streams too.
            counts = portal.call(conn.events, "newCount")
            print("on a connection:", portal.call(conn.increment, 1))
            print("an event:", portal.call(counts.receive))


if __name__ == "__main__":
    main()
