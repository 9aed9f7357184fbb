"""Owns: the `defaults` of a policy document: what holds where an entry says nothing.

Knows nothing of entries.
"""

from dataclasses import dataclass
from typing import Any, Final

from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report

MAX_HINT: Final = 512  # characters: a sentence or two, for an agent that was denied


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where an entry says nothing.

    Attributes:
        observe: `mode: observe`: entries without a mode are audited.
        hint: what every denial tells the program that was denied; None: nothing.
    """

    observe: bool = False
    hint: str | None = None

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document; empty where nothing is said."""
        doc: dict[str, Any] = {"mode": "observe"} if self.observe else {}
        if self.hint is not None:
            doc["on_deny"] = {"hint": self.hint}
        return doc


NO_DEFAULTS: Final = Defaults()


def parse_defaults(document: Fields, report: Report) -> Defaults:
    """The defaults of a document."""
    fields = document.section("defaults", ("mode", "on_deny"))
    if fields is None:
        return NO_DEFAULTS
    observe = fields.choice("mode", ("", "enforce", "observe"), default="") == "observe"
    on_deny = fields.section("on_deny", ("hint",))
    hint = on_deny.text("hint") if on_deny is not None else None
    if hint is not None and on_deny is not None and len(hint) > MAX_HINT:
        on_deny.problem("hint", f"expected at most {MAX_HINT} characters")
    if observe:
        report.warn(
            fields.where("mode"), "entries without a mode of their own are audited, not enforced"
        )
    return Defaults(observe, hint or None)
