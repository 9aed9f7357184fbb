"""Owns: the live sandboxes in memory, found by name, address, link, number or network namespace in
one step each.

Knows nothing of how one comes to live here. What every packet's report and every worker's question
is looked up by must not cost a walk over all sandboxes.
"""

import time
from collections.abc import Iterator, KeysView, MutableMapping
from dataclasses import dataclass, field

from netmgr.addresses import NamePool
from netmgr.daemon.identified import Remembered
from netmgr.kernel.facts import Netns
from netmgr.keys.authority import Authority
from netmgr.model import Lease, SandboxName
from netmgr.policy.policy import Policy
from netmgr.store import Sandbox


@dataclass(slots=True)
class Resident:
    """One live sandbox as the daemon holds it.

    Attributes:
        row: what the store keeps.
        policy: its own policy (the global one may stand over it).
        names: which private addresses stand for names in it.
        judged_at: epoch seconds: by which time the kernel's entries were judged; expiring policies
            decide otherwise later.
        authority: signs its leaves; made, or read from the store, before anybody can ask.
        netns, identified: made when somebody first asks whose a connection is (identity.py).
        trusted: content of programs by path, as they first ran in it where the policy names them;
            kept in the store.
    """

    row: Sandbox
    policy: Policy
    names: NamePool
    judged_at: float = field(default_factory=time.time)
    authority: Authority = field(init=False)
    trusted: dict[str, str] = field(default_factory=dict)
    netns: Netns | None = None
    identified: Remembered | None = None

    @property
    def lease(self) -> Lease:
        """Its place in the hub."""
        return Lease(self.row.address, self.row.link)


class Residents(MutableMapping[SandboxName, Resident]):
    """Sandboxes by name. Their address, link, number and namespace never change while they live."""

    __slots__ = ("_by_address", "_by_id", "_by_link", "_by_name", "_by_netns")

    def __init__(self) -> None:
        self._by_name: dict[SandboxName, Resident] = {}
        self._by_address: dict[str, Resident] = {}
        self._by_link: dict[str, Resident] = {}
        self._by_id: dict[int, Resident] = {}
        self._by_netns: dict[tuple[int, int], Resident] = {}

    def __getitem__(self, name: SandboxName) -> Resident:
        return self._by_name[name]

    def __setitem__(self, name: SandboxName, resident: Resident) -> None:
        self._by_name[name] = resident
        self._by_address[str(resident.row.address)] = resident
        self._by_link[resident.row.link] = resident
        self._by_id[resident.row.id] = resident
        self._by_netns[resident.row.netns_dev, resident.row.netns_ino] = resident

    def __delitem__(self, name: SandboxName) -> None:
        row = self._by_name.pop(name).row
        del self._by_address[str(row.address)]
        del self._by_link[row.link]
        del self._by_id[row.id]
        self._by_netns.pop((row.netns_dev, row.netns_ino), None)

    def __iter__(self) -> Iterator[SandboxName]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def at(self, address: str) -> Resident | None:
        """The one with this source address in the hub."""
        return self._by_address.get(address)

    def on_link(self, link: str) -> Resident | None:
        """The one behind this link of the hub."""
        return self._by_link.get(link)

    def numbered(self, number: int) -> Resident | None:
        """The one with this number in the store."""
        return self._by_id.get(number)

    @property
    def netnses(self) -> KeysView[tuple[int, int]]:
        """Device and inode of every sandbox's network namespace, as they are from now on."""
        return self._by_netns.keys()

    def in_netns(self, identity: tuple[int, int]) -> Resident | None:
        """The one whose network namespace has this device and inode."""
        return self._by_netns.get(identity)
