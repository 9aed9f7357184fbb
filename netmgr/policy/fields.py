"""Owns: reading typed values off a mapping, noting everything that is wrong on the way.

Knows nothing of policies: keys and expectations are the caller's. A value of the wrong kind is
noted and read as absent, so that reading goes on and all problems are told together.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from netmgr.policy.problems import Report
from netmgr.policy.tree import Mapping, Node, Scalar, Sequence, Unread, join_key, to_value

MAX_TEXT: Final = 4096  # characters of one value: as long as the longest path

NOT_ENFORCED: Final = (
    "is understood but not enforced yet, and netmgr refuses what it would have to ignore; remove it"
)


class Fields:
    """One mapping under judgement. Unknown keys are noted at once."""

    __slots__ = ("_broken", "_mapping", "_report", "path")

    def __init__(self, node: Node, path: str, known: Collection[str], report: Report) -> None:
        self.path = path
        self._report = report
        self._broken = not isinstance(node, Mapping)
        if not isinstance(node, Mapping):
            report.problem(node.line, path, f"expected keys and values, got {describe(node)}")
            node = Mapping(node.line)
        self._mapping = node
        for key in node.values:
            if key not in known:
                self.problem(key, f"unknown key{report.suggest(key, known)}")

    @property
    def line(self) -> int:
        """Where the mapping begins."""
        return self._mapping.line

    def __contains__(self, key: str) -> bool:
        return key in self._mapping.values

    def given(self, keys: Iterable[str]) -> list[str]:
        """Those of `keys` that stand there."""
        values = self._mapping.values
        return [key for key in keys if key in values]

    def where(self, key: str) -> str:
        """The full name of a key."""
        return join_key(self.path, key)

    def line_of(self, key: str) -> int:
        """The line of a key, or of the mapping where it is missing."""
        return self._mapping.lines.get(key, self._mapping.line)

    def problem(self, key: str, message: str) -> None:
        """Note what is wrong with one key."""
        self._report.problem(self.line_of(key), self.where(key), message)

    def warn(self, key: str, message: str) -> None:
        """Note what loads but may surprise its author."""
        self._report.warn(self.where(key), message)

    def missing(self, message: str) -> None:
        """Note that the mapping lacks a key. What is no mapping has been noted already."""
        if not self._broken:
            self._report.problem(self.line, self.path, message)

    def node(self, key: str) -> Node | None:
        """The raw node; None where the key is missing or has no value."""
        node = self._mapping.values.get(key)
        if isinstance(node, Scalar) and node.value is None:
            return None
        return node

    def section(self, key: str, known: Collection[str]) -> "Fields | None":
        """The mapping below `key`; None where there is none."""
        node = self.node(key)
        if node is None:
            return None
        return Fields(node, self.where(key), known, self._report)

    def text(self, key: str) -> str | None:
        """A word."""
        node = self.node(key)
        if node is None:
            return None
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            self.problem(key, f"expected a word, got {describe(node)}{_quote_hint(node)}")
            return None
        if len(node.value) > MAX_TEXT or not node.value.isprintable():
            self.problem(key, f"expected at most {MAX_TEXT} printable characters")
            return None
        return node.value

    def says(self, key: str) -> bool:
        """Whether the key is there and says something: an empty word says as little as none."""
        node = self.node(key)
        return node is not None and not (isinstance(node, Scalar) and node.value == "")

    def choice(self, key: str, options: Collection[str], *, default: str) -> str:
        """One of a few words; an unknown one is noted and read as the default."""
        value = self.text(key)
        if not value:
            return default
        if value not in options:
            words = [str(option) for option in options if option]
            named = ", ".join(map(repr, words))
            self.problem(
                key,
                f"unknown value {value!r}; expected {named}{self._report.suggest(value, words)}",
            )
            return default
        return value

    def flag(self, key: str) -> bool | None:
        """true or false."""
        node = self.node(key)
        if node is None:
            return None
        if not isinstance(node, Scalar) or not isinstance(node.value, bool):
            self.problem(key, f"expected true or false, got {describe(node)}")
            return None
        return node.value

    def integer(self, key: str) -> int | None:
        """A whole number."""
        node = self.node(key)
        return None if node is None else self._integer(node, key, self.where(key))

    def integers(self, key: str) -> list[int | None]:
        """A list of whole numbers; what is none is noted and read as None."""
        return [self._integer(node, key, place) for place, node in self.items(key)]

    def items(self, key: str) -> Iterator[tuple[str, Node]]:
        """The items of a list, each with its place."""
        node = self.node(key)
        if node is None:
            return
        if not isinstance(node, Sequence):
            self.problem(key, f"expected a list, got {describe(node)}")
            return
        where = self.where(key)
        for number, item in enumerate(node.items):
            yield f"{where}[{number}]", item

    def is_empty_list(self, key: str) -> bool:
        """Whether the key stands there with an empty list."""
        node = self.node(key)
        return isinstance(node, Sequence) and not node.items

    def entries(self, key: str) -> Iterator[tuple[str, int, Node]]:
        """Keys and values of a mapping below `key`, each key with its line."""
        node = self.node(key)
        if node is None:
            return
        if not isinstance(node, Mapping):
            self.problem(key, f"expected keys and values, got {describe(node)}")
            return
        for name, item in node.values.items():
            yield name, node.lines.get(name, node.line), item

    def _integer(self, node: Node, key: str, place: str) -> int | None:
        # `type` and not isinstance: a truth value is an int in Python, not in a policy.
        if isinstance(node, Scalar) and isinstance(node.value, int) and type(node.value) is int:
            return node.value
        line = node.line or self.line_of(key)
        self._report.problem(line, place, f"expected a whole number, got {describe(node)}")
        return None


def refuse_later_keys(fields: Fields, later: dict[str, tuple[object, ...]]) -> None:
    """Refuse the keys that would have to be ignored, unless they ask for nothing.

    Args:
        later: key -> values that ask for nothing and are therefore accepted.
    """
    for key in fields.given(later):
        node = fields.node(key)
        if node is None:
            continue
        value = to_value(node)
        if not any(type(value) is type(other) and value == other for other in later[key]):
            fields.problem(key, NOT_ENFORCED)


def describe(node: Node) -> str:
    """What a node is, for an error."""
    match node:
        case Mapping():
            return "keys and values"
        case Sequence():
            return "a list"
        case Scalar(value=None):
            return "nothing"
        case Unread(value=value):
            return repr(value)[:80]
        case Scalar(value=bool() as value):
            return "true" if value else "false"
        case Scalar(value=value):
            return repr(value)[:80]


def _quote_hint(node: Node) -> str:
    quotable = isinstance(node, Scalar) and isinstance(node.value, int)
    return "; put it in quotes" if quotable else ""
