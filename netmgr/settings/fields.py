"""Owns: how a setting is declared: the dataclass field with its key's type, bounds and meaning.

Knows nothing of which settings there are.
"""

from collections.abc import Callable
from dataclasses import field
from typing import Any, Final

from netmgr.settings.values import Account, Key, parse_account, parse_int, parse_seconds

# Neither system users, nor systemd's dynamic ones (61184-65519), nor subordinate ids of rootless
# containers (from 100000, login.defs(5)): no container's process may share a worker's uid.
FIRST_WORKER_UID: Final = 77001


def value(section: str, default: Any, parse: Callable[[Any], Any], doc: str, **more: Any) -> Any:
    """Any setting; `more` are fields of Key."""
    return field(default=default, metadata={"key": Key(section, doc, parse, **more)})


def count(section: str, default: int, span: tuple[int, int], doc: str, unit: str = "") -> Any:
    """A number within `span`, which a running daemon takes up."""
    key = Key(section, doc, parse_int, unit, span[0], span[1], live=True)
    return field(default=default, metadata={"key": key})


def seconds(section: str, default: float, span: tuple[float, float], doc: str) -> Any:
    """A time within `span`, which a running daemon takes up."""
    key = Key(section, doc, parse_seconds, "seconds", span[0], span[1], live=True)
    return field(default=default, metadata={"key": key})


def account(offset: int, who: str) -> Any:
    """The user of the worker with that number."""
    number = FIRST_WORKER_UID + offset
    doc = f"User of the {who}: a uid (the gid is the same number) or a name."
    return value("Processes", Account(number, number), parse_account, doc)
