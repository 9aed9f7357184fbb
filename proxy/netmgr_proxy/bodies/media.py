"""Owns: whether a body can be read at all, by the fields of its request's head. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from netmgr_proxy.bodies.strict_json import BadBody

_JSON = re.compile(
    rb"application/(?:[a-z0-9.-]{1,60}\+)?json[ \t]*(?:;[ \t]*charset=\"?utf-8\"?[ \t]*)?;?",
    re.IGNORECASE,
)
_UNSUPPORTED: Final = 415

Fields = Iterable[tuple[bytes, bytes]]


def check_media(fields: Fields) -> None:
    """Refuse what is not plain JSON in UTF-8: a server might read it otherwise than we do.

    Raises:
        BadBody: 415, or 400 where a field stands twice.
    """
    kinds, codings = [], []
    for name, value in fields:
        lowered = name.lower()
        if lowered == b"content-type":
            kinds.append(value)
        elif lowered == b"content-encoding":
            codings.append(value.strip().lower())
    if any(coding not in (b"", b"identity") for coding in codings):
        why = "a body in a content coding (gzip, br, ...) is not judged; send it plain"
        raise BadBody(why, _UNSUPPORTED)
    if len(kinds) > 1:
        raise BadBody("the field Content-Type stands more than once")
    if not kinds or not _JSON.fullmatch(kinds[0].strip()):
        why = "only bodies with 'Content-Type: application/json' (UTF-8) are judged here"
        raise BadBody(why, _UNSUPPORTED)


def accepts_events(fields: Fields) -> bool:
    """Whether the client waits for a stream of server-sent events."""
    return any(
        name.lower() == b"accept" and b"text/event-stream" in value.lower()
        for name, value in fields
    )
