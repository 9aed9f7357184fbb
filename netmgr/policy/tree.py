"""Owns: YAML text (or a JSON-like value) -> a tree of nodes that know their line.

Knows nothing of policies. The text may be hostile: its size, its depth and what its aliases unfold
to are bounded, nothing recurses over it, and no YAML tag can name a type. Plain words mean what
YAML 1.2's core schema says (so `no` is a word), without floats: no key of ours takes one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from netmgr.policy.problems import Report

MAX_BYTES: Final = 4 * 1024 * 1024  # 10,000 endpoints with a few rules each
MAX_NODES: Final = 500_000  # with every alias counted as often as it is used (billion laughs)
MAX_DEPTH: Final = 24  # the schema is 9 deep
MAX_INTEGER_DIGITS: Final = 18  # no key takes more; int() of a long text is quadratic

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_INTEGER_DIGITS - 1}}})")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# libyaml's scanner is about ten times faster; the pure one gives the same events.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Scalar:
    """A word, number, truth value or nothing."""

    line: int
    value: str | int | bool | None
    weight: int = 1
    height: int = 0


@dataclass(slots=True)
class Sequence:
    """A list."""

    line: int
    items: list["Node"] = field(default_factory=list)
    weight: int = 1
    height: int = 1


@dataclass(slots=True)
class Mapping:
    """Keys (with the line of each) and values. Keys are words whatever they look like."""

    line: int
    values: dict[str, "Node"] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    weight: int = 1
    height: int = 1


@dataclass(slots=True)
class Unread:
    """A JSON-like value in place of its tree: for one who may know what it is read to."""

    value: Any
    line: int = 0
    weight: int = 1
    height: int = 0


Node = Scalar | Sequence | Mapping | Unread


def join_key(path: str, key: str) -> str:
    """`path.key`, with odd keys quoted so that the place stays readable."""
    shown = key if _BARE_KEY.fullmatch(key) else repr(key)
    return f"{path}.{shown}" if path else shown


def parse_yaml(text: str, report: Report) -> Node | None:
    """The one document in `text`; None (with a problem noted) where there is none.

    Duplicate keys, tags, unknown and recursive aliases are problems too.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        report.problem(0, "", "the text is no valid Unicode")
        return None
    if size > MAX_BYTES:
        report.problem(0, "", f"{size} bytes; {MAX_BYTES} are allowed")
        return None
    builder = _Builder(report)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if builder.stopped:
                return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        report.problem(mark.line + 1 if mark else 0, "", f"no valid YAML: {error.problem}")
        return None
    except (yaml.YAMLError, ValueError) as error:
        report.problem(0, "", f"no valid YAML: {' '.join(str(error).split())}")
        return None
    if builder.root is None:
        report.problem(1, "", "the file is empty; expected at least 'version: 1'")
    return builder.root


def from_value(value: object, report: Report, path: str = "", depth: int = 0) -> Node:
    """The tree of a JSON-like value. It has no lines."""
    if isinstance(value, Unread):
        return value
    if depth > MAX_DEPTH:
        report.problem(0, path, f"nested deeper than {MAX_DEPTH}")
        return Scalar(0, None)
    if isinstance(value, dict):
        mapping = Mapping(0)
        for key, item in value.items():
            if not isinstance(key, str):
                report.problem(0, path, f"expected words as keys, got {key!r}")
                continue
            mapping.values[key] = from_value(item, report, join_key(path, key), depth + 1)
        return mapping
    if isinstance(value, list | tuple):
        items = [
            from_value(item, report, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)
        ]
        return Sequence(0, items)
    if value is None or isinstance(value, str | int):
        return Scalar(0, value)
    report.problem(0, path, f"unexpected {type(value).__name__}")
    return Scalar(0, None)


def to_value(node: Node) -> Any:
    """The JSON-like value of a tree."""
    match node:
        case Scalar(value=value):
            return value
        case Sequence(items=items):
            return [to_value(item) for item in items]
        case Mapping(values=values):
            return {key: to_value(item) for key, item in values.items()}
        case Unread(value=value):
            return value


@dataclass(slots=True)
class _Frame:
    """A collection that is not closed yet."""

    node: Sequence | Mapping
    anchor: str | None
    key: str | None = None  # of a mapping: the key whose value comes next
    spoiled: bool = False  # that key was no good: swallow its value


