"""What differs between server versions, in one place.

``/metadata`` says which dialect to begin with; the version prefix of every BARE answer confirms
or corrects it. RivetKit 2.0 answers with protocol version 2, 2.1 and 2.2 with 3, 2.3 with 4.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache

import msgspec

__all__ = ["Dialect", "ServerVersion"]


class Dialect(enum.Enum):
    """How a server writes values.

    ``PLAIN`` (RivetKit 2.0 to 2.2) writes plain CBOR; ``COMPAT`` (2.3 and later) writes what JSON
    lacks as two-element arrays such as ``["$BigInt", "7"]``, in CBOR as well.
    """

    PLAIN = "plain"
    COMPAT = "compat"

    @classmethod
    def of_bare_version(cls, version: int) -> Dialect:
        """The dialect of a server that answers with this BARE version prefix."""
        return cls.PLAIN if version <= 3 else cls.COMPAT


class ServerVersion(msgspec.Struct, frozen=True):
    """What ``/metadata`` says of a server: its runtime and its version."""

    runtime: str
    text: str

    @property
    def release(self) -> tuple[int, int] | None:
        """Major and minor version, None when the text has none."""
        return _release(self.text)

    @property
    def dialect(self) -> Dialect:
        """The dialect to begin with; a version that cannot be read counts as a new one."""
        return Dialect.COMPAT if self._at_least(2, 3) else Dialect.PLAIN

    @property
    def has_queues(self) -> bool:
        """Queues came with RivetKit 2.1."""
        return self._at_least(2, 1)

    @property
    def has_token_in_path(self) -> bool:
        """``/gateway/{id}@{token}`` came with RivetKit 2.1; 2.0 takes it for an actor id."""
        return self._at_least(2, 1)

    @property
    def has_engine(self) -> bool:
        """From RivetKit 2.3 on an engine stands before the actors, and manages them."""
        return self._at_least(2, 3)

    @property
    def has_skip_ready_wait(self) -> bool:
        """Reaching actors that are not ready came with RivetKit 2.3; older gateways stumble."""
        return self._at_least(2, 3)

    @property
    def signs_answers(self) -> bool:
        """From RivetKit 2.3 on answers say which instance of an actor gave them."""
        return self._at_least(2, 3)

    @property
    def hides_stale_ids(self) -> bool:
        """RivetKit 2.0 and 2.1 answer an id that leads nowhere like any error of an actor."""
        return not self._at_least(2, 2)

    @property
    def keeps_creation_times(self) -> bool:
        """RivetKit 2.0 says of each actor that it was created just now."""
        return self._at_least(2, 1)

    @property
    def may_mask_stops(self) -> bool:
        """RivetKit 2.1 answers like any error of an actor's code that the actor has stopped."""
        return self.release in (None, (2, 1))

    @property
    def may_die_of_unsubscribing(self) -> bool:
        """RivetKit 2.1 and 2.2 end when a subscription does whose actor has stopped."""
        return self.release in (None, (2, 1), (2, 2))

    @property
    def returns_keys_escaped_twice(self) -> bool:
        """RivetKit 2.0 takes a serialized key for one part, and escapes it in its answers."""
        return not self._at_least(2, 1)

    def _at_least(self, major: int, minor: int) -> bool:
        release = _release(self.text)
        return release is None or release >= (major, minor)


@lru_cache(16)
def _release(text: str) -> tuple[int, int] | None:
    found = re.match(r"v?(\d{1,9})\.(\d{1,9})", text)
    return (int(found[1]), int(found[2])) if found else None
