"""Owns: the decision for one DNS query of one sandbox. Pure.

Knows nothing of sockets, dnslib or the clock. The order is the contract: what is ours first
(localhost, inference.local, host.openshell.internal), then the policy; a name that no rule allows
gets NXDOMAIN whatever its type, and nothing about it leaves the host.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netmgr.model import HOST_NAME, INFERENCE_NAME, DnsName
from netmgr.policy.decision import Decision
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason, Verdict
from netmgr_dns.messages import (
    CLASS_IN,
    Answer,
    Ede,
    EdeCode,
    NeedName,
    QType,
    Query,
    Question,
    Rcode,
)

EDNS_VERSION: Final = 0  # RFC 6891 §6.1.3: the only one there is
LOCALHOST: Final = "localhost"
_LOCALHOST_PTR: Final = "1.0.0.127.in-addr.arpa"
_REVERSE_V4: Final = ".in-addr.arpa"
_REVERSE: Final = (_REVERSE_V4, ".ip6.arpa")
_INFERENCE: Final = Decision(Verdict.ALLOWED, Reason.ALLOWED, message="inference.local is served")
# The other name that /etc/hosts has. A name alone opens nothing: connecting takes an endpoint.
_HOST: Final = Decision(Verdict.ALLOWED, Reason.ALLOWED, message=f"{HOST_NAME} is this host")


def decide(query: Query, sandbox: SandboxView) -> Answer | NeedName:
    """What `sandbox` is answered."""
    if query.edns is not None and query.edns.version != EDNS_VERSION:
        return Answer(Rcode.BADVERS)
    question = query.question
    if question.qclass != CLASS_IN:
        return _refuse_class(question)
    name = question.name
    if name is None:
        return deny(_unlisted(f"{question.shown!r} is no host name"), sandbox.policy.hint)
    if name == LOCALHOST or name.endswith("." + LOCALHOST):
        return _localhost(question)
    if name.endswith(_REVERSE):
        return _reverse(question, name, sandbox)
    return _forward(question, name, sandbox)


def deny(decision: Decision, hint: str | None = None) -> Answer:
    """The face of a denied name (contract, "Faces of a denial").

    Args:
        hint: what the policy tells whoever is denied; as much of it as fits is told.
    """
    ede = _ede(EdeCode.BLOCKED, decision)
    if hint is not None:
        ede = Ede(ede.code, f"{ede.text} hint={hint}")
    return Answer(Rcode.NXDOMAIN, ede=ede, decision=decision)


def fail(rule: str | None, reason: Reason, message: str) -> Answer:
    """The face of an allowed name that cannot be given an address now."""
    verdict = Verdict.DENIED if reason is Reason.LIMIT_EXCEEDED else Verdict.FAILED
    decision = Decision(verdict, reason, rule=rule, message=message)
    return Answer(Rcode.SERVFAIL, ede=_ede(EdeCode.OTHER, decision), decision=decision)


def _forward(question: Question, name: DnsName, sandbox: SandboxView) -> Answer | NeedName:
    decision = _judge(name, sandbox)
    if not decision.permits:
        return deny(decision, sandbox.policy.hint)
    if question.qtype != QType.A:
        # No IPv6 in a sandbox, and no HTTPS records: they would bring ECH and HTTP/3 hints.
        return Answer(Rcode.NOERROR, negative=True, decision=decision)
    address = sandbox.names.get(name)
    if address is None:
        return NeedName(name, decision)
    return Answer(Rcode.NOERROR, ip=IPv4Address(address), decision=decision)


def _judge(name: str, sandbox: SandboxView) -> Decision:
    """Of the two fixed names, that they are; of every other, what the policy says."""
    if name == INFERENCE_NAME:
        return _INFERENCE
    decision = sandbox.policy.judge_name(name).decision
    return _HOST if name == HOST_NAME and not decision.permits else decision


def _reverse(question: Question, name: DnsName, sandbox: SandboxView) -> Answer:
    if name == _LOCALHOST_PTR:
        return _pointer(question, LOCALHOST, None)
    address = _reversed_address(name)
    target = sandbox.by_ip.get(address) if address is not None else None
    if target is None:
        why = f"{name} stands for no address of this sandbox"
        return deny(_unlisted(why), sandbox.policy.hint)
    decision = _judge(target, sandbox)
    if not decision.permits:  # allowed before, no longer: its address is not taken back at once
        return deny(decision, sandbox.policy.hint)
    return _pointer(question, target, decision)


def _pointer(question: Question, target: str, decision: Decision | None) -> Answer:
    if question.qtype != QType.PTR:
        return Answer(Rcode.NOERROR, negative=True, decision=decision)
    return Answer(Rcode.NOERROR, pointer=target, decision=decision)


def _reversed_address(name: str) -> str | None:
    """`198.18.0.7` of `7.0.18.198.in-addr.arpa` (RFC 1035 §3.5)."""
    octets = name.removesuffix(_REVERSE_V4).split(".")
    if not name.endswith(_REVERSE_V4) or len(octets) != 4:
        return None
    return ".".join(reversed(octets))


def _localhost(question: Question) -> Answer:
    """RFC 6761 §6.3: answered here, with loopback."""
    match question.qtype:
        case QType.A:
            return Answer(Rcode.NOERROR, ip=IPv4Address("127.0.0.1"))
        case QType.AAAA:
            return Answer(Rcode.NOERROR, ip=IPv6Address("::1"))
        case _:
            return Answer(Rcode.NOERROR, negative=True)


def _refuse_class(question: Question) -> Answer:
    decision = Decision(
        Verdict.DENIED,
        Reason.UNSUPPORTED_PROTOCOL,
        message=f"DNS class {question.qclass}; only class IN is answered",
    )
    return Answer(Rcode.REFUSED, ede=_ede(EdeCode.NOT_SUPPORTED, decision), decision=decision)


def _unlisted(message: str) -> Decision:
    return Decision(Verdict.DENIED, Reason.NO_MATCHING_RULE, message=message)


def _ede(code: EdeCode, decision: Decision) -> Ede:
    return Ede(code, f"{decision.reason.value} rule={decision.rule or 'none'}")
