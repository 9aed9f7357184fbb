"""Owns: saying what a connection's first bytes are: TLS, HTTP/1, HTTP/2 preface, or another thing.

Pure; no I/O, no clock. Knows nothing of names or policies. Errs towards HTTP: what a lenient server
might read as an HTTP request line is classified as HTTP, so that its authority gets checked.
"""

import re
from dataclasses import dataclass
from typing import Final

from netmgr_proxy.wire.hello import (
    MAX_HELLO_BYTES,
    BadHello,
    ClientHello,
    Missing,
    looks_like_tls,
    parse_hello,
)

MAX_HEAD: Final = 16 * 1024  # the contract's bound of a request head
MAX_FIRST_BYTES: Final = max(MAX_HELLO_BYTES, MAX_HEAD)  # what is looked at in all, at most

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 §3.4
_LONGEST_METHOD: Final = 32  # registered methods end at 17; a longer first word is no method
_WORD_BYTES: Final = frozenset(b"!#$%&'*+-.^_`|~") | frozenset(  # RFC 9110 §5.6.2, token
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_HTTP_LINE = re.compile(rb"[ \t]HTTP/[0-9]", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Tls:
    """A TLS handshake that begins with this hello."""

    hello: ClientHello


@dataclass(frozen=True, slots=True)
class Http:
    """An HTTP/1 request; `head` is its head with the empty line, unchecked."""

    head: bytes


@dataclass(frozen=True, slots=True)
class Http2Preface:
    """HTTP/2 in clear, without an upgrade."""


@dataclass(frozen=True, slots=True)
class Other:
    """Neither TLS nor HTTP."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """TLS or HTTP by its first bytes, and broken or too long.

    Attributes:
        tls: which of the two.
        too_long: the bound was met, nothing else is known to be wrong.
        why: one clause for a person.
    """

    tls: bool
    too_long: bool
    why: str


First = Tls | Http | Http2Preface | Other | Malformed | Missing


def classify(data: bytes) -> First:
    """What the bytes so far are; `Missing` while it cannot be said.

    A class, once given, is the class of every longer run of bytes that begins with these.
    """
    if not data:
        return Missing(1)
    if looks_like_tls(data):
        return _classify_tls(data)
    return _classify_text(data)


def _classify_tls(data: bytes) -> First:
    try:
        hello = parse_hello(data)
    except BadHello as fault:
        return Malformed(tls=True, too_long=False, why=str(fault))
    return hello if isinstance(hello, Missing) else Tls(hello)


def _classify_text(data: bytes) -> First:
    start = len(data) - len(data.lstrip(b"\r\n"))  # servers skip empty lines: RFC 9112 §2.2
    if start > MAX_HEAD:
        return Other()
    line_end = data.find(b"\n", start, MAX_HEAD)
    if line_end >= 0:
        return _classify_line(data, start, line_end)
    if not _may_become_request_line(data[start:MAX_HEAD]):
        return Other()
    if len(data) >= MAX_HEAD:
        return Malformed(tls=False, too_long=True, why="a request line without an end")
    return Missing(len(data) + 1)


def _classify_line(data: bytes, start: int, line_end: int) -> First:
    line = data[start:line_end]
    if not _may_become_request_line(line) or not _HTTP_LINE.search(line):
        return Other()
    if data.startswith(_PREFACE):
        return Http2Preface()
    if _PREFACE.startswith(data):
        return Missing(len(_PREFACE))
    end = _HEAD_END.search(data, max(line_end - 1, 0), MAX_HEAD)
    if end is not None:
        return Http(data[: end.end()])
    if len(data) >= MAX_HEAD:
        return Malformed(tls=False, too_long=True, why=f"a head of more than {MAX_HEAD} bytes")
    return Missing(len(data) + 1)


def _may_become_request_line(line: bytes) -> bool:
    """Whether `line` is empty, or a word that could be a method, and a blank if more follows."""
    if b"\0" in line:  # git's native protocol looks like a request line up to its NUL
        return False
    word = line[: _LONGEST_METHOD + 1]
    for at, byte in enumerate(word):
        if byte in b" \t":
            return at > 0
        if byte not in _WORD_BYTES:
            return False
    return len(word) <= _LONGEST_METHOD


def classify_ended(data: bytes) -> First:
    """What the bytes are when the client has closed its side after them."""
    found = classify(data)
    if not isinstance(found, Missing):
        return found
    if looks_like_tls(data):
        return Malformed(tls=True, too_long=False, why="the ClientHello ends early")
    if _HTTP_LINE.search(data):
        return Malformed(tls=False, too_long=False, why="the request's head ends early")
    return Other()
