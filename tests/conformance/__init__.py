"""What RFC 6455 asks of a client, as a table, and the client held to it.

`table.CASES` is data: what the server sends, what comes out, how it ends. Every case is run
against each framer in `framers.FRAMERS` (`test_framer`), through the pump and the raw WebSocket
(`test_websocket`), and through a connection, with an event of the actor protocol in every message
(`test_connection`). Two other implementations have their say in `test_differential` and `test_ws`.

A new framer is one line in `framers`; where it is wrong for now, `deviations` says how.
"""
