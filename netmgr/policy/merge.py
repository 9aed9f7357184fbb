"""Owns: where an added endpoint goes, so that nobody is granted what was not asked for him.

An entry grants every pair of its programs, endpoints and ports. Adding to one therefore may grant
pairs that nobody named. An endpoint is folded into an entry that has it already only where that
cannot happen; else it becomes an entry of its own, or an error where the caller named the entry.
Works on documents (JSON values). Knows nothing of batches and of other operations.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from netmgr.errors import BadInput
from netmgr.policy.hosts import WildcardHost, parse_host
from netmgr.policy.operations import AddEndpoint
from netmgr.policy.programs import ANY_BINARY

Doc = dict[str, Any]

_DEFAULTS: Final = {"protocol": "", "access": "", "enforcement": "enforce"}
_JUDGING: Final = frozenset({"rest", "websocket", "graphql", "json-rpc", "mcp"})
# What an addition says itself; everything else it takes over.
_OWN: Final = frozenset({"host", "port", "ports", "protocol", "enforcement"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """An endpoint, for whom and until when.

    Attributes:
        binaries: paths of programs.
        expires: None where it shall not end.
        rules: what each endpoint takes over from one of the same host, on another port or for
            another program; none: it has what was said of it.
    """

    endpoint: AddEndpoint
    binaries: tuple[str, ...] = (ANY_BINARY,)
    expires: str | None = None
    rules: tuple[Doc, ...] = ()

    def __str__(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}{self.endpoint.path}"

    def entry_doc(self) -> Doc:
        """An entry for just this."""
        expires = {"expires": self.expires} if self.expires else {}
        binaries = [{"path": path} for path in self.binaries]
        return {**expires, "endpoints": self.endpoint_docs(), "binaries": binaries}

    def endpoint_docs(self) -> list[Doc]:
        """The endpoints: several where those that were taken over are told apart by path."""
        return [endpoint_doc(self.endpoint) | copy.deepcopy(each) for each in self.rules or ({},)]


@dataclass(slots=True)
class Fold:
    """What folding would mean.

    Attributes:
        obstacle: why it would grant too much; None where it can be done.
        notes: for the person who asked.
    """

    obstacle: str | None = None
    notes: list[str] = field(default_factory=list)


def fold(entry: Doc, place: str, endpoint: Doc, wanted: Wanted) -> Fold:
    """Add what is wanted to an endpoint that covers its host and port already; the documents are
    changed only where nothing stands in the way.

    Args:
        entry: the one that `endpoint` is part of.
        place: what messages call the endpoint.
    """
    listed = paths_of(entry)
    new = [] if ANY_BINARY in listed else [path for path in wanted.binaries if path not in listed]
    obstacle = (
        _time_obstacle(entry, wanted)
        or _program_obstacle(entry, endpoint, wanted, new)
        or _option_obstacle(endpoint, wanted, listed)
    )
    if obstacle is not None:
        return Fold(f"{place} covers {wanted} already, but {obstacle}")
    entry["binaries"] = [*entry["binaries"], *({"path": path} for path in new)]
    for option in wanted.endpoint.options:
        endpoint[option] = True
    notes = list(_kept_scalars(place, endpoint, wanted.endpoint))
    if not new and not notes:
        notes = [f"{place} already covers {wanted}"]
    return Fold(notes=notes)


def widening(entry: Doc, key: str, wanted: Wanted) -> str | None:
    """Why the entry cannot take a further endpoint; None where nobody gains by it unasked."""
    listed, asked = set(paths_of(entry)), set(wanted.binaries)
    if heirs := listed - asked:
        return f"the programs of entry {key!r} would inherit {wanted} ({_some(heirs)})"
    if asked - listed:
        return f"{_some(asked - listed)} would inherit the other endpoints of entry {key!r}"
    if entry.get("expires") != wanted.expires:
        ends = entry.get("expires") or "never"
        return f"entry {key!r} ends {ends}, and {wanted} would end with it"
    return None


def paths_of(entry: Doc) -> list[str]:
    """The programs of an entry."""
    return [binary["path"] for binary in entry["binaries"]]


def endpoint_doc(wanted: AddEndpoint) -> Doc:
    """A new endpoint."""
    doc: Doc = {"host": wanted.host, "port": wanted.port}
    if wanted.path:
        doc["path"] = wanted.path
    for key in ("protocol", "enforcement", "access"):
        if value := getattr(wanted, key):
            doc[key] = value
    return doc | dict.fromkeys(wanted.options, True)


def rules_like(entries: dict[str, Doc], wanted: AddEndpoint) -> tuple[Doc, ...]:
    """The rules of endpoints of the same host and protocol, or else of a wildcard that covers the
    host: of the first entry that has some, on the first port that it has them on. None where the
    addition has a preset of its own, or a path: that takes over only what all endpoints of a host
    and port must say alike."""
    if wanted.path:
        return _addresses_like(entries, wanted)
    if wanted.access or not wanted.protocol:
        return ()
    for is_alike in (_is_same_host, _is_under_wildcard):
        for entry in entries.values():
            alike = [
                each
                for each in entry["endpoints"]
                if each.get("protocol") == wanted.protocol
                and is_alike(each.get("host", ""), wanted.host)
            ]
            if alike:
                port = ports_of(alike[0])[0]
                return tuple(_rules_of(each) for each in alike if port in ports_of(each))
    return ()


def _is_same_host(text: str, name: str) -> bool:
    return text == name


def _is_under_wildcard(text: str, name: str) -> bool:
    pattern = parse_host(text) if "*" in text else None
    return isinstance(pattern, WildcardHost) and pattern.matches(name)


def _addresses_like(entries: dict[str, Doc], wanted: AddEndpoint) -> tuple[Doc, ...]:
    for entry in entries.values():
        for each in entry["endpoints"]:
            alike = each.get("host") == wanted.host and wanted.port in ports_of(each)
            if alike and "allowed_ips" in each:
                return ({"allowed_ips": each["allowed_ips"]},)
    return ()


def _rules_of(endpoint: Doc) -> Doc:
    return {key: value for key, value in endpoint.items() if key not in _OWN}


def are_apart(one: str, other: str) -> bool:
    """Whether of two protocols one judges WebSocket handshakes and the other requests: both may
    stand on one host and port, and neither has a say on the other."""
    return (one == "websocket") != (other == "websocket") and {one, other} <= _JUDGING


def ports_of(endpoint: Doc) -> list[int]:
    """The ports of an endpoint."""
    return list(endpoint["ports"]) if "ports" in endpoint else [endpoint["port"]]


def set_ports(endpoint: Doc, ports: list[int]) -> None:
    """Give an endpoint other ports."""
    endpoint.pop("port", None)
    endpoint["ports"] = ports


def _time_obstacle(entry: Doc, wanted: Wanted) -> str | None:
    ends = entry.get("expires")
    if ends is None or ends == wanted.expires:
        return None
    return f"ends {ends}"


def _program_obstacle(entry: Doc, endpoint: Doc, wanted: Wanted, new: list[str]) -> str | None:
    others = len(entry["endpoints"]) > 1 or ports_of(endpoint) != [wanted.endpoint.port]
    if new and others:
        return f"{_some(new)} would inherit the other endpoints of its entry"
    return None


def _option_obstacle(endpoint: Doc, wanted: Wanted, listed: list[str]) -> str | None:
    switched = [option for option in wanted.endpoint.options if not endpoint.get(option)]
    if not switched:
        return None
    if heirs := set(listed) - set(wanted.binaries):
        return f"{_some(heirs)} would inherit {', '.join(switched)}"
    if ports_of(endpoint) != [wanted.endpoint.port]:
        return f"{', '.join(switched)} would change its other ports"
    return None


def _kept_scalars(place: str, endpoint: Doc, wanted: AddEndpoint) -> Iterable[str]:
    for key, default in _DEFAULTS.items():
        asked, stands = getattr(wanted, key), endpoint.get(key, default)
        if asked and asked != stands:
            shown = repr(stands) if stands else "as it is, without one"
            yield (
                f"{place} keeps its {key} {shown}, not {asked!r}: an addition does not change what "
                "stands there; remove the endpoint first, or use --add-allow"
            )


def _some(paths: Iterable[str]) -> str:
    found = sorted(paths)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def refuse(obstacle: str) -> BadInput:
    """The error where the caller named the entry."""
    return BadInput(f"{obstacle}; leave --rule-name out, and it gets an entry of its own")
