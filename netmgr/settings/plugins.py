"""Owns: how a router plug-in is named in a setting. Knows nothing of what one does."""

import re
from dataclasses import dataclass
from typing import Any, Final

MAX_PLUGINS: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class PluginName:
    """A plug-in that the operator enables.

    Attributes:
        command: of a router that is a program of its own; empty: an installed entry point.
    """

    name: str
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}={' '.join(self.command)}" if self.command else self.name


def parse_routers(raw: Any) -> tuple[PluginName, ...]:
    """A list of `NAME` (an entry point) and `NAME=/PATH/TO/PROGRAM ARGUMENT...`.

    Raises:
        ValueError: it is none.
    """
    found = tuple(_parse_router(item) for item in _names(raw))
    if len({each.name for each in found}) != len(found):
        raise ValueError("a name stands twice")
    return found


def parse_scorers(raw: Any) -> tuple[str, ...]:
    """A list of names of entry points.

    Raises:
        ValueError: it is none.
    """
    found = tuple(str(item) for item in _names(raw))
    for name in found:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected a plug-in's name, found {name!r}")
    if len(set(found)) != len(found):
        raise ValueError("a name stands twice")
    return found


def _names(raw: Any) -> list[Any]:
    if not isinstance(raw, list) or len(raw) > MAX_PLUGINS:
        raise ValueError(f"expected a list of {MAX_PLUGINS} at most, found {raw!r:.100}")
    return raw


def _parse_router(item: Any) -> PluginName:
    name, equals, command = str(item).partition("=")
    words = tuple(command.split())
    if not isinstance(item, str) or not _NAME.fullmatch(name) or bool(equals) is not bool(words):
        raise ValueError(f"expected NAME or NAME=/PATH/TO/PROGRAM, found {item!r:.100}")
    if words and not words[0].startswith("/"):
        raise ValueError(f"{name}: expected the program's absolute path, found {words[0]!r:.100}")
    return PluginName(name, words)
