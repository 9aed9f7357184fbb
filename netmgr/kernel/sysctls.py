"""Owns: which sysctls are pinned in the hub and in a sandbox, with which values, and reading them.

/proc/sys/net shows the namespace of the thread that opens a file there, so these functions are
called inside the namespace that they are meant for. Knows nothing of how one gets there.

A new namespace copies values from the host (net.core.devconf_inherit_init_net and per-key rules):
`src_valid_mark=1` alone turned every flow into a time-out when it was measured. So nothing is
taken for granted: every value is written and read back.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netmgr.errors import HostFailed
from netmgr.kernel.fence import kernel_errors

ROOT: Final = Path("/proc/sys/net")

MAX_VALUE: Final = 256  # bytes; what is pinned here are numbers
PASSES: Final = 3
"""Writing one key may change others: `ip_forward` sets `accept_redirects` everywhere
(net/ipv4/devinet.c, inet_forward_change)."""

LINK: Final[Mapping[str, str]] = {
    "rp_filter": "1",  # a second opinion on the source, beside the bind set
    "accept_redirects": "0",
    "send_redirects": "0",
    "accept_source_route": "0",
    "arp_ignore": "1",
    "route_localnet": "0",  # 127/8 from the wire stays a martian
    "src_valid_mark": "0",  # 1 would make strict rp_filter meet the local default: all is dropped
}
"""Pinned for `all`, `default` and each link of the hub."""

HUB: Final[Mapping[str, str]] = {
    "ipv4/ip_forward": "0",
    # Refusals must not go missing: neither per peer (ratelimit), nor because a neighbour's flood
    # used up the namespace's own budget of 1,000 a second (no type is in the mask).
    "ipv4/icmp_ratelimit": "0",
    "ipv4/icmp_ratemask": "0",
    "ipv4/tcp_syncookies": "1",  # protects the shared listener from half-open floods (measured)
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    **{f"ipv4/conf/all/{key}": value for key, value in LINK.items()},
    **{f"ipv4/conf/default/{key}": value for key, value in LINK.items()},
}

IPV6_OFF_AT_BIRTH: Final = ("ipv6/conf/default/disable_ipv6", "1")
"""Of a sandbox, before eth0 is made. lo keeps IPv6, programs need ::1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that does not have its pinned value. `found` is None where the key is absent."""

    key: str
    expected: str
    found: str | None


def read(key: str, root: Path = ROOT) -> str | None:
    """The value, or None where this kernel has no such key (IPv6 compiled out, say)."""
    try:
        fd = os.open(f"{root}/{key}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, MAX_VALUE).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


def write(key: str, value: str, root: Path = ROOT) -> None:
    """Give a key a value.

    Raises:
        OSError: there is no such key, or the kernel refuses the value.
    """
    fd = os.open(f"{root}/{key}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode("ascii"))
    finally:
        os.close(fd)


def differences(wanted: Mapping[str, str], root: Path = ROOT) -> tuple[Difference, ...]:
    """Keys of `wanted` that are not as wanted. An absent IPv6 key is as wanted: it is off."""
    found = ((key, value, read(key, root)) for key, value in wanted.items())
    return tuple(
        Difference(key, value, now)
        for key, value, now in found
        if now != value and not (now is None and key.startswith("ipv6/"))
    )


def pin(wanted: Mapping[str, str], root: Path = ROOT) -> None:
    """Write what differs and read all of it back.

    Raises:
        HostFailed: a value cannot be written, or does not stick.
    """
    left = differences(wanted, root)
    for _ in range(PASSES):
        if not left:
            return
        for wrong in left:
            with kernel_errors(f"set net/{wrong.key} = {wrong.expected}"):
                write(wrong.key, wrong.expected, root)
        left = differences(wanted, root)
    if left:
        first = left[0]
        raise HostFailed(
            f"net/{first.key} is {first.found} after {first.expected} was written to it",
            key=first.key,
        )


def pin_alone(key: str, value: str, root: Path = ROOT) -> None:
    """Write one key that nothing else changes and read it back, by one look-up of its path: all
    namespaces' keys share a place in the kernel's tables of names, so the thousandth takes longer.

    Raises:
        HostFailed: it cannot be written, or does not stick. An absent IPv6 key is fine.
    """
    with kernel_errors(f"set net/{key} = {value}"):
        try:
            fd = os.open(f"{root}/{key}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            if key.startswith("ipv6/"):
                return
            raise
        try:
            os.write(fd, value.encode("ascii"))
            found = os.pread(fd, MAX_VALUE, 0).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
    if found != value:
        raise HostFailed(f"net/{key} is {found} after {value} was written to it", key=key)


def link_keys(links: Iterable[str]) -> dict[str, str]:
    """What is pinned for these links of the hub."""
    return {f"ipv4/conf/{link}/{key}": value for link in links for key, value in LINK.items()}
