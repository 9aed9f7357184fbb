"""Owns: what netavark, or podman in its place, asks: one container on a network of ours. No I/O."""

from netmgr_cli.shim.names import is_name, sandbox_name
from netmgr_cli.shim.policies import DIRECTORY
from netmgr_cli.shim.wire import DEFAULT_SOCKET

DRIVER = "netmgr"
LINK = "eth0"
NETWORK, CONTAINER = "netavark.network", "netavark.container"
OPTIONS = ("allow", "name", "policy", "policy_dir", "socket", "tenant")
Json = dict[str, object]


class Refusal(Exception):
    """What cannot be; the text goes to podman's user."""


class Request:
    """A container on a network.

    Attributes:
        container: its id; name: its name in podman.
        network: the network's name; options: its options, judged.
    """

    __slots__ = ("container", "name", "network", "options")

    def __init__(self, container: str, name: str, network: str, options: dict[str, str]) -> None:
        self.container = container
        self.name = name
        self.network = network
        self.options = options

    @property
    def socket(self) -> str:
        """The daemon's socket."""
        return self.options.get("socket", DEFAULT_SOCKET)

    @property
    def policy_dir(self) -> str:
        """Where policies are named after their files."""
        return self.options.get("policy_dir", DIRECTORY)

    @property
    def sandbox(self) -> str:
        """The sandbox's name: the container's, where that is wanted and can be one, or its id's."""
        if self.options.get("name") == "container" and is_name(self.name):
            return self.name
        return sandbox_name(self.container)

    @property
    def owner(self) -> dict[str, str]:
        """The labels that say whose the sandbox is."""
        return {NETWORK: self.network, CONTAINER: self.container}


def parse_plugin(call: Json) -> Request:
    """What netavark asks a driver for `setup` and `teardown`: one network.

    Raises:
        Refusal: it cannot be meant.
    """
    return _request(call, _object(call, "network"), _object(call, "network_options"))


def parse_front(call: Json) -> Request | None:
    """What podman asks netavark: all networks of a container. None: none of them is ours.

    Raises:
        Refusal: one of several is ours.
    """
    wanted, known = _object(call, "networks"), _object(call, "network_info")
    ours = [name for name in wanted if _object(known, name).get("driver") == DRIVER]
    if not ours:
        return None
    if len(wanted) > 1:
        raise Refusal(f"a sandbox has one door: network {ours[0]} goes with no other")
    return _request(call, _object(known, ours[0]), _object(wanted, ours[0]))


def split_front(call: Json) -> tuple[list[Request], Json]:
    """A container's end, as podman asks netavark for it: what is ours of it, and the question
    about all others, which netavark answers. However it came by several networks.

    Raises:
        Refusal: one of ours cannot be meant.
    """
    wanted, known = _object(call, "networks"), _object(call, "network_info")
    ours = {name for name in wanted if _object(known, name).get("driver") == DRIVER}
    others = {name: value for name, value in wanted.items() if name not in ours}
    info = {name: value for name, value in known.items() if name not in ours}
    requests = [_request(call, _object(known, name), _object(wanted, name)) for name in ours]
    return requests, call | {"networks": others, "network_info": info}


def _request(call: Json, network: Json, attachment: Json) -> Request:
    name = str(network.get("name", ""))
    container = call.get("container_id")
    if not isinstance(container, str) or not container:
        raise Refusal("container_id is missing")
    link = attachment.get("interface_name", LINK)
    if link != LINK:
        raise Refusal(f"network {name}: a sandbox has one door, and it is {LINK}, not {link}")
    if call.get("port_mappings"):
        raise Refusal(f"network {name}: nothing leads into a sandbox, so no port can be published")
    if attachment.get("static_ips") or attachment.get("static_mac"):
        raise Refusal(f"network {name}: a sandbox gets its addresses of netmgr")
    return Request(container, str(call.get("container_name", "")), name, judge_network(network))


def judge_network(network: Json) -> dict[str, str]:
    """The options of a network of ours.

    Raises:
        Refusal: an unknown one, or something that a sandbox does not have.
    """
    options = {key: str(value) for key, value in _object(network, "options").items()}
    for key in options:
        if key not in OPTIONS:
            raise Refusal(f"unknown option {key!r}; known are {', '.join(OPTIONS)}")
    if options.get("name", "id") not in ("id", "container"):
        raise Refusal("option name: expected 'id' or 'container'")
    if network.get("ipv6_enabled"):
        raise Refusal("IPv6 is off in sandboxes")
    if network.get("subnets"):
        raise Refusal("a sandbox gets its address of netmgr: give the network no subnet")
    return options


def _object(parent: Json, key: str) -> Json:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}
