"""Owns: reading what an endpoint of a policy document says about calls inside of its requests.

Knows nothing of hosts, ports or HTTP rules: those are endpoint_schema.py's.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from netmgr.policy.calls.call import TOOLS_CALL, GraphqlCall, Operation
from netmgr.policy.calls.rules import (
    ANY_TYPE,
    DEFAULT_BODY,
    MAX_BODY,
    MCP_METHODS,
    STRICT_TOOL,
    ArgumentTest,
    CallRule,
    GraphqlRule,
    Inside,
    RpcRule,
)
from netmgr.policy.fields import Fields
from netmgr.policy.match import BadPattern
from netmgr.policy.problems import Report
from netmgr.policy.query import ANYTHING, TextGlob, parse_text_glob
from netmgr.policy.tree import Mapping, Node, Scalar, Sequence, to_value

MAX_RULES: Final = 1000  # of one endpoint: each call is held against all of them
MAX_NAMES: Final = 256  # patterns in one list
MAX_ARGUMENTS: Final = 32  # tested in one rule
MAX_REGISTERED: Final = 10_000  # persisted queries of one endpoint

GRAPHQL_RULE_KEYS: Final = ("operation_type", "operation_name", "fields")
RPC_RULE_KEYS: Final = ("method", "tool", "params", "arguments")
GRAPHQL_KEYS: Final = ("persisted_queries", "graphql_persisted_queries", "graphql_max_body_bytes")
_HTTP_KEYS: Final = ("path", "query", "command")  # of rules for requests
_TYPES: Final = (*(kind.value for kind in Operation), ANY_TYPE)
_GRAPHQL_NAME = re.compile("[_A-Za-z][_0-9A-Za-z]*")

ParseRule = Callable[[Fields, str], CallRule | None]


@dataclass(frozen=True, slots=True)
class _Mcp:
    """The mapping `mcp` of an endpoint."""

    max_body: int = DEFAULT_BODY
    strict_tools: bool = True
    profile: bool = False


# -- GraphQL -------------------------------------------------------------------------------


def parse_graphql(fields: Fields, report: Report) -> Inside:
    """What a GraphQL endpoint says, without what a preset allows."""
    allow = _parse_rules(fields, "rules", _graphql_only, report)
    deny = _parse_rules(fields, "deny_rules", _graphql_only, report)
    return Inside(allow, deny, graphql_bound(fields), registered_queries(fields, report))


def is_graphql_rule(node: Node) -> bool:
    """Whether a rule of a WebSocket endpoint is about GraphQL operations."""
    inner = node.values.get("allow", node) if isinstance(node, Mapping) else node
    return isinstance(inner, Mapping) and any(
        to_value(inner.values[key]) not in ("", [], None)
        for key in GRAPHQL_RULE_KEYS
        if key in inner.values
    )


def parse_graphql_rule(node: Node, path: str, place: str, report: Report) -> CallRule | None:
    """One rule of a WebSocket endpoint, about GraphQL operations."""
    fields = _open_rule(node, path, place.startswith("rules"), report)
    return None if fields is None else _graphql_only(fields, place)


def graphql_bound(fields: Fields) -> int:
    """`graphql_max_body_bytes`."""
    return _body_bound(fields, "graphql_max_body_bytes")


def _graphql_only(fields: Fields, place: str) -> GraphqlRule | None:
    _refuse_keys(fields, ("method", *_HTTP_KEYS, "tool", "params", "arguments"), "operations")
    kind = (fields.text("operation_type") or "").lower()
    if not kind:
        if place.startswith("deny_rules") and fields.node("fields") is not None:
            kind = ANY_TYPE  # a field that is denied is denied in every kind
        else:
            fields.missing(f"expected 'operation_type': {', '.join(_TYPES)}")
            return None
    if kind not in _TYPES:
        fields.problem("operation_type", f"unknown value {kind!r}; expected {', '.join(_TYPES)}")
        return None
    text = fields.text("operation_name")
    name = _glob(fields, "operation_name", text) if text else None
    if name is not None and place.startswith("deny_rules"):
        _warn_of_names(fields)
    if fields.is_empty_list("fields"):
        fields.problem("fields", "an empty list names no field; remove the key to mean any")
    return GraphqlRule(place, kind, name, _globs(fields, "fields"))


def _warn_of_names(fields: Fields) -> None:
    fields.warn("operation_name", "a client chooses these names; deny 'fields' instead")


def registered_queries(fields: Fields, report: Report) -> dict[str, GraphqlCall]:
    """`persisted_queries` and `graphql_persisted_queries`."""
    mode = fields.choice("persisted_queries", ("", "deny", "allow_registered"), default="deny")
    found: dict[str, GraphqlCall] = {}
    for key, _, node in fields.entries("graphql_persisted_queries"):
        if len(found) >= MAX_REGISTERED:
            fields.problem("graphql_persisted_queries", f"more than {MAX_REGISTERED} queries")
            break
        where = f"{fields.where('graphql_persisted_queries')}.{key}"
        call = _registered(Fields(node, where, GRAPHQL_RULE_KEYS, report))
        if call is not None:
            found[key] = call
    if mode == "allow_registered" and not found:
        fields.problem("persisted_queries", "'allow_registered' needs 'graphql_persisted_queries'")
    if mode == "deny" and found:
        fields.problem(
            "graphql_persisted_queries", "needs 'persisted_queries: allow_registered' to count"
        )
        return {}
    return found


def _registered(fields: Fields) -> GraphqlCall | None:
    kind = (fields.text("operation_type") or "").lower()
    if kind not in _TYPES[:-1]:
        fields.missing(f"expected 'operation_type': {', '.join(_TYPES[:-1])}")
        return None
    name = fields.text("operation_name") or ""
    roots = [to_value(node) for _, node in fields.items("fields")]
    for text in (name, *roots):
        if text != "" and not (isinstance(text, str) and _GRAPHQL_NAME.fullmatch(text)):
            fields.problem("fields", f"{text!r} is no GraphQL name")
            return None
    return GraphqlCall(Operation(kind), name, tuple(roots))


# -- JSON-RPC and MCP ----------------------------------------------------------------------


def parse_rpc(fields: Fields, report: Report) -> Inside:
    """What a JSON-RPC endpoint says."""
    bound = DEFAULT_BODY
    node = fields.node("json_rpc")
    if node is not None:
        inner = Fields(node, fields.where("json_rpc"), ("max_body_bytes",), report)
        bound = _body_bound(inner, "max_body_bytes")
    allow = _parse_rules(fields, "rules", _rpc_rule, report)
    deny = _parse_rules(fields, "deny_rules", _rpc_rule, report)
    return Inside(allow, deny, bound)


def parse_mcp(fields: Fields, report: Report) -> Inside:
    """What an MCP endpoint says."""
    mcp = _parse_mcp_mapping(fields, report)

    def rule(inner: Fields, place: str) -> RpcRule | None:
        return _mcp_rule(inner, place, mcp)

    allow = _parse_rules(fields, "rules", rule, report)
    deny = _parse_rules(fields, "deny_rules", rule, report)
    _check_broad(fields, allow)
    return Inside(allow, deny, mcp.max_body, {}, mcp.strict_tools, mcp.profile)


def _parse_mcp_mapping(fields: Fields, report: Report) -> _Mcp:
    node = fields.node("mcp")
    if node is None:
        return _Mcp()
    keys = ("max_body_bytes", "strict_tool_names", "allow_all_known_mcp_methods")
    inner = Fields(node, fields.where("mcp"), keys, report)
    strict = inner.flag("strict_tool_names")
    return _Mcp(
        _body_bound(inner, "max_body_bytes"),
        strict is not False,
        inner.flag("allow_all_known_mcp_methods") is True,
    )


def _rpc_rule(fields: Fields, place: str) -> RpcRule | None:
    _refuse_keys(fields, (*_HTTP_KEYS, *GRAPHQL_RULE_KEYS), "methods")
    _refuse_keys(fields, ("tool", "params", "arguments"), "methods; tools are for 'protocol: mcp'")
    text = fields.text("method")
    if not text:
        fields.missing("expected 'method': a method's exact name, or '*'")
        return None
    if "*" in text and text != "*":
        fields.problem("method", f"{text!r}: expected an exact name, or '*' for all")
        return None
    glob = _glob(fields, "method", text)
    return RpcRule(place, glob) if glob is not None else None


def _mcp_rule(fields: Fields, place: str, mcp: _Mcp) -> RpcRule | None:
    _refuse_keys(fields, (*_HTTP_KEYS, *GRAPHQL_RULE_KEYS), "methods and tools")
    tool = _parse_tool(fields, mcp)
    arguments = _parse_arguments(fields)
    text = fields.text("method")
    if not text and mcp.profile and (tool is not None or arguments):
        text = TOOLS_CALL
    if not text:
        fields.missing("expected 'method': a method's name, 'tools/*', or '*'")
        return None
    if "*" in text and text != "*" and not text.startswith("tools/"):
        fields.problem("method", f"{text!r}: '*' stands alone or within 'tools/'")
        return None
    if (tool is not None or arguments) and text != TOOLS_CALL:
        fields.problem("method", f"'tool' and 'arguments' need the method {TOOLS_CALL!r}")
        return None
    if "*" not in text and text not in MCP_METHODS:
        fields.warn("method", f"{text!r} is no MCP method that netmgr knows")
    glob = _glob(fields, "method", text)
    return RpcRule(place, glob, tool, arguments) if glob is not None else None


def _parse_tool(fields: Fields, mcp: _Mcp) -> TextGlob | None:
    text, key = fields.text("tool"), "tool"
    named = _parse_params(fields)
    if text and named:
        fields.problem("params", "'tool' and 'params.name' exclude each other; keep one")
    if named:
        text, key = named, "params"
    if not text:
        return None
    glob = _glob(fields, key, text)
    if glob is not None and glob.starred and not mcp.strict_tools:
        fields.problem(key, "'strict_tool_names: false' leaves only exact names of tools")
    if mcp.strict_tools and not STRICT_TOOL.fullmatch(text.replace("*", "_")):
        fields.warn(key, f"{text!r} is no tool's name while 'strict_tool_names' is on")
    return glob


def _parse_params(fields: Fields) -> str | None:
    node = fields.node("params")
    if node is None:
        return None
    if not isinstance(node, Mapping) or set(node.values) - {"name"}:
        fields.problem("params", "expected 'name' only; arguments stand under 'arguments'")
        return None
    name = node.values.get("name")
    if name is None:
        return None
    if not (isinstance(name, Scalar) and isinstance(name.value, str)):
        fields.problem("params", "'name': expected a word")
        return None
    return name.value


def _parse_arguments(fields: Fields) -> tuple[ArgumentTest, ...]:
    found: list[ArgumentTest] = []
    for key, _, node in fields.entries("arguments"):
        if len(found) >= MAX_ARGUMENTS:
            fields.problem("arguments", f"more than {MAX_ARGUMENTS} arguments")
            break
        texts = list(_argument_texts(fields, key, node))
        globs = [_glob(fields, "arguments", text) for text in texts]
        kept = tuple(glob for glob in globs if glob is not None)
        if kept:
            found.append(ArgumentTest(key, kept, isinstance(node, Mapping)))
    return tuple(found)


def _argument_texts(fields: Fields, key: str, node: Node) -> Iterator[str]:
    why = f"{key!r}: expected a pattern in quotes, or {{any: [patterns]}}"
    if isinstance(node, Mapping):
        inner = node.values.get("any")
        texts = [to_value(item) for item in inner.items] if isinstance(inner, Sequence) else []
        if set(node.values) != {"any"} or not 1 <= len(texts) <= MAX_NAMES:
            fields.problem("arguments", why)
            return
    else:
        texts = [to_value(node)]
    for text in texts:
        if isinstance(text, str):
            yield text
        else:
            fields.problem("arguments", why)


def _check_broad(fields: Fields, rules: tuple[CallRule, ...]) -> None:
    """One allow rule for every tool beside one for some: the narrow one would mean nothing."""
    tools = [
        rule for rule in rules if isinstance(rule, RpcRule) and rule.method.matches(TOOLS_CALL)
    ]
    broad = [rule for rule in tools if rule.tool is None and not rule.arguments]
    if broad and len(broad) < len(tools):
        fields.problem(
            "rules", f"{broad[0].place} allows every tool, so rules for single tools mean nothing"
        )


# -- both ----------------------------------------------------------------------------------


def _parse_rules(
    fields: Fields, key: str, parse: ParseRule, report: Report
) -> tuple[CallRule, ...]:
    if fields.is_empty_list(key):
        fields.problem(key, "an empty list allows nothing and denies nothing; remove the key")
    found: list[CallRule] = []
    for number, (path, node) in enumerate(fields.items(key)):
        if number >= MAX_RULES:
            fields.problem(key, f"more than {MAX_RULES} rules")
            break
        inner = _open_rule(node, path, key == "rules", report)
        rule = parse(inner, f"{key}[{number}]") if inner is not None else None
        if rule is not None:
            found.append(rule)
    return tuple(found)


def _open_rule(node: Node, path: str, wrapped: bool, report: Report) -> Fields | None:
    if wrapped:
        outer = Fields(node, path, ("allow",), report)
        inner = outer.node("allow")
        if inner is None:
            outer.missing("expected 'allow' with what is allowed")
            return None
        node, path = inner, outer.where("allow")
    known = (*_HTTP_KEYS, *RPC_RULE_KEYS, *GRAPHQL_RULE_KEYS)
    return Fields(node, path, known, report)


def _refuse_keys(fields: Fields, keys: tuple[str, ...], judged: str) -> None:
    """Refuse the keys that mean nothing here, unless they ask for nothing."""
    for key in keys:
        node = fields.node(key)
        if node is not None and to_value(node) not in ("", [], {}):
            fields.problem(key, f"means nothing here: this endpoint judges {judged}")


def _body_bound(fields: Fields, key: str) -> int:
    number = fields.integer(key)
    if number is None:
        return DEFAULT_BODY
    if not 1 <= number <= MAX_BODY:
        fields.problem(key, f"{number}: expected 1 to {MAX_BODY} bytes")
        return DEFAULT_BODY
    return number


def _globs(fields: Fields, key: str) -> tuple[TextGlob, ...]:
    found: list[TextGlob] = []
    for number, (_, node) in enumerate(fields.items(key)):
        if number >= MAX_NAMES:
            fields.problem(key, f"more than {MAX_NAMES} patterns")
            break
        value: Any = to_value(node)
        if not isinstance(value, str) or not value:
            fields.problem(key, "expected patterns for names")
            continue
        glob = _glob(fields, key, value)
        if glob is not None:
            found.append(glob)
    return tuple(found)


def _glob(fields: Fields, key: str, text: str) -> TextGlob | None:
    try:
        return ANYTHING if text == "*" else parse_text_glob(text)
    except BadPattern as error:
        fields.problem(key, str(error))
        return None
