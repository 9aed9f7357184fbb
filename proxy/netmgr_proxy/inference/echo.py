"""Owns: the operator's key in what a provider answers: found as it passes, and struck out.

Gateways repeat the key that they refuse ("Incorrect API key provided: sk-..."). What a route shows
its provider is looked for as it is and as JSON writes it, also where chunks cut it. The mark is as
long as what it replaces: no framing changes. Only the longest end of a chunk that could begin a key
waits for the next one; an event ends in a line feed, which no key has, so no stream is held up.
Knows nothing of sockets, and not of a key that was coded anew (compressed, base64): only a provider
that wants to tell it does that. Pure.
"""

import json
from collections.abc import Iterable
from typing import Final

from netmgr.inference.route import InferenceRoute

SHORTEST: Final = 16  # bytes; shorter ones ("lm-studio") may be words of a model's answer
SHORTEST_IN_ERROR: Final = 6  # an error is no model's text, and too much struck out hurts nobody
_MARK: Final = b"[redacted]"


def spellings(route: InferenceRoute) -> tuple[bytes, ...]:
    """What of a route's credentials goes to the provider, in each spelling; the longest first."""
    found = set()
    for name in route.dialect.auth.credentials:
        secret = route.credentials.get(name)
        text = secret.reveal() if secret is not None else ""
        quoted = json.dumps(text)[1:-1]
        found |= {text, quoted, quoted.replace("/", "\\/")}
    long_enough = [t.encode() for t in found if len(t) >= SHORTEST_IN_ERROR]
    return tuple(sorted(long_enough, key=lambda text: (-len(text), text)))


class EchoGuard:
    """Strikes keys out of one answer.

    Args:
        keys: `spellings` of its route.
        error: whether the answer is an error: shorter keys are struck out, too.
    """

    __slots__ = ("_held", "_keys")

    def __init__(self, keys: Iterable[bytes], *, error: bool) -> None:
        least = SHORTEST_IN_ERROR if error else SHORTEST
        self._keys = [(key, _mark(len(key))) for key in keys if len(key) >= least]
        self._held = b""

    def value(self, text: bytes) -> bytes:
        """A header's value without keys."""
        for key, mark in self._keys:
            text = text.replace(key, mark)
        return text

    def feed(self, data: bytes) -> bytes:
        """The next bytes that may pass; b'' where all of them wait."""
        if self._held:
            data, self._held = self._held + data, b""
        keep = 0
        for key, mark in self._keys:
            if key in data:
                data = data.replace(key, mark)
            if data[-1:] in key:
                keep = max(keep, _begun(data, key))
        if keep:
            self._held = data[-keep:]
            return data[:-keep]
        return data

    def rest(self) -> bytes:
        """What still waits at the answer's end; more than a chance beginning of a key is struck
        out."""
        held, self._held = self._held, b""
        return held if len(held) < SHORTEST else _mark(len(held))


def _begun(data: bytes, key: bytes) -> int:
    """How many bytes at the end of `data` could begin `key`; 0 for none."""
    first = key[:1]
    at = data.find(first, max(len(data) - len(key) + 1, 0))
    while at >= 0:
        if key.startswith(data[at:]):
            return len(data) - at
        at = data.find(first, at + 1)
    return 0


def _mark(length: int) -> bytes:
    return _MARK.ljust(length, b"*") if length >= len(_MARK) else b"*" * length
