"""Owns: the nouns of the kernel room: what is asked of a kernel, and what it reports back.

Frozen values, no I/O. Knows nothing of netlink, iptables or files.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from netmgr.model import InstanceName, Lease, SandboxName

GATEWAY: Final = IPv4Address("169.254.77.1")  # the same for every sandbox, on no real network
SANDBOX_LINK: Final = "eth0"
HUB_LINK_PREFIX: Final = "nm"
MAX_LINK_NAME: Final = 15  # IFNAMSIZ - 1 (linux/if.h)


@dataclass(frozen=True, slots=True)
class HubSpec:
    """How one instance's hub looks. The same spec always describes the same hub.

    Attributes:
        instance: part of every kernel name, so that instances live side by side.
        netns_dir: where named namespaces are pinned; `ip netns` looks in /run/netns.
        gateway: next hop of every sandbox's default route.
        proxy_port: where the proxy's transparent listeners stand in the hub.
        max_sandboxes: bound of the sets that hold one entry per sandbox.
        max_allow: bound of the set of (sandbox, port, address).
        max_networks: bound of the set of (sandbox, port, network).
    """

    instance: InstanceName
    netns_dir: Path = Path("/run/netns")
    gateway: IPv4Address = GATEWAY
    proxy_port: int = 8443
    max_sandboxes: int = 16_384
    max_allow: int = 1_048_576
    max_networks: int = 65_536

    @property
    def hub_netns(self) -> str:
        """Name of the hub's namespace."""
        return f"{self.instance}-hub"

    def netns_name(self, sandbox: SandboxName) -> str:
        """Name of a sandbox's namespace."""
        return f"{self.instance}-{sandbox}"

    def netns_path(self, sandbox: SandboxName) -> Path:
        """Where a sandbox's namespace is pinned."""
        return self.netns_dir / self.netns_name(sandbox)


@dataclass(frozen=True, slots=True)
class NetnsId:
    """What a network namespace is, whatever path led to it (ioctl_ns(2): st_dev and st_ino)."""

    dev: int
    inode: int


NO_NETNS: Final = NetnsId(0, 0)
"""Identity of a pin that holds no namespace; `delete_netns` removes it."""


@dataclass(frozen=True, slots=True)
class Netns:
    """A sandbox's namespace, pinned under a name of ours. Also where it was made by others."""

    sandbox: SandboxName
    path: Path
    identity: NetnsId


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One TCP destination that a sandbox may send to; it leads to the proxy, never further.

    Attributes:
        address: the sandbox's own address.
        port: 1 to 65535.
        destination: a single address is a /32.
    """

    address: IPv4Address
    port: int
    destination: IPv4Network

    @classmethod
    def single(cls, address: IPv4Address, port: int, ip: IPv4Address) -> "AllowEntry":
        """The entry for one destination address."""
        return cls(address, port, IPv4Network((int(ip), 32)))


@dataclass(frozen=True, slots=True)
class Flow:
    """One TCP connection or UDP association as the sandbox sees it (its own end first)."""

    address: IPv4Address
    sport: int
    ip: IPv4Address
    dport: int
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Content:
    """Which file, and which state of it: nobody can change the content and keep all of these, as
    `changed_ns` is the kernel's to set (stat(2), st_ctim)."""

    dev: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A process above the owner of a socket, nearest first, and what it runs.

    Attributes:
        exe: resolved path of its executable, as the process's own mount namespace names it.
        content: of that file; None where it could not be told.
        genuine: the sandbox's entry point sees the same file under that name.
        links: of the paths that were asked for, those that are symbolic links to it.
        script: what it was started with, where that was asked for and is a file.
    """

    pid: int
    exe: str
    content: Content | None = None
    genuine: bool = True
    links: tuple[str, ...] = ()
    script: str | None = None


@dataclass(frozen=True, slots=True)
class Process(Ancestor):
    """A process that holds a socket.

    Attributes:
        ancestors: up to the sandbox's entry point; none outside of its network namespace.
    """

    ancestors: tuple[Ancestor, ...] = ()

    @property
    def chain(self) -> tuple[Ancestor, ...]:
        """The process itself and its ancestors."""
        return (self, *self.ancestors)


@dataclass(frozen=True, slots=True)
class Wants:
    """What else is to be found out about owners; it costs a little for each.

    Attributes:
        links: paths that may be symbolic links to executables.
        scripts: whether to tell what interpreters were started with.
    """

    links: tuple[str, ...] = ()
    scripts: bool = False


NO_WANTS: Final = Wants()


@dataclass(frozen=True, slots=True)
class Owners:
    """Who holds the sandbox's end of a flow.

    Attributes:
        uid: the socket's user id in the initial user namespace; None where no socket was found.
        processes: every holder that was found; several where a socket was inherited or passed.
        complete: False where the time budget ended the search, so that more may exist.
    """

    uid: int | None = None
    processes: tuple[Process, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Counters:
    """Exact per-sandbox numbers out of the kernel's sets, since the sandbox was bound.

    Attributes:
        allowed_packets, allowed_bytes: sent by the sandbox to destinations that it may reach.
        denied_packets, denied_bytes: refused packets that carried the sandbox's own address.
    """

    allowed_packets: int = 0
    allowed_bytes: int = 0
    denied_packets: int = 0
    denied_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HubLink:
    """A link that stands in the hub, other than lo."""

    name: str
    index: int
    up: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything of one instance that stands in the kernel, for adoption and clean-up.

    Attributes:
        netns: pinned namespaces of this instance by sandbox name, the hub's not among them. A
            pin without a namespace (a creation that was killed) has the identity NO_NETNS.
        links: links of the hub by name, lo not among them, foreign ones included.
        binds: (address, link) pairs whose packets the hub takes.
        allow: every destination entry.
        routes: sandbox addresses with a /32 route in the hub, and the link it leads to.
    """

    netns: dict[SandboxName, Netns] = field(default_factory=dict)
    links: dict[str, HubLink] = field(default_factory=dict)
    binds: frozenset[Lease] = frozenset()
    allow: frozenset[AllowEntry] = frozenset()
    routes: frozenset[Lease] = frozenset()


@dataclass(frozen=True, slots=True)
class Standing:
    """What of one sandbox stands in the hub.

    Attributes:
        link: its link; without it nothing else can work.
        bound: the hub takes its packets.
        routed: its address leads to its link.
        lost: of the destinations that were asked for, those that do not stand.
    """

    link: bool
    bound: bool
    routed: bool
    lost: frozenset[AllowEntry]


@dataclass(frozen=True, slots=True)
class Listeners:
    """Descriptors opened in the hub, for the workers. The kernel object owns and closes them.

    Attributes:
        proxy: transparent TCP listeners on the proxy port, SO_REUSEPORT, one per worker;
            `getsockname()` of an accepted connection is the original destination.
        dns_udp: transparent UDP socket on port 53 with IP_PKTINFO.
        dns_tcp: transparent TCP listener on port 53.
        nflog: NETLINK_NETFILTER socket bound to every log group of the rule set.
    """

    proxy: tuple[int, ...]
    dns_udp: int
    dns_tcp: int
    nflog: int
