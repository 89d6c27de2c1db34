"""Fuzzing: whatever bytes a peer sends, there is a result or a RivetError, within bounds.

The targets are plain functions. The ordinary suite runs them on what is in `targets.SEEDS`, on
damaged copies of it and on hostile inputs (tests/protocol/test_fuzz.py), so that a target cannot
rot; ``nox -s fuzz``, or ``python -m tests.fuzz``, runs them under atheris, guided by coverage. That
is why they live below tests/, and need atheris nowhere but in `__main__`.
"""
