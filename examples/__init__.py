"""Small programs, one topic each: ``python -m examples.minimal``.

All of them but `demo`, which starts a server of its own, expect a server whose URL is in the
environment variable ``RIVET_ENDPOINT`` and that runs the actors in ``tests/servers/actors.mjs``.
"""
