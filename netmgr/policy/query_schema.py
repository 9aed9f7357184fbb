"""Owns: reading the `query` of a rule: per key a pattern, `{glob: pattern}`, `{any: [pattern]}`.

Knows nothing of how a query is judged (query.py).
"""

from netmgr.policy.fields import Fields, describe
from netmgr.policy.match import BadPattern
from netmgr.policy.problems import Report
from netmgr.policy.query import (
    MAX_ALTERNATIVES,
    MAX_KEY,
    MAX_KEYS,
    QueryTest,
    TextGlob,
    parse_text_glob,
)
from netmgr.policy.tree import Mapping, Node, Scalar, join_key


def parse_query_tests(rule: Fields, report: Report) -> tuple[QueryTest, ...]:
    """The matchers of a rule's `query`."""
    found: list[QueryTest] = []
    for number, (key, line, node) in enumerate(rule.entries("query")):
        if number >= MAX_KEYS:
            rule.problem("query", f"more than {MAX_KEYS} keys")
            break
        where = join_key(rule.where("query"), key)
        if not key or len(key) > MAX_KEY or not key.isprintable():
            report.problem(line, where, f"expected keys of 1 to {MAX_KEY} printable characters")
            continue
        test = _parse_test(key, line, node, where, report)
        if test is not None:
            found.append(test)
    return tuple(found)


def _parse_test(key: str, line: int, node: Node, where: str, report: Report) -> QueryTest | None:
    if not isinstance(node, Mapping):
        glob = _parse_glob(node, node.line or line, where, report)
        return QueryTest(key, (glob,)) if glob else None
    fields = Fields(node, where, ("glob", "any"), report)
    if ("glob" in fields) == ("any" in fields):
        fields.missing("expected either 'glob' or 'any'")
        return None
    if "glob" in fields:
        value = fields.node("glob") or Scalar(fields.line_of("glob"), None)
        glob = _parse_glob(value, fields.line_of("glob"), fields.where("glob"), report)
        return QueryTest(key, (glob,)) if glob else None
    return _parse_any(key, fields, report)


def _parse_any(key: str, fields: Fields, report: Report) -> QueryTest | None:
    if fields.node("any") is None or fields.is_empty_list("any"):
        fields.problem("any", "expected a list of one pattern or more")
        return None
    globs: list[TextGlob | None] = []
    for place, item in fields.items("any"):
        if len(globs) >= MAX_ALTERNATIVES:
            fields.problem("any", f"more than {MAX_ALTERNATIVES} patterns")
            return None
        globs.append(_parse_glob(item, item.line or fields.line_of("any"), place, report))
    usable = tuple(glob for glob in globs if glob is not None)
    return QueryTest(key, usable, listed=True) if len(usable) == len(globs) else None


def _parse_glob(node: Node, line: int, where: str, report: Report) -> TextGlob | None:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, str):
        quotes = "; put it in quotes" if type(value) in (int, bool) else ""
        report.problem(line, where, f"expected a pattern, got {describe(node)}{quotes}")
        return None
    try:
        return parse_text_glob(value)
    except BadPattern as error:
        report.problem(line, where, str(error))
        return None
