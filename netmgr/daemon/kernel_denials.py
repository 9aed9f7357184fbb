"""Owns: turning what the kernel refused into decision records, in the words of every other face.

The watcher has parsed and counted the packets; here they get a name, a reason, the nearest rule,
the line that would allow them, and the process where it can still be found.
"""

import asyncio
import logging
import time
from collections import Counter
from ipaddress import IPv4Address
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.identity import find_process
from netmgr.daemon.residents import Resident
from netmgr.errors import BadInput, NetmgrError
from netmgr.journal.wire import parse_record
from netmgr.kernel.facts import GATEWAY, Flow
from netmgr.kernel.ruleset import GROUP_DENIED, GROUP_SPOOFED
from netmgr.model import INFERENCE_NAME, Destination, Record
from netmgr.policy.decision import Decision, Target
from netmgr.policy.explain import judge_inference
from netmgr.policy.owner import ANYONE
from netmgr.process.ipc import Body
from netmgr.process.tasks import TaskSet
from netmgr.reasons import Kind, Reason, Verdict

log = logging.getLogger(__name__)

COUNT_EVERY_S: Final = (
    12.0  # longer than the watcher keeps repeats: what it saw it has told by then
)
MAX_LOOKUPS: Final = 64  # owners looked for at the same time; beyond it a record has no process


