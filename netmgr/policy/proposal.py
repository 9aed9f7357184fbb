"""Owns: `policy propose`: the smallest rules that would have allowed what was denied or audited.

Decision records in, `policy update` lines out, each with how often, when and by whom it was wanted.
What is proposed was judged again by the policy in force, and applied to a copy of it: applying it
makes the very next try succeed, or it is not shown. Never proposed: what no policy should open
(metadata services, this host, loopback, link-local, neighbours), and what nobody tried in earnest
(spoofed sources, malformed requests). Pure; knows nothing of journals.
"""

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.model import parse_dns_name
from netmgr.policy.calls.call import RpcCall, parse_graphql_call, parse_rpc_call
from netmgr.policy.decision import Decision, Reader, Request, Target, Treatment
from netmgr.policy.hosts import RESERVED_NAMES
from netmgr.policy.operations import parse_arguments
from netmgr.policy.owner import UNKNOWN, Owner, Program
from netmgr.policy.path import MalformedTarget, canonical_path
from netmgr.policy.policy import EMPTY_POLICY, Policy
from netmgr.policy.render import render_yaml
from netmgr.policy.update import update_policy
from netmgr.reasons import Reason, Verdict

MAX_PROPOSALS: Final = 200  # what a person reads; the most wanted ones
ID_SAMPLES: Final = (
    3  # paths that differ in one id-like segment only become one pattern from here on
)
DEFAULT_PORT: Final = 443  # of a name that was only asked for in DNS

