"""Sockets, TLS, waiting and tasks: all that the client does otherwise on asyncio than on Trio."""
