"""Mutation testing: bugs that are put into copies of the package, and what finds them.

`table` has the bugs, `finders` what looks for them, and ``python -m tests.mutations`` runs both.
"""
