"""The answer's head decides: stream or not, coded or not, never a redirect."""

import pytest

from netmgr.inference.protocols import Shape
from netmgr_proxy.inference.answer import AnswerHead, judge_answer
from netmgr_proxy.inference.errors import Refusal

SSE = b"text/event-stream"


@pytest.mark.parametrize(
    ("headers", "streaming", "coding", "takes_event"),
    [
        ([(b"Content-Type", SSE + b"; charset=utf-8")], True, b"", True),
        ([(b"Content-Type", SSE.upper()), (b"Content-Encoding", b"identity")], True, b"", True),
        ([(b"Content-Type", SSE), (b"Content-Encoding", b"GZIP")], True, b"gzip", False),
        ([(b"Content-Type", b"application/json")], False, b"", False),
        ([], False, b"", False),
    ],
)
def test_reading_a_head(
    headers: list[tuple[bytes, bytes]], streaming: bool, coding: bytes, takes_event: bool
) -> None:
    head = judge_answer(418, headers, Shape.OPENAI)
    assert isinstance(head, AnswerHead)
    assert (head.status, head.streaming, head.coding) == (418, streaming, coding)
    assert head.takes_error_event is takes_event


@pytest.mark.parametrize("status", [301, 302, 307, 308, 304])
def test_a_redirect_is_neither_followed_nor_shown(status: int) -> None:
    refusal = judge_answer(status, [(b"location", b"http://other/")], Shape.ANTHROPIC)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 502
    assert "other" not in refusal.message
