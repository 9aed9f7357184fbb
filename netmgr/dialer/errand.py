"""Owns: what a proxy worker may ask the dialer, parsed. Pure.

The proxy parses hostile bytes and could be turned; so its questions are parsed here like a
stranger's, and what they name is looked up and judged again.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from netmgr.errors import BadInput
from netmgr.model import parse_dns_name
from netmgr.policy.decision import Target
from netmgr.policy.owner import UNKNOWN, Owner, parse_owner
from netmgr.process.ipc import Body


@dataclass(frozen=True, slots=True)
class Egress:
    """Connect a sandbox to what it dialled.

    Attributes:
        address: the sandbox's source address.
        revision: the policy revision that the proxy decided by.
        owner: which programs hold the connection, where the policy asks.
    """

    address: str
    target: Target
    revision: int
    owner: Owner = UNKNOWN


@dataclass(frozen=True, slots=True)
class Inference:
    """Connect to the origin of a route.

    Attributes:
        address: the sandbox's source address; None for the daemon's own probe.
        route: the route's id.
    """

    address: str | None
    route: str


Errand = Egress | Inference


def parse_errand(body: Body) -> Errand:
    """The errand of a `dial` question.

    Raises:
        BadInput: it is none.
    """
    address = body.get("address")
    match body.get("purpose", "egress"):
        case "egress":
            if not isinstance(address, str):
                raise BadInput(f"dial: address {address!r}: expected the sandbox's address")
            owner = parse_owner(body.get("owner"))
            return Egress(address, _parse_target(body), _integer(body, "revision", 0), owner)
        case "inference":
            if address is not None and not isinstance(address, str):
                raise BadInput(f"dial: address {address!r}: expected an address or null")
            route = body.get("route")
            if not isinstance(route, str):
                raise BadInput(f"dial: route {route!r}: expected a route's id")
            return Inference(address, route)
        case other:
            raise BadInput(f"dial: purpose {other!r}: expected 'egress' or 'inference'")


def _parse_target(body: Body) -> Target:
    port = _integer(body, "port", 1)
    if port > 65535:
        raise BadInput(f"dial: port {port}: expected 1 to 65535")
    name, ip = body.get("name"), body.get("ip")
    if isinstance(name, str):
        # Where a name stands for the address, the address is private and means nothing here.
        return Target(parse_dns_name(name), None, port)
    if not isinstance(ip, str):
        raise BadInput("dial: expected a name or a literal address")
    try:
        return Target(None, str(ip_address(ip)), port)
    except ValueError:
        raise BadInput(f"dial: {ip!r} is no address") from None


def _integer(body: Body, key: str, least: int) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadInput(f"dial: {key} {value!r}: expected a number from {least}")
    return value
