"""Owns: reading `binaries` of a policy document. Knows nothing of the rest of an entry."""

from typing import Final

from netmgr.policy.fields import Fields
from netmgr.policy.match import BadPattern
from netmgr.policy.problems import Report
from netmgr.policy.programs import (
    ANY_BINARY,
    ANY_PROGRAM,
    FileGlob,
    ProgramPattern,
    Programs,
    is_sha256,
    parse_file_glob,
)
from netmgr.policy.tree import Node

MAX_BINARIES: Final = 256  # of one entry: each new connection is held against all of them
_KEYS: Final = frozenset(("path", "harness", "sha256", "script"))


def parse_programs(fields: Fields, report: Report) -> Programs:
    """The `binaries` of an entry; every problem is noted."""
    if fields.node("binaries") is None or fields.is_empty_list("binaries"):
        fields.missing(f"expected 'binaries'; any program is [{{path: {ANY_BINARY}}}]")
        return ANY_PROGRAM
    found: list[ProgramPattern] = []
    for path, node in fields.items("binaries"):
        if len(found) >= MAX_BINARIES:
            fields.problem("binaries", f"more than {MAX_BINARIES} programs")
            break
        pattern = _parse_program(node, path, report)
        if pattern is not None:
            found.append(pattern)
    programs = Programs.of(tuple(found))
    if programs.any and len(found) > 1:
        where = fields.where("binaries")
        report.warn(where, f"{ANY_BINARY} is every program: the others have no effect")
    return ANY_PROGRAM if programs == ANY_PROGRAM else programs


def _parse_program(node: Node, path: str, report: Report) -> ProgramPattern | None:
    fields = Fields(node, path, _KEYS, report)
    if fields.flag("harness") is not None:
        report.warn(fields.where("harness"), "has no effect; remove it")
    if fields.node("path") is None:
        fields.missing(f"expected 'path'; any program is {ANY_BINARY}")
    glob = _parse_glob(fields, "path")
    script = _parse_glob(fields, "script")
    sha256 = fields.text("sha256")
    if sha256 is not None and not is_sha256(sha256):
        fields.problem("sha256", f"{sha256!r:.80}: expected 64 hex digits in lower case")
    return None if glob is None else ProgramPattern(glob, sha256, script)


def _parse_glob(fields: Fields, key: str) -> FileGlob | None:
    text = fields.text(key)
    if text is None:
        return None
    try:
        return parse_file_glob(text)
    except BadPattern as error:
        fields.problem(key, str(error))
        return None
