"""Owns: applying `policy update` operations to a policy: one batch, all of it or nothing.

Knows nothing of stores or revisions. An operation changes what it names and nothing beside it:
a rule for one of an endpoint's ports splits the endpoint, and nobody is granted what was not asked
for him (merge.py).
"""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.policy.calls.rules import GRAPHQL_PRESETS, GraphqlRule
from netmgr.policy.calls.wording import graphql_rule, rpc_rule
from netmgr.policy.http_rules import PRESET_RULES, SOCKET_PRESETS, Access, HttpRule
from netmgr.policy.meant import Entries, read_glob
from netmgr.policy.merge import (
    Wanted,
    are_apart,
    fold,
    paths_of,
    ports_of,
    refuse,
    rules_like,
    set_ports,
    widening,
)
from netmgr.policy.operations import (
    AddCallRule,
    AddEndpoint,
    AddHttpRule,
    Operation,
    RemoveBinary,
    RemoveEndpoint,
    RemoveEntry,
    UseBinary,
    UseEntry,
    UseExpiry,
    parse_operation,
)
from netmgr.policy.policy import EMPTY_POLICY, Policy
from netmgr.policy.programs import ANY_BINARY
from netmgr.policy.rules import entry_of

DEFAULT_PORT: Final = 443  # of `--allow HOST`
_PRESETS: Final[dict[str, Mapping[Access, tuple[HttpRule | GraphqlRule, ...]]]] = {
    "rest": PRESET_RULES,
    "websocket": SOCKET_PRESETS,
    "graphql": GRAPHQL_PRESETS,
}
_ALLOW_ENTRY: Final = "allow"
_NO_WORD = re.compile(r"[^a-z0-9]+")

Doc = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Updated:
    """What became of a policy.

    Attributes:
        text: the new policy as YAML. Comments of the old text are not in it.
        notes: for the person who asked: what was already so, what was split.
        changed: whether the new policy decides anything otherwise, or says it otherwise.
    """

    policy: Policy
    text: str
    notes: tuple[str, ...]
    changed: bool


def update_policy(policy: Policy, operations: Iterable[Operation]) -> Updated:
    """Apply a batch of operations.

    Raises:
        BadInput: an operation finds nothing to work on, or would contradict what is there.
        PolicyError: what would come out is no valid policy.
    """
    batch = _Batch(policy.to_doc()["network_policies"])
    work: list[Operation] = []
    for operation in operations:
        match operation:
            case UseEntry(entry):
                batch.entry = entry
            case UseBinary(path):
                batch.binaries.append(path)
            case UseExpiry(text):
                batch.expires, batch.timed = text, True
            case _:
                work.append(operation)
    for operation in work:
        batch.apply(operation)
    batch.finish(work)
    doc = {**policy.to_doc(), "network_policies": batch.entries}
    updated = Policy.from_doc(doc, "updated policy")
    changed = updated.digest != policy.digest
    return Updated(updated, updated.to_yaml(), tuple(batch.notes), changed)


def policy_from_allow(hosts: Iterable[str], base: Policy = EMPTY_POLICY) -> Policy:
    """The policy of `--allow HOST[:PORT] ...`, on top of `base`. The port is 443 unless given.

    Raises:
        BadInput: one of them is no host, or no port.
    """
    operations: list[Operation] = [UseEntry(_ALLOW_ENTRY)]
    for text in hosts:
        value = text if ":" in text else f"{text}:{DEFAULT_PORT}"
        try:
            if value.count(":") != 1:
                raise BadInput("expected HOST or HOST:PORT")
            operations.append(parse_operation("add-endpoint", value))
        except BadInput as error:
            detail = error.message.removeprefix("--add-endpoint: ")
            raise BadInput(f"--allow {text!r}: {detail}") from None
    return update_policy(base, operations).policy if len(operations) > 1 else base


