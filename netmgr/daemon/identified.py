"""Owns: what was found out about who holds a connection, and how long it is true. Values only."""

import json
from dataclasses import dataclass
from typing import Any, Final

from netmgr.kernel.facts import Owners, Wants
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.policy import Policy
from netmgr.policy.programs import ProgramPattern

MAX_DOC: Final = 24 * 1024  # characters; the dialer takes no question above 64 KiB

JsonObject = dict[str, Any]


@dataclass(slots=True)
class Identified:
    """Who holds a connection.

    Attributes:
        process: for records; None where nobody was found.
        owner: for decisions.
    """

    process: JsonObject | None = None
    owner: Owner = UNKNOWN
    _doc: JsonObject | None = None

    def to_doc(self) -> JsonObject:
        """The answer to a worker; made once, and nobody's to change."""
        if self._doc is None:
            owner = self.owner.to_doc() if self.owner.known else None
            if owner is not None and len(json.dumps(owner)) > MAX_DOC:
                owner = None  # paths that long are no program's that a policy means
            self._doc = {"process": self.process, "owner": owner}
        return self._doc


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a policy asks about programs, and what was told last.

    Attributes:
        patterns, wants: out of the policy, whose every entry has to be looked at for them.
        owners: by whom `told` was told; the kernel's room gives the same object as long as they
            are the same processes, running the same.
    """

    policy: Policy
    patterns: tuple[ProgramPattern, ...]
    wants: Wants
    owners: Owners | None = None
    told: Identified | None = None

    @classmethod
    def of(cls, policy: Policy) -> "Remembered":
        """What is asked under a policy."""
        patterns = policy.program_patterns()
        links = tuple(p.path.text for p in patterns if p.path.exact)
        scripts = any(pattern.script is not None for pattern in patterns)
        return cls(policy, patterns, Wants(links, scripts))
