"""Owns: the chain that makes the journal a ledger: each record's hash covers the one before it.

A record that is changed, put in, taken out or put elsewhere breaks the chain from there on; records
that are cut off at the end do not fit the last hash, which stands apart. Whoever can write the
whole file can write a new chain: keep the head that `netmgr audit verify` prints elsewhere. Pure.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

MAX_BROKEN: Final = 20  # places that are told one by one


def link(before: str, body: str) -> str:
    """The hash of a record behind another one: SHA-256, in hexadecimal."""
    return hashlib.sha256(f"{before}\n{body}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What was found.

    Attributes:
        records: how many were checked.
        first: the oldest of them; what was before it is no longer kept.
        head: the newest hash.
        broken: numbers of records that are not what was written there, or follow a gap.
        unchained: records of a netmgr that had no chain yet.
    """

    records: int
    first: int | None
    last: int | None
    head: str
    broken: tuple[int, ...] = ()
    unchained: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.broken

    def to_doc(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "ok": self.ok,
            "records": self.records,
            "first": self.first,
            "last": self.last,
            "head": self.head,
            "broken": list(self.broken),
            "unchained": self.unchained,
        }


def check_chain(rows: Iterable[tuple[int, str, str]], last: int, head: str) -> ChainReport:
    """Go along a chain.

    Args:
        rows: (number, record, hash), in order. The first hash is taken as it stands: the record
            before it may have been deleted for its age.
        last: number of the newest record that was ever written.
        head: its hash.
    """
    checked = unchained = 0
    first: int | None = None
    number, before = 0, ""
    broken: list[int] = []
    for seq, body, chain in rows:
        if not chain:
            unchained += 1
            continue
        if first is None:
            first = seq
            sound = seq != 1 or chain == link("", body)
        else:
            sound = seq == number + 1 and chain == link(before, body)
        if not sound and len(broken) < MAX_BROKEN:
            broken.append(seq)
        number, before = seq, chain
        checked += 1
    if checked and (number, before) != (last, head) and len(broken) < MAX_BROKEN:
        broken.append(last)
    return ChainReport(checked, first, number or None, head, tuple(broken), unchained)
