"""Owns: reading what may be said on an endpoint: `access`, `rules`, `deny_rules`.

Each protocol whose requests are judged has one reader in `_READERS`. Knows nothing of hosts. Keys
of rules that netmgr understands but does not enforce yet stand in one table here.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

from netmgr.policy.calls.rules import GRAPHQL_PRESETS, CallRule, Inside
from netmgr.policy.calls.schema import (
    GRAPHQL_KEYS,
    graphql_bound,
    is_graphql_rule,
    parse_graphql,
    parse_graphql_rule,
    parse_mcp,
    parse_rpc,
    registered_queries,
)
from netmgr.policy.fields import Fields, refuse_later_keys
from netmgr.policy.http_rules import (
    PRESET_RULES,
    SOCKET_PRESETS,
    WEBSOCKET_TEXT,
    Access,
    HttpRule,
)
from netmgr.policy.match import ANY_METHOD, BadPattern, is_method, parse_path_glob
from netmgr.policy.problems import Report
from netmgr.policy.query_schema import parse_query_tests
from netmgr.policy.rules import Protocol
from netmgr.policy.tree import Node, to_value

MAX_RULES: Final = 1000  # of one endpoint, each of allow and deny

# Key -> values that ask for nothing and are therefore accepted.
_RULE_LATER: Final[dict[str, tuple[object, ...]]] = {
    "command": ("",),
}
# Key of rules for what is inside of requests -> the protocol that has them.
_INSIDE_KEYS: Final = {
    "operation_type": Protocol.GRAPHQL,
    "operation_name": Protocol.GRAPHQL,
    "fields": Protocol.GRAPHQL,
    "tool": Protocol.MCP,
    "params": Protocol.MCP,
    "arguments": Protocol.MCP,
}
_RULE_KEYS: Final = frozenset(("method", "path", "query", *_RULE_LATER, *_INSIDE_KEYS))
_METHODS: Final = """
    GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK
    UNLOCK REPORT SEARCH QUERY PURGE LINK UNLINK
"""
_KNOWN_METHODS: Final = frozenset(_METHODS.split())
_SOCKET_METHODS: Final = frozenset(("GET", WEBSOCKET_TEXT))
_L7_ONLY: Final = ("access", "rules", "deny_rules")


@dataclass(frozen=True, slots=True)
class Requests:
    """What may be said on an endpoint.

    Attributes:
        access: the preset that `allow` comes from; None where rules are written out.
        inside: what may be asked inside of requests, where that is looked at.
    """

    access: Access | None = None
    allow: tuple[HttpRule, ...] = ()
    deny: tuple[HttpRule, ...] = ()
    inside: Inside | None = None


def parse_requests(fields: Fields, protocol: Protocol, report: Report) -> Requests:
    """What may be said on the endpoint, by its protocol's reader."""
    reader = _READERS.get(protocol)
    if reader is not None:
        return reader(fields, report)
    for key in _L7_ONLY:
        if fields.says(key):
            fields.problem(key, "needs a protocol whose requests are judged, such as 'rest'")
    return Requests()


def _parse_access(fields: Fields, protocol: Protocol) -> Access | None:
    """The preset, beside which no rules may stand, and without which they must."""
    text = fields.choice("access", ("", *(access.value for access in Access)), default="")
    if fields.says("access") and fields.node("rules") is not None:
        fields.problem("rules", "'access' and 'rules' exclude each other; keep one")
    elif not fields.says("access") and fields.node("rules") is None:
        fields.missing(
            f"protocol {protocol.value} needs 'access' or 'rules' to say what is allowed"
        )
    return Access(text) if text else None


def _parse_rest(fields: Fields, report: Report) -> Requests:
    access = _parse_access(fields, Protocol.REST)
    allow = _parse_rules(fields, "rules", report)
    deny = _parse_rules(fields, "deny_rules", report)
    return Requests(access, PRESET_RULES[access] if access else allow, deny)


def _parse_graphql(fields: Fields, report: Report) -> Requests:
    access = _parse_access(fields, Protocol.GRAPHQL)
    inside = parse_graphql(fields, report)
    if access is not None:
        inside = replace(inside, allow=GRAPHQL_PRESETS[access])
    return Requests(access, inside=inside)


def _parse_json_rpc(fields: Fields, report: Report) -> Requests:
    _refuse_access(fields)
    if fields.node("rules") is None:
        fields.missing("protocol json-rpc needs 'rules' to say what is allowed")
    return Requests(inside=parse_rpc(fields, report))


def _parse_mcp(fields: Fields, report: Report) -> Requests:
    _refuse_access(fields)
    inside = parse_mcp(fields, report)
    if fields.node("rules") is None and not inside.profile:
        fields.missing(
            "protocol mcp needs 'rules', or 'mcp: {allow_all_known_mcp_methods: true}', "
            "to say what is allowed"
        )
    return Requests(inside=inside)


