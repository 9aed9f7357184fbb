"""Owns: the one change that is made to a request body: the value of `model`.

Knows nothing of routes. Every byte outside that value stays as the client wrote it: providers
cache prompts by byte prefix, and the order of keys in tool schemas matters to models.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from netmgr_proxy.inference.document import Document, MalformedBody, Member, read_document

KEY: Final = "model"

__all__ = ["KEY", "MalformedBody", "PinnedBody", "asks_for_stream", "model_member", "pin_model"]


class PinnedBody(NamedTuple):
    """A body that names the route's model.

    Attributes:
        chunks: the body in pieces, for writelines(); the large ones are views of the original.
        length: bytes in all.
        requested_model: what the client had asked for; None where it was no string or absent.
        stream: whether the client asked for a stream (`"stream": true`).
        model: what the body asks for now.
    """

    chunks: tuple[bytes | memoryview, ...]
    length: int
    requested_model: str | None
    stream: bool
    model: str

    def joined(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.chunks)


def pin_model(
    body: bytes, model: str, aliases: Mapping[str, str] = MappingProxyType({})
) -> PinnedBody:
    """Replace or insert the top-level `model`.

    Args:
        model: what it becomes, unless the client asked for an alias.
        aliases: alias -> the model that it stands for.

    Raises:
        MalformedBody: the body is no strict JSON object, or says more than once which model.
    """
    document = read_document(body)
    member = model_member(document)
    requested = document.text(member) if member is not None else None
    if requested is not None:
        model = aliases.get(requested, model)
    value = json.dumps(model).encode()
    whole = memoryview(body)
    if member is not None:
        chunks: tuple[bytes | memoryview, ...] = (whole[: member.start], value, whole[member.end :])
    else:
        comma = b"," if document.members else b""
        behind = document.opening + 1
        chunks = (whole[:behind], b'"model":' + value + comma, whole[behind:])
    return PinnedBody(
        chunks=chunks,
        length=sum(map(len, chunks)),
        requested_model=requested,
        stream=asks_for_stream(document),
        model=model,
    )


def model_member(document: Document) -> Member | None:
    """The member that names the model, or None.

    Raises:
        MalformedBody: some reader could take another one for it.
    """
    found: Member | None = None
    for member in document.members:
        if member.key == KEY:
            found = member
        elif _reads_as_model(member.key):
            raise MalformedBody(
                f"the request body has the key {member.key[:20]!r}, "
                "which some servers read as 'model'"
            )
    return found


def _reads_as_model(key: str) -> bool:
    """Whether a lenient reader takes `key` for `model`.

    Go's encoding/json (Ollama) matches keys without regard to case, the last one wins;
    readers with C strings end a key at its first NUL.
    """
    return key.partition("\0")[0].strip().casefold() == KEY


def asks_for_stream(document: Document) -> bool:
    """Whether the body says `"stream": true`."""
    values = [member.value for member in document.members if member.key == "stream"]
    return bool(values) and values[-1] is True
