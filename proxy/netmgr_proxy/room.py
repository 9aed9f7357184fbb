"""Owns: what all connections of one worker share, gathered in one value."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count

from netmgr.guard import may_stay
from netmgr.policy.decision import Target
from netmgr.policy.owner import Owner
from netmgr.process.ipc import Peer
from netmgr.process.tasks import TaskSet
from netmgr.process.view import SandboxView, View
from netmgr.reasons import Reason
from netmgr_proxy.account import Account, find_owner
from netmgr_proxy.dial import Dialer
from netmgr_proxy.flows import Flows
from netmgr_proxy.gate import Decided, Gate, judge_caller, judge_new
from netmgr_proxy.generations import Generations
from netmgr_proxy.holdings import Holdings
from netmgr_proxy.leaves import Leaves
from netmgr_proxy.limits import Limits
from netmgr_proxy.metering import Metered
from netmgr_proxy.peer import Caller
from netmgr_proxy.rations import Rations
from netmgr_proxy.recorder import Recorder
from netmgr_proxy.relay import Pipes
from netmgr_proxy.routes import Routes
from netmgr_proxy.routing.availability import Availability
from netmgr_proxy.scanner import Scanner
from netmgr_proxy.upstreams import Upstreams
from netmgr_proxy.wire.face import Refusal


@dataclass(frozen=True, slots=True)
class Room:
    """The worker as a connection sees it.

    Attributes:
        id_prefix: makes request ids differ between workers and starts.
        now: the loop's time. Asked ten times in a call, so it is the loop's own method.
    """

    daemon: Peer
    view: View
    limits: Limits
    flows: Flows
    recorder: Recorder
    dialer: Dialer
    upstreams: Upstreams
    leaves: Leaves
    routes: Routes
    metered: Metered
    generations: Generations
    holdings: Holdings
    scanner: Scanner
    pipes: Pipes
    rations: Rations
    availability: Availability
    tasks: TaskSet
    id_prefix: str
    numbers: "count[int]"
    now: Callable[[], float]

    def judge_new(self, caller: Caller) -> Gate:
        """What is to be done with a connection that has just come."""
        sandbox = self.view.get(caller.address)
        return judge_new(sandbox, caller, journal=self.view.journal_available)

    def judge_identified(self, caller: Caller, owner: Owner) -> Decided:
        """The same, where it was found out whose it is."""
        sandbox = self.view.get(caller.address)
        return judge_caller(sandbox, caller, owner, journal=self.view.journal_available)

    def judge_live(self, account: Account) -> Decided:
        """What would be done now with a connection that was let in and recorded; its records are
        of the policy in force from here on."""
        caller, target = account.caller, account.target
        sandbox = self.view.get(caller.address)
        if sandbox is not None:
            account.moved_to(sandbox)
        return judge_caller(sandbox, caller, account.owner, journal=True, let_in_for=target)

    def judge_peer(
        self, account: Account, peer: str | None, dialled_by: SandboxView | None
    ) -> Refusal | None:
        """Why a connection to `peer` may not go on, where the policy now says otherwise at which
        addresses its target may be."""
        sandbox = self.view.get(account.caller.address)
        if peer is None or sandbox is None or sandbox is dialled_by or dialled_by is None:
            return None
        before = dialled_by.policy.destination_plan(account.target, account.owner)
        now = sandbox.policy.destination_plan(account.target, account.owner)
        if may_stay(ip_address(peer), before, now):
            return None
        why = f"the policy no longer lets {account.target} be at {peer}"
        return Refusal(Reason.ADDRESS_BLOCKED, why)

    def account(
        self, caller: Caller, sandbox: SandboxView | None, target: Target, *, decide: bool
    ) -> Account:
        """The records of a new connection. Asks at once which process it is: it may exit soon.

        Args:
            decide: the decision depends on it.
        """
        found = self.tasks.start(find_owner(self.daemon, caller, decide=decide), name="owner")
        return Account(self.recorder, caller, sandbox, target, found)

    def next_request_id(self) -> str:
        """An id for the faces and records of one request."""
        return f"{self.id_prefix}{next(self.numbers):x}"