def _parse_websocket(fields: Fields, report: Report) -> Requests:
    access = _parse_access(fields, Protocol.WEBSOCKET)
    allow, allow_calls = _parse_socket_rules(fields, "rules", report)
    deny, deny_calls = _parse_socket_rules(fields, "deny_rules", report)
    inside = None
    if allow_calls or deny_calls:
        registered = registered_queries(fields, report)
        inside = Inside(allow_calls, deny_calls, graphql_bound(fields), registered)
    else:
        for key in GRAPHQL_KEYS:
            node = fields.node(key)
            if node is not None and to_value(node) not in ("", "deny", {}):
                fields.problem(key, "needs a rule with 'operation_type'")
    return Requests(access, SOCKET_PRESETS[access] if access else allow, deny, inside)


def _parse_socket_rules(
    fields: Fields, key: str, report: Report
) -> tuple[tuple[HttpRule, ...], tuple[CallRule, ...]]:
    """Rules for the handshake and messages, and those for GraphQL operations in messages."""
    http: list[HttpRule] = []
    calls: list[CallRule] = []
    for place, path, node in _numbered(fields, key):
        if is_graphql_rule(node):
            call = parse_graphql_rule(node, path, place, report)
            calls += [call] if call is not None else []
            continue
        rule = _parse_rule(node, path, place, report, _SOCKET_METHODS)
        http += [rule] if rule is not None else []
    return tuple(http), tuple(calls)


def _refuse_access(fields: Fields) -> None:
    if fields.says("access"):
        fields.problem("access", "presets are for rest, websocket and graphql; write 'rules'")


_READERS: Final[dict[Protocol, Callable[[Fields, Report], Requests]]] = {
    Protocol.REST: _parse_rest,
    Protocol.GRAPHQL: _parse_graphql,
    Protocol.JSON_RPC: _parse_json_rpc,
    Protocol.WEBSOCKET: _parse_websocket,
    Protocol.MCP: _parse_mcp,
}


def _parse_rules(fields: Fields, key: str, report: Report) -> tuple[HttpRule, ...]:
    found = (
        _parse_rule(node, path, place, report, _KNOWN_METHODS)
        for place, path, node in _numbered(fields, key)
    )
    return tuple(rule for rule in found if rule is not None)


def _numbered(fields: Fields, key: str) -> Iterator[tuple[str, str, Node]]:
    """The items of a list of rules: place within the endpoint, full name, node."""
    if fields.is_empty_list(key):
        fields.problem(key, "an empty list allows nothing and denies nothing; remove the key")
    for number, (path, node) in enumerate(fields.items(key)):
        if number >= MAX_RULES:
            fields.problem(key, f"more than {MAX_RULES} rules")
            return
        yield f"{key}[{number}]", path, node


def _parse_rule(
    node: Node, path: str, place: str, report: Report, methods: Collection[str]
) -> HttpRule | None:
    if place.startswith("rules"):
        outer = Fields(node, path, ("allow",), report)
        inner = outer.node("allow")
        if inner is None:
            outer.missing("expected 'allow' with a method and a path")
            return None
        node, path = inner, outer.where("allow")
    fields = Fields(node, path, _RULE_KEYS, report)
    refuse_later_keys(fields, _RULE_LATER)
    for key, owner in _INSIDE_KEYS.items():
        inside = fields.node(key)
        if inside is not None and to_value(inside) not in ("", [], {}):
            fields.problem(key, f"needs 'protocol: {owner.value}'")
    method = _parse_method(fields, report, methods)
    query = parse_query_tests(fields, report)
    glob_text = fields.text("path")
    if not glob_text:
        if not fields.says("path"):
            fields.missing("expected 'path' ('/**' for every path)")
        return None
    try:
        glob = parse_path_glob(glob_text)
    except BadPattern as error:
        fields.problem("path", str(error))
        return None
    return HttpRule(method, glob, place, query) if method else None


def _parse_method(fields: Fields, report: Report, methods: Collection[str]) -> str | None:
    text = (fields.text("method") or "").upper()
    if not text:
        if not fields.says("method"):
            fields.missing("expected 'method' ('*' for every method)")
        return None
    if not is_method(text):
        fields.problem("method", f"{text!r} is no HTTP method")
        return None
    if text in methods or text == ANY_METHOD:
        return text
    if methods is _SOCKET_METHODS:
        fields.problem("method", f"{text!r}: expected GET (the handshake), {WEBSOCKET_TEXT} or '*'")
    elif text == WEBSOCKET_TEXT:
        fields.problem("method", f"{text!r} needs 'protocol: websocket'")
    else:
        near = report.suggest(text, methods)
        report.warn(fields.where("method"), f"{text!r} is no method that netmgr knows{near}")
    return text
