"""Owns: the changes to a request body for providers that want more of it than the model's value.

Vertex takes Anthropic's body without `model` and with a version of its own; Bedrock takes a body
that names no model. As in `rewrite`, what is not changed keeps its bytes. Knows nothing of routes.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from netmgr.inference.dialect import CallShape
from netmgr_proxy.inference.document import Document, Member, read_document
from netmgr_proxy.inference.rewrite import (
    KEY,
    PinnedBody,
    asks_for_stream,
    model_member,
    pin_model,
)

_NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})


def shape_body(
    body: bytes,
    call: CallShape,
    model: str,
    aliases: Mapping[str, str] = _NO_ALIASES,
    *,
    named: str | None = None,
) -> PinnedBody:
    """The body as the provider of that call wants it.

    Args:
        model: what is asked, unless the client named an alias.
        named: the model that the path names, where it is there and not in the body.

    Raises:
        MalformedBody: the body is no strict JSON object, or says more than once which model.
    """
    if not call.edits:
        return pin_model(body, model, aliases)
    document = read_document(body)
    if named is not None:
        # The path names the model: a `model` of the body is the model's own business.
        return _untouched(document, named, aliases.get(named, model))
    member = model_member(document)
    requested = document.text(member) if member is not None else None
    model = model if requested is None else aliases.get(requested, model)
    gone = {*call.remove, KEY}
    kept = [m for m in document.members if m.key not in gone]
    added = [(key, value) for key, value in call.add if all(m.key != key for m in kept)]
    if call.model_in_body:
        added.insert(0, (KEY, json.dumps(model)))
    shaped = _rebuilt(document, kept, added)
    return PinnedBody((shaped,), len(shaped), requested, asks_for_stream(document), model)


def _untouched(document: Document, named: str, model: str) -> PinnedBody:
    return PinnedBody(
        chunks=(document.body,),
        length=len(document.body),
        requested_model=named,
        stream=False,  # the path says it
        model=model,
    )


def _rebuilt(document: Document, kept: list[Member], added: list[tuple[str, str]]) -> bytes:
    """The object with those members in front and only the kept ones behind, byte for byte."""
    body, members = document.body, document.members
    pieces = [f'"{key}":{value}'.encode() for key, value in added]
    before = document.opening + 1
    keep = set(map(id, kept))
    for place, member in enumerate(members):
        begin = before if place == 0 else body.index(b",", before) + 1
        if id(member) in keep:
            pieces.append(body[begin : member.end])
        before = member.end
    return body[: document.opening + 1] + b",".join(pieces) + body[before:]
