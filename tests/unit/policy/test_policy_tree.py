"""YAML -> tree: lines, duplicate keys, and what a hostile text may cost."""

import pytest
import yaml

from netmgr.policy import tree
from netmgr.policy.problems import Report
from netmgr.policy.tree import MAX_DEPTH, Mapping, Scalar, parse_yaml, resolve_plain, to_value


def read(text: str) -> tuple[object, list[str]]:
    report = Report()
    node = parse_yaml(text, report)
    value = to_value(node) if node is not None else None
    return value, [problem.render("x") for problem in report.problems]


def test_values_and_lines() -> None:
    report = Report()
    node = parse_yaml("a: 1\nb:\n  - x\n  - {c: null}\n'd': \"2\"\n", report)
    assert isinstance(node, Mapping)
    assert to_value(node) == {"a": 1, "b": ["x", {"c": None}], "d": "2"}
    assert node.lines == {"a": 1, "b": 2, "d": 5}
    assert report.problems == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("0123", "0123"), ("1.5", "1.5"), ("22:22", "22:22"), ("-3", -3), ("~", None),
     ("True", True), ("0x10", "0x10"), ("9" * 18, int("9" * 18)), ("9" * 19, "9" * 19)],
)  # fmt: skip
def test_plain_words(text: str, value: object) -> None:
    assert resolve_plain(text) == value


def test_what_the_dumper_leaves_plain_is_a_word_here() -> None:
    for word in ("no", "0123", "089", "1.5", "22:22", "0x10", "1_000", "null", "2026-12-31", "="):
        assert read(yaml.safe_dump({"a": word})) == ({"a": word}, [])


def test_aliases_are_followed() -> None:
    assert read("a: &x [1, 2]\nb: *x\n") == ({"a": [1, 2], "b": [1, 2]}, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *x", "x:1: a: no anchor &x stands before this alias"),
        ("a: &x [*x]", "x:1: a[0]: the anchor &x contains itself"),
        ("a: !!python/object:os.system x", "x:1: a: the tag 'tag:yaml.org,2002:python/object"),
        ("a: !local {b: 1}", "x:1: a: the tag '!local' means nothing here"),
        ("{a: 1, a: 2}", "x:1: a: the key stands twice; first on line 1"),
        ("a:\n  b: {c: 1}\n  b: {c: 2}", "x:3: a.b: the key stands twice; first on line 2"),
        ("? [a]\n: 1", "x:1: a key must be a word"),
        ("? {a: b}\n: {c: d}", "x:1: a key must be a word"),
        ("a: &x y\n*x : 1", "x:2: a key must be a word"),
        ("a: b: c", "x:1: no valid YAML: mapping values are not allowed in this context"),
        ("a: \x07", "x: no valid YAML"),
        ("[" * (MAX_DEPTH + 1), "x:1: "),
        ("a" * (tree.MAX_BYTES + 1), f"x: {tree.MAX_BYTES + 1} bytes"),
    ],
)
def test_problems(text: str, message: str) -> None:
    assert any(line.startswith(message) for line in read(text)[1]), read(text)[1]


def test_a_billion_laughs_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    _, problems = read("\n".join(lines))
    assert any("unfolds to more than" in line for line in problems)


def test_aliases_cannot_nest_deeper_than_text() -> None:
    lines = ["a0: &a0 [[[[[[[[x]]]]]]]]"]
    lines += [f"a{n}: &a{n} [[[[[[[[*a{n - 1}]]]]]]]]" for n in range(1, 5)]
    _, problems = read("\n".join(lines))
    assert any("unfolds deeper than" in line for line in problems)


def test_deep_nesting_is_stopped_before_it_costs() -> None:
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000):
        assert any("nested deeper" in line for line in read(text)[1])


def test_the_pure_python_scanner_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: &x {b: [1, 'two', ~], c: \"d\"}\ne: *x\n"
    expected = read(text)
    monkeypatch.setattr(tree, "_LOADER", yaml.SafeLoader)
    assert read(text) == expected
    assert any("nested deeper" in line for line in read("[" * 5000)[1])


def test_values_without_lines() -> None:
    report = Report()
    node = tree.from_value({"a": [1, {"b": None}], "c": True}, report)
    assert to_value(node) == {"a": [1, {"b": None}], "c": True}
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    tree.from_value(deep, report)
    tree.from_value({"a": 1.5, 3: 4}, report)
    messages = [problem.message for problem in report.problems]
    assert messages == [
        f"nested deeper than {MAX_DEPTH}",
        "unexpected float",
        "expected words as keys, got 3",
    ]
    assert isinstance(node, Mapping)
    assert isinstance(node.values["c"], Scalar)
