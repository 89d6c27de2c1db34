"""Types that signatures name: keys, options, and the protocol of an observer."""

from ._connection.events import Gaps, Overflow
from ._live import Reducer
from ._observe import AttemptObserver, Call, ConnectionObserver, Observer, PoolFigures, Subject
from ._typed.actor import Interface
from ._typed.members import Rename
from ._types import CrashPolicy, GetParams, GetToken
from .protocol.codec import Encoding
from .protocol.keys import Key

__all__ = [
    "AttemptObserver",
    "Call",
    "ConnectionObserver",
    "CrashPolicy",
    "Encoding",
    "Gaps",
    "GetParams",
    "GetToken",
    "Interface",
    "Key",
    "Observer",
    "Overflow",
    "PoolFigures",
    "Reducer",
    "Rename",
    "Subject",
]
