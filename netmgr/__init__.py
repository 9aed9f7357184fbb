"""netmgr: one door for every sandbox. The ground floor: values, decisions, kernel, store.

For other programs this package is a library: `netmgr.Client`, `netmgr.AsyncClient` and the errors
that they raise (docs/client.md). They are loaded when they are asked for: the daemon's workers are
of this package, too, and pay nothing for them.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from netmgr.client import AsyncClient, Client
    from netmgr.errors import (
        BadInput,
        Conflict,
        HostFailed,
        LimitExceeded,
        NetmgrError,
        NotFound,
        NotVerified,
        Refused,
        TryLater,
        Unreachable,
    )

__version__: Final = "0.1.0"
__all__ = [
    "AsyncClient",
    "BadInput",
    "Client",
    "Conflict",
    "HostFailed",
    "LimitExceeded",
    "NetmgrError",
    "NotFound",
    "NotVerified",
    "Refused",
    "TryLater",
    "Unreachable",
    "__version__",
]
_CLIENTS: Final = ("AsyncClient", "Client")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'netmgr' has no attribute {name!r}")
    module = importlib.import_module("netmgr.client" if name in _CLIENTS else "netmgr.errors")
    return getattr(module, name)
