"""Owns: which parts of a request's query go on to the provider.

The names that the provider's type and the operator let through. Names by which services take a key
never go on, nor do those that the base URL has (an Azure `api-version` is the operator's to set).
What goes on keeps its bytes and its order. Pure.
"""

import re
from typing import Final
from urllib.parse import unquote_plus

from netmgr.inference.options import is_query_credential

ANY: Final = "*"
_ODD: Final = re.compile(r"[^\x21-\x7e]|#")


def allowed_query(query: str, allowed: frozenset[str], base: str = "") -> str:
    """The part of `query` that goes on; both without '?'.

    Args:
        allowed: names; '*' is any.
        base: the base URL's own query.
    """
    if not query:
        return ""
    taken = frozenset(map(_name, base.split("&"))) if base else frozenset()
    return "&".join(part for part in query.split("&") if _passes(part, allowed, taken))


def _passes(part: str, allowed: frozenset[str], taken: frozenset[str]) -> bool:
    # A ';' separates for some servers: nothing hides behind one.
    if not part or _ODD.search(part) or ";" in part:
        return False
    name = _name(part)
    if name in taken or is_query_credential(name):
        return False
    return ANY in allowed or name in allowed


def _name(part: str) -> str:
    return unquote_plus(part.partition("=")[0])
