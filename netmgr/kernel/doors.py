"""Owns: second doors: links in a sandbox's namespace that its hub knows nothing of, found in /proc
and shut: set down, so that whoever put them there can still take them away.

An engine that attaches a running container to another network (`podman network connect`) puts one
there, and asks nobody of ours. Where processes inside may make links themselves, the namespace is
owned by a user namespace of their own; what they make ends inside, so those are let be, and a
second door of such a one is `netmgr sandbox check`'s to tell. A namespace without a process is
nobody's way out. Knows nothing of sandboxes.
"""

import fcntl
import os
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from netmgr.kernel import netns, rtnl
from netmgr.kernel.fence import kernel_errors
from netmgr.kernel.links import FALLBACK_LINKS
from netmgr.kernel.netlink import NetlinkSocket
from netmgr.kernel.powers import Identity, identity_at

NS_GET_USERNS: Final = 0xB701  # include/uapi/linux/nsfs.h: _IO(0xb7, 0x1)
DOOR: Final = "eth0"
_NO_DOORS: Final = FALLBACK_LINKS | {"lo", DOOR}


@dataclass(frozen=True, slots=True)
class SecondDoor:
    """Links of others in one namespace.

    Attributes:
        netns: its device and inode.
        pid: a process there.
    """

    netns: Identity
    pid: int
    links: tuple[str, ...]


def find_second_doors(netnses: Container[Identity], root: str = "/proc") -> list[SecondDoor]:
    """Which of these namespaces have links besides their door, and a process that may use them."""
    seen: set[Identity] = set()
    found = []
    for name in os.listdir(root):
        place = identity_at(f"{root}/{name}/ns/net") if name.isdigit() else None
        if place is None or place in seen or place not in netnses:
            continue
        seen.add(place)
        links = second_links(_read_table(f"{root}/{name}/net/dev"))
        if links and _is_the_hosts(f"{root}/{name}"):
            found.append(SecondDoor(place, int(name), links))
    return found


def second_links(table: str) -> tuple[str, ...]:
    """The links besides a sandbox's own in a text of /proc/PID/net/dev. Pure."""
    names = [line.partition(":")[0].strip() for line in table.splitlines() if ":" in line]
    return tuple(name for name in names if name not in _NO_DOORS)


def shut_second_doors(door: SecondDoor) -> tuple[str, ...]:
    """Set the links down; names of those that were up. Twice is once.

    Raises:
        HostFailed: the kernel refused.
    """
    try:
        fd = os.open(f"/proc/{door.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # the process is gone
        return ()
    try:
        facts = os.fstat(fd)
        if (facts.st_dev, facts.st_ino) != door.netns:
            return ()
        with netns.entered(fd), kernel_errors("set a link down"):
            return _shut(door.links)
    finally:
        os.close(fd)


def _shut(names: tuple[str, ...]) -> tuple[str, ...]:
    sock = NetlinkSocket(rtnl.NETLINK_ROUTE)
    try:
        up = [link for link in rtnl.get_links(sock) if link.up and link.name in names]
        sock.run([rtnl.set_link_down(link.index) for link in up])
    finally:
        sock.close()
    return tuple(link.name for link in up)


def _is_the_hosts(place: str) -> bool:
    """Whether a process's network namespace is owned by this process's own user namespace: nobody
    inside can have made a link then."""
    try:
        fd = os.open(f"{place}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            owner = fcntl.ioctl(fd, NS_GET_USERNS)
        finally:
            os.close(fd)
        try:
            facts = os.fstat(owner)
        finally:
            os.close(owner)
    except OSError:
        return False
    return (facts.st_dev, facts.st_ino) == identity_at("/proc/self/ns/user")


def _read_table(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # it ended meanwhile
        return ""
