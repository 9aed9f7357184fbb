"""Owns: what a token server's answer says. Hostile bytes: nothing but `NoToken` escapes.

Sources: RFC 6749 §5 (OAuth 2.0), AWS STS AssumeRole (JSON, and XML where the server does not speak
it). Knows nothing of connections and of what a token is for.
"""

import json
import re
from datetime import datetime
from typing import Any, Final
from xml.parsers import expat

MAX_ANSWER: Final = 64 * 1024  # bytes; tokens are 2 to 8 KiB
MAX_TOKEN: Final = 8192  # characters, as any credential
MAX_EXCERPT: Final = 200  # characters of an error that is told
MAX_DEPTH: Final = 16  # elements within each other; AssumeRole has five
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_NUMBER: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,6})?")

Answer = dict[str, Any]


class NoToken(Exception):
    """There is no token in it.

    Attributes:
        refused: the server said no (4xx); otherwise it may say yes another time.
        message: one line; may repeat what the request held.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.refused = refused


def parse_token_answer(kind: str, status: int, body: bytes) -> Answer:
    """What the server gave.

    Args:
        kind: `oauth` or `sts`.
        body: at most MAX_ANSWER bytes; one that was longer is no answer.

    Returns:
        `oauth`: access_token, and where they came expires_in (seconds) and refresh_token;
        `sts`: access_key_id, secret, token, expires_at (epoch seconds).

    Raises:
        NoToken: an error, or nothing that could be one's answer.
    """
    if len(body) > MAX_ANSWER:
        raise NoToken(f"the answer has more than {MAX_ANSWER} bytes")
    text = body.decode("utf-8", "replace")
    if not 200 <= status < 300:
        said = _excerpt(_error_in(text) or text)
        told = f"HTTP {status}" + (f": {said}" if said else "")
        raise NoToken(told, refused=400 <= status < 500 and status not in (408, 429))
    return _sts(text) if kind == "sts" else _oauth(text)


def _oauth(text: str) -> Answer:
    found = _json_object(text)
    if found is None:
        raise NoToken("the answer is no JSON object; does token_url lead to a token server?")
    if "access_token" not in found:
        raise NoToken(
            f"no access_token in the answer: {_excerpt(_error_in(text) or '')}".rstrip(": ")
        )
    kind = found.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NoToken("the token's type is not bearer")
    answer: Answer = {"access_token": _token(found["access_token"], "access_token")}
    if found.get("expires_in") is not None:
        answer["expires_in"] = _number(found["expires_in"], "expires_in")
    if found.get("refresh_token"):
        answer["refresh_token"] = _token(found["refresh_token"], "refresh_token")
    return answer


def _sts(text: str) -> Answer:
    found = _xml_leaves(text) if text.lstrip()[:1] == "<" else _json_credentials(text)
    ends = found.get("Expiration")
    return {
        "access_key_id": _token(found.get("AccessKeyId"), "AccessKeyId"),
        "secret": _token(found.get("SecretAccessKey"), "SecretAccessKey"),
        "token": _token(found.get("SessionToken"), "SessionToken"),
        "expires_at": _moment(ends) if isinstance(ends, str) else _number(ends, "Expiration"),
    }


def _json_object(text: str) -> Answer | None:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_constant(word: str) -> None:
    raise ValueError(word)


def _json_credentials(text: str) -> Answer:
    found: Any = _json_object(text)
    for name in ("AssumeRoleResponse", "AssumeRoleResult", "Credentials"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise NoToken("the answer is not AssumeRole's")
    return found


def _xml_leaves(text: str) -> Answer:
    """Text of the elements below Credentials. A document type is refused: nothing may expand."""
    path: list[str] = []
    found: dict[str, str] = {}
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def begin(name: str, _attributes: Any) -> None:
        path.append(name.rpartition(" ")[2])
        if len(path) > MAX_DEPTH:
            raise NoToken("the answer is not AssumeRole's: too deep")

    def take(data: str) -> None:
        if path[-2:-1] == ["Credentials"]:
            found[path[-1]] = found.get(path[-1], "") + data

    def refuse(*_: Any) -> None:
        raise NoToken("the answer is not AssumeRole's: it declares a document type")

    parser.StartElementHandler = begin
    parser.EndElementHandler = lambda _name: path.pop()
    parser.CharacterDataHandler = take
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as fault:
        raise NoToken("the answer is no XML") from fault
    return dict(found)


def _token(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _VISIBLE.fullmatch(value):
        raise NoToken(f"{name} of the answer is no token of 1 to {MAX_TOKEN} visible characters")
    return value


def _number(value: Any, name: str) -> float:
    # Some servers write the number as text.
    text = value if isinstance(value, str) else json.dumps(value) if _is_number(value) else ""
    if not _NUMBER.fullmatch(text):
        raise NoToken(f"{name} of the answer is no number of seconds")
    return float(text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None or not 1970 < when.year < 9999:
        raise NoToken("Expiration of the answer is no time")
    return when.timestamp()


def _error_in(text: str) -> str | None:
    """The words of an OAuth error; they are for the client's developer (RFC 6749 §5.2)."""
    found = _json_object(text) or {}
    words = [found.get("error"), found.get("error_description")]
    return ": ".join(word for word in words if isinstance(word, str)) or None


def _excerpt(text: str) -> str:
    line = " ".join(text[: MAX_EXCERPT * 4].split())
    return "".join(c for c in line if c.isprintable())[:MAX_EXCERPT]
