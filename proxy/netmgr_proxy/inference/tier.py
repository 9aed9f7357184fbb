"""Owns: whether a request asks to be served at another price than its model's: faster, or cheaper
and later. Pure. Prices of such tiers are nowhere, so where money is counted they are refused.

OpenAI: `service_tier` (also Anthropic's), Anthropic: `speed`, Bedrock's Converse: `serviceTier` and
`performanceConfig`. Names are compared as in `way_out`.
"""

from typing import Any, Final

from netmgr_proxy.inference.document import Document
from netmgr_proxy.inference.keys import remembered
from netmgr_proxy.inference.way_out import fold

# What a body without the key has, too: `auto` is what the operator's account says.
_USUAL: Final = frozenset(("auto", "default", "standard", "standardonly", "normal", "ondemand"))
_KEYS: Final = frozenset(("servicetier", "speed", "performanceconfig"))
_BAG: Final = "extrabody"  # read by some gateways as if it stood in the body
_INNER: Final = frozenset(("type", "latency"))  # of Bedrock's objects
MAX_SHOWN: Final = 40  # characters of a tier in a message


def tier_of(document: Document) -> str:
    """The tier that a body asks for; '' for the usual one."""
    for member in document.members:
        if found := _asked(member.key, member.value):
            return found
    return ""


def _asked(key: str, value: Any) -> str:
    name = _name(key)
    if name is None or value is None:
        return ""
    inner = value.items() if isinstance(value, dict) else ()
    if name == _BAG:
        return next(filter(None, (_asked(k, v) for k, v in inner if _name(k) in _KEYS)), "")
    said = [v for k, v in inner if fold(k) in _INNER] if isinstance(value, dict) else [value]
    for each in said:
        if not isinstance(each, str) or fold(each) not in _USUAL:
            return str(each)[:MAX_SHOWN] or "?"
    return ""


@remembered
def _name(key: str) -> str | None:
    name = fold(key)
    return name if name in _KEYS or name == _BAG else None
