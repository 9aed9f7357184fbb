"""Owns: counting tokens in an answer as it passes. Never changes, delays or fails the answer.

Knows nothing of protocols or framing: OpenAI's and Anthropic's answers, buffered or streamed, all
carry JSON objects under the key "usage", and only that key is looked for. Inside a JSON string a
quote is escaped, so a model that *writes* `"usage": {` is not mistaken for one that used it.
"""

import json
import re
import zlib
from collections.abc import Iterable
from typing import Any, Final

MAX_USAGE: Final = 4096  # bytes of one usage object; OpenAI's with all details has about 400
# Of a compressed answer at most this much is looked at: it bounds the CPU that a provider can burn.
MAX_INFLATED: Final = 64 * 1024 * 1024
MAX_TOKENS: Final = 10**12  # no request costs more; a larger count fits into no record
MAX_MISSES: Final = 64  # what begins like a usage object and is none: then nothing is believed
_INFLATE_STEP: Final = 64 * 1024  # bytes inflated at a time: the memory that one answer can take

_KEY: Final = b'"usage"'
_COLON: Final = re.compile(rb"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}")
_BLANKS: Final = b" \t\r\n"
_BEFORE_KEY: Final = b"{," + _BLANKS  # what can stand before a key; never a quote or a backslash
_MAX_GAP: Final = 130  # bytes between key and object that _COLON can take
_DECODER: Final = json.JSONDecoder()

# OpenAI's, Anthropic's, Bedrock's Converse, Bedrock's invocation metrics
_IN: Final = ("prompt_tokens", "input_tokens", "inputTokens", "inputTokenCount")
# Anthropic counts cached input apart; OpenAI's prompt_tokens include it.
_IN_CACHED: Final = (
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cacheWriteInputTokens",
    "cacheReadInputTokens",
)
# OpenAI's part of its prompt_tokens or input_tokens that came from its cache.
_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details")
_CACHED: Final = "cached_tokens"
_OUT: Final = ("completion_tokens", "output_tokens", "outputTokens", "outputTokenCount")
# Of what has no output (embeddings, rerankings) servers tell the whole beside the input, or alone.
_TOTAL: Final = ("total_tokens", "totalTokens")
_COUNTED: Final = frozenset((*_IN, *_IN_CACHED, *_OUT, *_TOTAL))
# Bedrock's, of every model that is invoked; the bodies of some tell nothing.
_HEADERS: Final = {
    b"x-amzn-bedrock-input-token-count": "inputTokenCount",
    b"x-amzn-bedrock-output-token-count": "outputTokenCount",
}
_DIGITS: Final = re.compile(rb"[0-9]{1,13}")


class UsageMeter:
    """Feed it an answer's body, in any pieces; read the counts at the end."""

    __slots__ = ("_counts", "_inflater", "_left", "_misses", "_open", "_pending")

    def __init__(self, coding: bytes = b"") -> None:
        """A meter for one answer, whose content-encoding is `coding` (lower case, b'' for none).

        gzip and deflate are read; an answer in another coding counts nothing.
        """
        self._counts: dict[str, int] = {}
        self._pending = b""  # the end of what was fed, while it may hold part of a usage object
        self._inflater = _inflater(coding)
        self._left = MAX_INFLATED
        self._misses = 0
        self._open = not coding or self._inflater is not None

    @property
    def tokens_in(self) -> int | None:
        """Tokens that the request cost; None where the provider told nothing."""
        base = self._first(_IN)
        if base is None:
            total = self._first(_TOTAL)
            return None if total is None else max(0, total - (self._first(_OUT) or 0))
        return base + sum(self._counts.get(key, 0) for key in _IN_CACHED)

    @property
    def tokens_out(self) -> int | None:
        """Tokens that the answer cost; None where the provider told nothing."""
        told, total = self._first(_OUT), self._first(_TOTAL)
        if told is not None or total is None:
            return told
        return max(0, total - (self.tokens_in or 0))

    @property
    def cache_read(self) -> int:
        """Tokens of the request that the provider had kept; a part of `tokens_in`."""
        return self._counts.get("cache_read_input_tokens", 0) + self._counts.get(_CACHED, 0)

    @property
    def cache_write(self) -> int:
        """Tokens of the request that the provider was told to keep; a part of `tokens_in`."""
        return self._counts.get("cache_creation_input_tokens", 0)

    def read_head(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Look at the head of an answer of Bedrock's; what its body tells stands above it."""
        for name, value in fields:
            key = _HEADERS.get(name.lower())
            if key is not None and _DIGITS.fullmatch(value):
                self._set(key, int(value))

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes of the body."""
        if not self._open:
            return
        if self._inflater is None:
            self._scan(chunk)
            return
        try:
            self._feed_compressed(self._inflater, chunk)
        except zlib.error:
            self._open = False

    def _first(self, keys: tuple[str, ...]) -> int | None:
        for key in keys:
            if key in self._counts:
                return self._counts[key]
        return None

    def _feed_compressed(self, inflater: Any, chunk: bytes) -> None:
        more = True
        while more and self._open:
            plain = inflater.decompress(chunk, _INFLATE_STEP)
            chunk = inflater.unconsumed_tail
            more = bool(chunk) or len(plain) == _INFLATE_STEP
            self._left -= len(plain)
            self._scan(plain)
            self._open = self._open and self._left > 0 and not inflater.eof

    def _scan(self, chunk: bytes) -> None:
        text = self._pending + chunk
        here = 0
        while self._open and (at := text.find(_KEY, here)) >= 0:
            here = at + len(_KEY)
            if not at or text[at - 1] not in _BEFORE_KEY:
                continue
            end = self._read(text, here)
            if end is None:
                # One byte before the key goes along: it tells that the key is one.
                self._pending = text[at - 1 :]
                return
            here = end
        self._pending = text[max(here, len(text) - len(_KEY)) :]

    def _read(self, text: bytes, behind_key: int) -> int | None:
        """Count the object of the key before `behind_key`.

        Returns:
            Where to go on, or None where only the coming bytes can tell.
        """
        colon = _COLON.match(text, behind_key)
        start = colon.end() if colon is not None else behind_key
        if start == len(text) or (colon is None and not text[behind_key:].strip(_BLANKS)):
            return None if len(text) - behind_key < _MAX_GAP else behind_key
        if colon is None or text[start] != ord("{"):
            return behind_key
        piece = text[start : start + MAX_USAGE]
        try:
            usage, length = _DECODER.raw_decode(piece.decode("latin-1"))
        except (ValueError, RecursionError):
            if len(piece) < MAX_USAGE:
                return None
            # Keys nested in one another would have the same bytes read again for each of them.
            self._misses += 1
            self._open = self._misses < MAX_MISSES
            return behind_key
        self._count(usage)
        return start + length

    def _count(self, usage: dict[str, Any]) -> None:
        for key, value in usage.items():
            if key in _COUNTED:
                self._set(key, value)
            elif key in _DETAILS and isinstance(value, dict):
                self._set(_CACHED, value.get(_CACHED))

    def _set(self, key: str, value: object) -> None:
        if type(value) is int and 0 <= value <= MAX_TOKENS:
            self._counts[key] = value  # streams repeat it: the last one is the whole


def _inflater(coding: bytes) -> Any:
    match coding:
        case b"gzip" | b"x-gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        case b"deflate":
            return zlib.decompressobj()
        case _:
            return None
