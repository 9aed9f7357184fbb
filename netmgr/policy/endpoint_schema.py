"""Owns: reading one endpoint of a policy document: which keys it has and what each may say.

Knows nothing of other endpoints: conflicts between two are overlap.py's. The keys that netmgr
understands but does not enforce yet stand in one table here; the issue that enforces one takes it
out of the table.
"""

from typing import Final

from netmgr.guard import describe_address, judge_address
from netmgr.policy.decision import DestinationPlan, PlanKind
from netmgr.policy.fields import NOT_ENFORCED, Fields
from netmgr.policy.hosts import OWN_NAMES, ExactHost, Host, LiteralHost, parse_host
from netmgr.policy.match import ANY_METHOD, BadPattern, is_method, parse_path_glob
from netmgr.policy.problems import Report
from netmgr.policy.rules import PRESET_RULES, Access, Endpoint, HttpRule, Protocol, Tls
from netmgr.policy.tree import Node, to_value

MAX_PORT: Final = 65535
MAX_RULES: Final = 1000  # of one endpoint: each request is held against all of them

_ENFORCED: Final = frozenset(
    ("host", "port", "ports", "protocol", "tls", "enforcement", "access", "rules", "deny_rules")
)
# Key -> values that ask for nothing and are therefore accepted.
_ENDPOINT_LATER: Final[dict[str, tuple[object, ...]]] = {
    "path": ("", "**", "/**"),
    "allowed_ips": ([],),
    "allow_encoded_slash": (False,),
    "websocket_credential_rewrite": (False,),
    "request_body_credential_rewrite": (False,),
    "allow_uninspected_credentials": (False,),
    "credential_signing": ("",),
    "signing_service": ("",),
    "signing_region": ("",),
    "credential_binding": (),
    "persisted_queries": ("", "deny"),
    "graphql_persisted_queries": ({},),
    "graphql_max_body_bytes": (),
    "json_rpc": (),
    "mcp": (),
}
_RULE_LATER: Final[dict[str, tuple[object, ...]]] = {
    "query": ({},),
    "command": ("",),
    "operation_type": ("",),
    "operation_name": ("",),
    "fields": ([],),
    "tool": (),
    "params": ({},),
}
_RULE_KEYS: Final = frozenset(("method", "path", *_RULE_LATER))
ENDPOINT_KEYS: Final = _ENFORCED | _ENDPOINT_LATER.keys()

_PROTOCOLS_LATER: Final = ("websocket", "graphql", "json-rpc", "mcp")
_METHODS: Final = """
    GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK
    UNLOCK REPORT SEARCH QUERY PURGE LINK UNLINK
"""
_KNOWN_METHODS: Final = frozenset(_METHODS.split())
_L7_ONLY: Final = ("access", "rules", "deny_rules")


def parse_endpoint(
    node: Node, path: str, place: str, observed: bool, report: Report
) -> Endpoint | None:
    """One endpoint; None where it has no usable host or port (a problem is noted then).

    Args:
        path: its full name, for problems.
        place: its short name, for decisions.
        observed: the entry says `mode: observe`.
    """
    fields = Fields(node, path, ENDPOINT_KEYS, report)
    refuse_later_keys(fields, _ENDPOINT_LATER)
    host = _parse_host(fields, report)
    ports = _parse_ports(fields)
    protocol = _parse_protocol(fields, report)
    tls = _parse_tls(fields, protocol, report)
    audit = _parse_enforcement(fields, protocol, observed)
    if protocol in (Protocol.TCP, Protocol.SQL) and isinstance(host, LiteralHost):
        fields.problem(
            "host", f"protocol {protocol.value} needs a name; for an address leave it out"
        )
    access, allow, deny = _parse_requests(fields, protocol, report)
    if host is None or not ports:
        return None
    return Endpoint(place, host, ports, protocol, tls, audit, access, allow, deny)


def refuse_later_keys(fields: Fields, later: dict[str, tuple[object, ...]]) -> None:
    """Refuse the keys that would have to be ignored, unless they ask for nothing."""
    for key, harmless in later.items():
        node = fields.node(key)
        if node is None:
            continue
        value = to_value(node)
        if not any(type(value) is type(other) and value == other for other in harmless):
            fields.problem(key, NOT_ENFORCED)


