"""Owns: where each request that a route answers goes, for a person to read. Pure."""

from typing import Final
from urllib.parse import quote

from netmgr.inference.dialect import ModelList
from netmgr.inference.pattern import Pattern
from netmgr.inference.protocols import Protocol
from netmgr.inference.route import InferenceRoute
from netmgr_proxy.inference.patterns import PATTERNS
from netmgr_proxy.inference.url import join, join_target

_UNRESERVED: Final = "-._~@"  # what of a model's name stands in a path as it is


def urls_of(route: InferenceRoute) -> list[dict[str, str]]:
    """Each request with its protocol and the URL that it is sent to, with the route's model; a URL
    of their own for streams comes as a row of its own. `{id}` and `*` stay as they are.

    Returns:
        [{"request": "POST /v1/messages", "protocol": ..., "url": ...}]
    """
    dialect = route.dialect
    rows = []
    for pattern in (*PATTERNS, *dialect.patterns):
        asked = f"{pattern.method} {pattern.path}"
        if pattern.protocol is not Protocol.OTHER and pattern.protocol not in dialect.protocols:
            continue
        if pattern.protocol is Protocol.MODELS and dialect.models is ModelList.SYNTHESISED:
            rows.append(_row(asked, pattern, "answered by netmgr"))
            continue
        once, streamed = _url(route, pattern, stream=False), _url(route, pattern, stream=True)
        rows.append(_row(asked, pattern, once))
        if pattern.may_stream and streamed != once:
            rows.append(_row(f"{asked} (stream)", pattern, streamed))
    return rows


def _row(asked: str, pattern: Pattern, url: str) -> dict[str, str]:
    return {"request": asked, "protocol": pattern.protocol.value, "url": url}


def _url(route: InferenceRoute, pattern: Pattern, *, stream: bool) -> str:
    own = route.dialect.call(pattern.operation).target_of(route.model, stream=stream)
    if own is not None:
        return route.base.origin + join_target(route.base, own)
    path = pattern.path.replace("{model}", quote(route.model, safe=_UNRESERVED))
    return route.base.origin + join(route.base, path, "", route.dialect.path_prefix)
