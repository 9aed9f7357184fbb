"""Owns: the one canonical spelling of a request's path: what is judged is what is sent.

Knows nothing of policies, methods or hosts. Whatever two servers could read differently is either
brought to one spelling or refused. Sources: RFC 3986 §2 (escapes), §3.3 (pchar), §5.2.4 (dots),
§6.2.2 (normalisation); RFC 9112 §3.2 (request targets).
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

MAX_PATH: Final = 4096  # bytes; the contract's bound

# pchar (RFC 3986 §3.3) without '%' and without ';': servers cut `;params` off before they look
# at dots (Tomcat: `/..;/`), others do not, so a raw ';' is refused and an escaped one stays so.
_PLAIN = rb"A-Za-z0-9\-._~!$&'()*+,=:@"
_ALREADY_CANONICAL = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[%s]+)*/?" % _PLAIN)
_OUTSIDE_TARGET = re.compile(rb"[^\x21\x22\x24-\x7e]")  # controls, space, '#', DEL, non-ASCII
_ESCAPE_OR_ODD = re.compile(rb"%%(?:([0-9A-Fa-f]{2})|)|[^%s/]" % _PLAIN)
_IS_PLAIN = re.compile(rb"[%s]" % _PLAIN)
_ENCODED_SLASH = b"%2F"
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile("/{2,}")


class MalformedTarget(ValueError):
    """A request target that has no canonical spelling. The message says what is wrong with it."""


def canonical_path(target: bytes | str, allow_encoded_slash: bool = False) -> tuple[str, str]:
    """The path and the query of a request target in origin form.

    Escapes of plain characters are decoded, all others written in upper case; empty and dot
    segments are resolved; a trailing slash stays. The query is kept byte for byte, its escapes are
    only checked to be whole.

    Args:
        target: as it stood in the request line (`/a/b?c=d`).
        allow_encoded_slash: keep `%2F` inside a segment instead of refusing it.

    Returns:
        (path, query): the path begins with '/'; the query has no '?' and may be ''.

    Raises:
        MalformedTarget: anything that servers could read in more than one way.
    """
    raw = _to_bytes(target)
    if not raw.startswith(b"/"):
        raise MalformedTarget(_explain_form(raw))
    if odd := _OUTSIDE_TARGET.search(raw):
        raise MalformedTarget(f"byte {odd[0][0]:#04x} may not stand in a request target")
    path, _, query = raw.partition(b"?")
    if b"%" in query and _BAD_ESCAPE.search(query):
        raise MalformedTarget("'%' without two hexadecimal digits in the query")
    if len(path) > MAX_PATH:
        raise MalformedTarget(f"a path of {len(path)} bytes; {MAX_PATH} are allowed")
    if not _ALREADY_CANONICAL.fullmatch(path):
        path = _resolve(canonical_escapes(path, allow_encoded_slash))
        if len(path) > MAX_PATH:
            raise MalformedTarget(f"the path is longer than {MAX_PATH} bytes once escaped")
    return path.decode("ascii"), query.decode("ascii")


def slashes_decoded(path: str) -> str | None:
    """A canonical path as a server reads it that decodes `%2F`; None where it has none."""
    return _SLASHES.sub("/", path.replace("%2F", "/")) if "%2F" in path else None


def split_absolute(target: bytes) -> tuple[bytes, bytes] | None:
    """(authority, origin form) of an absolute-form target (`http://host/path`); None for others.

    The caller compares the authority with the Host header and with the connection's name.
    """
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None
    end = re.search(rb"[/?#]", rest)
    if end is None:
        return rest, b"/"
    tail = rest[end.start() :]
    return rest[: end.start()], tail if tail.startswith(b"/") else b"/" + tail


def canonical_escapes(path: bytes, allow_encoded_slash: bool = False) -> bytes:
    """Every character of `path` in its one spelling; segments are left as they are.

    Raises:
        MalformedTarget: a bad escape, or one that hides a separator or a control character.
    """
    if not unquote_to_bytes(path).isascii():
        _check_utf8(path)

    def spell(found: re.Match[bytes]) -> bytes:
        if found[0] == b"%":
            raise MalformedTarget("'%' without two hexadecimal digits")
        if found[1] is None:
            return _spell_odd(found[0])
        return _spell_escaped(bytes((int(found[1], 16),)), allow_encoded_slash)

    return _ESCAPE_OR_ODD.sub(spell, path)


def _spell_odd(char: bytes) -> bytes:
    if char in b";\\":
        raise MalformedTarget(f"{char.decode()!r} in a path is read differently by servers")
    return _spell_escaped(char, allow_encoded_slash=False)


def _spell_escaped(char: bytes, allow_encoded_slash: bool) -> bytes:
    escape = b"%%%02X" % char[0]
    if char[0] < 0x20 or char[0] == 0x7F:
        raise MalformedTarget(f"escaped control character {escape.decode()}")
    if char == b"\\" or (char == b"/" and not allow_encoded_slash):
        raise MalformedTarget(f"escaped separator {escape.decode()}")
    return char if _IS_PLAIN.match(char) else escape


def _resolve(path: bytes) -> bytes:
    kept: list[bytes] = []
    segments = path.split(b"/")
    for segment in segments:
        if segment in (b"", b"."):
            continue
        if segment == b"..":
            if not kept:
                raise MalformedTarget("'..' leads above the root")
            kept.pop()
            continue
        if _ENCODED_SLASH in segment and _hides_dots(segment):
            raise MalformedTarget("a dot segment beside an escaped slash")
        kept.append(segment)
    slash_at_end = bool(kept) and segments[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(kept) + (b"/" if slash_at_end else b"")


def _hides_dots(segment: bytes) -> bool:
    return any(part in (b".", b"..") for part in segment.split(_ENCODED_SLASH))


def _check_utf8(path: bytes) -> None:
    # Overlong forms (%C0%AF for '/') are what a lax decoder behind us would turn into separators.
    try:
        unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedTarget("escapes that are no UTF-8") from None


def _to_bytes(target: bytes | str) -> bytes:
    if isinstance(target, bytes):
        return target
    try:
        return target.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedTarget("non-ASCII characters in a request target") from None


def _explain_form(raw: bytes) -> str:
    if raw == b"*":
        return "'*' as a target is not judged; ask for a path"
    if b"://" in raw[:8]:
        return "an absolute form; expected a path"
    return "expected a path that begins with '/'"
