"""Owns: the sections of a policy file that the container runtime enforces, not netmgr.

They are checked for shape, kept, given back as they were, and reported as not ours.
"""

from typing import Any, Final

from netmgr.policy.fields import Fields, describe
from netmgr.policy.problems import Report
from netmgr.policy.tree import Mapping, Node, Scalar, to_value

_SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "filesystem_policy": ("include_workdir", "read_only", "read_write"),
    "landlock": ("compatibility",),
    "process": ("run_as_user", "run_as_group"),
}
FOREIGN_SECTIONS: Final = frozenset(_SECTIONS)
MAX_PATHS: Final = 256  # of both lists, as the modelled system has it
MAX_PATH: Final = 4096  # characters: Linux's PATH_MAX
MAX_ACCOUNT: Final = 2**32 - 2
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
    count = 0
    for key in ("read_only", "read_write"):
        for place, item in section.items(key):
            _check_path(section, key, place.rpartition(".")[2], item)
            count += 1
    if count > MAX_PATHS:
        section.missing(f"more than {MAX_PATHS} paths")
    for key in ("run_as_user", "run_as_group"):
        _check_account(section, key)


def _check_path(section: Fields, key: str, place: str, item: Node) -> None:
    if not (isinstance(item, Scalar) and isinstance(item.value, str)):
        section.problem(key, f"expected a list of paths; {place} is none")
        return
    path = item.value
    if len(path) > MAX_PATH or not path.isprintable():
        section.problem(key, f"{place}: expected at most {MAX_PATH} printable characters")
    elif not path.startswith("/") or ".." in path.split("/"):
        section.problem(key, f"{place}: {path!r}: expected an absolute path without '..'")
    elif key == "read_write" and not path.strip("/."):
        section.problem(key, f"{place}: the whole file system is not made writable")


def _check_account(section: Fields, key: str) -> None:
    """A number is one as a word, too; 0 is root, and the last one means "unchanged" to Linux."""
    node = section.node(key)
    if node is None:
        return
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= len(str(MAX_ACCOUNT)) else None
    if value != "sandbox" and not (type(value) is int and 1 <= value <= MAX_ACCOUNT):
        section.problem(
            key, f"expected 'sandbox' or a number of 1 to {MAX_ACCOUNT}, got {describe(node)}"
        )
