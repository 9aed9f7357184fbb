"""Owns: the narrow waist between lifecycle and the kernel: the `Kernel` protocol.

Synchronous and not thread-safe by intent: the daemon calls it from one dedicated thread, which may
enter other namespaces during a call and is back in the host's when the call returns. Knows nothing
of policies, names, stores or workers.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network
from typing import Protocol

from netmgr.kernel.facts import (
    NO_WANTS,
    AllowEntry,
    Content,
    Counters,
    Flow,
    HubSpec,
    Listeners,
    Netns,
    NetnsId,
    Owners,
    Standing,
    Survey,
    Wants,
)
from netmgr.kernel.pictures import HubPicture, SandboxPicture
from netmgr.model import Lease, NetnsSource, SandboxName


class Kernel(Protocol):
    """What lifecycle asks of a kernel. Proven by one contract suite on the fake and the real one.

    The order of a birth: `make_netns` or `pin_netns`, `add_bind`, `add_allow`, `attach_link`,
    `link_up`. Of a death: `del_allow`, `del_bind`, `detach_link`, (workers acknowledge),
    `destroy_sockets` until it gives 0, `delete_netns`; the address is reused last.

    Every verb that removes is tolerant: what is absent is removed already. Every verb may raise
    `HostFailed` with what was being done and why the kernel refused.
    """

    spec: HubSpec

    # -- the hub -----------------------------------------------------------------------------

    def ensure_hub(self) -> bool:
        """Make the hub's namespace, or adopt the one that stands, and put right what differs:
        sysctls, lo, routing rules, the local default, the gateway's address, the sets.

        It has no uplink and gets none. The caller then has the rules helper install the rule
        set, before the first `attach_link`. Returns True where a hub was adopted.

        Raises:
            HostFailed: also where a link stands in the hub that is no veth.
            Conflict: another daemon works with this hub.
        """

    def hub_descriptor(self) -> int:
        """A descriptor of the hub's namespace, for setns. Owned by this object.

        Raises:
            NotFound: `ensure_hub` was not called.
        """

    def open_listeners(self, proxies: int) -> Listeners:
        """Open the workers' sockets in the hub; `proxies` of them on the proxy port.

        Called again, it gives the same descriptors; with another number, Conflict.
        """

    def remove_hub(self) -> None:
        """Close the listeners and remove the hub's namespace with all that is in it."""

    # -- namespaces --------------------------------------------------------------------------

    def make_netns(self, sandbox: SandboxName) -> Netns:
        """Make a namespace of our own. Its lo comes up with `attach_link`.

        Raises:
            Conflict: the name is taken.
        """

    def pin_netns(
        self, sandbox: SandboxName, source: NetnsSource, *, replace_links: bool = False
    ) -> Netns:
        """Pin a namespace that others made, given by path or pid, under a name of ours.

        It is opened once and judged by device and inode.

        Args:
            replace_links: remove the links besides lo, last of all, instead of refusing them.

        Raises:
            NotFound: no such path or process.
            BadInput: the path is no network namespace.
            Conflict: the name is taken; it is the host's, the hub's or another sandbox's; or it
                has a link besides lo (a sandbox has exactly one door).
        """

    def find_netns(self, sandbox: SandboxName) -> Netns | None:
        """The namespace pinned under the sandbox's name, if one is."""

    def delete_netns(self, sandbox: SandboxName) -> None:
        """Remove our pin. A namespace that we made ends with its last process."""

    # -- what may pass -----------------------------------------------------------------------

    def add_bind(self, lease: Lease) -> None:
        """Take packets with this source address from this link, and count its denials.

        Raises:
            LimitExceeded: names the set that is full.
        """

    def del_bind(self, lease: Lease) -> None:
        """Take them no longer."""

    def add_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Lead these destinations to the proxy. Adding one twice is adding it once.

        Raises:
            LimitExceeded: names the set that is full; entries of this call may have been added.
        """

    def del_allow(self, entries: Iterable[AllowEntry]) -> None:
        """Refuse them again. Live flows are the caller's: see `destroy_flows`."""

    # -- links -------------------------------------------------------------------------------

    def attach_link(self, netns: Netns, lease: Lease) -> None:
        """Make the veth pair and configure both ends; the hub's end stays down.

        All or nothing: where it raises, no link is left.

        Raises:
            Conflict: the hub has a link of that name, or the namespace has an eth0.
        """

    def link_up(self, lease: Lease) -> None:
        """Set the hub's end up, give it its neighbour and route, and read them back.

        Raises:
            NotFound: no such link in the hub.
        """

    def detach_link(self, lease: Lease) -> None:
        """Delete the pair (its route and neighbours go with it)."""

    # -- sockets -----------------------------------------------------------------------------

    def destroy_sockets(self, address: IPv4Address) -> int:
        """Destroy the hub's TCP sockets whose peer is `address`, in every state. Returns how many
        are left: 0 when it worked."""

    def destroy_flows(self, revoked: Iterable[AllowEntry], kept: Iterable[AllowEntry] = ()) -> int:
        """Destroy the hub's TCP sockets of flows that a `revoked` entry described and that no
        `kept` one describes. Returns how many are left: 0 when it worked."""

    def count_sockets(self, address: IPv4Address) -> int:
        """How many TCP sockets of the hub have `address` as their peer."""

    def find_owners(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> Owners:
        """Who holds the sandbox's end of a flow. Takes some 20 ms at most. May be called beside
        the kernel's thread."""

    def find_owners_again(self, netns: Netns, flow: Flow, wants: Wants = NO_WANTS) -> Owners | None:
        """What `find_owners` says, where that is as last time and takes a few system calls, none of
        which waits; else None. May be called from any thread."""

    def hash_program(self, netns: NetnsId, pid: int, content: Content) -> "Future[str | None]":
        """SHA-256 (hex) of what a process runs, as long as it is that file; None where it cannot
        be told. Never waits: threads read, one program of a namespace at a time."""

    # -- facts -------------------------------------------------------------------------------

    def survey(self) -> Survey:
        """Everything of this instance that stands in the kernel."""

    def standing(self, lease: Lease, entries: Iterable[AllowEntry]) -> Standing:
        """What of one sandbox stands: an exact look-up of each, however many others there are."""

    def mend_routing(self) -> tuple[str, ...]:
        """Put the hub's own routing rules and local default right; gives what was wrong."""

    def counters(self, lease: Lease) -> Counters:
        """The sandbox's numbers; zeros where it is not bound."""

    def refusals(self) -> dict[Lease, Counters]:
        """The denied numbers of every bound sandbox, without the allowed ones: two reads, however
        many there are."""

    def mute_spoofing(self, links: Iterable[str]) -> None:
        """Count packets with a false source from these links instead of logging each (see
        ruleset.py). Beyond 64 links at once the rest stays under the log rule's own limit."""

    def unmute_spoofing(self) -> dict[str, int]:
        """Let all links be logged again; gives the exact number of packets that each muted link
        sent with a false source meanwhile."""

    def host_routes(self) -> tuple[IPv4Network, ...]:
        """Destinations that the host routes, without the default: no pool may overlap them."""

    def host_addresses(self) -> frozenset[str]:
        """Every address, v4 and v6, that is the host's own."""

    def look_hub(self) -> HubPicture:
        """The hub as it stands, without its rules (those are the helper's to show)."""

    def look_sandbox(self, netns: Netns, lease: Lease) -> SandboxPicture:
        """A sandbox as it stands, both ends of its link, its entries and live sockets."""

    def close(self) -> None:
        """Close descriptors and sockets. Everything in the kernel stays as it is."""
