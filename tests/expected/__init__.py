"""Promises that the code broke when their tests were written.

A test that is marked as an expected failure shows a promise that is broken still: the expectation
is strict, so whoever keeps the promise has to take the mark away. The others were red once.
They say what a user sees and know little of the code, because the code below them will be rebuilt.
What spins or hangs runs in a child process with a deadline: see `tests.expected.child`.
"""
