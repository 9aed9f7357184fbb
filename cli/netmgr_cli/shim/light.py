"""Owns: JSON and a unix socket without the modules `json` and `socket`. No decision.

What those two import (re, enum, selectors) takes longer than everything else that a plugin does:
20 of 35 ms of CPU time in one measurement. Both are thin Python over these C parts, which CPython
has had since 2.6; the property tests hold them against the modules.
"""

import _socket
from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Pairs = Callable[[list[tuple[str, object]]], object]

Socket = _socket.socket
_BLANK = " \t\n\r"  # RFC 8259, section 2


class _Context:
    """What the scanner asks of a decoder (Modules/_json.c, scanner_new)."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    def __init__(self, pairs: "Pairs | None" = None) -> None:
        self.object_pairs_hook = pairs

    @staticmethod
    def parse_constant(word: str) -> object:
        raise ValueError(f"{word} is no JSON")


_scan = make_scanner(_Context())  # type: ignore[arg-type]  # it asks for no more than this


def loads(
    data: bytes, pairs: "Callable[[list[tuple[str, object]]], object] | None" = None
) -> object:
    """The JSON value in `data`.

    Args:
        pairs: makes an object of its pairs, in their order.

    Raises:
        ValueError: there is none, or more than one. RecursionError: it is nested too deeply.
    """
    text = data.decode()
    begin = len(text) - len(text.lstrip(_BLANK))
    scan = _scan if pairs is None else make_scanner(_Context(pairs))  # type: ignore[arg-type]
    try:
        value, end = scan(text, begin)
    except StopIteration as error:
        raise ValueError(f"no JSON value at character {error.value}") from None
    if text[end:].strip(_BLANK):
        raise ValueError(f"more than one JSON value, the second at character {end}")
    return value


def dumps(value: object) -> str:
    """A JSON value as ASCII text.

    Raises:
        TypeError: it is none.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value - value == 0:  # no infinity, no NaN
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(dumps, value))}]"
    if isinstance(value, dict):
        return (
            f"{{{', '.join(f'{dumps(str(key))}: {dumps(each)}' for key, each in value.items())}}}"
        )
    raise TypeError(f"{type(value).__name__} is no JSON value here")


def connect(path: str, deadline_s: float) -> Socket:
    """A connection to a unix socket; the caller closes it.

    Raises:
        OSError: nobody answers there.
    """
    sock = Socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline_s)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock
