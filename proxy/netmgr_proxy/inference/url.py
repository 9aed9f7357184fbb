"""Owns: the request target at the provider. Knows nothing of which paths are allowed.

A base URL mostly carries the API's version already (`/v1`, `/v4`, `/openai/v1`, `/v1/openai`);
the sandbox's path mostly begins with `/v1`. Where the operator or the type says what stands for it
(a prefix), that does; otherwise, where the base has a version at its front or its end, that one;
otherwise the path is appended whole.
"""

import re
from typing import Final

from netmgr.inference.base_url import BaseUrl

CLIENT_VERSION: Final = "/v1"  # what every pattern begins with
# v1, v4, v1beta, v1alpha2: Google serves an OpenAI dialect under /v1beta/openai.
_VERSION: Final = re.compile(r"v[0-9]+(?:(?:alpha|beta)[0-9]*)?")
_ODD_IN_PATH: Final = re.compile(r"[^\x21-\x7e]|[?#\\]|//")
_ODD_IN_QUERY: Final = re.compile(r"[^\x21-\x7e]|#")
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)(?:\.|%2[eE]){1,2}(?:/|$)")


class OutsideBase(ValueError):
    """The joined target would leave the base URL's path. A fault of ours if it ever happens."""


def join(base: BaseUrl, path: str, query: str = "", prefix: str | None = None) -> str:
    """The target for `path` at `base`, with the query.

    Args:
        path: canonical path, beginning with '/'.
        query: without '?'; the base URL's own query, where it has one, comes first.
        prefix: what stands for the path's /v1 below the base; '/' is nothing, None is read off it.

    Raises:
        OutsideBase: the path is not canonical and could climb out.
    """
    if not path.startswith("/") or _ODD_IN_PATH.search(path) or _DOT_SEGMENT.search(path):
        raise OutsideBase("the path is not canonical")
    tail = path
    if path == CLIENT_VERSION or path.startswith(CLIENT_VERSION + "/"):
        if prefix is not None:
            tail = prefix.rstrip("/") + path[len(CLIENT_VERSION) :]
        elif _has_version(base.path):
            tail = path[len(CLIENT_VERSION) :]
    return _target(base, tail, query)


def join_target(base: BaseUrl, target: str, query: str = "") -> str:
    """The target of a call whose path at the provider is fixed by its type.

    Raises:
        OutsideBase: the path is not canonical.
    """
    if not target.startswith("/") or _ODD_IN_PATH.search(target) or _DOT_SEGMENT.search(target):
        raise OutsideBase("the type's path is not canonical")
    return _target(base, target, query)


def _target(base: BaseUrl, tail: str, query: str) -> str:
    if _ODD_IN_QUERY.search(query):
        raise OutsideBase("the query has a character that no query has")
    target = base.path + tail or "/"
    queries = [part for part in (base.query, query) if part]
    return f"{target}?{'&'.join(queries)}" if queries else target


def _has_version(base_path: str) -> bool:
    segments = base_path.strip("/").split("/")
    return any(_VERSION.fullmatch(segment) for segment in (segments[0], segments[-1]))
