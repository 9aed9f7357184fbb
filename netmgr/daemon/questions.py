"""Owns: what workers may ask the daemon, each kind its own, and the answers.

A worker reads hostile bytes and may be hijacked. So a question is parsed like a stranger's, only
the kind that needs an answer gets it, and no answer says more than the question's own purpose:
above all, a certificate is signed for what the sandbox's policy has the proxy terminate and for
nothing else. A hijacked proxy cannot put itself into the TLS of connections that it only relays.
"""

import asyncio
import time
from collections import Counter
from ipaddress import IPv4Address
from typing import Final

from netmgr.daemon.core import Core
from netmgr.daemon.identified import Identified
from netmgr.daemon.identity import find_process, identify
from netmgr.daemon.residents import Resident
from netmgr.daemon.wildcard_names import WildcardNames
from netmgr.errors import BadInput
from netmgr.kernel.facts import Flow
from netmgr.model import INFERENCE_NAME, parse_dns_name
from netmgr.policy.decision import Target, Treatment
from netmgr.policy.owner import ANYONE
from netmgr.policy.policy import Policy
from netmgr.process.ipc import Answer, Body, PeerRefused
from netmgr.reasons import Reason

MAY_ASK: Final = {"dns": frozenset({"name"}), "proxy": frozenset({"leaf", "owner"})}
MAX_OWNERS: Final = 128  # owners looked for at the same time; beyond it a flow has no process
# Those that a decision waits for; beyond it the owner is unknown, which is denied.
MAX_DECISIONS: Final = 1024
MAX_DECISIONS_OF_ONE: Final = 256  # of one sandbox: an npm install opens some dozens at once
MAX_PORT: Final = 65535


class Questions:
    """Answers workers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._names = WildcardNames(core)
        self._looking = 0
        self._deciding: Counter[int] = Counter()

    async def answer(self, kind: str, what: str, body: Body) -> Answer:
        """Answer a worker of that kind.

        Raises:
            PeerRefused: it may not ask that, or asks what cannot be meant, or is told no.
        """
        if what not in MAY_ASK.get(kind, ()):
            raise PeerRefused("unsupported", f"the daemon does not answer {what!r:.40} to {kind}")
        try:
            match what:
                case "name":
                    question = {"address": _text(body, "address"), "name": _text(body, "name")}
                    return await self._names.on_name(question)
                case "leaf":
                    return await self._leaf(_text(body, "address"), _text(body, "name"))
                case _:
                    return await self._owner(body)
        except BadInput as fault:
            raise PeerRefused(fault.code, fault.message) from fault

    async def _leaf(self, address: str, name: str) -> Answer:
        resident = self._names.resident_at(address)
        policy, _ = self._core.effective(resident)
        if not is_terminated(policy, name):
            why = f"{name!r:.300} is not terminated in {resident.row.name}: nothing is signed"
            raise PeerRefused(Reason.NO_MATCHING_RULE, why)
        leaf = await asyncio.to_thread(resident.authority.sign_leaf, name, time.time())
        return Answer({"chain": leaf.chain_pem, "key": leaf.key_pem.reveal()})

    async def _owner(self, body: Body) -> Answer:
        resident = self._names.resident_at(_text(body, "address"))
        sport, dport = _port(body, "sport"), _port(body, "dport")
        flow = Flow(resident.row.address, sport, _address(body, "ip"), dport)
        if body.get("decide") is True:
            return await self._decisive_owner(resident, flow)
        if self._looking >= MAX_OWNERS:
            return Answer({"process": None})
        self._looking += 1
        try:
            return Answer({"process": await find_process(self._core, resident, flow)})
        finally:
            self._looking -= 1

    async def _decisive_owner(self, resident: Resident, flow: Flow) -> Answer:
        deciding, key = self._deciding, resident.row.id
        if deciding.total() >= MAX_DECISIONS or deciding[key] >= MAX_DECISIONS_OF_ONE:
            return Answer(Identified().to_doc())
        deciding[key] += 1
        try:
            return Answer((await identify(self._core, resident, flow)).to_doc())
        finally:
            deciding[key] -= 1
            if not deciding[key]:
                del deciding[key]


def is_terminated(policy: Policy, name: str) -> bool:
    """Whether a policy has requests to `name` (canonical, or an IPv4 address) judged one by one on
    some port; always for inference.local.

    Raises:
        BadInput: `name` is neither.
    """
    try:
        ip = IPv4Address(name)
    except ValueError:
        canonical = parse_dns_name(name)
        if canonical != name:
            raise BadInput(f"{name!r} is not in its canonical spelling") from None
        if name == INFERENCE_NAME:
            return True
        targets = [Target(name, None, port) for port in policy.judge_name(name).ports]
    else:
        named = (ports for network, ports in policy.literals().items() if ip in network)
        targets = [Target(None, str(ip), port) for port in frozenset().union(*named)]
    return any(_terminates(policy, target) for target in targets)


def _terminates(policy: Policy, target: Target) -> bool:
    decision = policy.judge_connection(target, ANYONE)
    return decision.permits and decision.treatment is Treatment.TERMINATE


def _text(body: Body, key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise BadInput(f"{key}: expected a text")
    return value


def _port(body: Body, key: str) -> int:
    value = body.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_PORT:
        raise BadInput(f"{key}: expected a port")
    return value


def _address(body: Body, key: str) -> IPv4Address:
    try:
        return IPv4Address(_text(body, key))
    except ValueError:
        raise BadInput(f"{key}: expected an IPv4 address") from None
