"""Owns: how the beginning of a JSON object, cut anywhere, is brought to an end that parses.

Knows nothing of streams. Grammar: RFC 8259. What is added closes what is open and tells one more
member; nothing of what was there changes.
"""

import re
from typing import Final

MAX_PREFIX: Final = 64 * 1024  # bytes looked at; the events of all APIs but their first are smaller

_TOKEN: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|"(?:[^"\\]|\\.)*\\?$|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.S
)
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS: Final = (b"true", b"false", b"null")
_CUT_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\(u[0-9a-fA-F]{0,3})?$")


def end_object(prefix: bytes, member: bytes) -> bytes | None:
    """What makes `prefix` one whole object with `member` (`"key":value`) as its last member.

    Returns:
        None where `prefix` is no beginning of an object, or is a whole one already.
    """
    if len(prefix) > MAX_PREFIX:
        return None
    tail = _end_character(prefix)
    state = _State()
    for match in _TOKEN.finditer(prefix + tail):
        token = match[0]
        if token[:1] == b'"' and not _closed(token):
            tail += _end_string(token)
            state.take_value()
        elif match.end() == len(prefix + tail) and token[:1] not in b'"{}[]:,':
            more = _end_word(token)
            if more is None:
                return None
            tail += more
            state.take_value()
        elif not state.take(token):
            return None
    if not state.stack:
        return None
    return tail + state.end(member)


class _State:
    """Which brackets are open, and what may come next in the innermost one."""

    def __init__(self) -> None:
        self.stack: list[bytes] = []
        self.expects = "value"  # value, key, colon, comma; "first" right after a bracket

    def take(self, token: bytes) -> bool:
        """One whole token; False where no object can have it there."""
        match token:
            case b"{" | b"[":
                if not self.stack and (token == b"[" or self.expects == "end"):
                    return False
                self.stack.append(token)
                self.expects = "first"
            case b"}" | b"]":
                if not self.stack:
                    return False
                self.stack.pop()
                self.expects = "comma" if self.stack else "end"
            case b":":
                self.expects = "value"
            case b",":
                self.expects = "key" if self.stack and self.stack[-1] == b"{" else "value"
            case _:
                self.take_value()
        return bool(self.stack) or token == b"}"

    def take_value(self) -> None:
        """A string, a number or a word."""
        key = bool(self.stack) and self.stack[-1] == b"{" and self.expects in ("first", "key")
        self.expects = "colon" if key else "comma"

    def end(self, member: bytes) -> bytes:
        """Close everything; `member` goes into the outermost object."""
        out = b""
        while self.stack:
            outermost = len(self.stack) == 1
            match self.expects:
                case "colon":
                    out += b":null"
                case "value":
                    out += b"null"
                case "key" if not outermost:
                    out += b'"":null'
            if outermost:
                comma = b"" if self.expects in ("first", "key") else b","
                return out + comma + member + b"}"
            out += b"}" if self.stack.pop() == b"{" else b"]"
            self.expects = "comma"
        return out


def _closed(token: bytes) -> bool:
    return re.fullmatch(rb'"(?:[^"\\]|\\.)*"', token, re.S) is not None


def _end_string(token: bytes) -> bytes:
    cut = _CUT_ESCAPE.search(token)
    if cut is None:
        return b'"'
    return b'\\"' if cut[1] is None else b"0" * (5 - len(cut[1])) + b'"'


def _end_word(token: bytes) -> bytes | None:
    for word in _WORDS:
        if word.startswith(token):
            return word[len(token) :]
    for more in (b"", b"0"):
        if _NUMBER.fullmatch(token + more):
            return more
    return None


def _end_character(prefix: bytes) -> bytes:
    """The bytes that a character in UTF-8 lacks at the end (RFC 3629 §4)."""
    for back in (1, 2, 3):
        lead = prefix[-back] if back <= len(prefix) else 0
        if lead >= 0xC0:
            missing = (1 if lead < 0xE0 else 2 if lead < 0xF0 else 3) - (back - 1)
            first = {0xE0: b"\xa0", 0xF0: b"\x90"}.get(lead, b"\x80") if back == 1 else b"\x80"
            return first + b"\x80" * (missing - 1) if missing > 0 else b""
        if lead < 0x80:
            break
    return b""
