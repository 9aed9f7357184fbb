"""Owns: reading one endpoint of a policy document: which keys it has and what each may say.

Knows nothing of other endpoints: conflicts between two are overlap.py's. The keys that netmgr
understands but does not enforce yet stand in one table here; the issue that enforces one takes it
out of the table.
"""

from dataclasses import dataclass
from typing import Final

from netmgr.guard import Network, describe_address, judge_address
from netmgr.policy.address_schema import parse_allowed_ips
from netmgr.policy.decision import DestinationPlan, PlanKind
from netmgr.policy.fields import Fields, refuse_later_keys
from netmgr.policy.hosts import (
    HOST_NAMES,
    OWN_NAMES,
    AnyHost,
    ExactHost,
    Host,
    LiteralHost,
    parse_host,
)
from netmgr.policy.match import BadPattern, PathGlob, parse_path_glob
from netmgr.policy.problems import Report
from netmgr.policy.programs import Programs
from netmgr.policy.request_schema import parse_requests
from netmgr.policy.rules import INSPECTED, Endpoint, Protocol, Tls
from netmgr.policy.tree import Node, to_value

MAX_PORT: Final = 65535

# One word per line: additions of different people do not meet.
_ENFORCED: Final = frozenset(
    (
        "host",
        "port",
        "ports",
        "protocol",
        "allowed_ips",
        "path",
        "tls",
        "enforcement",
        "allow_encoded_slash",
        "access",
        "rules",
        "deny_rules",
    )
)
# Key -> values that ask for nothing and are therefore accepted.
_ENDPOINT_LATER: Final[dict[str, tuple[object, ...]]] = {
    "websocket_credential_rewrite": (False,),
    "request_body_credential_rewrite": (False,),
    "allow_uninspected_credentials": (False,),
    "credential_signing": ("",),
    "signing_service": ("",),
    "signing_region": ("",),
    "credential_binding": (),
}

_GRAPHQL: Final = (Protocol.GRAPHQL, Protocol.WEBSOCKET)
# Key -> the protocols that read it, and the values that ask for nothing of all others.
_OF_PROTOCOLS: Final[dict[str, tuple[tuple[Protocol, ...], tuple[object, ...]]]] = {
    "persisted_queries": (_GRAPHQL, ("", "deny")),
    "graphql_persisted_queries": (_GRAPHQL, ({},)),
    "graphql_max_body_bytes": (_GRAPHQL, ()),
    "json_rpc": ((Protocol.JSON_RPC,), ({},)),
    "mcp": ((Protocol.MCP,), ({},)),
}
ENDPOINT_KEYS: Final = _ENFORCED | _ENDPOINT_LATER.keys() | _OF_PROTOCOLS.keys()


@dataclass(frozen=True, slots=True)
class Mode:
    """What an entry's `mode` means for its endpoints.

    Attributes:
        observe: they are audited unless they say otherwise.
        written: the entry says so itself; else it has the document's default.
    """

    observe: bool = False
    written: bool = False


def parse_endpoint(
    node: Node, path: str, place: str, mode: Mode, programs: Programs, report: Report
) -> Endpoint | None:
    """One endpoint; None where it has no usable host or port (a problem is noted then).

    Args:
        path: its full name, for problems.
        place: its short name, for decisions.
        mode: the entry's.
        programs: for whom the entry is.
    """
    fields = Fields(node, path, ENDPOINT_KEYS, report)
    refuse_later_keys(fields, _ENDPOINT_LATER)
    networks = parse_allowed_ips(fields, report)
    host = _parse_host(fields, bool(networks), report)
    ports = _parse_ports(fields)
    protocol = _parse_protocol(fields, report)
    tls = _parse_tls(fields, protocol, report)
    audit = _parse_enforcement(fields, protocol, mode)
    if protocol in (Protocol.TCP, Protocol.SQL) and isinstance(host, LiteralHost | AnyHost):
        fields.problem(
            "host", f"protocol {protocol.value} needs a name; for an address leave it out"
        )
    _check_networks(fields, host, networks)
    selector = _parse_path(fields, protocol)
    encoded_slash = _parse_encoded_slash(fields, protocol)
    _refuse_keys_of_others(fields, protocol)
    requests = parse_requests(fields, protocol, report)
    if host is None or not ports:
        return None
    return Endpoint(
        place=place,
        host=host,
        ports=ports,
        protocol=protocol,
        tls=tls,
        path=selector,
        audit=audit,
        encoded_slash=encoded_slash,
        access=requests.access,
        allow=requests.allow,
        deny=requests.deny,
        programs=programs,
        networks=networks,
        inside=requests.inside,
    )


def _refuse_keys_of_others(fields: Fields, protocol: Protocol) -> None:
    for key, (readers, harmless) in _OF_PROTOCOLS.items():
        node = fields.node(key)
        if node is not None and protocol not in readers and to_value(node) not in harmless:
            fields.problem(key, f"needs 'protocol: {readers[0].value}'")


def _parse_host(fields: Fields, has_networks: bool, report: Report) -> Host | None:
    text = fields.text("host")
    if not text:
        if has_networks and (fields.node("host") is None or text == ""):
            return AnyHost()
        if fields.node("host") is None or text == "":
            fields.missing("expected 'host' (a name, a wildcard, an IPv4 address) or 'allowed_ips'")
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


def _check_networks(fields: Fields, host: Host | None, networks: tuple[Network, ...]) -> None:
    if isinstance(host, ExactHost) and host.text in HOST_NAMES and networks:
        fields.problem("allowed_ips", f"{host.text!r} is this host, whatever its address")
    if isinstance(host, LiteralHost) and networks:
        fields.problem("allowed_ips", "the host is an address already; keep one of both")


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
    try:
        return Protocol(text)
    except ValueError:
        options = [protocol.value for protocol in Protocol if protocol.value]
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
    if text == "skip" and protocol in INSPECTED:
        why = f"'skip' leaves nothing to judge by 'protocol: {protocol.value}'; remove one"
        fields.problem("tls", why)
    return Tls(text)


def _parse_enforcement(fields: Fields, protocol: Protocol, mode: Mode) -> bool:
    text = fields.choice("enforcement", ("", "enforce", "audit"), default="")
    if text == "enforce" and protocol is Protocol.SQL:
        fields.problem("enforcement", "protocol sql can only be audited: write 'audit'")
    if text == "enforce" and mode.observe and mode.written:
        fields.problem("enforcement", "'enforce' contradicts the entry's 'mode: observe'")
    if text == "enforce" and protocol is not Protocol.SQL:
        return False
    return text == "audit" or mode.observe or protocol is Protocol.SQL


def _parse_path(fields: Fields, protocol: Protocol) -> PathGlob | None:
    text = fields.text("path")
    if not text:
        return None
    try:
        glob = parse_path_glob(text)
    except BadPattern as error:
        fields.problem("path", str(error))
        return None
    if not glob.specificity:
        return None
    if protocol not in INSPECTED:
        fields.problem("path", "needs a protocol whose requests are judged, such as 'rest'")
    return glob


def _parse_encoded_slash(fields: Fields, protocol: Protocol) -> bool:
    wanted = fields.flag("allow_encoded_slash") or False
    if wanted and protocol not in INSPECTED:
        fields.problem(
            "allow_encoded_slash", "needs a protocol whose requests are judged, such as 'rest'"
        )
    return wanted
