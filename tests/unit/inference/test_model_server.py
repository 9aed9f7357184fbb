"""The scripted model: what it answers, records and breaks, over real sockets on loopback."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from io import StringIO

import httpx
import pytest

from netmgr.errors import BadInput
from netmgr.testing.model_script import parse_script
from netmgr.testing.model_server import ModelServer, running_model_server

KEY = "sk-demo"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

Talk = Callable[[ModelServer, httpx.AsyncClient], Awaitable[None]]


def talk(work: Talk, record_to: StringIO | None = None) -> None:
    async def run() -> None:
        async with (
            running_model_server(record_to=record_to) as server,
            httpx.AsyncClient(
                base_url=server.url,
                headers={"authorization": f"Bearer {KEY}"},
                timeout=5,
                trust_env=False,
            ) as client,
        ):
            await work(server, client)

    asyncio.run(run())


async def wait_for_end(server: ModelServer) -> dict[str, object]:
    async with asyncio.timeout(5):
        while True:
            ends = [event for event in server.events if event["event"] == "end"]
            if ends:
                return ends[-1]
            await asyncio.sleep(0.01)


def test_it_names_the_model_and_only_a_fingerprint_of_the_key() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        answer = (await client.post("/v1/chat/completions", json=CHAT)).json()
        text = answer["choices"][0]["message"]["content"]
        assert answer["model"] == "m"
        assert "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()[:8] in text
        assert KEY not in json.dumps(answer)
        assert answer["usage"]["completion_tokens"] == len(text.split())

    talk(work)


@pytest.mark.parametrize(
    ("path", "body", "object_"),
    [
        ("/v1/completions", {"prompt": "p"}, "text_completion"),
        ("/base/v4/responses", {"input": "p"}, "response"),
        ("/v1/embeddings", {"input": "p"}, "list"),
        ("/v1/chat/completions", CHAT, "chat.completion"),
    ],
)
def test_each_protocol_has_its_shape(path: str, body: dict[str, object], object_: str) -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        answer = await client.post(path, json=body)
        assert answer.json()["object"] == object_

    talk(work)


def test_models_and_unknown_paths() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "scripted-model"
        assert (await client.get("/v1/models/a")).json()["id"] == "a"
        assert (await client.get("/nothing")).status_code == 404

    talk(work)


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("/v1/chat/completions", "data: [DONE]\n\n"),
        ("/v1/completions", "data: [DONE]\n\n"),
        ("/v1/messages", 'data: {"type":"message_stop"}\n\n'),
    ],
)
def test_streams_end_as_the_protocol_says(path: str, last: str) -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        answer = await client.post(path, json=CHAT | {"stream": True})
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.text.endswith(last)

    talk(work)


def test_a_responses_stream_carries_usage_in_its_last_event() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/responses", json={"input": "p", "stream": True})
        last = answer.text.strip().split("\n\n")[-1]
        assert last.startswith("event: response.completed\n")
        assert json.loads(last.partition("data: ")[2])["response"]["usage"]["input_tokens"] > 0

    talk(work)


def test_requests_are_recorded_byte_for_byte() -> None:
    raw = (
        b"POST /v1/embeddings?x=1 HTTP/1.1\r\nHost: h\r\nX-ODD:  v \r\ncontent-length: 2\r\n\r\n{}"
    )

    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw + raw)  # pipelined: each is told apart
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        writer.close()
        assert [base64.b64decode(r["raw_base64"]) for r in server.requests] == [raw, raw]
        assert server.requests[0]["target"] == "/v1/embeddings?x=1"
        lines = (await client.get("/_recorded")).text.splitlines()
        assert json.loads(lines[0]) == server.requests[0]
        await client.delete("/_recorded")
        assert not server.requests

    record = StringIO()
    talk(work, record)
    assert json.loads(record.getvalue().splitlines()[0])["body"] == "{}"


def test_a_script_is_played_in_order_and_runs_out() -> None:
    script = [
        {
            "path": "/completions",
            "times": 1,
            "reply": {"status": 429, "headers": {"retry-after": "7"}},
        },
        {"method": "POST", "reply": {"json": {"ok": 1}}},
    ]

    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        assert (await client.post("/_script", json=script)).json() == {"ok": True}
        first = await client.post("/v1/completions", json={})
        assert (first.status_code, first.headers["retry-after"]) == (429, "7")
        assert (await client.post("/v1/completions", json={})).content == b'{"ok":1}'
        assert (await client.get("/v1/models")).json()["object"] == "list"

    talk(work)


def test_a_body_that_is_cut_ends_without_its_framing() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        for reply in (
            {"json": {"k": "v"}, "cut_after": 3},
            {"events": 3, "cut_after": 20},
            {"drop": True},
        ):
            server.script = parse_script([{"reply": reply}])
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post("/v1/chat/completions", json=CHAT)
            assert server.events[-1]["outcome"] == "cut"

    talk(work)


def test_an_endless_stream_notices_the_client_leaving() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        server.script = parse_script([{"reply": {"events": 1, "repeat": True, "gap_s": 0.01}}])
        async with client.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
            async for _ in answer.aiter_raw():
                break
        assert (await wait_for_end(server))["outcome"] == "client_closed"

    talk(work)


def test_gaps_delays_and_silence() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        server.script = parse_script(
            [
                {"times": 1, "reply": {"events": 3, "gap_s": 0.05, "delay_s": 0.05}},
                {"reply": {"events": ["data: half"], "stall_after": 7}},
            ]
        )
        await client.post("/v1/chat/completions", json=CHAT)
        taken = (await wait_for_end(server))["seconds"]
        assert isinstance(taken, float)
        assert taken >= 0.19
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/chat/completions", json=CHAT, timeout=0.2)

    talk(work)


def test_a_coded_body() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        server.script = parse_script([{"reply": {"text": "plain", "gzip": True}}])
        answer = await client.get("/x")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.text == "plain"

    talk(work)


def test_a_malformed_request_is_an_event_and_the_server_lives() -> None:
    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"nonsense\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert server.events[-1]["event"] == "malformed"
        assert (await client.get("/v1/models")).status_code == 200

    talk(work)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({}, "list of rules"),
        ([{"reply": {"statsu": 1}}], "did you mean 'status'"),
        ([{"pth": "/", "reply": {}}], "rule 1: unknown key 'pth'"),
        ([{"reply": {"json": 1, "text": "x"}}], "expected one of json"),
        ([{"reply": {"status": "200"}}], "reply.status: expected int"),
        ([{}], "reply: expected an object"),
        ([{"reply": {"base64": "*"}}], "reply.base64"),
    ],
)
def test_a_bad_script_names_the_place(script: object, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_script(script)
    assert words in caught.value.message


def test_a_rule_may_look_into_the_body() -> None:
    rule = {"contains": "tool", "lacks": "result", "times": 1, "reply": {"text": "x"}}
    script = parse_script([rule])
    assert script.choose("POST", "/v1/messages", b"no such word") is None
    assert script.choose("POST", "/v1/messages", b"a tool result") is None
    assert script.choose("POST", "/v1/messages", b"a tool") is not None
    assert script.choose("POST", "/v1/messages", b"a tool") is None, "it is used up"
    with pytest.raises(BadInput, match="contains: expected str"):
        parse_script([{"contains": 5, "reply": {}}])


@pytest.mark.parametrize("cut", [False, True])
def test_a_raw_answer_goes_out_as_it_is(cut: bool) -> None:
    raw = ["HTTP/1.0 200 Odd\r\nx-a: \xe9\r\n", "\r\nbody"]
    reply = {"raw": raw} | ({"cut_after": 30} if cut else {})

    async def work(server: ModelServer, client: httpx.AsyncClient) -> None:
        server.script = parse_script([{"reply": reply}])
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        whole = "".join(raw).encode("latin-1")
        assert await reader.read() == (whole[:30] if cut else whole)
        writer.close()
        assert (await wait_for_end(server))["outcome"] == ("cut" if cut else "closed")

    talk(work)


@pytest.mark.parametrize("raw", ["\u20ac", ["a", 1], [["a"]]])
def test_a_raw_answer_is_bytes(raw: object) -> None:
    with pytest.raises(BadInput, match=r"reply\.raw: expected texts of Latin-1"):
        parse_script([{"reply": {"raw": raw}}])
