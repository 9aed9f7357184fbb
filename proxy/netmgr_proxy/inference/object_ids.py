"""Owns: finding in an answer the ids of what the provider has stored for it. Never changes, delays
or fails the answer.

A stream is searched as it passes: inside a JSON string a quote is escaped, so that a model which
*writes* such a member is not mistaken for a provider that has one. A buffered answer of the
responses API is read whole, since its items stand in an array.
"""

import json
import re
from typing import Any, Final

from netmgr.inference.protocols import Protocol

MAX_ANSWER: Final = 1024 * 1024  # bytes of a buffered answer that are kept; of a longer one: its id
MAX_FOUND: Final = 256  # ids of one answer; the longest agents' answers have some dozens of items
_CARRY: Final = 320  # bytes; the longest piece that the search has to see whole

_ID: Final = rb'"([A-Za-z0-9_.:-]{1,200})"'
_STORED: Final = re.compile(
    rb'"(?:response|item|conversation|container)": ?\{(?:"type": ?"[a-z_]{1,40}", ?)?"id": ?'
    + _ID
    + rb'|"container_id": ?'
    + _ID
)
_FIRST: Final = re.compile(rb'\s*\{\s*"id"\s*:\s*' + _ID)
SEARCHED: Final = frozenset({Protocol.RESPONSES, Protocol.MESSAGES})


class ObjectIds:
    """Feed it an answer's body, in any pieces; `take` what was found.

    Args:
        stream: whether the body is an event stream.
    """

    __slots__ = ("_found", "_kept", "_open", "_protocol", "_stream", "_tail", "_told")

    def __init__(self, protocol: Protocol, *, stream: bool) -> None:
        self._protocol = protocol
        self._stream = stream
        self._open = protocol in SEARCHED
        self._kept = b""
        self._tail = b""
        self._found: dict[str, None] = {}
        self._told = 0

    def feed(self, chunk: bytes) -> bool:
        """Look at the next bytes of the body; whether `take` has something."""
        if not self._open:
            return False
        if not self._stream and self._protocol is Protocol.RESPONSES:
            if len(self._kept) <= MAX_ANSWER:
                self._kept += chunk
            return False
        text = self._tail + chunk
        if b'id"' in text:
            for match in _STORED.finditer(text):
                self._add((match[1] or match[2]).decode("ascii"))
        self._tail = b"" if text.endswith(b"\n\n") else text[-_CARRY:]
        return len(self._found) > self._told

    def finish(self) -> bool:
        """The answer is complete; whether `take` has something."""
        if self._kept:
            for name in _ids_of(self._kept):
                self._add(name)
            self._kept = b""
        return len(self._found) > self._told

    def take(self) -> list[str]:
        """The ids that were not taken yet."""
        told, self._told = self._told, len(self._found)
        return list(self._found)[told:]

    def _add(self, name: str) -> None:
        if len(self._found) < MAX_FOUND:
            self._found[name] = None


def _ids_of(body: bytes) -> list[str]:
    """Ids in a whole answer of the responses API."""
    if len(body) > MAX_ANSWER:
        first = _FIRST.match(body)
        return [first[1].decode("ascii")] if first else []
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(answer, dict):
        return []
    found = [answer.get("id"), _get(answer.get("conversation"), "id")]
    output = answer.get("output")
    for item in output if isinstance(output, list) else []:
        found += [_get(item, "id"), _get(item, "container_id")]
    return [name for name in found if isinstance(name, str)]


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None
