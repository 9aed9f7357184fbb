"""Owns: one rule for what is inside of requests as `policy update` writes it, and the narrowest
such rule for a call.

    query|mutation|subscription|* [NAME] [{ field field }]       GraphQL
    METHOD                                                       JSON-RPC, MCP
    tools/call TOOL [{"argument": "pattern"}]                    MCP

The spelling is that of `policy explain --operation`, with patterns for names. Knows nothing of
endpoints; what is inside of a part is judged by the schema.
"""

import json
import re
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.policy.calls.call import Call, GraphqlCall, RpcCall

MAX_FIELDS: Final = 20  # of one line that a person is to read
_GLOB: Final = "[_A-Za-z*][_0-9A-Za-z*]*"
_GRAPHQL = re.compile(
    rf"(query|mutation|subscription|\*)(?:\s+({_GLOB}))?"
    rf"(?:\s*\{{\s*({_GLOB}(?:[\s,]+{_GLOB})*)\s*\}})?"
)
_PLAIN = re.compile(r"[A-Za-z0-9_.$/-]{1,128}")  # no star, nothing that a reader trips on
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,128}")

GRAPHQL_RULE_FORM: Final = "'query NAME { field field }' (also mutation, subscription, *)"
RPC_RULE_FORM: Final = "'METHOD', or 'tools/call TOOL {\"argument\": \"pattern\"}'"


def graphql_rule(text: str) -> dict[str, Any]:
    """A rule for GraphQL operations, as it stands in a document.

    Raises:
        BadInput: the text does not have the form.
    """
    found = _GRAPHQL.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"operation {text!r}: expected {GRAPHQL_RULE_FORM}")
    doc: dict[str, Any] = {"operation_type": found[1]}
    if found[2]:
        doc["operation_name"] = found[2]
    if found[3]:
        doc["fields"] = re.findall(_GLOB, found[3])
    return doc


def rpc_rule(text: str) -> dict[str, Any]:
    """A rule for JSON-RPC calls, as it stands in a document.

    Raises:
        BadInput: the text does not have the form.
    """
    method, _, rest = text.strip().partition(" ")
    tool, _, given = rest.strip().partition(" ")
    if not method:
        raise BadInput(f"operation {text!r}: expected {RPC_RULE_FORM}")
    doc: dict[str, Any] = {"method": method}
    if tool:
        doc["tool"] = tool
    if given.strip():
        try:
            doc["arguments"] = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"operation {text!r}: the arguments: {error}") from None
    return doc


def narrowest(call: Call, *, tools: bool) -> str | None:
    """The rule that covers a call and as little else as can be; None where no line can name it.

    Args:
        tools: whether rules tell one tool from another.
    """
    match call:
        case GraphqlCall(kind=kind, fields=fields) if 0 < len(set(fields)) <= MAX_FIELDS:
            return f"{kind.value} {{ {' '.join(dict.fromkeys(fields))} }}"
        case RpcCall(method=method) if not _PLAIN.fullmatch(method):
            return None
        case RpcCall(method=method, tool=str(tool)) if tools:
            return f"{method} {tool}" if _TOOL.fullmatch(tool) else None
        case RpcCall(method=method):
            return method
        case _:
            return None