class _Builder:
    """Folds YAML events into a tree, with a stack instead of recursion.

    A large policy is read while its author waits: what only a problem needs is made for one.
    """

    def __init__(self, report: Report) -> None:
        self.root: Node | None = None
        self.stopped = False
        self._report = report
        self._stack: list[_Frame] = []
        self._anchors: dict[str, Node | None] = {}  # None: begun, not finished
        self._documents = 0
        self._count = 0
        self._takers: dict[type, Callable[[Any], None]] = {
            yaml.ScalarEvent: self._scalar,
            yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._open,
            yaml.SequenceStartEvent: self._open,
            yaml.MappingEndEvent: self._close,
            yaml.SequenceEndEvent: self._close,
            yaml.DocumentStartEvent: self._begin,
        }

    def take(self, event: Any) -> None:
        """Take the next event."""
        taker = self._takers.get(type(event))
        if taker is not None:
            taker(event)

    def _begin(self, event: Any) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(_line(event), "a second document; a policy is one document")

    def _scalar(self, event: Any) -> None:
        line = _line(event)
        frame = self._stack[-1] if self._stack else None
        if frame and isinstance(frame.node, Mapping) and frame.key is None and not frame.spoiled:
            self._key(frame, frame.node, event.value, line)
            return
        if event.tag not in (None, "!"):
            self._note(line, f"the tag {event.tag!r} means nothing here; remove it")
        plain = not event.style and event.tag is None
        node = Scalar(line, resolve_plain(event.value) if plain else event.value)
        self._remember(event.anchor, node)
        self._add(node)

    def _key(self, frame: _Frame, mapping: Mapping, key: str, line: int) -> None:
        if key in mapping.values:
            place = join_key(self._path(len(self._stack) - 1), key)
            first = mapping.lines[key]
            self._report.problem(line, place, f"the key stands twice; first on line {first}")
            frame.spoiled = True
            return
        frame.key = key
        mapping.lines[key] = line

    def _alias(self, event: Any) -> None:
        line = _line(event)
        if event.anchor not in self._anchors:
            self._stop(line, f"no anchor &{event.anchor} stands before this alias")
            return
        node = self._anchors[event.anchor]
        if node is None:
            self._stop(line, f"the anchor &{event.anchor} contains itself")
            return
        self._add(node, line)

    def _open(self, event: Any) -> None:
        line = _line(event)
        if len(self._stack) >= MAX_DEPTH:
            self._stop(line, f"nested deeper than {MAX_DEPTH}")
            return
        if event.tag not in (None, "!"):
            self._note(line, f"the tag {event.tag!r} means nothing here; remove it")
        node = Mapping(line) if isinstance(event, yaml.MappingStartEvent) else Sequence(line)
        self._remember(event.anchor, None)
        self._stack.append(_Frame(node, event.anchor))

    def _close(self, _: Any) -> None:
        frame = self._stack.pop()
        self._remember(frame.anchor, frame.node)
        self._add(frame.node)

    def _add(self, node: Node, line: int | None = None) -> None:
        line = node.line if line is None else line  # an alias stands elsewhere than its node
        self._count += 1
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        above = frame.node
        above.weight += node.weight
        if above.height <= node.height:
            above.height = node.height + 1
        if self._count > MAX_NODES or above.weight > MAX_NODES:
            self._stop(line, f"unfolds to more than {MAX_NODES} values")
        elif above.height > MAX_DEPTH:  # aliases can nest what was written flat
            self._stop(line, f"unfolds deeper than {MAX_DEPTH}")
        elif isinstance(above, Sequence):
            above.items.append(node)
        elif frame.key is not None:
            above.values[frame.key] = node
            frame.key = None
        elif frame.spoiled:
            frame.spoiled = False
        else:
            self._report.problem(line, self._path(len(self._stack) - 1), "a key must be a word")
            frame.spoiled = True

    def _path(self, depth: int) -> str:
        """The place of what is under way, as far as the outermost `depth` collections say it."""
        path = ""
        for frame in self._stack[:depth]:
            if isinstance(frame.node, Sequence):
                path = f"{path}[{len(frame.node.items)}]"
            elif frame.key is not None:
                path = join_key(path, frame.key)
        return path

    def _remember(self, anchor: str | None, node: Node | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _note(self, line: int, message: str) -> None:
        self._report.problem(line, self._path(len(self._stack)), message)

    def _stop(self, line: int, message: str) -> None:
        self._note(line, message)
        self.stopped = True


def resolve_plain(text: str) -> str | int | bool | None:
    """What an unquoted YAML word means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
