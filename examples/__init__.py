"""Small programs, one topic each: ``python -m examples.minimal``.

All of them but `demo`, which starts a server of its own, expect a server with the actors of
``examples/actors.py``: ``rivet-anyio dev examples/actors.py``, or ``python -m tests.servers``,
whose URL belongs into the environment variable ``RIVET_ENDPOINT``.
"""
