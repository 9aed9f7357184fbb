"""Owns: `Policy`, the object that every room asks. The work is done in the files beside it.

p = parse_policy(text, "web.yaml")
p.judge_name("api.example.com").decision.permits
p.judge_connection(Target("api.example.com", None, 443)).treatment
"""

import hashlib
import json
from copy import copy
from ipaddress import IPv4Network
from typing import Any, Final

from netmgr.policy.cases import failures
from netmgr.policy.decision import (
    Decision,
    DestinationPlan,
    Inspection,
    NameDecision,
    Request,
    Target,
)
from netmgr.policy.expiry import TimedJudge
from netmgr.policy.index import Index, ports_in
from netmgr.policy.judge import Judge
from netmgr.policy.limits import NO_LIMITS, EntryLimits
from netmgr.policy.middlewares import enforced
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.problems import PolicyError
from netmgr.policy.programs import ProgramPattern
from netmgr.policy.render import render_yaml
from netmgr.policy.rules import Entry, Expiry, entry_of
from netmgr.policy.schema import Document, read_text, read_value


class Policy:
    """A policy: a value that never changes, told from others by its digest.

    It is small, and one object serves every sandbox with the same digest in a process.

    Attributes:
        entries: the parts of `network_policies`, in the order of the file.
        hint: what every denial tells whoever was denied; None: nothing.
        cases: the tests that it carries; whoever loads a file runs them first.
        middlewares: what looks at requests before they leave.
        looks_inside: whether some endpoint judges what is inside of requests.
        warnings: what loads but may surprise its author, one sentence each.
        timed: its expiries, where some entry has one; else None, and no decision asks a clock.
    """

    __slots__ = (
        "_digest",
        "_document",
        "_index",
        "_judge",
        "_limits",
        "cases",
        "entries",
        "hint",
        "looks_inside",
        "middlewares",
        "timed",
        "warnings",
    )

    def __init__(self, document: Document) -> None:
        self.entries: Final[tuple[Entry, ...]] = document.entries
        self.warnings: Final[tuple[str, ...]] = document.warnings
        self.hint: Final = document.defaults.hint
        self._document = document
        self._limits = {e.key: e.limits for e in document.entries if e.limits != NO_LIMITS}
        # By name, not by place in the file: the digest does not see the order either.
        self.middlewares: Final = document.middlewares
        judged = enforced(document.entries, document.middlewares)
        ordered = sorted(judged, key=lambda entry: entry.key)
        self._index = Index(endpoint for entry in ordered for endpoint in entry.endpoints)
        expiring = any(entry.expires is not None for entry in ordered)
        self.cases: Final = document.cases
        self.timed = TimedJudge(ordered, self._index) if expiring else None
        self._judge: Judge | TimedJudge = self.timed or Judge(self._index)
        self.looks_inside: Final = any(e.inside for entry in ordered for e in entry.endpoints)
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical document, in hex; equal digests decide alike.

        Made for who asks first: workers are told it, and need not.
        """
        if self._digest is None:
            canonical = json.dumps(self.doc, sort_keys=True, separators=(",", ":"))
            self._digest = hashlib.sha256(canonical.encode()).hexdigest()
        return self._digest

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Policy({self.digest[:12]}, {len(self.entries)} entries)"

    def require_cases(self, source: str) -> None:
        """Run the tests that the policy carries.

        Raises:
            PolicyError: the ones that fail.
        """
        if failed := failures(self):
            raise PolicyError(failed, source)

    # -- as a document ---------------------------------------------------------------------

    @classmethod
    def from_doc(
        cls, doc: object, source: str = "policy", like: "Policy | None" = None
    ) -> "Policy":
        """From JSON values, such as `to_doc` gives.

        Args:
            like: a policy whose unchanged endpoints are not read again; the result is the same.

        Raises:
            PolicyError: everything that is wrong with it.
        """
        return cls(read_value(doc, source, like._document if like else None))

    def to_doc(self) -> dict[str, Any]:
        """The canonical document as JSON values; `from_doc` gives an equal policy back."""
        return self._document.to_doc()

    @property
    def doc(self) -> dict[str, Any]:
        """What `to_doc` gives, made once: for who only reads it."""
        return self._document.doc

    def to_yaml(self) -> str:
        """The canonical document as YAML. Comments of the original are not in it."""
        return render_yaml(self.to_doc())

    def limits_of(self, rule: str | None) -> EntryLimits | None:
        """What limits the traffic that a decision by this rule lets through; None: nothing."""
        if not self._limits or rule is None:
            return None
        return self._limits.get(entry_of(rule))

    def source_of(self, rule: str | None) -> dict[str, Any]:
        """What the entry of a decision's rule says of its origin; empty where it says nothing."""
        key = rule.rpartition(".endpoints[")[0] if rule else ""
        return next((entry.source for entry in self.entries if entry.key == key), {})

    def program_patterns(self) -> tuple[ProgramPattern, ...]:
        """Every pattern of programs in entries that are not for all of them."""
        limited = (entry.programs for entry in self.entries if not entry.programs.any)
        return tuple(dict.fromkeys(p for programs in limited for p in programs.patterns))

    # -- what it names ---------------------------------------------------------------------

    def exact_names(self) -> dict[str, frozenset[int]]:
        """Names without wildcards, and the ports that are named for each, also in entries that
        have expired."""
        return {name: ports_in(found) for name, found in self._index.exact.items()}

    def literals(self) -> dict[IPv4Network, frozenset[int]]:
        """Addresses and networks that the policy names itself, and the ports allowed on each."""
        index = self.timed.index if self.timed else self._index
        named: dict[IPv4Network, set[int]] = {}
        for ip, found in index.literal.items():
            named.setdefault(IPv4Network(ip), set()).update(ports_in(found))
        for endpoint in index.anywhere:
            for network in endpoint.networks:
                if isinstance(network, IPv4Network):
                    named.setdefault(network, set()).update(endpoint.ports)
        return {network: frozenset(ports) for network, ports in named.items()}

    def covers(self, name: str) -> bool:
        """Whether some rule names the canonical `name`, also one that has expired."""
        return self.timed.covers(name) if self.timed else bool(self._judge.ports_of(name))

    # -- time ------------------------------------------------------------------------------

    def at(self, moment: float) -> "Policy":
        """This policy as it decides at one moment (epoch seconds), whatever the clock says."""
        if self.timed is None:
            return self
        still = copy(self)
        still.timed = still._judge = self.timed.at(moment)
        return still

    def expiry_of(self, rule: str | None) -> Expiry | None:
        """When the entry of a decision's rule ends."""
        return self.timed.expiries.get(entry_of(rule)) if self.timed else None

    # -- decisions -------------------------------------------------------------------------

    def judge_name(self, name: str) -> NameDecision:
        """Whether the canonical `name` is answered in DNS, and on which ports it is allowed.

        `inference.local` is not a policy's business: callers handle it first.
        """
        return self._judge.judge_name(name)

    def ports_of(self, name: str) -> frozenset[int]:
        """The ports of `judge_name` alone: no words are made for a name that is denied."""
        return self._judge.ports_of(name)

    def asks_who(self, target: Target) -> bool:
        """Whether the decision on `target` depends on the program that connects."""
        return self._judge.asks_who(target)

    def judge_connection(self, target: Target, owner: Owner = UNKNOWN) -> Decision:
        """Whether a TCP connection to `target` is let through, and whether it is spliced.

        Args:
            owner: who holds the sandbox's end; only looked at where `asks_who`. Endpoints that
                name programs are closed to an unknown one.
        """
        return self._judge.judge_connection(target, owner)

    def judge_request(self, target: Target, request: Request, owner: Owner = UNKNOWN) -> Decision:
        """Whether one HTTP request on a terminated connection may go to `target`."""
        return self._judge.judge_request(target, request, owner)

    def inspection(
        self, target: Target, request: Request, owner: Owner = UNKNOWN
    ) -> Inspection | None:
        """What of the request has to be read before it can be judged; None: nothing has."""
        return self._judge.inspection(target, request, owner) if self.looks_inside else None

    def destination_plan(self, target: Target, owner: Owner = UNKNOWN) -> DestinationPlan | None:
        """Which addresses a destination may have; None where the policy does not allow it."""
        return self._judge.destination_plan(target, owner)


def parse_policy(text: str, source: str, like: Policy | None = None) -> Policy:
    """A policy from a YAML file's text.

    Args:
        source: what errors call the file.
        like: a policy whose unchanged endpoints are not read again; the result is the same.

    Raises:
        PolicyError: every problem, as `source:line: key: message`; a test of the file that its
            own rules do not pass is one.
    """
    policy = Policy(read_text(text, source, like._document if like else None))
    policy.require_cases(source)
    return policy


EMPTY_POLICY = Policy(Document())  # of a sandbox for which nothing was said: all is denied
