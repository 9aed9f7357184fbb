"""Ids of what a provider stores, found in answers as they pass."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.inference.protocols import Protocol
from netmgr_proxy.inference.object_ids import MAX_ANSWER, ObjectIds

ANSWER = {
    "id": "resp_1",
    "object": "response",
    "conversation": {"id": "conv_1"},
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": []},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"},
        {"id": "msg_1", "content": [{"type": "output_text", "text": '"item":{"id":"no"}'}]},
    ],
}
STREAM = b"".join(
    b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"
    for event in (
        {"type": "response.created", "response": {"id": "resp_1", "tools": []}},
        {"type": "response.output_item.added", "item": {"id": "msg_1", "type": "message"}},
        {"type": "response.output_text.delta", "item_id": "x", "delta": '"item":{"id":"no"}'},
        {"type": "response.output_item.done", "item": {"type": "reasoning", "id": "rs_1"}},
        {"type": "response.completed", "response": {"id": "resp_1"}},
    )
)


def found(protocol: Protocol, stream: bool, pieces: list[bytes]) -> list[str]:
    ids = ObjectIds(protocol, stream=stream)
    names: list[str] = []
    for piece in pieces:
        if ids.feed(piece):
            names += ids.take()
    return names + (ids.take() if ids.finish() else [])


def test_a_buffered_answer() -> None:
    body = json.dumps(ANSWER, indent=1).encode()
    wanted = ["resp_1", "conv_1", "rs_1", "ci_1", "cntr_1", "msg_1"]
    assert found(Protocol.RESPONSES, False, [body[:50], body[50:]]) == wanted
    assert found(Protocol.CHAT, False, [body]) == []


def test_of_a_long_answer_its_own_id() -> None:
    body = b'{ "id" : "resp_1", "output":[{"id":"msg_1","x":"' + b"x" * MAX_ANSWER + b'"}]}'
    assert found(Protocol.RESPONSES, False, [body]) == ["resp_1"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"id":1,"output":{}}', b"[" * 5000])
def test_what_is_no_answer(body: bytes) -> None:
    assert found(Protocol.RESPONSES, False, [body]) == []


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_a_stream_in_any_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert found(Protocol.RESPONSES, True, pieces) == ["resp_1", "msg_1", "rs_1"]


def test_a_container_of_messages() -> None:
    body = b'{"id":"msg_1","container":{"id":"container_1","expires_at":"x"}}'
    assert found(Protocol.MESSAGES, False, [body]) == ["container_1"]
