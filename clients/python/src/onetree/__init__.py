"""The Python client of Onetree: live copies (mirrors) of parts of the broker's tree, and writes
that take effect once.

`connect` gives a `Client`, whose `mirror` gives a live copy of a part of the tree. `onetree.sync`
has the same words for scripts, without `async`. The README has an example of twenty lines.
"""

from .changes import Changes
from .client import Client, connect, start
from .codes import CODES, Action
from .errors import (
    BadToken,
    BadUrl,
    Closed,
    ConnectError,
    HttpAnswer,
    KeepError,
    LinkLost,
    Lost,
    NotABroker,
    OnetreeError,
    OutsideView,
    ProtocolBroken,
    QueueFull,
    Refused,
    Silent,
    Timeout,
    Unreachable,
)
from .event import (
    Broken,
    Circling,
    Connecting,
    Corrupt,
    Delta,
    Difference,
    Ended,
    Event,
    Fresh,
    Offline,
    Online,
    Refreshing,
    Signal,
    Status,
    Synced,
    Verdict,
)
from .keep import FileKeep, Keep
from .live import Mirror
from .options import Options
from .plain import as_json
from .protocol.cookies import Cookie
from .protocol.frames import Condition, Done, Entry, Found, Limits, Step
from .protocol.paths import log_key, parse_log_key
from .protocol.values import Value
from .protocol.views import View
from .protocol.wrong import Wrong
from .request import Txn
from .snapshot import Snapshot
from .transact import Committed, Transaction

__all__ = [
    "CODES",
    "Action",
    "BadToken",
    "BadUrl",
    "Broken",
    "Changes",
    "Circling",
    "Client",
    "Closed",
    "Committed",
    "Condition",
    "ConnectError",
    "Connecting",
    "Cookie",
    "Corrupt",
    "Delta",
    "Difference",
    "Done",
    "Ended",
    "Entry",
    "Event",
    "FileKeep",
    "Found",
    "Fresh",
    "HttpAnswer",
    "Keep",
    "KeepError",
    "Limits",
    "LinkLost",
    "Lost",
    "Mirror",
    "NotABroker",
    "Offline",
    "OnetreeError",
    "Online",
    "Options",
    "OutsideView",
    "ProtocolBroken",
    "QueueFull",
    "Refreshing",
    "Refused",
    "Signal",
    "Silent",
    "Snapshot",
    "Status",
    "Step",
    "Synced",
    "Timeout",
    "Transaction",
    "Txn",
    "Unreachable",
    "Value",
    "Verdict",
    "View",
    "Wrong",
    "as_json",
    "connect",
    "log_key",
    "parse_log_key",
    "start",
]
