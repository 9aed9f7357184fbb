"""Owns: which endpoints of an earlier policy a new document says again: they are not read anew.

An endpoint is taken over only where reading would give the very same one and nothing to tell: its
document is equal (in types too: `true` is no 1), its entry's mode and programs are, and it was read
without a warning. Knows nothing of what an endpoint means.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from netmgr.policy.endpoint_schema import Mode
from netmgr.policy.programs import Programs
from netmgr.policy.rules import Endpoint, Entry
from netmgr.policy.tree import Mapping, Node, Scalar, Sequence, Unread


@dataclass(frozen=True, slots=True)
class _Said:
    """One endpoint, and how its document says it."""

    doc: dict[str, Any]
    observe: bool
    endpoint: Endpoint

    def again(self, item: Node, mode: Mode, programs: Programs) -> bool:
        """Whether `item` is read to this endpoint, in an entry of this kind."""
        endpoint = self.endpoint
        if mode.observe is not self.observe or endpoint.programs is not programs:
            return False
        if mode.observe and mode.written and not endpoint.audit:
            return False  # a contradiction that only the reading tells
        return _is_same(item, self.doc)


class Earlier:
    """The endpoints of one policy, to be found again.

    Args:
        entries: of a policy that was accepted.
        docs: key of an entry -> its document.
        warned: places of endpoints whose reading had something to tell.
    """

    def __init__(
        self, entries: Iterable[Entry], docs: dict[str, Any], warned: Collection[str]
    ) -> None:
        self._programs: dict[Programs, Programs] = {}
        self._by_place: dict[str, _Said] = {}
        self._by_host: dict[str, _Said] = {}  # one of each host: what is inserted moves the others
        for entry in entries:
            self._programs.setdefault(entry.programs, entry.programs)
            for endpoint, doc in zip(entry.endpoints, docs[entry.key]["endpoints"], strict=True):
                if endpoint.place not in warned:
                    said = _Said(doc, entry.observe, endpoint)
                    self._by_place[endpoint.place] = said
                    self._by_host[endpoint.host.text] = said

    def known(self, programs: Programs) -> Programs:
        """The equal object of the earlier policy, so that endpoints compare by identity."""
        return self._programs.get(programs, programs)

    def find(self, item: Node, place: str, mode: Mode, programs: Programs) -> Endpoint | None:
        """The endpoint that `item` would be read to; None where it has to be read.

        Args:
            programs: of its entry, as `known` gives them.
        """
        said = self._by_place.get(place)
        if said is not None and said.again(item, mode, programs):
            return said.endpoint
        said = self._by_host.get(_host_of(item))
        if said is not None and said.again(item, mode, programs):
            return replace(said.endpoint, place=place)
        return None


def _host_of(item: Node) -> str:
    if isinstance(item, Unread):
        host = item.value.get("host") if isinstance(item.value, dict) else None
    else:
        node = item.values.get("host") if isinstance(item, Mapping) else None
        host = node.value if isinstance(node, Scalar) else None
    return host if isinstance(host, str) else ""


def _is_same(item: Node, doc: object) -> bool:
    match item:
        case Unread(value=value):
            return _is_same_value(value, doc)
        case Scalar(value=value):
            return type(value) is type(doc) and value == doc
        case Mapping(values=values):
            return (
                type(doc) is dict
                and values.keys() == doc.keys()
                and all(_is_same(node, doc[key]) for key, node in values.items())
            )
        case Sequence(items=items):
            return type(doc) is list and len(items) == len(doc) and all(map(_is_same, items, doc))


def _is_same_value(value: object, doc: object) -> bool:
    if type(value) is not type(doc) or value != doc:
        return False
    if isinstance(value, dict) and isinstance(doc, dict):  # equal: but a 1 may be a true in it
        return all(_is_same_inside(item, doc[key]) for key, item in value.items())
    if isinstance(value, list) and isinstance(doc, list):
        return all(map(_is_same_inside, value, doc))
    return True


def _is_same_inside(value: object, doc: object) -> bool:
    """The same of what is known to be equal."""
    kind = type(value)
    return kind is type(doc) and (kind is str or kind is int or _is_same_value(value, doc))
