"""Token counts of every protocol, as the answers pass."""

import gzip
import json
import zlib

import pytest

from netmgr.testing.model_answers import default_answer
from netmgr.testing.model_script import parse_reply
from netmgr_proxy.inference.usage import MAX_MISSES, MAX_USAGE, UsageMeter


def counted(body: bytes, coding: bytes = b"") -> tuple[int | None, int | None]:
    meter = UsageMeter(coding)
    meter.feed(body)
    return meter.tokens_in, meter.tokens_out


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        (b'{"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}', (5, 7)),
        (b'{"usage" : { "prompt_tokens": 5, "total_tokens": 5 } }', (5, 0)),
        (b'{"usage":{"total_tokens":9}}', (9, 0)),  # a reranking
        (b'{"usage":{"completion_tokens":2,"total_tokens":9}}', (7, 2)),
        (b'{"usage":{"prompt_tokens":5}}', (5, None)),
        (b'{"usage":{"input_tokens":5,"output_tokens":7,"x":{"y":1}}}', (5, 7)),
        (
            b'{"usage":{"input_tokens":5,"cache_read_input_tokens":100,'
            b'"cache_creation_input_tokens":10,"output_tokens":7}}',
            (115, 7),
        ),
        (b'{"usage":null}', (None, None)),
        (b'{"usage":"none"}', (None, None)),
        (b'{"usage":{"prompt_tokens":"5","completion_tokens":-1}}', (None, None)),
        (b'{"usage":{"prompt_tokens":true}}', (None, None)),
        (b'{"usage":[1]}', (None, None)),
        (b'{"content":"{\\"usage\\":{\\"prompt_tokens\\":9}}"}', (None, None)),
        (b'{"k":"usage","v":{"prompt_tokens":9}}', (None, None)),
        (b"", (None, None)),
        (b'{"usage":{"prompt_tokens":1', (None, None)),
    ],
)
def test_objects(body: bytes, counts: tuple[int | None, int | None]) -> None:
    assert counted(body) == counts


def test_anthropic_s_stream_adds_up_over_its_events() -> None:
    body = (
        b'event: message_start\ndata: {"type":"message_start","message":{"usage":'
        b'{"input_tokens":25,"output_tokens":1}}}\n\n'
        b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":15}}\n\n'
    )
    assert counted(body) == (25, 15)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
)
def test_every_protocol_of_the_scripted_model(path: str, stream: bool) -> None:
    asked = {"model": "m", "stream": stream, "stream_options": {"include_usage": True}}
    reply = default_answer(path, {}, json.dumps(asked).encode())
    tokens_in, tokens_out = counted(b"".join(parse_reply(reply, "").pieces))
    assert tokens_in == len(json.dumps(asked).split())
    assert tokens_out == 7  # This is m, asked with credential none.


def test_embeddings_cost_nothing_to_answer() -> None:
    reply = default_answer("/v1/embeddings", {}, b'{"input":"p"}')
    assert counted(b"".join(parse_reply(reply, "").pieces)) == (2, 0)


def test_bedrock_tells_in_the_head_what_some_bodies_do_not() -> None:
    head = [
        (b"X-Amzn-Bedrock-Input-Token-Count", b"7"),
        (b"x-amzn-bedrock-output-token-count", b"0"),
    ]
    meter = UsageMeter()
    meter.read_head(head)
    meter.feed(b'{"embedding":[0.1],"inputTextTokenCount":7}')
    assert (meter.tokens_in, meter.tokens_out) == (7, 0)
    for odd in (b"", b"-1", b"7.5", b"9" * 14, b"7, 7", b"\xd9\xa7"):
        meter = UsageMeter()
        meter.read_head([(b"x-amzn-bedrock-input-token-count", odd)])
        assert meter.tokens_in is None


def test_what_the_body_tells_stands_above_the_head() -> None:
    meter = UsageMeter()
    meter.read_head([(b"x-amzn-bedrock-input-token-count", b"7")])
    meter.feed(b'{"usage":{"input_tokens":9,"output_tokens":1}}')
    assert (meter.tokens_in, meter.tokens_out) == (9, 1)


def test_coded_answers() -> None:
    body = b'{"pad":"' + b"x" * 200_000 + b'","usage":{"prompt_tokens":5,"completion_tokens":7}}'
    assert counted(gzip.compress(body), b"gzip") == (5, 7)
    assert counted(zlib.compress(body), b"deflate") == (5, 7)
    assert counted(body, b"br") == (None, None)
    assert counted(b"no gzip at all", b"gzip") == (None, None)


def test_a_bomb_is_not_inflated_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netmgr_proxy.inference.usage.MAX_INFLATED", 1024 * 1024)
    body = b"0" * (4 * 1024 * 1024) + b'{"usage":{"prompt_tokens":5}}'
    assert counted(gzip.compress(body), b"gzip") == (None, None)


def test_an_endless_object_is_given_up() -> None:
    meter = UsageMeter()
    meter.feed(b'{"usage":{"a":"' + b"x" * MAX_USAGE)
    meter.feed(b'"},"usage":{"prompt_tokens":5}}')
    assert meter.tokens_in == 5


def test_a_count_that_no_record_can_hold_is_none() -> None:
    body = b'{"usage":{"prompt_tokens":%d,"completion_tokens":7}}' % 10**30
    assert counted(body) == (None, 7)


@pytest.mark.parametrize("step", [1, 4096, 1 << 20])
def test_keys_within_keys_are_not_read_for_ever(step: int) -> None:
    """Each would have had the next 4 KiB parsed: five seconds of CPU for a MiB."""
    nested = b'{"usage":' * (MAX_MISSES + MAX_USAGE)
    meter = UsageMeter()
    for at in range(0, len(nested), step):
        meter.feed(nested[at : at + step])
    meter.feed(b'{"usage":{"prompt_tokens":5}}')
    assert meter.tokens_in is None


def test_a_few_false_starts_do_no_harm() -> None:
    false = (b'{"usage":{"x":"' + b"y" * MAX_USAGE) * (MAX_MISSES - 1)
    assert counted(false + b'"}}{"usage":{"prompt_tokens":5}}') == (5, None)


def test_cached_tokens_of_both_vendors() -> None:
    openai = UsageMeter()
    openai.feed(
        b'{"usage":{"prompt_tokens":100,"completion_tokens":5,'
        b'"prompt_tokens_details":{"cached_tokens":60}}}'
    )
    assert (openai.tokens_in, openai.cache_read, openai.cache_write) == (100, 60, 0)
    anthropic = UsageMeter()
    anthropic.feed(
        b'{"usage":{"input_tokens":10,"cache_creation_input_tokens":20,'
        b'"cache_read_input_tokens":70,"output_tokens":1}}'
    )
    assert (anthropic.tokens_in, anthropic.cache_read, anthropic.cache_write) == (100, 70, 20)
