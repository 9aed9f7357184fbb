"""Owns: the changes to a request body for providers that want more of it than the model's value.

Vertex takes Anthropic's body without `model` and with a version of its own; Bedrock takes a body
that names no model. As in `rewrite`, what is not changed keeps its bytes. Knows nothing of routes.
"""

import json

from netmgr.inference.dialect import CallShape
from netmgr_proxy.inference.document import Document, Member
from netmgr_proxy.inference.rewrite import KEY, CallBody, PinnedBody, asks_for_stream


def shape_body(body: CallBody, call: CallShape, model: str) -> PinnedBody:
    """The body as the provider of that call wants it, asking for `model`."""
    if not call.edits:
        return body.pinned(model)
    document = body.document
    if body.member is None and body.given:
        return _untouched(document, body.requested_model, model)
    gone = {*call.remove, KEY}
    kept = [m for m in document.members if m.key not in gone]
    added = [(key, value) for key, value in call.add if all(m.key != key for m in kept)]
    if call.model_in_body:
        added.insert(0, (KEY, json.dumps(model)))
    shaped = _rebuilt(document, kept, added)
    requested = body.requested_model
    return PinnedBody((shaped,), len(shaped), requested, asks_for_stream(document), model)


def _untouched(document: Document, named: str | None, model: str) -> PinnedBody:
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
