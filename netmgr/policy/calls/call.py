"""Owns: what a request asks for inside of its body, as rules see it, and its short text.

The text is what denials show and what `policy explain --operation` takes. Knows nothing of rules,
and nothing of bytes: the proxy's workers read those.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.errors import BadInput

MAX_SHOWN: Final = 120  # characters of a hostile name that a message repeats
TOOLS_CALL: Final = "tools/call"


class Operation(StrEnum):
    """The kinds of GraphQL operations (GraphQL §2.3)."""

    QUERY = "query"
    MUTATION = "mutation"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class GraphqlCall:
    """One GraphQL operation.

    Attributes:
        name: '' where it has none. The client's own choice.
        fields: its root fields without their aliases, fragments unfolded; empty only where a
            registered query does not tell them.
    """

    kind: Operation
    name: str = ""
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        fields = f" {{ {' '.join(self.fields)} }}" if self.fields else ""
        return _shorten(f"{self.kind.value}{name}{fields}")


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A GraphQL operation that only its id was sent of; the server is to know its text.

    Attributes:
        name: `operationName` where the client gave one.
    """

    key: str
    name: str = ""

    def __str__(self) -> str:
        return _shorten(f"persisted {self.key}{' ' + self.name if self.name else ''}")


@dataclass(frozen=True, slots=True)
class RpcCall:
    """One JSON-RPC request or notification.

    Attributes:
        tool: `params.name` of a `tools/call`; None for every other method.
        arguments: `params.arguments` of a `tools/call`, as JSON values.
    """

    method: str
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return _shorten(self.method if self.tool is None else f"{self.method} {self.tool}")


@dataclass(frozen=True, slots=True)
class RpcAnswer:
    """A JSON-RPC response that a client sends: its answer to what the server asked it."""

    def __str__(self) -> str:
        return "a response"


Call = GraphqlCall | StoredCall | RpcCall | RpcAnswer
Calls = tuple[Call, ...]

_NAME: Final = "[_A-Za-z][_0-9A-Za-z]*"  # GraphQL §2.1.9
_GRAPHQL = re.compile(
    rf"(query|mutation|subscription)(?:\s+({_NAME}))?"
    rf"(?:\s*\{{\s*({_NAME}(?:[\s,]+{_NAME})*)\s*\}})?"
)
_STORED = re.compile(rf"persisted\s+(\S+)(?:\s+({_NAME}))?")
GRAPHQL_FORM: Final = "'query NAME { field field }' (also mutation, subscription) or 'persisted ID'"
RPC_FORM: Final = "'METHOD', or 'tools/call TOOL {\"key\": \"value\"}'"


def parse_graphql_call(text: str) -> GraphqlCall | StoredCall:
    """A GraphQL operation as a person writes it.

    Raises:
        BadInput: it has none of the forms.
    """
    text = text.strip()
    stored = _STORED.fullmatch(text)
    if stored is not None:
        return StoredCall(stored[1], stored[2] or "")
    found = _GRAPHQL.fullmatch(text)
    if found is None:
        raise BadInput(f"operation {text!r}: expected {GRAPHQL_FORM}")
    fields = tuple(re.findall(_NAME, found[3] or ""))
    return GraphqlCall(Operation(found[1]), found[2] or "", fields)


def parse_rpc_call(text: str) -> RpcCall:
    """A JSON-RPC call as a person writes it.

    Raises:
        BadInput: it has none of the forms.
    """
    method, _, rest = text.strip().partition(" ")
    tool, _, given = rest.strip().partition(" ")
    if not method or (tool and method != TOOLS_CALL) or (not tool and method == TOOLS_CALL):
        raise BadInput(f"operation {text!r}: expected {RPC_FORM}")
    if not tool:
        return RpcCall(method)
    arguments: Any = {}
    if given.strip():
        try:
            arguments = json.loads(given)
        except ValueError as error:
            raise BadInput(f"operation {text!r}: the arguments: {error}") from None
    if not isinstance(arguments, dict):
        raise BadInput(f"operation {text!r}: the arguments are no JSON object")
    return RpcCall(method, tool, arguments)


def _shorten(text: str) -> str:
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