class _Batch:
    """A document under change. Entries are edited in place; nobody else holds them."""

    def __init__(self, entries: dict[str, Doc]) -> None:
        self.entries = entries
        self._meant = Entries(entries)
        self.entry: str | None = None
        self.binaries: list[str] = []
        self.expires: str | None = None
        self.timed = False  # an expiry was given, be it `never`
        self.notes: list[str] = []

    def apply(self, operation: Operation) -> None:
        """Apply one operation."""
        match operation:
            case AddEndpoint():
                self._add_endpoint(operation)
            case RemoveEndpoint():
                self._remove_endpoint(operation)
            case AddHttpRule():
                self._add_rule(operation)
            case AddCallRule():
                self._add_call_rule(operation)
            case RemoveEntry(entry):
                self._meant.existing(entry)
                del self.entries[entry]
            case RemoveBinary(path):
                self._remove_binary(path)

    def finish(self, work: list[Operation]) -> None:
        """Give a named entry its new end, where nothing was added that has it already."""
        if not self.timed or any(isinstance(each, AddEndpoint) for each in work):
            return
        if self.entry is None:
            raise BadInput("--expires: say which entry ends then, with --rule-name")
        entry = self.entries[self._meant.existing(self.entry)]
        entry.pop("expires", None)
        if self.expires is not None:
            entry["expires"] = self.expires

    # -- endpoints -------------------------------------------------------------------------

    def _add_endpoint(self, endpoint: AddEndpoint) -> None:
        rules = rules_like(self.entries, endpoint)
        wanted = Wanted(endpoint, tuple(self.binaries) or (ANY_BINARY,), self.expires, rules)
        if self.entry is not None and self.entry in self.entries:
            self._meant.fresh += self._add_to_named(self.entry, wanted)
            return
        obstacles: list[str] = []
        for place, sharing in self._covering(endpoint, None):
            folded = fold(self.entries[entry_of(place)], place, sharing, wanted)
            if folded.obstacle is None:
                self.notes += folded.notes
                self._meant.fresh.append(sharing)
                return
            obstacles.append(folded.obstacle)
        key = self.entry or self._new_key(f"allow_{endpoint.host}_{endpoint.port}")
        self.entries[key] = wanted.entry_doc()
        self._meant.fresh += self.entries[key]["endpoints"]
        self.notes += [f"{obstacle}: entry {key!r} is added beside it" for obstacle in obstacles]

    def _add_to_named(self, key: str, wanted: Wanted) -> list[Doc]:
        """The endpoints that are what was wanted."""
        entry, endpoint = self.entries[key], wanted.endpoint
        for place, sharing in self._covering(endpoint, key):
            folded = fold(entry, place, sharing, wanted)
            if folded.obstacle is not None:
                raise refuse(folded.obstacle)
            self.notes += folded.notes
            return [sharing]
        if obstacle := widening(entry, key, wanted):
            raise refuse(obstacle)
        added = wanted.endpoint_docs()
        entry["endpoints"] += added
        return added

    def _remove_endpoint(self, unwanted: RemoveEndpoint) -> None:
        for _, endpoint in self._meant.unwanted(unwanted, self.entry):
            set_ports(endpoint, [p for p in ports_of(endpoint) if p != unwanted.port])
        for key, entry in list(self.entries.items()):
            left = [endpoint for endpoint in entry["endpoints"] if ports_of(endpoint)]
            if entry["endpoints"] and not left:
                self.notes.append(f"entry {key!r} has no endpoints left and is removed")
                del self.entries[key]
            else:
                entry["endpoints"] = left

    def _remove_binary(self, path: str) -> None:
        for key in self._meant.listing(path, self.entry):
            left = [each for each in self.entries[key]["binaries"] if each["path"] != path]
            self.entries[key]["binaries"] = left
            if not left:
                self.notes.append(f"entry {key!r} has no programs left and is removed")
                del self.entries[key]

    # -- rules -----------------------------------------------------------------------------

    def _add_rule(self, wanted: AddHttpRule) -> None:
        place, endpoint = self._meant.ruled(wanted, self.entry)
        rule = {"method": wanted.method, "path": read_glob(wanted.path).text}
        self._put_rule(place, endpoint, wanted, rule)

    def _add_call_rule(self, wanted: AddCallRule) -> None:
        place, endpoint = self._meant.inspected(wanted, self.entry)
        read = rpc_rule if endpoint["protocol"] in ("json-rpc", "mcp") else graphql_rule
        profile = endpoint.get("mcp", {}).get("allow_all_known_mcp_methods", False)
        if profile and not wanted.deny and not endpoint.get("rules"):
            raise BadInput(
                f"{place} allows every tool; with a rule beside it only that one would be left"
            )
        self._put_rule(place, endpoint, wanted, read(wanted.operation))

    def _put_rule(
        self, place: str, endpoint: Doc, wanted: AddHttpRule | AddCallRule, rule: Doc
    ) -> None:
        self._refuse_heirs(place)
        base = endpoint.get("access") or endpoint.get("rules") or endpoint.get("mcp")
        if wanted.deny and not base:
            raise BadInput(f"{place} allows no request, so that there is nothing to deny from")
        if "access" in endpoint and not wanted.deny:
            preset = _PRESETS[endpoint["protocol"]][Access(endpoint["access"])]
            rules = [{"allow": known.to_doc()} for known in preset]
        else:
            rules = list(endpoint.get("deny_rules" if wanted.deny else "rules", []))
        new: Doc = rule if wanted.deny else {"allow": rule}
        if new in rules:
            self.notes.append(f"{place} already has that rule")
            return
        endpoint = self._alone(place, endpoint, wanted.port)
        endpoint["deny_rules" if wanted.deny else "rules"] = [*rules, new]
        if not wanted.deny:
            endpoint.pop("access", None)

    def _refuse_heirs(self, place: str) -> None:
        """A rule is for every program of its entry: for one of them alone it cannot be added."""
        key = entry_of(place)
        heirs = set(paths_of(self.entries[key])) - set(self.binaries)
        if self.binaries and heirs:
            raise BadInput(
                f"{', '.join(sorted(heirs)[:3])} of entry {key!r} would inherit the rule; leave "
                "--binary out, or name them too"
            )

    def _alone(self, place: str, endpoint: Doc, port: int) -> Doc:
        """The endpoint for just this port: the others keep what they have."""
        others = [other for other in ports_of(endpoint) if other != port]
        if not others:
            return endpoint
        single = copy.deepcopy(endpoint)
        set_ports(endpoint, others)
        set_ports(single, [port])
        self.entries[entry_of(place)]["endpoints"].append(single)
        self.notes.append(f"{place} is split: port {port} now stands alone")
        return single

    # -- finding ---------------------------------------------------------------------------

    def _covering(self, wanted: AddEndpoint, key: str | None) -> list[tuple[str, Doc]]:
        """What covers the same of a host and port already: all of it, or the same `path`; and of
        requests and handshakes each has endpoints of its own."""
        return [
            (place, each)
            for place, each in self._meant.find(wanted.host, wanted.port, key)
            if each.get("path", "") == wanted.path
            and not are_apart(each.get("protocol", ""), wanted.protocol)
        ]

    def _new_key(self, text: str) -> str:
        stem = _NO_WORD.sub("_", text).strip("_")[:100]
        key, number = stem, 2
        while key in self.entries:
            key, number = f"{stem}_{number}", number + 1
        return key
