"""Owns: the `source` of an entry: where it came from, for people. Kept and shown, never judged."""

from typing import Any, Final

from netmgr.policy.fields import Fields, describe
from netmgr.policy.tree import Node, Scalar, Sequence, to_value

MAX_NOTES: Final = 32  # keys of one source
MAX_LISTED: Final = 64  # items of one list in it
MAX_NOTE: Final = 1024  # characters of one text


def parse_source(entry: Fields) -> dict[str, Any]:
    """What an entry says of its origin: words, numbers, truth values, or lists of these."""
    found: dict[str, Any] = {}
    for number, (key, _, node) in enumerate(entry.entries("source")):
        if number >= MAX_NOTES:
            entry.problem("source", f"more than {MAX_NOTES} keys")
            break
        listed = node.items if isinstance(node, Sequence) else [node]
        if len(listed) > MAX_LISTED:
            entry.problem("source", f"{key}: more than {MAX_LISTED} items")
        elif bad := next((item for item in listed if not _is_note(item)), None):
            entry.problem(
                "source",
                f"{key}: expected a short printable text, a number, true or false, or a list of "
                f"these, got {describe(bad)}",
            )
        else:
            found[key] = to_value(node)
    return found


def _is_note(node: Node) -> bool:
    if not isinstance(node, Scalar):
        return False
    value = node.value
    return not isinstance(value, str) or (len(value) <= MAX_NOTE and value.isprintable())
