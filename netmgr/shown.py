"""Owns: text that a sandbox chose, as a record may hold it: whole characters, no controls, bounded.

A record must never be lost because somebody in a sandbox chose a long path, a strange model or a
program's name that is no UTF-8: what is too long is cut, what cannot be shown is escaped. Pure.
"""

import re
from typing import Any, Final

MAX_PATH: Final = 4096  # bytes of a request's path, as the policy's own bound is
MAX_TEXT: Final = 1024  # bytes of any other text: names end at 253, messages are a sentence or two
MAX_ITEM: Final = 256  # bytes of one item of a list: an ancestor's executable
MAX_ITEMS: Final = 32  # ancestors of a process

_PATH: Final = "path"
_PLAIN: Final = frozenset({int, float, bool, type(None)})  # nothing of these is a text
_CUT: Final = "..."
# Controls (C0, C1), line separators, and marks that turn the direction of what follows: they would
# rewrite the terminal of whoever reads the journal. Half surrogate pairs are not UTF-8.
_UNSHOWABLE: Final = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


def shown_text(text: str, most: int = MAX_TEXT) -> str:
    """`text` with what cannot be shown escaped, in `most` bytes of UTF-8 at most."""
    if len(text) <= most and text.isascii() and text.isprintable():
        return text
    head = text[: most + 1]  # no character is shorter than a byte
    data = _UNSHOWABLE.sub(_escape, head).encode()
    if len(data) <= most and len(text) <= most:
        return data.decode()
    return data[: most - len(_CUT)].decode(errors="ignore") + _CUT


def shown_value(value: Any, name: str = "") -> Any:
    """The same for every text in a record's part (JSON values).

    Args:
        name: the field's.
    """
    if isinstance(value, str):
        return shown_text(value, MAX_PATH if name == _PATH else MAX_TEXT)
    if isinstance(value, dict):
        return _shown_members(value)
    if isinstance(value, (list, tuple)):
        return [_shown_item(item) for item in value[:MAX_ITEMS]]
    return value


def _shown_members(members: dict[str, Any]) -> dict[str, Any]:
    """Every record comes by here: what nearly all of them hold is passed by without a call."""
    shown = {}
    for key, item in members.items():
        kind = type(item)
        if kind is str:
            if len(item) > MAX_ITEM or not (item.isascii() and item.isprintable()):
                item = shown_value(item, key)
        elif kind not in _PLAIN and item:  # what is empty is as it should be
            item = shown_value(item, key)
        shown[key] = item
    return shown


def _shown_item(item: Any) -> Any:
    return shown_text(item, MAX_ITEM) if isinstance(item, str) else shown_value(item)


def _escape(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
