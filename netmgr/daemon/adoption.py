"""Owns: what a starting daemon does with what it finds in the kernel: adopt, repair, remove.

The store says what should be, the kernel what is. What both have is adopted as it stands; what
only the store has is built again, or given up where the namespace was somebody else's and is gone;
what only the kernel has is an orphan and goes. Ends before the first worker is started.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from typing import Final

from netmgr.addresses import NamePool
from netmgr.daemon.core import Core
from netmgr.daemon.plan import (
    AddAllow,
    AddBind,
    AttachLink,
    LinkUp,
    carry_out,
    clear_away,
    plan_birth,
    shut_door,
)
from netmgr.daemon.residents import Resident
from netmgr.errors import NetmgrError
from netmgr.kernel.facts import Netns, Survey
from netmgr.keys.authority import Authority
from netmgr.model import Lease
from netmgr.policy.policy import Policy
from netmgr.reasons import Kind
from netmgr.secret import Secret
from netmgr.store import Sandbox

log = logging.getLogger(__name__)

MAX_TOLD: Final = 20  # of orphans in one record, so that it stays readable; all are in the log
NOBODY: Final = IPv4Address(0)  # a link that has no route has no address that we know


@dataclass(slots=True)
class Outcome:
    """What a start found, by sandbox name or by what it was."""

    adopted: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [
            f"{len(names)} {what}"
            for what, names in (
                ("adopted", self.adopted),
                ("repaired", self.repaired),
                ("given up", self.given_up),
                ("orphans removed", self.orphans),
            )
            if names
        ]
        return ", ".join(parts) or "nothing to adopt"


async def adopt(core: Core) -> Outcome:
    """Bring store, kernel, files and memory together.

    Raises:
        HostFailed: the state cannot be read, or a key does not open it.
    """
    outcome = Outcome()
    residents = await core.on_store(load_residents, core)
    survey = await core.on_kernel(core.kernel.survey)
    for resident in residents:
        core.addresses.take(resident.row.address)
        if await core.on_kernel(_settle, core, resident, survey, outcome):
            core.residents[resident.row.name] = resident
            core.roster.put(core.member(resident))
            await core.on_store(_write_back, core, resident)
        else:
            await core.on_store(_give_up, core, resident)
    await core.on_kernel(remove_orphans, core, survey, outcome)
    for name in await core.on_store(core.trust.names):
        if name not in core.residents:
            _tolerantly(outcome, f"files of {name}", partial(core.trust.remove, name))
    for name in outcome.repaired:
        core.record(Kind.LIFECYCLE, "sandbox rebuilt at start", resident=core.resident(name))
    _tell_what_went(core, outcome)
    return outcome


def _tell_what_went(core: Core, outcome: Outcome) -> None:
    """A record of every sandbox that is no more, and a finding where the state knew nothing of what
    stood: after a lost state somebody looks for their sandboxes."""
    for name in outcome.given_up:
        core.record(Kind.LIFECYCLE, f"sandbox {name} could not be adopted at start and was removed")
    if outcome.orphans:
        log.warning("orphans removed: %s", ", ".join(outcome.orphans))
        more = len(outcome.orphans) - MAX_TOLD
        told = ", ".join(outcome.orphans[:MAX_TOLD]) + (f" and {more} more" if more > 0 else "")
        core.record(
            Kind.FINDING,
            f"removed at start, for the state does not know it: {told}",
            remedy="nothing, if sandboxes were being made when the daemon ended; if state was "
            "lost: stop the daemon, put a copy of it back, create them anew",
        )


def load_residents(core: Core) -> list[Resident]:
    """Every stored sandbox with its policy, names and authority."""
    active = core.store.policies.active(None)
    if active is not None:
        core.global_policy = (Policy.from_doc(dict(active.doc)), active.revision)
    return [_load(core, row) for row in core.store.sandboxes.all()]


def _load(core: Core, row: Sandbox) -> Resident:
    store, settings = core.store, core.settings
    active = store.policies.active(row.id)
    assert active is not None, "a sandbox is stored with its policy in one transaction"
    kept = store.authorities.get(row.id)
    assert kept is not None, "a sandbox is stored with its authority in one transaction"
    certificate, sealed = kept
    key: Secret = core.vault.unseal(sealed, "authority", str(row.id))
    names = NamePool(
        settings.name_pool,
        settings.wildcard_names_per_sandbox,
        settings.name_quarantine_s,
        store.names.of(row.id),
    )
    policy = Policy.from_doc(dict(active.doc))
    resident = Resident(row, policy, names, trusted=store.programs.of(row.id))
    resident.authority = Authority.load(certificate, key)
    return resident


def _settle(core: Core, resident: Resident, survey: Survey, outcome: Outcome) -> bool:
    """Adopt or rebuild one sandbox; False where it is given up."""
    row = resident.row
    found = survey.netns.get(row.name)
    try:
        if found is not None and _same(found, row):
            changed = _put_right(core, resident, found, survey)
            (outcome.repaired if changed else outcome.adopted).append(row.name)
            return True
        if not row.attached:
            _build_again(core, resident)
            outcome.repaired.append(row.name)
            return True
    except NetmgrError as failure:
        log.error("sandbox %s cannot be restored: %s", row.name, failure.message)
    outcome.given_up.append(row.name)
    shut_door(core.kernel, resident.lease, core.entries(resident))
    clear_away(core.kernel, row.name, row.address)
    return False


def _same(found: Netns, row: Sandbox) -> bool:
    return (found.identity.dev, found.identity.inode) == (row.netns_dev, row.netns_ino)


def _put_right(core: Core, resident: Resident, found: Netns, survey: Survey) -> bool:
    """Make entries and link of a standing namespace what they should be; whether any was not."""
    kernel, lease = core.kernel, resident.lease
    wanted = core.entries(resident)
    standing = {entry for entry in survey.allow if entry.address == lease.address}
    kernel.del_allow(standing - wanted)
    changed = wanted != standing or lease not in survey.binds
    link = survey.links.get(lease.link)
    if link is None:
        rest = (AddBind(lease), AddAllow(wanted), AttachLink(lease), LinkUp(lease))
        carry_out(kernel, rest, found)
        return True
    kernel.add_bind(lease)
    kernel.add_allow(wanted - standing)
    if not link.up or lease not in survey.routes:
        kernel.link_up(lease)
        changed = True
    return changed


def _build_again(core: Core, resident: Resident) -> None:
    """After a reboot, or when somebody removed the namespace: the same sandbox, a new namespace."""
    row, lease = resident.row, resident.lease
    entries = core.entries(resident)
    shut_door(core.kernel, lease, entries)
    clear_away(core.kernel, row.name, row.address)
    netns = carry_out(core.kernel, plan_birth(row.name, lease, entries))
    core.keep(
        resident,
        netns=str(netns.path),
        netns_dev=netns.identity.dev,
        netns_ino=netns.identity.inode,
    )


def _write_back(core: Core, resident: Resident) -> None:
    core.trust.write(resident.row.name, resident.authority.certificate_pem)
    core.store.sandboxes.update(resident.row)


def _give_up(core: Core, resident: Resident) -> None:
    now = time.time()
    core.trust.remove(resident.row.name)
    core.store.sandboxes.remove(resident.row.id, now)
    core.addresses.release(resident.row.address, now)


def remove_orphans(core: Core, survey: Survey, outcome: Outcome) -> None:
    """Remove what stands in the kernel under this instance's name and belongs to no sandbox."""
    kernel = core.kernel
    leases = {resident.lease for resident in core.residents.values()}
    links = {lease.link for lease in leases}
    addresses = {lease.address for lease in leases}
    for name in sorted(set(survey.netns) - set(core.residents)):
        _tolerantly(outcome, f"namespace of {name}", partial(kernel.delete_netns, name))
    for bound in survey.binds - leases:
        _tolerantly(outcome, f"bind of {bound.address}", partial(kernel.del_bind, bound))
    for route in survey.routes - leases:
        _tolerantly(outcome, f"link {route.link}", partial(kernel.detach_link, route))
    stray = {lease.link for lease in survey.routes}
    for link in sorted(set(survey.links) - links - stray):
        _tolerantly(outcome, f"link {link}", partial(kernel.detach_link, Lease(NOBODY, link)))
    lost = frozenset(entry for entry in survey.allow if entry.address not in addresses)
    if lost:
        _tolerantly(outcome, f"{len(lost)} set entries", partial(kernel.del_allow, lost))


def _tolerantly(outcome: Outcome, what: str, act: Callable[[], None]) -> None:
    try:
        act()
    except NetmgrError as failure:
        log.error("orphan %s stays: %s", what, failure.message)
    else:
        outcome.orphans.append(what)
