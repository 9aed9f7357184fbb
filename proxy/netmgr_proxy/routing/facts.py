"""Owns: what a routing file may know of a model call: facts read off a body that was parsed before.

No value of the body goes on but the model's name, two numbers and the conversation's. Pure.
"""

import re
from typing import Any, Final, NamedTuple

from netmgr.process.view import SandboxView
from netmgr.routing.contract import MAX_OUTPUT, Request
from netmgr.routing.needs import needs_of
from netmgr_proxy.inference.admit import Admitted
from netmgr_proxy.inference.document import Document
from netmgr_proxy.inference.rewrite import CallBody, asks_for_stream
from netmgr_proxy.inference.tree import Object

BYTES_PER_TOKEN: Final = 3  # of a prompt; English has four or more: this is an upper estimate
TOKENS_PER_BLOB: Final = 1600  # of an image; what vendors scale it down to
MAX_CONVERSATION: Final = 200  # characters of what a client calls its conversation
_BLOB: Final = re.compile(rb"[A-Za-z0-9+/]{512,}")  # base64, not prose
_BLOBS: Final = frozenset(("vision", "audio"))
_OUT: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")
_NESTED_OUT: Final = ("inferenceConfig", "maxTokens")
# Of chat, of completions, of what servers of open models take besides.
_COPIES: Final = ("n", "best_of", "num_return_sequences")
_PROMPT: Final = "prompt"  # of completions: a list of them is answered one by one
_CONVERSATION: Final = ("conversation", "prompt_cache_key", "previous_response_id")


class BodyFacts(NamedTuple):
    """What a body says of what it needs; fields as of netmgr.routing.contract.Request."""

    needs: frozenset[str]
    tokens_in: int
    tokens_out_max: int
    conversation: str


def facts_of(document: Document) -> BodyFacts:
    """The facts of a body."""
    values = {member.key: member.value for member in document.members}
    needs = needs_of(dict(zip(values, document.keys, strict=True)))
    return BodyFacts(
        needs,
        _tokens_in(document.body, blobs=not needs.isdisjoint(_BLOBS)),
        _tokens_out(values),
        _conversation(values),
    )


def request_of(
    sandbox: SandboxView, admitted: Admitted, call: CallBody | None, request_id: str
) -> Request:
    """The call as rules see it.

    Args:
        call: None for a call without a body.
    """
    if call is None:
        return Request(
            request_id=request_id,
            sandbox=sandbox.name,
            tenant=sandbox.tenant,
            workload=sandbox.labels,
            protocol=admitted.pattern.protocol.value,
        )
    document = call.document
    facts = facts_of(document)
    # By position, which takes a third of the time: this is made for every call.
    return Request(
        request_id,
        sandbox.name,
        sandbox.tenant,
        sandbox.labels,
        admitted.pattern.protocol.value,
        call.requested_model,
        asks_for_stream(document) or admitted.pattern.operation.endswith("_stream"),
        *facts,
    )


def answers_of(document: Document) -> int:
    """How many answers a body asks for: each may be as long as it lets one be."""
    values = {m.key: m.value for m in document.members if m.key in (*_COPIES, _PROMPT)}
    copies = [_whole(values[name]) or 1 for name in _COPIES if name in values]
    prompt = values.get(_PROMPT)
    prompts = len(prompt) if isinstance(prompt, list) and not _is_tokens(prompt) else 1
    return max(copies, default=1) * max(prompts, 1)


def _is_tokens(prompt: list[Any]) -> bool:
    """Whether a list is one prompt, in numbers of tokens."""
    return bool(prompt) and type(prompt[0]) is int


def _tokens_in(body: bytes, *, blobs: bool) -> int:
    size, images = len(body), 0
    if blobs:
        for found in _BLOB.finditer(body):
            size -= found.end() - found.start()
            images += 1
    return size // BYTES_PER_TOKEN + images * TOKENS_PER_BLOB


def _tokens_out(values: Object) -> int:
    asked = [_whole(values[name]) for name in _OUT if name in values]
    section, name = _NESTED_OUT
    nested = values.get(section)
    if isinstance(nested, dict) and name in nested:
        asked.append(_whole(nested[name]))
    return max(asked, default=MAX_OUTPUT)


def _whole(value: Any) -> int:
    return value if type(value) is int and value > 0 else MAX_OUTPUT


def _conversation(values: Object) -> str:
    for name in _CONVERSATION:
        value = values.get(name)
        if isinstance(value, dict):
            value = value.get("id")
        if isinstance(value, str) and value:
            return value[:MAX_CONVERSATION]
    return ""
