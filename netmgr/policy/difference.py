"""Owns: what differs between two policies, as lines that a person reads. Pure.

The canonical documents are compared, so that a comment or another order of keys is no difference,
and every difference that decides is one.
"""

import difflib
from typing import Final

from netmgr.policy.policy import Policy
from netmgr.policy.render import render_yaml

CONTEXT_LINES: Final = 3


def difference(old: Policy, new: Policy, old_name: str, new_name: str) -> list[str]:
    """A unified diff; empty where both say the same.

    Args:
        old_name: what the first one is called in the head, and `new_name` the second.
    """
    return list(
        difflib.unified_diff(
            _lines(old), _lines(new), old_name, new_name, lineterm="", n=CONTEXT_LINES
        )
    )


def _lines(policy: Policy) -> list[str]:
    doc = policy.to_doc()
    doc["network_policies"] = dict(sorted(doc["network_policies"].items()))
    return render_yaml(doc).splitlines()