_MENDABLE: Final = frozenset(
    reason.value
    for reason in (
        Reason.NO_MATCHING_RULE,
        Reason.PORT_NOT_ALLOWED,
        Reason.RAW_IP,
        Reason.METHOD_NOT_ALLOWED,
        Reason.PATH_NOT_ALLOWED,
        Reason.OPERATION_NOT_ALLOWED,
        Reason.UNSUPPORTED_PROTOCOL,
        Reason.EXPIRED,
        Reason.BINARY_NOT_ALLOWED,
    )
)
# Names under which clouds serve metadata to whoever asks from the host.
_METADATA_NAMES: Final = frozenset(
    (
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
    )
)
_LOCAL: Final = ("localhost", "localdomain", "arpa", "onion", "invalid")
_ID: Final = re.compile(
    r"[0-9]+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)

MAX_BINARIES: Final = 5
_DELETED: Final = " (deleted)"  # what the kernel adds to the name of a file that is gone
_WITH_PATHS: Final = ("--add-allow", "--add-endpoint")
_OPERATION_FLAG: Final = "--allow-operation"

Record = dict[str, Any]
IsPublic = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was tried, as a record tells it."""

    target: Target
    request: Request | None = None
    assumed_port: bool = False
    exe: str | None = None

    @property
    def owner(self) -> Owner:
        """Who tried it, as far as the record tells."""
        return Owner(((Program(self.exe),),)) if self.exe else UNKNOWN


@dataclass(slots=True)
class Proposal:
    """One rule that would have allowed something.

    Attributes:
        arguments: of `netmgr policy update NAME`, without an end.
        count: how often it was wanted; first and last: RFC 3339 times of the records.
    """

    arguments: str
    wishes: set[Wish] = field(default_factory=set)
    count: int = 0
    first: str = ""
    last: str = ""
    binaries: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, wish: Wish, record: Record) -> None:
        """Count a record in."""
        count = int(record.get("count") or 1)
        self.wishes.add(wish)
        self.count += count
        self.first = min(self.first or record["time"], record["time"])
        self.last = max(self.last, record["time"])
        self.reasons[record["reason"]] += count
        exe = (record.get("process") or {}).get("exe")
        if exe:
            self.binaries[exe] += count

    def merge(self, other: "Proposal") -> None:
        """Count another one's in."""
        self.wishes |= other.wishes
        self.count += other.count
        self.first = min(self.first or other.first, other.first)
        self.last = max(self.last, other.last)
        self.binaries += other.binaries
        self.reasons += other.reasons

    def to_doc(self, scope: str, expires: str) -> dict[str, Any]:
        """As JSON values.

        Args:
            scope: the sandbox's name, or EVERYWHERE where the global policy is in force.
            expires: the end that is suggested for what it adds.
        """
        arguments = self.arguments
        if adds_endpoint(arguments):
            arguments += f" --expires {expires}"
        return {
            "command": f"netmgr policy update {scope} {arguments}",
            "arguments": arguments,
            "count": self.count,
            "first_seen": self.first,
            "last_seen": self.last,
            "binaries": [exe for exe, _ in self.binaries.most_common(MAX_BINARIES)],
            "reasons": sorted(self.reasons),
            "assumed_port": all(wish.assumed_port for wish in self.wishes),
            "expires": expires if adds_endpoint(arguments) else None,
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """What could be allowed, and what was left out.

    Attributes:
        proposals: the most wanted first.
        skipped: (destination, why) -> how often, for what is never proposed.
    """

    proposals: tuple[Proposal, ...]
    skipped: Counter[tuple[str, str]]


def propose(policy: Policy, records: Iterable[Record], is_public: IsPublic) -> Advice:
    """The rules that would have allowed what records of one sandbox tell.

    Args:
        records: as the journal gives them, oldest first.
        is_public: whether a literal address is nobody's internal one, nor this host's.
    """
    found: dict[tuple[str, bool], Proposal] = {}
    skipped: Counter[tuple[str, str]] = Counter()
    for record in records:
        wish = _wish_of(policy, record)
        if wish is None:
            continue
        why = _never(wish, is_public)
        arguments = None if why else _arguments(policy, wish)
        if arguments:
            key = arguments, wish.exe is not None
            found.setdefault(key, Proposal(arguments)).add(wish, record)
        elif why:
            skipped[str(wish.target), why] += int(record.get("count") or 1)
    proposals = map(_for_programs, _generalised(found.values()))
    kept = [each for each in proposals if _works(policy, each)]
    kept.sort(key=lambda each: (-each.count, each.arguments))
    return Advice(tuple(kept[:MAX_PROPOSALS]), skipped)


def fragment(advice: Advice, expires: str) -> str:
    """Proposed endpoints as entries of a policy file, with where they come from.

    Those that take over rules of the policy in force are not among them: their line alone says so.
    """
    policy, sources = EMPTY_POLICY, dict[str, Record]()
    for proposal in advice.proposals:
        if not adds_endpoint(proposal.arguments):
            continue
        known = set(sources)
        words = f"{proposal.arguments} --expires {expires}"
        try:
            policy = update_policy(policy, parse_arguments(words)).policy
        except BadInput:
            continue
        doc = {
            "proposed_by": "observe",
            "seen": proposal.count,
            "first_seen": proposal.first,
            "last_seen": proposal.last,
            "binaries": [exe for exe, _ in proposal.binaries.most_common(MAX_BINARIES)],
        }
        new = {entry.key for entry in policy.entries} - known
        told = {key: value for key, value in doc.items() if value}
        sources |= dict.fromkeys(new, told)
    doc = policy.to_doc()["network_policies"]
    entries = {key: entry | {"source": sources[key]} for key, entry in doc.items()}
    return render_yaml({"network_policies": entries}) if entries else ""


def adds_endpoint(arguments: str) -> bool:
    """Whether these arguments of `policy update` add an endpoint."""
    return "--add-endpoint " in arguments


# -- records ---------------------------------------------------------------------------------


def _wish_of(policy: Policy, record: Record) -> Wish | None:
    if record["verdict"] != Verdict.AUDITED.value and record["reason"] not in _MENDABLE:
        return None
    place = record.get("destination") or {}
    name, ip, port = place.get("name"), place.get("ip"), place.get("port")
    if place.get("protocol") not in (None, "", "tcp", "udp") or not (name or ip):
        return None
    try:
        target = Target(parse_dns_name(name), None, port or DEFAULT_PORT) if name else None
    except BadInput:
        return None
    if target is None:
        if not port:
            return None
        target = Target(None, str(ip), port)
    request = _request_of(record.get("http") or {})
    if request is not None and record["reason"] == Reason.OPERATION_NOT_ALLOWED.value:
        request = _with_call(policy, target, request, record.get("remedy") or "")
    elif request is not None and record["reason"] == Reason.UNSUPPORTED_PROTOCOL.value:
        # A record tells a handshake from a request in its remedy alone, as above.
        handshake = ":websocket" in (record.get("remedy") or "")
        request = replace(request, websocket=handshake)
    exe = (record.get("process") or {}).get("exe")
    return Wish(target, request, not port, exe if _is_nameable(exe) else None)


def _is_nameable(exe: str | None) -> bool:
    """Whether a policy can mean this program by its path: a file may be called `**`."""
    if not exe or not exe.startswith("/") or not exe.isprintable():
        return False
    return "*" not in exe and not exe.endswith(_DELETED)


def _with_call(policy: Policy, target: Target, request: Request, remedy: str) -> Request:
    """The request with the operation that was refused. A record tells it in its remedy alone; what
    is proposed for it is the policy's to say, whatever else the remedy asks for."""
    inspection = policy.inspection(target, request)
    words = shlex.split(remedy) if _is_closed(remedy) else []
    if inspection is None or _OPERATION_FLAG not in words[:-1]:
        return request
    operation = words[words.index(_OPERATION_FLAG) + 1].split(":", 2)[-1]
    graphql = inspection.reader is Reader.GRAPHQL
    try:
        if graphql:
            return replace(request, calls=(parse_graphql_call(operation),))
        call = parse_rpc_call(operation)
    except BadInput:
        return request
    return replace(request, calls=(RpcCall(call.method, call.tool),))


def _is_closed(text: str) -> bool:
    """Whether all of its quotes end."""
    try:
        shlex.split(text)
    except ValueError:
        return False
    return True


def _request_of(http: Record) -> Request | None:
    method, path = http.get("method"), http.get("path")
    if not method or not path:
        return None
    try:
        same = canonical_path(path, allow_encoded_slash=True) == (path, "")
    except MalformedTarget:
        return None
    return Request(method, path) if same else None


def _never(wish: Wish, is_public: IsPublic) -> str | None:
    """Why nobody should be advised to allow it."""
    name, ip = wish.target.name, wish.target.ip
    if ip is not None:
        return None if is_public(ip) else "an internal address, or one of this host"
    labels = (name or "").split(".")
    if name in _METADATA_NAMES:
        return "a metadata service"
    if name in RESERVED_NAMES or len(labels) == 1 or labels[-1] in _LOCAL:
        return "a name of this host or its network"
    return None


# -- rules -----------------------------------------------------------------------------------


def _judge(policy: Policy, wish: Wish) -> Decision:
    connection = policy.judge_connection(wish.target, wish.owner)
    looked_into = connection.permits and connection.treatment is Treatment.TERMINATE
    if wish.request is None or not looked_into:
        return connection
    return policy.judge_request(wish.target, wish.request, wish.owner)


def _arguments(policy: Policy, wish: Wish) -> str | None:
    decision = _judge(policy, wish)
    arguments = None if decision.verdict is Verdict.ALLOWED else decision.remedy_args
    if decision.verdict is Verdict.AUDITED and arguments is None:
        arguments = f"--add-endpoint {wish.target}"  # observed through a wildcard: this name alone
    return arguments


def _for_programs(proposal: Proposal) -> Proposal:
    """Names who tried it, where that is known of each try: the rule is for nobody else."""
    named = " --binary " in proposal.arguments or not adds_endpoint(proposal.arguments)
    known = all(wish.exe for wish in proposal.wishes)
    if known and not named and len(proposal.binaries) <= MAX_BINARIES:
        words = (f" --binary {shlex.quote(exe)}" for exe in sorted(proposal.binaries))
        proposal.arguments += "".join(words)
    return proposal


def _works(policy: Policy, proposal: Proposal) -> bool:
    """Whether the rule, applied, allows all that it was made for."""
    try:
        updated = update_policy(policy, parse_arguments(proposal.arguments)).policy
    except BadInput:
        return False
    return all(_judge(updated, wish).verdict is Verdict.ALLOWED for wish in proposal.wishes)


def _generalised(proposals: Iterable[Proposal]) -> Iterator[Proposal]:
    """Paths that differ in what looks like a number of something become one pattern."""
    alike: defaultdict[str, list[Proposal]] = defaultdict(list)
    for proposal in proposals:
        alike[_masked(proposal.arguments)].append(proposal)
    for arguments, group in alike.items():
        if len(group) < ID_SAMPLES:
            yield from group
            continue
        whole = Proposal(arguments)
        for proposal in group:
            whole.merge(proposal)
        yield whole


def _masked(arguments: str) -> str:
    words = shlex.split(arguments)
    masked = [
        _mask(word) if flag in _WITH_PATHS else word
        for flag, word in zip(["", *words[:-1]], words, strict=True)
    ]
    return arguments if masked == words else shlex.join(masked)


def _mask(value: str) -> str:
    """`host:443/users/7::rest` and `host:443:GET:/users/7` with what looks like a number masked."""
    head, slash, rest = value.partition("/")
    if head.count(":") == 1:  # an endpoint: its path ends at a colon
        path, colon, tail = rest.partition(":")
    else:
        path, colon, tail = rest, "", ""
    segments = ("*" if _ID.fullmatch(segment) else segment for segment in path.split("/"))
    return head + slash + "/".join(segments) + colon + tail
