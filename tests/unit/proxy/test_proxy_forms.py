"""Records of model calls that are like the connection's last one: written as its text with other
numbers, and the same as if each had been made by itself."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.journal.wire import parse_record
from netmgr.process.frames import encode_body
from netmgr_proxy.forms import Like, form_of
from tests.unit.proxy.rig import Rig, Tee, read_response, rig, run
from tests.unit.proxy.test_proxy_model_call import POLICY, call, provider, put_in_force

# What differs from one call to the next by itself.
OWN = {"seq", "time", "duration_ms"}
OWN_OF_CALL = {"request_id", "ttfb_ms"}


def chat(model: str = "gpt-x", text: str = "hi", **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return call(body=json.dumps({"model": model, "messages": messages, **more}).encode())


PLAIN = chat()
CALLS = [
    *[PLAIN] * 3,
    *[chat("gpt-y")] * 3,
    *[chat(text="a longer prompt " * number) for number in range(1, 4)],
    *[chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])] * 3,
    *[chat(max_tokens=number // 3) for number in range(5, 10)],
    *[chat("100%s %d %(x)s %%")] * 3,
    *[chat("\u202e\x07" + "m" * 2000)] * 3,
    *[call("/v1/chat/completions?%41=1")] * 3,
    *[call("/v1/embeddings", b'{"model":"e","input":"x"}')] * 3,
    *[call("/v1/models", b"", "GET")] * 3,
    *[PLAIN] * 3,
]


class Model:
    """A provider whose every answer tells other tokens; the third of four calls is unknown."""

    def __init__(self) -> None:
        self.asked = 0

    async def serve(self, reader: Tee, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _, body = (await reader.until(b"\r\n\r\n")).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            while len(body) < length:
                body += await reader.read()
            writer.write(self.answer())

    def answer(self) -> bytes:
        self.asked += 1
        usage = {"prompt_tokens": 7 * self.asked, "completion_tokens": 3 + self.asked}
        body = json.dumps({"choices": [], "usage": usage}).encode()
        status = b"404 Not Found" if self.asked % 17 == 16 else b"200 OK"
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        return head % (status, len(body)) + body


async def told(r: Rig, model: Model, *, alone: bool) -> list[dict[str, Any]]:
    """What is told of the calls over one connection, or of each over one of its own."""
    model.asked, before, revision = 0, len(r.records), r.revision
    reader, writer = await r.open("inference.local", 443, tls=True)
    for request in CALLS:
        if alone:
            writer.close()
            reader, writer = await r.open("inference.local", 443, tls=True)
        if request is CALLS[-1] and r.revision == revision:
            r.set_policy(POLICY)
        writer.write(request)
        await read_response(reader)
    writer.close()
    async with asyncio.timeout(10):
        while len(r.records) - before < len(CALLS):
            await asyncio.sleep(0.01)
    return r.records[before:]


def plain(record: dict[str, Any], revision: int) -> dict[str, Any]:
    """A record without what is each call's own."""
    kept = {key: value for key, value in parse_record(record).items() if key not in OWN}
    made = {key: value for key, value in kept["inference"].items() if key not in OWN_OF_CALL}
    made["tried"] = [{**each, "ms": None} for each in made["tried"]]
    return kept | {"inference": made, "policy_revision": kept["policy_revision"] - revision}


def test_calls_over_one_connection_are_told_like_calls_over_many(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            model = Model()
            await provider(r, model.serve)
            first = r.revision
            together = await told(r, model, alone=False)
            second = r.revision
            apart = await told(r, model, alone=True)
            assert [plain(each, first) for each in together] == [
                plain(each, second) for each in apart
            ]
            ids = {each["inference"]["request_id"] for each in together}
            assert len(ids) == len(CALLS)
            assert [each["time"] for each in together] == sorted(each["time"] for each in together)

    run(story())


TEXT = st.text() | st.sampled_from(["%s", "%%", "%d %(a)s", '"', "\ud800"])
NUMBERS = st.none() | st.integers(0, 2**53) | st.floats(0, 2**53)


@given(
    words=st.dictionaries(TEXT, TEXT | NUMBERS | st.lists(TEXT)),
    before=st.tuples(*[NUMBERS] * 3),
    after=st.tuples(*[NUMBERS] * 3),
)
def test_a_form_is_filled_as_if_the_record_had_been_made_anew(
    words: dict[str, Any], before: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    def record(numbers: tuple[Any, ...]) -> dict[str, Any]:
        first, second, third = numbers
        return {"at": first, "w": words, "call": {"id": "a1", "tried": [second]}, "n": third}

    holes = (("at",), ("call", "id"), ("call", "tried", 0), ("n",))
    first, second, third = after
    filled = form_of(record(before), holes).fill((first, "a1", second, third))
    assert filled == encode_body(record(after))


def test_holes_that_are_not_there_are_a_fault() -> None:
    with pytest.raises(LookupError):
        form_of({"a": 1}, [("b",)])
    with pytest.raises(ValueError, match="order"):
        form_of({"a": 1, "b": 2}, [("b",), ("a",)])


def test_what_is_the_same_is_judged_by_identity() -> None:
    plan, twin = ["p"], ["p"]
    assert Like((plan,), (1,), ()).is_like(Like((plan,), (1,), (2,)))
    assert not Like((plan,), (1,), ()).is_like(Like((twin,), (1,), ()))
    assert not Like((plan,), (1,), ()).is_like(Like((plan,), (2,), ()))
