"""Requests whose body is judged: what reaches the origin is what was judged, or nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.proxy.rig import Rig, Tee, read_response, rig, run

POLICY = """
version: 1
network_policies:
  api:
    endpoints:
      - host: api.test
        port: 8080
        path: /graphql
        protocol: graphql
        rules: [{allow: {operation_type: query}}]
        deny_rules: [{fields: [secret]}]
        graphql_max_body_bytes: 2000
      - {host: api.test, port: 8080, protocol: rest, access: full}
      - host: mcp.test
        port: 8080
        protocol: mcp
        rules:
          - allow: {method: initialize}
          - allow: {method: tools/call, tool: read*}
      - {host: rpc.test, port: 8080, protocol: json-rpc, rules: [{allow: {method: ok}}]}
      - host: audit.test
        port: 8080
        protocol: graphql
        access: read-only
        enforcement: audit
    binaries: [{path: /**}]
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def answer(reader: Tee, writer: asyncio.StreamWriter) -> None:
    """An origin that reads requests by their length and answers each."""
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            data = await reader.read()
            if not data:
                return
            held += data
        head, _, held = held.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(held) < length:
            held += await reader.read()
        held = held[length:]
        writer.write(OK)


def post(host: str, path: str, body: bytes, *more: str) -> bytes:
    fields = [f"Host: {host}:8080", f"Content-Length: {len(body)}"]
    if not any(line.lower().startswith("content-type") for line in more):
        fields.append("Content-Type: application/json")
    lines = [f"POST {path} HTTP/1.1", *fields, *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def ask(r: Rig, host: str, *requests: bytes) -> list[tuple[int, bytes]]:
    reader, writer = await r.open(host, 8080)
    found = []
    for request in requests:
        writer.write(request)
        status, _, body = await read_response(reader)
        found.append((status, body))
        if b"close" in _:
            break
    writer.close()
    return found


def gql(query: str, **more: Any) -> bytes:
    return json.dumps({"query": query, **more}).encode()


def test_graphql_is_judged_by_its_operation(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 8080, answer)
            allowed, denied = gql("{ a }"), gql("mutation { b }")
            answers = await ask(
                r,
                "api.test",
                post("api.test", "/graphql", allowed),
                post("api.test", "/graphql", denied),
                post("api.test", "/graphql", gql("{ x: secret }")),
                post("api.test", "/graphql", b"[" + allowed + b"," + denied + b"]"),
                post("api.test", "/other", denied),
                b"GET /graphql?query=%7Bc%7D HTTP/1.1\r\nHost: api.test:8080\r\n\r\n",
                b"GET /graphql?query=mutation%7Bd%7D HTTP/1.1\r\nHost: api.test:8080\r\n\r\n",
            )
            assert [status for status, _ in answers] == [200, 403, 403, 403, 200, 200, 403]
            assert json.loads(answers[1][1])["error"]["code"] == "operation_not_allowed"
            assert json.loads(answers[2][1])["error"]["code"] == "deny_rule"
            assert origin.bytes.count(b"mutation") == 1  # of /other, which is a matter of rest
            assert allowed in origin.bytes
            assert b"secret" not in origin.bytes
            record = await r.record("operation_not_allowed", kind="http")
            assert record["http"] == {"method": "POST", "path": "/graphql", "status": 403}
            assert "mutation { b }" in record["message"]

    run(story())


@pytest.mark.parametrize(
    ("body", "fields", "status"),
    [
        (b"{", (), 400),
        (gql("{ a }"), ("Content-Encoding: gzip",), 415),
        (gql("{ a }"), ("Content-Type: multipart/form-data; boundary=x",), 415),
        (gql("{ a }" + " " * 3000), (), 413),
        (b'{"query":"{a}","query":"mutation{b}"}', (), 400),
        (b'{"extensions":{"persistedQuery":{"sha256Hash":"abc"}}}', (), 403),
    ],
)
def test_what_cannot_be_judged_never_leaves(
    tmp_path: Path, body: bytes, fields: tuple[str, ...], status: int
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 8080, answer)
            ((got, _),) = await ask(r, "api.test", post("api.test", "/graphql", body, *fields))
            assert got == status
            assert not origin.bytes

    run(story())


def test_nor_under_audit(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("audit.test", 8080, answer)
            answers = await ask(
                r,
                "audit.test",
                post("audit.test", "/", gql("mutation { b }")),
                post("audit.test", "/", b'{"id":"unknown"}'),
                post("audit.test", "/", b"{"),
            )
            assert [status for status, _ in answers] == [200, 403, 400]
            assert b"unknown" not in origin.bytes
            record = await r.record("operation_not_allowed", kind="http")
            assert record["verdict"] == "audited"

    run(story())


def test_a_chunked_body_is_sent_with_its_length(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 8080, answer)
            body = gql("{ a }")
            request = (
                b"POST /graphql HTTP/1.1\r\nHost: api.test:8080\r\n"
                b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            reader, writer = await r.open("api.test", 8080)
            writer.write(request)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            for piece in (body[:3], body[3:]):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0.01)
            assert not origin.bytes
            writer.write(b"0\r\n\r\n")
            status, _, _ = await read_response(reader)
            assert status == 200
            writer.close()
            assert b"Content-Length: %d\r\n\r\n%b" % (len(body), body) in origin.bytes
            assert b"Expect" not in origin.bytes

    run(story())


def test_mcp(tmp_path: Path) -> None:
    def call(name: str) -> bytes:
        params = {"name": name, "arguments": {}}
        return json.dumps({"id": 1, "method": "tools/call", "params": params}).encode()

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("mcp.test", 8080, answer)
            host = b" HTTP/1.1\r\nHost: mcp.test:8080\r\n"
            answers = await ask(
                r,
                "mcp.test",
                post("mcp.test", "/", b'{"method":"initialize"}'),
                post("mcp.test", "/", call("read_x")),
                post("mcp.test", "/", call("rm")),
                post("mcp.test", "/", b"[" + call("read_x") + b"," + call("rm") + b"]"),
                post("mcp.test", "/", b'{"method":"tools/list","method":"tools/call"}'),
                post("mcp.test", "/", b'{"id":7,"result":{}}'),
                b"GET /" + host + b"Accept: text/event-stream\r\n\r\n",
                b"GET /" + host + b"\r\n",
                b"DELETE /" + host + b"Mcp-Session-Id: 1\r\n\r\n",
                b"DELETE /" + host + b"\r\n",
            )
            statuses = [status for status, _ in answers]
            assert statuses == [200, 200, 403, 403, 400, 200, 200, 403, 200, 403]
            assert b"rm" not in origin.bytes

    run(story())


def test_json_rpc(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("rpc.test", 8080, answer)
            bodies = [b'{"method":"ok"}', b'{"method":"no"}', b'{"id":1,"result":0}']
            requests = [post("rpc.test", "/", body) for body in bodies]
            assert [s for s, _ in await ask(r, "rpc.test", *requests)] == [200, 403, 403]

    run(story())


def test_a_policy_that_changes_meanwhile_decides(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 8080, answer)
            body = gql("{ a }")
            request = post("api.test", "/graphql", body)
            reader, writer = await r.open("api.test", 8080)
            writer.write(request[:-3])
            await asyncio.sleep(0.05)
            stricter = POLICY.replace("operation_type: query}", "operation_type: mutation}")
            r.set_policy(stricter, judge=False)
            writer.write(request[-3:])
            status, _, _ = await read_response(reader)
            assert status == 403
            assert not origin.bytes
            writer.close()

    run(story())


def test_what_is_held_is_bounded_by_sandbox(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, judged_bytes_per_sandbox=30) as r:
            await r.origin("api.test", 8080, answer)
            small = post("api.test", "/graphql", gql("{ a }"))
            one, first = await r.open("api.test", 8080)
            first.write(small[:-1])  # holds 18 of 30 bytes
            await asyncio.sleep(0.05)
            ((status, body),) = await ask(r, "api.test", small)
            assert status == 503
            assert json.loads(body)["error"]["code"] == "limit_exceeded"
            first.write(small[-1:])
            assert (await read_response(one))[0] == 200
            assert [s for s, _ in await ask(r, "api.test", small)] == [200]
            first.close()

    run(story())
