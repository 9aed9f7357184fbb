"""Owns: the birth and the death of a sandbox in the kernel, as printable steps with their undo.

Say it, then do it: a plan is a value; tests and `sandbox create --dry-run` read the same one that
`carry_out` walks. The hub's rules stand before; the link comes up last.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import assert_never

from netmgr.errors import HostFailed, NetmgrError
from netmgr.kernel.facts import AllowEntry, Netns
from netmgr.kernel.kernel import Kernel
from netmgr.model import Lease, NetnsSource, SandboxName

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MakeNetns:
    """A namespace of our own, or (with `source`) one that a runtime made, pinned; with
    `replace_links` rid of the links that it had. Those do not come back when it is undone."""

    sandbox: SandboxName
    source: NetnsSource | None = None
    replace_links: bool = False


@dataclass(frozen=True, slots=True)
class AddBind:
    """Take the sandbox's address from its link and from no other."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class AddAllow:
    """Lead what its policy allows to the proxy."""

    entries: frozenset[AllowEntry]


@dataclass(frozen=True, slots=True)
class AttachLink:
    """The veth pair, both ends configured, the hub's end down."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The door opens."""

    lease: Lease


Step = MakeNetns | AddBind | AddAllow | AttachLink | LinkUp
Plan = tuple[Step, ...]


def plan_birth(
    sandbox: SandboxName,
    lease: Lease,
    entries: frozenset[AllowEntry],
    source: NetnsSource | None = None,
    *,
    replace_links: bool = False,
) -> Plan:
    """The steps that bring a sandbox into the kernel."""
    return (
        MakeNetns(sandbox, source, replace_links),
        AddBind(lease),
        AddAllow(entries),
        AttachLink(lease),
        LinkUp(lease),
    )


def describe(step: Step) -> str:
    """One line for a person."""
    match step:
        case MakeNetns(sandbox, None):
            return f"make the network namespace of {sandbox}"
        case MakeNetns(sandbox, source, replace_links):
            bare = ", without the links in it" if replace_links else ""
            return f"pin the network namespace {source} as {sandbox}'s{bare}"
        case AddBind(lease):
            return f"take {lease.address} from link {lease.link} only"
        case AddAllow(entries):
            return f"lead {len(entries)} (port, destination) pairs to the proxy"
        case AttachLink(lease):
            return f"make the link pair eth0 ({lease.address}/32) - {lease.link}, down"
        case LinkUp(lease):
            return f"set {lease.link} up"
        case _:
            assert_never(step)


def carry_out(
    kernel: Kernel,
    plan: Plan,
    netns: Netns | None = None,
    on_netns: Callable[[Netns], None] | None = None,
) -> Netns:
    """Do every step in order; where one fails, undo those before it, last first.

    Args:
        netns: the sandbox's namespace, for a plan that does not begin with making one.
        on_netns: told of the namespace as soon as it is there; the other steps follow.

    Returns:
        the sandbox's namespace.

    Raises:
        NetmgrError: what the failing step raised. What could not be undone is logged and is
            removed as an orphan at the next start.
    """
    done: list[Step] = []
    try:
        for step in plan:
            netns = _do(kernel, step, netns)
            done.append(step)
            if isinstance(step, MakeNetns) and on_netns is not None and netns is not None:
                on_netns(netns)
    except BaseException:
        for step in reversed(done):
            _undo_tolerantly(kernel, step)
        raise
    assert netns is not None
    return netns


def shut_door(kernel: Kernel, lease: Lease, entries: frozenset[AllowEntry]) -> list[str]:
    """First half of a death: nothing passes any more, the link is gone. What failed, in words.

    The workers are told between the two halves, so that none of them opens a socket after
    `clear_away` has counted them.
    """
    return _to_the_end(
        (
            ("remove what it may reach", lambda: kernel.del_allow(entries)),
            ("unbind its address", lambda: kernel.del_bind(lease)),
            ("remove its link", lambda: kernel.detach_link(lease)),
        )
    )


def clear_away(kernel: Kernel, sandbox: SandboxName, address: IPv4Address) -> list[str]:
    """Second half: its connections are destroyed and counted to zero, then the namespace goes.
    What failed, in words."""
    return _to_the_end(
        (
            ("end its connections", lambda: _end_sockets(kernel, address)),
            ("remove its namespace", lambda: kernel.delete_netns(sandbox)),
        )
    )


def _to_the_end(acts: tuple[tuple[str, Callable[[], None]], ...]) -> list[str]:
    failures: list[str] = []
    for what, act in acts:
        try:
            act()
        except HostFailed as failure:
            failures.append(f"{what}: {failure.message}")
    return failures


def _end_sockets(kernel: Kernel, address: IPv4Address) -> None:
    left = kernel.destroy_sockets(address)
    if left:
        raise HostFailed(f"{left} connections of {address} are still there")


def _do(kernel: Kernel, step: Step, netns: Netns | None) -> Netns | None:
    """One step; gives the namespace that the steps after it work on."""
    match step:
        case MakeNetns(sandbox, None):
            return kernel.make_netns(sandbox)
        case MakeNetns(sandbox, source, replace_links):
            assert source is not None
            return kernel.pin_netns(sandbox, source, replace_links=replace_links)
        case AddBind(lease):
            kernel.add_bind(lease)
        case AddAllow(entries):
            _add_all_or_nothing(kernel, entries)
        case AttachLink(lease):
            assert netns is not None
            kernel.attach_link(netns, lease)
        case LinkUp(lease):
            kernel.link_up(lease)
        case _:
            assert_never(step)
    return netns


def _add_all_or_nothing(kernel: Kernel, entries: frozenset[AllowEntry]) -> None:
    try:
        kernel.add_allow(entries)
    except NetmgrError:
        kernel.del_allow(entries)  # a full set may have taken some of them
        raise


def _undo_tolerantly(kernel: Kernel, step: Step) -> None:
    try:
        match step:
            case MakeNetns(sandbox):
                kernel.delete_netns(sandbox)
            case AddBind(lease):
                kernel.del_bind(lease)
            case AddAllow(entries):
                kernel.del_allow(entries)
            case AttachLink(lease):
                kernel.detach_link(lease)
            case LinkUp():
                pass
            case _:
                assert_never(step)
    except HostFailed as failure:
        log.error("could not undo %r: %s", describe(step), failure.message)
