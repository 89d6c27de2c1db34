"""Sockets, TLS, waiting and tasks: the only place that knows asyncio and Trio."""