class KernelDenials:
    """Takes the watcher's `denied` messages."""

    def __init__(self, core: Core, tasks: TaskSet) -> None:
        self._core = core
        self._tasks = tasks
        self._lookups = 0
        self._told: Counter[str] = Counter()  # refused packets that have a record, by link
        self._before: dict[str, int] = {}  # the kernel's exact number of them, one look ago

    def on_denied(self, body: Body) -> None:
        """Record one aggregated denial: {address, group, ip, port, protocol, sport, count}."""
        resident = self._resident(body)
        if body["group"] != GROUP_SPOOFED:
            self._told[body["link"]] += body["count"]
        if resident is None or body["group"] == GROUP_SPOOFED or self._lookups >= MAX_LOOKUPS:
            self._append(self._record(body, resident))
            return
        self._lookups += 1
        self._tasks.start(self._record_with_owner(body, resident), name="owner of a denied packet")

    def on_spoofing(self, body: Body) -> None:
        """A link sends so many false sources that the kernel shall count instead of log."""
        links = [body["link"]]
        if self._core.residents.on_link(body["link"]) is None:
            return  # it is gone, or going
        self._tasks.start(
            self._core.on_kernel(self._core.kernel.mute_spoofing, links), name="mute a link"
        )

    async def keep_counting(self) -> None:
        """For ever: what the log's budget left out becomes records with the kernel's counts."""
        core = self._core
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            try:
                spoofed = await core.on_kernel(core.kernel.unmute_spoofing)
                refused = await core.on_kernel(core.kernel.refusals)
            except NetmgrError as failure:
                log.warning("refused packets could not be counted: %s", failure.message)
                continue
            for link, count in spoofed.items():
                if count:
                    body = _unseen(GROUP_SPOOFED, count, link=link)
                    self._append(self._record(body, self._resident(body)))
            self._report_unlogged({le.link: c.denied_packets for le, c in refused.items()})

    def _report_unlogged(self, exact: dict[str, int]) -> None:
        """One record per sandbox whose refused packets were more than could be logged.

        Packets of the last look are compared, not of this one: by now the watcher has told all of
        them that it saw. Links are never used twice, so the counts need no reset.
        """
        for link, total in self._before.items():
            unlogged = total - self._told[link]
            if unlogged > 0:
                body = _unseen(GROUP_DENIED, unlogged, link=link)
                self._append(self._record(body, self._resident(body)))
                self._told[link] += unlogged
        self._before = exact
        self._told = Counter({link: self._told[link] for link in exact})

    def _resident(self, body: Body) -> Resident | None:
        """By link: the address may be a lie, told to put the blame on a neighbour. Only where the
        link is gone already, and the kernel had believed the address, by address."""
        residents, link = self._core.residents, body.get("link")
        if link:
            return residents.on_link(link)
        return None if body["group"] == GROUP_SPOOFED else residents.at(body["address"])

    async def _record_with_owner(self, body: Body, resident: Resident) -> None:
        try:
            flow = _flow(body, resident)
            process = await find_process(self._core, resident, flow) if flow else None
        finally:
            self._lookups -= 1
        record = self._record(body, resident)
        record.extra["process"] = process
        self._append(record)

    def _append(self, record: Record) -> None:
        """The watcher reads hostile packets and may be hijacked: what it says is parsed as any
        worker's record is."""
        try:
            self._core.journal.append(parse_record(record.to_wire()))
        except BadInput as misbehaviour:
            log.error("the watch worker told what is no denial: %s", misbehaviour.message)

    def _record(self, body: Body, resident: Resident | None) -> Record:
        decision, name = self._judge(body, resident)
        row = resident.row if resident else None
        return Record(
            time=body.get("time") or time.time(),
            sandbox=row.name if row else None,
            tenant=row.tenant if row else None,
            kind=Kind.CONNECTION,
            verdict=Verdict.DENIED,
            reason=decision.reason,
            rule=decision.rule,
            policy_revision=self._core.effective(resident)[1] if resident else None,
            destination=Destination(name, body["ip"], body["port"], body["protocol"]),
            message=decision.message,
            remedy=decision.remedy(self._core.scope(resident)) if resident else None,
            count=body["count"],
        )

    def _judge(self, body: Body, resident: Resident | None) -> tuple[Decision, str | None]:
        """(the decision that the packet met, the name that its destination stands for)."""
        if body["ip"] is None and body["group"] == GROUP_DENIED:
            said = (
                "refused packets beyond what the kernel logs of one sandbox, by their exact number"
            )
            return _denied(Reason.LIMIT_EXCEEDED, said), None
        where = f"{body['ip']}:{body['port']}" if body["port"] else str(body["ip"])
        if body["group"] == GROUP_SPOOFED:
            source = body["address"] or "many addresses"
            said = f"packets from {source}, which is not this link's address"
            return _denied(Reason.SPOOFED_SOURCE, said), None
        if resident is None:
            return _denied(Reason.UNKNOWN_CALLER, f"no sandbox has {body['address']}"), None
        name = _name_of(resident, body["ip"])
        if body["protocol"] == "udp":
            said = f"UDP to {name or where} is not carried: a sandbox speaks TCP, and DNS"
            return _denied(Reason.UDP_BLOCKED, said), name
        if body["protocol"] != "tcp":
            said = f"{body['protocol']} to {name or where} is not carried: a sandbox speaks TCP"
            return _denied(Reason.PROTOCOL_BLOCKED, said), name
        if self._is_peer(body["ip"]):
            return _denied(Reason.PEER_BLOCKED, f"{where} is another sandbox or the hub"), name
        if name is None and IPv4Address(body["ip"]) in self._core.settings.name_pool:
            # Kept by a program longer than it was valid; to allow the number would help nobody.
            said = f"{where} stands for no name in this sandbox; the name has to be resolved again"
            return _denied(Reason.RAW_IP, said), None
        policy, _ = self._core.effective(resident)
        target = Target(name, None if name else body["ip"], body["port"] or 0)
        if name == INFERENCE_NAME:
            decision = judge_inference(target)
        else:
            decision = policy.judge_connection(target, ANYONE)  # the kernel knows no programs
        if decision.permits:  # it was refused, so it was not allowed then: the policy has changed
            decision = _denied(Reason.POLICY_STALE, f"{where} was refused before a policy change")
        return decision, name

    def _is_peer(self, ip: str | None) -> bool:
        if ip is None:
            return False
        settings, address = self._core.settings, IPv4Address(ip)
        return address in settings.sandbox_pool or address == GATEWAY


def _flow(body: Body, resident: Resident) -> Flow | None:
    if body["sport"] is None or body["port"] is None or body["protocol"] not in ("tcp", "udp"):
        return None
    ip = IPv4Address(body["ip"])
    return Flow(resident.row.address, body["sport"], ip, body["port"], body["protocol"])


def _unseen(group: int, count: int, *, link: str) -> Body:
    """A report of packets that were counted but not looked at."""
    nothing = dict.fromkeys(("address", "ip", "port", "protocol", "sport"))
    return {**nothing, "link": link, "group": group, "count": count}


def _name_of(resident: Resident, ip: str | None) -> str | None:
    return resident.names.name_at(IPv4Address(ip)) if ip is not None else None


def _denied(reason: Reason, message: str) -> Decision:
    return Decision(Verdict.DENIED, reason, message=message)
