"""The pytest plugin by a name that works where pytest is kept from loading plugins by itself.

With ``PYTEST_DISABLE_PLUGIN_AUTOLOAD``, write ``pytest_plugins =
["rivet_anyio.testing.pytest_plugin"]`` in the topmost ``conftest.py``, or
``-p rivet_anyio.testing.pytest_plugin``. Twice is once.
"""

__all__: list[str] = []

pytest_plugins = ["rivet_anyio_pytest"]
