"""Owns: what is done with a connection before its first byte is read. Pure; no I/O.

The kernel has decided already; this decides again from the worker's own state, so that flushed
rules or open policies let nothing through (an address that the state does not know means: deny).
"""

from dataclasses import dataclass
from typing import Final

from netmgr.model import INFERENCE_NAME
from netmgr.policy.decision import Decision, Target, Treatment
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.peer import Caller
from netmgr_proxy.wire.face import Refusal, refusal_of

HTTPS: Final = 443
HTTP: Final = 80


@dataclass(frozen=True, slots=True)
class Splice:
    """Relay bytes; look at the first ones only."""

    target: Target
    decision: Decision


@dataclass(frozen=True, slots=True)
class Terminate:
    """End TLS here and judge every request."""

    target: Target
    decision: Decision


@dataclass(frozen=True, slots=True)
class Inference:
    """The connection is for the model router."""

    target: Target


@dataclass(frozen=True, slots=True)
class Identify:
    """It depends on the program that connects: find that out and judge again."""

    target: Target


@dataclass(frozen=True, slots=True)
class Deny:
    """Reset the connection.

    Attributes:
        target: what was meant, for the record.
    """

    target: Target
    refusal: Refusal


Decided = Splice | Terminate | Inference | Deny
Gate = Decided | Identify


def target_of(sandbox: SandboxView, caller: Caller) -> Target:
    """What the dialled address stands for in that sandbox."""
    name = sandbox.by_ip.get(caller.ip)
    return Target(name=name, ip=None if name else caller.ip, port=caller.port)


def judge_new(sandbox: SandboxView | None, caller: Caller, *, journal: bool) -> Gate:
    """Decide on a new connection as far as that can be done without knowing whose it is.

    Args: as for `judge_caller`.
    """
    if sandbox is not None and journal:
        target = target_of(sandbox, caller)
        if target.name != INFERENCE_NAME and sandbox.policy.asks_who(target):
            return Identify(target)
    return judge_caller(sandbox, caller, UNKNOWN, journal=journal)


def judge_caller(
    sandbox: SandboxView | None,
    caller: Caller,
    owner: Owner = UNKNOWN,
    *,
    journal: bool,
    let_in_for: Target | None = None,
) -> Decided:
    """Decide on a new connection, or again on a live one.

    Args:
        owner: the programs that hold it; only looked at where the policy asks who it is.
        sandbox: whose source address it is; None where nobody's.
        journal: whether decisions can be recorded; without that nothing new is allowed.
        let_in_for: the target of a live one: the address that it dialled may stand for nothing
            any more.
    """
    if sandbox is None:
        why = f"no sandbox has the address {caller.address}"
        bare = Target(None, caller.ip, caller.port)
        return Deny(bare, Refusal(Reason.UNKNOWN_CALLER, why))
    target = let_in_for or target_of(sandbox, caller)
    if not journal:
        why = "decisions cannot be recorded now (the disk is full), so nothing new is allowed"
        return Deny(target, Refusal(Reason.JOURNAL_UNAVAILABLE, why))
    if target.name == INFERENCE_NAME:
        return _judge_inference(target)
    decision = sandbox.policy.judge_connection(target, owner)
    if not decision.permits:
        return Deny(target, refusal_of(decision, sandbox.scope))
    if decision.treatment is Treatment.TERMINATE:
        return Terminate(target, decision)
    return Splice(target, decision)


def _judge_inference(target: Target) -> Decided:
    if target.port in (HTTPS, HTTP):
        return Inference(target)
    why = f"{INFERENCE_NAME} answers on port {HTTPS} only"
    return Deny(target, Refusal(Reason.PORT_NOT_ALLOWED, why))
