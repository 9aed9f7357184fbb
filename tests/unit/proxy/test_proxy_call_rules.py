"""What calls over a route may be, over real sockets: models, tools, silence, plain HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from netmgr.process.ipc import Answer
from tests.unit.proxy.rig import Tee, read_response, rig, run
from tests.unit.proxy.test_proxy_model_call import (
    CHAT,
    POLICY,
    USAGE,
    answer_json,
    call,
    provider,
    put_in_force,
)


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {k.lower(): v for k, _, v in (line.partition(": ") for line in lines) if k}


@pytest.mark.parametrize(
    ("body", "rules", "status", "model"),
    [
        (CHAT, {}, 200, ("real-model", "gpt-x")),
        (b'{"messages":[]}', {}, 200, ("real-model", None)),
        (CHAT, {"model_mode": "passthrough"}, 200, ("gpt-x", None)),
        (CHAT, {"model_mode": "passthrough", "models": ["gpt-y"]}, 403, None),
        (CHAT, {"model_mode": "reject"}, 403, None),
        (b'{"tools":[{"type":"mcp","server_url":"https://x/"}]}', {}, 403, None),
        (
            b'{"tools":[{"type":"web_search"}]}',
            {"server_tools": ["web_search"]},
            200,
            ("real-model",),
        ),
        (b'{"image":"https://x/"}', {}, 403, None),
    ],
)
def test_what_a_route_allows(
    tmp_path: Path, body: bytes, rules: dict[str, Any], status: int, model: Any
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, rules=rules)
            origin = await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call(body=body))
            found, head, text = await read_response(reader)
            assert found == status, text
            fields = headers_of(head)
            if model is None:
                assert origin.bytes == b""
                code = json.loads(text)["error"]["code"]
                assert code in ("tool_not_allowed", "no_permitted_endpoint")
                await r.record(code, kind="inference")
                writer.write(call(body=b"{}"))  # the connection stays
                assert (await read_response(reader))[0] == 200
            else:
                assert fields["x-netmgr-model"] == model[0]
                assert fields.get("x-netmgr-requested-model") == (*model, None)[1]
            writer.close()

    run(story())


def test_a_silent_stream_is_kept_alive_by_comments_between_events(tmp_path: Path) -> None:
    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await reader.until(b"}]")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        await asyncio.sleep(2.6)
        writer.write(b"7\r\ndata: {\r\n")
        await asyncio.sleep(1.6)
        writer.write(b"3\r\n}\n\n\r\n0\r\n\r\n")

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r, rules={"heartbeat_s": 1.0})
            await provider(r, script)
            reader, writer = await r.open("inference.local", 443, tls=True)
            writer.write(call())
            whole = await reader.readuntil(b"0\r\n\r\n")
            before, _, after = whole.partition(b"data: {")
            assert before.count(b": the model is still at work\n\n") == 2
            assert b": the model" not in after
            writer.close()

    run(story())


def test_plain_http_is_served_where_the_operator_wants_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            put_in_force(r)
            await provider(r, answer_json)
            reader, writer = await r.open("inference.local", 80)
            writer.write(call())
            status, _, text = await read_response(reader)
            assert status == 403
            assert b"use https://inference.local/v1" in text
            assert b"--plain-http" in text
            writer.close()
            put_in_force(r, rules={"plain_http": True})
            reader, writer = await r.open("inference.local", 80)
            writer.write(call())
            status, _, text = await read_response(reader)
            assert (status, text) == (200, USAGE)
            writer.close()

    run(story())


def test_what_a_provider_stores_belongs_to_the_sandbox_that_it_was_made_for(tmp_path: Path) -> None:
    answer = b'{"id":"resp_1","output":[{"id":"rs_1","type":"reasoning"}]}'
    told: list[Any] = []
    asked: list[Any] = []

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.until(b"}")
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
            )

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            hear, ask = r.hear, r.answer_daemon

            def on_tell(what: str, body: Any, fds: tuple[int, ...]) -> None:
                told.append(body) if what == "objects" else hear(what, body, fds)

            async def on_ask(what: str, body: Any, fds: tuple[int, ...]) -> Any:
                if what != "objects":
                    return await ask(what, body, fds)
                asked.append(body)
                own = {name for part in told for name in part["ids"]}
                return Answer({"foreign": next((i for i in body["ids"] if i not in own), None)})

            r.daemon.on_tell, r.daemon.on_ask = on_tell, on_ask
            put_in_force(r, rules={"stored_objects": ["vs_all"], "server_tools": ["file_search"]})
            origin = await provider(r, script)
            reader, writer = await r.open("inference.local", 443, tls=True)

            async def say(body: bytes) -> int:
                writer.write(call("/v1/responses", body))
                return (await read_response(reader))[0]

            assert await say(b'{"previous_response_id":"resp_1"}') == 404
            assert origin.bytes == b""
            assert await say(b'{"input":"x"}') == 200
            assert told == [{"address": "10.77.0.5", "provider": "prod", "ids": ["resp_1", "rs_1"]}]
            assert await say(b'{"previous_response_id":"resp_1"}') == 200
            count = len(asked)
            search = b'{"tools":[{"type":"file_search","vector_store_ids":["vs_all"]}]}'
            assert await say(search) == 200
            assert len(asked) == count, "what is given to all is not asked for"
            writer.close()

    run(story())
