"""Owns: the nouns that every room uses. Frozen values, parsed at the door; no I/O."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final, NewType

from netmgr.errors import BadInput
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.shown import shown_value

SandboxName = NewType("SandboxName", str)
InstanceName = NewType("InstanceName", str)
DnsName = NewType("DnsName", str)  # lower case, no trailing dot, A-labels only

INFERENCE_NAME: Final = DnsName("inference.local")
HOST_NAME: Final = DnsName("host.openshell.internal")
HOST_ALIASES: Final = (DnsName("host.docker.internal"), DnsName("host.containers.internal"))

_SANDBOX = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_INSTANCE = re.compile(r"[a-z0-9]{1,16}")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# Of one message to the daemon: even the longest, escaped threefold, fit into a worker's frame.
RECORDS_PER_MESSAGE: Final = 16
MAX_DNS_NAME: Final = 253  # RFC 1035 §2.3.4, in presentation form without the root's dot


def parse_sandbox_name(text: str) -> SandboxName:
    """A sandbox's name.

    Raises:
        BadInput: the text does not fit the rule, or is reserved.
    """
    if not _SANDBOX.fullmatch(text):
        raise BadInput(
            f"sandbox name {text!r}: expected lower-case letters, digits and '-', "
            "beginning with a letter or digit, 63 characters at most"
        )
    if text == "hub":
        raise BadInput("sandbox name 'hub' is reserved for the hub's own namespace")
    return SandboxName(text)


def parse_instance_name(text: str) -> InstanceName:
    """An instance's name: lower-case letters and digits, 16 at most (it is part of set names).

    Raises:
        BadInput: anything else.
    """
    if not _INSTANCE.fullmatch(text):
        raise BadInput(f"instance name {text!r}: expected 1 to 16 lower-case letters and digits")
    return InstanceName(text)


def parse_dns_name(text: str) -> DnsName:
    """A host name in its one canonical spelling (lower case, no trailing dot).

    Source: RFC 1035 §2.3.1, RFC 1123 §2.1; underscores pass because service names use them.

    Raises:
        BadInput: empty, too long, or a label that is no host name label.
    """
    name = text.lower().removesuffix(".")
    if not name or len(name) > MAX_DNS_NAME:
        raise BadInput(f"host name {text!r}: expected 1 to {MAX_DNS_NAME} characters")
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            raise BadInput(f"host name {text!r}: {label!r} is no valid label")
    return DnsName(name)


@dataclass(frozen=True, slots=True)
class Destination:
    """What a sandbox tried to reach. `name` is the resolved name, `ip` the address it dialled."""

    name: str | None = None
    ip: str | None = None
    port: int | None = None
    protocol: str | None = None  # tcp, udp, icmp, or the protocol's number


@dataclass(frozen=True, slots=True)
class Record:
    """One decision. The daemon adds `seq`; field names are the contract's.

    Attributes:
        time: seconds since the epoch.
        rule: policy key and place (`web.endpoints[0]`), or None.
        count: how many equal decisions this record stands for.
        extra: the optional parts of the contract by their outward name
            (`process`, `http`, `inference`, `bytes_in`, `bytes_out`, `duration_ms`).
    """

    time: float
    sandbox: str | None
    kind: Kind
    verdict: Verdict
    reason: Reason
    destination: Destination = Destination()
    tenant: str | None = None
    rule: str | None = None
    policy_revision: int | None = None
    message: str = ""
    remedy: str | None = None
    count: int = 1
    extra: dict[str, Any] = field(default_factory=dict)

    def to_wire(self) -> dict[str, Any]:
        """As a JSON object, for a message between processes. Texts that a sandbox chose are cut
        and escaped where that is needed (netmgr.shown): no choice of theirs makes it too long."""
        dst = self.destination
        wire = {
            "time": self.time,
            "sandbox": self.sandbox,
            "tenant": self.tenant,
            "kind": self.kind.value,
            "verdict": self.verdict.value,
            "reason": self.reason.value,
            "rule": self.rule,
            "policy_revision": self.policy_revision,
            "destination": {
                "name": dst.name,
                "ip": dst.ip,
                "port": dst.port,
                "protocol": dst.protocol,
            },
            "message": self.message,
            "remedy": self.remedy,
            "count": self.count,
            **self.extra,
        }
        shown: dict[str, Any] = shown_value(wire)
        return shown


@dataclass(frozen=True, slots=True)
class Lease:
    """A sandbox's place in the hub.

    Attributes:
        address: the sandbox's own /32; the key by which every worker knows it.
        link: name of the hub's end of its veth pair.
    """

    address: IPv4Address
    link: str


@dataclass(frozen=True, slots=True)
class StartingPid:
    """A container runtime's process in the namespace that it made for a container. It still holds
    every capability, and gives up what the container's configuration does not name before it
    becomes the container: whoever attaches it has judged that configuration instead."""

    pid: int

    def __str__(self) -> str:
        return str(self.pid)


# Where a namespace is that others made: its path, or a process in it.
NetnsSource = Path | int | StartingPid