def _parse_host(fields: Fields, report: Report) -> Host | None:
    text = fields.text("host")
    if not text:
        if fields.node("allowed_ips") is not None:
            fields.missing(f"an endpoint without 'host' {NOT_ENFORCED}")
        elif fields.node("host") is None or text == "":
            fields.missing("expected 'host': a name, a wildcard or an IPv4 address")
        return None
    try:
        host = parse_host(text)
    except BadPattern as error:
        fields.problem("host", str(error))
        return None
    if isinstance(host, ExactHost) and host.text in OWN_NAMES:
        fields.problem("host", f"{host.text!r} is netmgr's own: no policy gives or takes it")
    _warn_of_host(fields, host, report)
    return host


def _warn_of_host(fields: Fields, host: Host, report: Report) -> None:
    if isinstance(host, LiteralHost):
        if judge_address(host.address, DestinationPlan(PlanKind.LITERAL)) is not None:
            what = describe_address(host.address)
            report.warn(fields.where("host"), f"never reachable, whatever is allowed: {what}")
    elif host.text == "localhost":
        report.warn(
            fields.where("host"),
            "inside the sandbox that is the sandbox; the host is 'host.openshell.internal'",
        )


def _parse_ports(fields: Fields) -> tuple[int, ...]:
    if "port" in fields and "ports" in fields:
        fields.problem("ports", "'port' and 'ports' exclude each other; keep one")
    key = "ports" if "ports" in fields else "port"
    if fields.node(key) is None or fields.is_empty_list(key):
        fields.missing("expected 'port' (1 to 65535) or a list of 'ports'")
        return ()
    numbers = fields.integers(key) if key == "ports" else [fields.integer(key)]
    ports: set[int] = set()
    for number in numbers:
        if number is None:
            continue
        if not 1 <= number <= MAX_PORT:
            fields.problem(key, f"{number}: expected 1 to {MAX_PORT}")
        ports.add(number)
    return tuple(sorted(ports))


def _parse_protocol(fields: Fields, report: Report) -> Protocol:
    text = (fields.text("protocol") or "").lower()
    if text in _PROTOCOLS_LATER:
        fields.problem("protocol", f"{text!r} {NOT_ENFORCED}")
        return Protocol.L4
    try:
        return Protocol(text)
    except ValueError:
        names = [protocol.value for protocol in Protocol if protocol.value]
        options = [*names, *_PROTOCOLS_LATER]
        fields.problem(
            "protocol",
            f"unknown protocol {text!r}; expected {', '.join(options)}, or none for L4"
            f"{report.suggest(text, options)}",
        )
        return Protocol.L4


def _parse_tls(fields: Fields, protocol: Protocol, report: Report) -> Tls:
    text = fields.choice("tls", ("auto", "skip", "terminate", "passthrough"), default="auto")
    if text in ("terminate", "passthrough"):
        report.warn(fields.where("tls"), f"{text!r} is deprecated and has no effect; remove it")
        return Tls.AUTO
    if text == "skip" and protocol is Protocol.REST:
        fields.problem("tls", "'skip' leaves nothing to judge by 'protocol: rest'; remove one")
    return Tls(text)


def _parse_enforcement(fields: Fields, protocol: Protocol, observed: bool) -> bool:
    text = fields.choice("enforcement", ("", "enforce", "audit"), default="")
    if text == "enforce" and protocol is Protocol.SQL:
        fields.problem("enforcement", "protocol sql can only be audited: write 'audit'")
    if text == "enforce" and observed:
        fields.problem("enforcement", "'enforce' contradicts the entry's 'mode: observe'")
    return text == "audit" or observed or protocol is Protocol.SQL


def _parse_requests(
    fields: Fields, protocol: Protocol, report: Report
) -> tuple[Access | None, tuple[HttpRule, ...], tuple[HttpRule, ...]]:
    if protocol is not Protocol.REST:
        for key in _L7_ONLY:
            if fields.node(key) is not None:
                fields.problem(key, "needs 'protocol: rest'")
        return None, (), ()
    text = fields.choice("access", ("", *(access.value for access in Access)), default="")
    access = Access(text) if text else None
    allow = _parse_rules(fields, "rules", report)
    deny = _parse_rules(fields, "deny_rules", report)
    if fields.node("access") is not None and fields.node("rules") is not None:
        fields.problem("rules", "'access' and 'rules' exclude each other; keep one")
    elif fields.node("access") is None and fields.node("rules") is None:
        fields.missing("protocol rest needs 'access' or 'rules' to say what is allowed")
    return access, PRESET_RULES[access] if access else allow, deny


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
    return HttpRule(method, glob, place) if method else None


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
