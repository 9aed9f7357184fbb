"""Owns: the table of inference requests that exist. What is not in it is denied.

Knows nothing of routes and providers: whether the configured one speaks a row's protocol is
`admit`'s question.
"""

from dataclasses import dataclass
from typing import Final

from netmgr.inference.protocols import SHAPE_OF, Protocol, Shape


@dataclass(frozen=True, slots=True)
class Pattern:
    """One row.

    Attributes:
        path: canonical path; the row of a whole subtree ends in '/*'.
        operation: short name for records.
        has_body: whether the request carries a JSON object with a `model` to pin.
        may_stream: whether `stream: true` is meaningful.
    """

    method: str
    path: str
    protocol: Protocol
    operation: str
    has_body: bool = True
    may_stream: bool = False

    @property
    def shape(self) -> Shape:
        """How this API words its errors."""
        return SHAPE_OF[self.protocol]


PATTERNS: Final = (
    Pattern("POST", "/v1/chat/completions", Protocol.CHAT, "chat", may_stream=True),
    Pattern("POST", "/v1/completions", Protocol.COMPLETIONS, "completion", may_stream=True),
    Pattern("POST", "/v1/responses", Protocol.RESPONSES, "response", may_stream=True),
    Pattern("POST", "/v1/embeddings", Protocol.EMBEDDINGS, "embeddings"),
    Pattern("POST", "/v1/messages", Protocol.MESSAGES, "message", may_stream=True),
    Pattern("POST", "/v1/messages/count_tokens", Protocol.MESSAGES, "count_tokens"),
    Pattern("GET", "/v1/models", Protocol.MODELS, "models", has_body=False),
    Pattern("GET", "/v1/models/*", Protocol.MODELS, "model", has_body=False),
)

_EXACT: Final = {(p.method, p.path): p for p in PATTERNS if not p.path.endswith("/*")}
_SUBTREES: Final = tuple((p, p.path[:-1]) for p in PATTERNS if p.path.endswith("/*"))


def match(method: str, path: str) -> Pattern | None:
    """The row of an upper-case method and a canonical path without a trailing slash."""
    found = _EXACT.get((method, path))
    if found is not None:
        return found
    for pattern, prefix in _SUBTREES:
        if method == pattern.method and path.startswith(prefix) and len(path) > len(prefix):
            return pattern
    return None


def shape_of_path(path: str) -> Shape:
    """The error shape that a client of `path` expects, matched or not."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Shape.ANTHROPIC
    return Shape.OPENAI
