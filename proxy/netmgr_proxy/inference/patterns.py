"""Owns: the table of inference requests that exist. What is not in it is denied.

Knows nothing of routes and providers: whether the configured one speaks a row's protocol is
`admit`'s question. A provider's type may bring rows of its own; they are in the route's dialect.
"""

import functools
from typing import Final

from netmgr.inference.pattern import Pattern
from netmgr.inference.protocols import Protocol, Shape

__all__ = ["PATTERNS", "Pattern", "find", "match", "shape_of_path"]

PATTERNS: Final = (
    Pattern("POST", "/v1/chat/completions", Protocol.CHAT, "chat", may_stream=True),
    Pattern("POST", "/v1/completions", Protocol.COMPLETIONS, "completion", may_stream=True),
    Pattern("POST", "/v1/responses", Protocol.RESPONSES, "response", may_stream=True),
    Pattern(
        "GET",
        "/v1/responses/{id}",
        Protocol.RESPONSES,
        "response_get",
        has_body=False,
        may_stream=True,
        names_object=True,
    ),
    Pattern(
        "DELETE",
        "/v1/responses/{id}",
        Protocol.RESPONSES,
        "response_delete",
        has_body=False,
        names_object=True,
    ),
    Pattern(
        "POST",
        "/v1/responses/{id}/cancel",
        Protocol.RESPONSES,
        "response_cancel",
        has_body=False,
        names_object=True,
    ),
    Pattern(
        "GET",
        "/v1/responses/{id}/input_items",
        Protocol.RESPONSES,
        "response_items",
        has_body=False,
        names_object=True,
    ),
    Pattern("POST", "/v1/embeddings", Protocol.EMBEDDINGS, "embeddings"),
    Pattern("POST", "/v1/messages", Protocol.MESSAGES, "message", may_stream=True),
    Pattern("POST", "/v1/messages/count_tokens", Protocol.MESSAGES, "count_tokens"),
    Pattern("GET", "/v1/models", Protocol.MODELS, "models", has_body=False),
    Pattern("GET", "/v1/models/*", Protocol.MODELS, "model", has_body=False),
    Pattern("POST", "/model/{model}/invoke", Protocol.INVOKE, "invoke"),
    Pattern(
        "POST",
        "/model/{model}/invoke-with-response-stream",
        Protocol.INVOKE,
        "invoke_stream",
        may_stream=True,
    ),
    Pattern("POST", "/model/{model}/converse", Protocol.CONVERSE, "converse"),
    Pattern(
        "POST",
        "/model/{model}/converse-stream",
        Protocol.CONVERSE,
        "converse_stream",
        may_stream=True,
    ),
)


class _Table:
    """Rows, ready to be looked up: those with one path by that path, the others one by one."""

    def __init__(self, rows: tuple[Pattern, ...]) -> None:
        self._exact = {(row.method, row.path): row for row in rows if row.exact}
        self._others = tuple((row, row.regex()) for row in rows if not row.exact)

    def match(self, method: str, path: str) -> Pattern | None:
        found = self._exact.get((method, path))
        if found is not None:
            return found
        for row, regex in self._others:
            if method == row.method and regex.fullmatch(path):
                return row
        return None


_TABLE: Final = _Table(PATTERNS)


def match(method: str, path: str, further: tuple[Pattern, ...] = ()) -> Pattern | None:
    """The row of an upper-case method and a canonical path without a trailing slash.

    Args:
        further: rows of the route's own; they come after those that every version has.
    """
    found = _TABLE.match(method, path)
    return found if found is not None or not further else _table_of(further).match(method, path)


def find(operation: str) -> Pattern:
    """The row of an operation. KeyError: there is none."""
    return _BY_OPERATION[operation]


def shape_of_path(path: str) -> Shape:
    """The error shape that a client of `path` expects, matched or not."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Shape.ANTHROPIC
    return Shape.BEDROCK if path.startswith("/model/") else Shape.OPENAI


_BY_OPERATION: Final = {row.operation: row for row in PATTERNS}


@functools.lru_cache(maxsize=256)  # one entry per provider type with rows of its own
def _table_of(rows: tuple[Pattern, ...]) -> _Table:
    return _Table(rows)
