"""Owns: why endpoints that name programs are closed to whoever opened a connection, in words.

Knows nothing of what would help; judge.py does.
"""

from collections.abc import Sequence
from typing import Final

from netmgr.policy.decision import Target
from netmgr.policy.owner import Fault, Owner
from netmgr.policy.rules import Endpoint
from netmgr.reasons import Reason

_FAULTS: Final = {
    Fault.CHANGED: "is not the program that this name first stood for here, or that is pinned",
    Fault.IMPOSTOR: "is not the file of this name where the sandbox began, or it was deleted",
    Fault.UNREAD: "could not be read in time to tell what it is",
}


def why_not(target: Target, on_port: Sequence[Endpoint], owner: Owner) -> tuple[Reason, str]:
    """Reason and sentence.

    Args:
        on_port: the endpoints that cover `target`, none of which admits the owner.
    """
    endpoint = on_port[0]
    if not owner.known:
        why = f"{endpoint.place} names programs, and which one opened the connection to {target} "
        return Reason.UNKNOWN_CALLER, why + "could not be told"
    if any(each.programs.admits_some(owner) for each in on_port):
        shown = ", ".join(dict.fromkeys(chain[0].path for chain in owner.chains))
        why = f"several processes hold the connection to {target} ({shown}), and {endpoint.place} "
        return Reason.AMBIGUOUS_OWNER, why + "is not for all of them"
    for each in on_port:
        for program, fault in each.programs.faults(owner):
            reason = Reason.UNKNOWN_CALLER if fault is Fault.UNREAD else Reason.BINARY_CHANGED
            return reason, f"{program.path} {_FAULTS[fault]}"
    shown = owner.chains[0][0].path
    why = f"{shown} is not among the programs of {endpoint.place}: {endpoint.programs}"
    return Reason.BINARY_NOT_ALLOWED, why
