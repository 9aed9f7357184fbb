"""Owns: the sections of a policy file that the container runtime enforces, not netmgr.

They are checked for shape, kept, given back as they were, and reported as not ours.
"""

from typing import Any, Final

from netmgr.policy.fields import Fields
from netmgr.policy.problems import Report
from netmgr.policy.tree import Mapping, Node, Scalar, to_value

_SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "filesystem_policy": ("include_workdir", "read_only", "read_write"),
    "landlock": ("compatibility",),
    "process": ("run_as_user", "run_as_group"),
}
FOREIGN_SECTIONS: Final = frozenset(_SECTIONS)
_COMPATIBILITY: Final = ("", "best_effort", "hard_requirement")


def parse_foreign(document: Fields, report: Report) -> dict[str, Any]:
    """The runtime's sections of a document, as JSON-like values."""
    found: dict[str, Any] = {}
    for key, known in _SECTIONS.items():
        node = document.node(key)
        if node is None:
            continue
        section = Fields(node, document.where(key), known, report)
        _check(section)
        if isinstance(node, Mapping):
            found[key] = to_value(node)
        report.warn(key, "enforced by the runtime, not by netmgr")
    return found


def _check(section: Fields) -> None:
    if "include_workdir" in section:
        section.flag("include_workdir")
    if "compatibility" in section:
        section.choice("compatibility", _COMPATIBILITY, default="")
    for key in ("read_only", "read_write"):
        for place, item in section.items(key):
            _check_path(section, key, place, item)
    for key in ("run_as_user", "run_as_group"):
        node = section.node(key)
        if not (isinstance(node, Scalar) and type(node.value) is int):
            section.text(key)


def _check_path(section: Fields, key: str, place: str, item: Node) -> None:
    if not (isinstance(item, Scalar) and isinstance(item.value, str)):
        section.problem(key, f"expected a list of paths; {place} is none")
    elif not item.value.isprintable():
        section.problem(key, f"{place} has characters that cannot be printed")
