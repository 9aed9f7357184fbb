"""Owns: the one change that is made to a request body: the value of `model`.

Knows nothing of routes. Every byte outside that value stays as the client wrote it: providers
cache prompts by byte prefix, and the order of keys in tool schemas matters to models.
"""

import json
from typing import Final, NamedTuple

from netmgr_proxy.inference.document import Document, MalformedBody, Member, read_document

KEY: Final = "model"

__all__ = [
    "KEY",
    "CallBody",
    "MalformedBody",
    "PinnedBody",
    "asks_for_stream",
    "pin_model",
    "read_call",
]


class PinnedBody(NamedTuple):
    """A body that names the route's model.

    Attributes:
        chunks: the body in pieces, for writelines(); the large ones are views of the original.
        length: bytes in all.
        requested_model: what the client had asked for; None where it was no string or absent.
        stream: whether the client asked for a stream (`"stream": true`).
        model: what the body asks for now.
        references: ids of objects at the provider that it names.
    """

    chunks: tuple[bytes | memoryview, ...]
    length: int
    requested_model: str | None
    stream: bool
    model: str
    references: tuple[str, ...] = ()

    @property
    def overridden(self) -> bool:
        """Whether the client asked for another model than it gets."""
        return self.requested_model not in (None, self.model)

    def joined(self) -> bytes:
        """The body in one piece."""
        return b"".join(self.chunks)


class CallBody(NamedTuple):
    """A body that was read.

    Attributes:
        member: the top-level `model`; None where there is none, or the path names the model.
        requested_model: what is asked for; None where that is no string or absent.
        given: whether any model is asked for.
    """

    document: Document
    member: Member | None
    requested_model: str | None
    given: bool

    def pinned(self, model: str) -> PinnedBody:
        """The body with that model in its place, or inserted; untouched where it is there."""
        document, member = self.document, self.member
        whole = memoryview(document.body)
        chunks: tuple[bytes | memoryview, ...]
        if member is None:
            behind = document.opening + 1
            comma = b"," if document.members else b""
            inserted = b'"model":' + json.dumps(model).encode() + comma
            chunks = (whole[:behind], inserted, whole[behind:])
        elif self.requested_model == model:
            chunks = (whole,)
        else:
            chunks = (whole[: member.start], json.dumps(model).encode(), whole[member.end :])
        return PinnedBody(
            chunks=chunks,
            length=sum(map(len, chunks)),
            requested_model=self.requested_model,
            stream=asks_for_stream(document),
            model=model,
        )


def read_call(body: bytes, named: str | None = None) -> CallBody:
    """Read a body, and which model it asks for.

    Args:
        named: the model that the path names, where it does: then a `model` of the body is the
            model's own business.

    Raises:
        MalformedBody: it is no strict JSON object, or some readers find another model in it.
    """
    document = read_document(body)
    if named is not None:
        return CallBody(document, None, named, given=True)
    member = _model_member(document)
    requested = document.text(member) if member is not None else None
    return CallBody(document, member, requested, given=member is not None)


def pin_model(body: bytes, model: str) -> PinnedBody:
    """Replace or insert the top-level `model`.

    Raises:
        MalformedBody: see `read_call`.
    """
    return read_call(body).pinned(model)


def _model_member(document: Document) -> Member | None:
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
    for member in document.members:  # no key stands twice
        if member.key == "stream":
            return member.value is True
    return False
