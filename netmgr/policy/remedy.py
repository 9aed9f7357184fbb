"""Owns: the line that would allow what was denied: arguments of `policy update`, the fewest.

Applied, a line makes the very next try succeed and opens nothing else. Where no line can do that,
there is none, and a person has to think. Knows nothing of why something was denied.
"""

import shlex
from collections.abc import Sequence
from typing import Final

from netmgr.guard import judge_address
from netmgr.policy.calls.call import Call
from netmgr.policy.calls.wording import narrowest
from netmgr.policy.decision import DestinationPlan, PlanKind, Target
from netmgr.policy.hosts import OWN_NAMES, LiteralHost, WildcardHost, parse_host
from netmgr.policy.http_rules import WEBSOCKET_TEXT, Reading
from netmgr.policy.match import BadPattern, is_method, literal_glob, parse_path_glob
from netmgr.policy.owner import Owner
from netmgr.policy.programs import parse_file_glob
from netmgr.policy.rules import Endpoint, Protocol, Tls

_READING: Final = ("GET", "HEAD", "OPTIONS")  # safe by definition (RFC 9110 §9.2.1)


def add_host(host: str, port: int) -> str | None:
    """Allow `host`, or None where no policy could."""
    try:
        parsed = parse_host(host)
    except BadPattern:
        return None
    if isinstance(parsed, WildcardHost) or parsed.text in OWN_NAMES:
        return None
    if isinstance(parsed, LiteralHost):
        plan = DestinationPlan(PlanKind.LITERAL)
        if judge_address(parsed.address, plan) is not None:
            return None
    return f"--add-endpoint {parsed.text}:{port}"


def add_port(like: Endpoint, host: str, port: int) -> str | None:
    """Allow `host` on a further port, no wider than its other ports."""
    arguments = add_host(host, port)
    if arguments is None or not like.inspects:
        return arguments
    # Without an access the new endpoint takes the rules of its like (merge.py).
    access = like.access.value if like.access and like.path is None else ""
    return f"{arguments}:{access}:{like.protocol.value}" + (":audit" if like.audit else "")


def add_binary(like: Endpoint, target: Target, path: str) -> str | None:
    """Allow one more program what another may."""
    words = _program(path)
    if words is None or like.tls is not Tls.AUTO:
        return None
    arguments = add_port(like, target.name or str(target.ip), target.port)
    if arguments is not None and like.protocol in (Protocol.TCP, Protocol.SQL):
        arguments += f"::{like.protocol.value}"
    return None if arguments is None else f"{arguments} {words}"


def add_rule(endpoint: Endpoint, reading: Reading) -> str | None:
    """Allow a request's method and path on an endpoint that judges it."""
    path = _endpoint_path(reading.path)
    if not is_method(reading.method) or not endpoint.host.text or path is None:
        return None
    host, port = endpoint.host.text, reading.target.port
    wording = f"{host}:{port}:{reading.method}:{literal_glob(reading.path)}"
    return f"--add-allow {shlex.quote(wording)} --rule-name {shlex.quote(endpoint.entry)}"


def add_operation(endpoint: Endpoint, port: int, call: Call) -> str | None:
    """Allow a call on an endpoint that judges what is inside."""
    operation = narrowest(call, tools=endpoint.protocol is Protocol.MCP)
    if operation is None or not endpoint.host.text:
        return None
    path = endpoint.path.text.replace(":", "%3A") if endpoint.path else ""
    wording = f"{endpoint.host.text}:{port}{path}:{operation}"
    return f"--allow-operation {shlex.quote(wording)} --rule-name {shlex.quote(endpoint.entry)}"


def add_path(
    beside: Sequence[Endpoint], reading: Reading, owner: Owner, *, handshake: bool
) -> str | None:
    """Allow one request (or WebSocket handshake) on a path that no endpoint covers.

    None where what is beside judges the inside of requests alone: a rule for a method and a path
    would let a body through that nobody reads.

    Args:
        beside: the endpoints that judge requests to its target, on other paths.
    """
    whom, path = _whom(beside, owner), _endpoint_path(reading.path)
    like = next((each for each in beside if each.host.text == reading.target.name), beside[0])
    if whom is None or path is None or not like.host.text or not is_method(reading.method):
        return None
    place = f"{like.host.text}:{reading.target.port}"
    if handshake:
        access = "read-write" if reading.method == WEBSOCKET_TEXT else "read-only"
        return f"--add-endpoint {shlex.quote(f'{place}{path}:{access}:websocket')}{whom}"
    if reading.method not in _READING and all(each.inside is not None for each in beside):
        return None
    endpoint = shlex.quote(f"{place}{path}::rest")
    rule = shlex.quote(f"{place}:{reading.method}:{literal_glob(reading.path)}")
    return f"--add-endpoint {endpoint} --add-allow {rule}{whom}"


def _whom(beside: Sequence[Endpoint], owner: Owner) -> str | None:
    """For whom an addition is: for everybody where the others are; None where nobody can say."""
    if all(endpoint.programs.any for endpoint in beside):
        return ""
    words = _program(owner.chains[0][0].path) if len(owner.chains) == 1 else None
    return None if words is None else f" {words}"


def _program(path: str) -> str | None:
    """For one program alone; None where a pattern would be read into its name."""
    try:
        glob = parse_file_glob(path)
    except BadPattern:
        return None
    return f"--binary {shlex.quote(path)}" if glob.exact and path.isprintable() else None


def _endpoint_path(path: str) -> str | None:
    """A canonical path as `--add-endpoint` spells it; None where no pattern can be it alone."""
    text = literal_glob(path).replace(":", "%3A")
    try:
        return text if parse_path_glob(text).matches(path) else None
    except BadPattern:
        return None
