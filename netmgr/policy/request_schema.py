"""Owns: reading what may be said on an endpoint: `access`, `rules`, `deny_rules`.

Each protocol whose requests are judged has one reader in `_READERS`. Knows nothing of hosts. Keys
of rules that netmgr understands but does not enforce yet stand in one table here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from netmgr.policy.fields import NOT_ENFORCED, Fields, refuse_later_keys
from netmgr.policy.http_rules import PRESET_RULES, Access, HttpRule
from netmgr.policy.match import ANY_METHOD, BadPattern, is_method, parse_path_glob
from netmgr.policy.problems import Report
from netmgr.policy.query_schema import parse_query_tests
from netmgr.policy.rules import Protocol
from netmgr.policy.tree import Node

MAX_RULES: Final = 1000  # of one endpoint, each of allow and deny

# Key -> values that ask for nothing and are therefore accepted.
_RULE_LATER: Final[dict[str, tuple[object, ...]]] = {
    "command": ("",),
    "operation_type": ("",),
    "operation_name": ("",),
    "fields": ([],),
    "tool": (),
    "params": ({},),
}
_RULE_KEYS: Final = frozenset(("method", "path", "query", *_RULE_LATER))
_METHODS: Final = """
    GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK
    UNLOCK REPORT SEARCH QUERY PURGE LINK UNLINK
"""
_KNOWN_METHODS: Final = frozenset(_METHODS.split())
_L7_ONLY: Final = ("access", "rules", "deny_rules")


@dataclass(frozen=True, slots=True)
class Requests:
    """What may be said on an endpoint.

    Attributes:
        access: the preset that `allow` comes from; None where rules are written out.
    """

    access: Access | None = None
    allow: tuple[HttpRule, ...] = ()
    deny: tuple[HttpRule, ...] = ()


def parse_requests(fields: Fields, protocol: Protocol, report: Report) -> Requests:
    """What may be said on the endpoint, by its protocol's reader."""
    reader = _READERS.get(protocol)
    if reader is not None:
        return reader(fields, report)
    for key in _L7_ONLY:
        if fields.node(key) is not None:
            fields.problem(key, "needs 'protocol: rest'")
    return Requests()


def _parse_rest(fields: Fields, report: Report) -> Requests:
    text = fields.choice("access", ("", *(access.value for access in Access)), default="")
    access = Access(text) if text else None
    allow = _parse_rules(fields, "rules", report)
    deny = _parse_rules(fields, "deny_rules", report)
    if fields.node("access") is not None and fields.node("rules") is not None:
        fields.problem("rules", "'access' and 'rules' exclude each other; keep one")
    elif fields.node("access") is None and fields.node("rules") is None:
        fields.missing("protocol rest needs 'access' or 'rules' to say what is allowed")
    return Requests(access, PRESET_RULES[access] if access else allow, deny)


_READERS: Final[dict[Protocol, Callable[[Fields, Report], Requests]]] = {
    Protocol.REST: _parse_rest,
}


def _parse_rules(fields: Fields, key: str, report: Report) -> tuple[HttpRule, ...]:
    if fields.is_empty_list(key):
        fields.problem(key, "an empty list allows nothing and denies nothing; remove the key")
    found: list[HttpRule] = []
    for number, (path, node) in enumerate(fields.items(key)):
        if number >= MAX_RULES:
            fields.problem(key, f"more than {MAX_RULES} rules")
            break
        rule = _parse_rule(node, path, f"{key}[{number}]", key == "rules", report)
        if rule is not None:
            found.append(rule)
    return tuple(found)


def _parse_rule(
    node: Node, path: str, place: str, wrapped: bool, report: Report
) -> HttpRule | None:
    if wrapped:
        outer = Fields(node, path, ("allow",), report)
        inner = outer.node("allow")
        if inner is None:
            outer.missing("expected 'allow' with a method and a path")
            return None
        node, path = inner, outer.where("allow")
    fields = Fields(node, path, _RULE_KEYS, report)
    refuse_later_keys(fields, _RULE_LATER)
    method = _parse_method(fields, report)
    query = parse_query_tests(fields, report)
    glob_text = fields.text("path")
    if not glob_text:
        if fields.node("path") is None:
            fields.missing("expected 'path' ('/**' for every path)")
        return None
    try:
        glob = parse_path_glob(glob_text)
    except BadPattern as error:
        fields.problem("path", str(error))
        return None
    return HttpRule(method, glob, place, query) if method else None


def _parse_method(fields: Fields, report: Report) -> str | None:
    text = (fields.text("method") or "").upper()
    if not text:
        if fields.node("method") is None:
            fields.missing("expected 'method' ('*' for every method)")
        return None
    if not is_method(text):
        fields.problem("method", f"{text!r} is no HTTP method")
        return None
    if text == "WEBSOCKET_TEXT":
        fields.problem("method", f"{text!r} {NOT_ENFORCED}")
    elif text not in _KNOWN_METHODS and text != ANY_METHOD:
        near = report.suggest(text, _KNOWN_METHODS)
        report.warn(fields.where("method"), f"{text!r} is no method that netmgr knows{near}")
    return text
