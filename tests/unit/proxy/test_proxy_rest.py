"""Terminated connections to endpoints whose requests are judged: real TLS, real sockets."""

import asyncio
import json
import os
import re
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.proxy.rig import Rig, Tee, client_context, rig, run

POLICY = """
version: 1
network_policies:
  api:
    endpoints:
      - host: api.test
        port: 443
        protocol: rest
        enforcement: enforce
        rules:
          - allow: {method: GET, path: /**}
          - allow: {method: POST, path: /ok/**}
      - {host: audit.test, port: 443, protocol: rest, enforcement: audit, access: read-only}
      - {host: plain.test, port: 8080, protocol: rest, enforcement: enforce, access: full}
    binaries: [{path: /**}]
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer_each(response: bytes) -> Callable[[Tee, asyncio.StreamWriter], Awaitable[None]]:
    """An origin that answers every head (of requests without a body) with `response`."""

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        held = b""
        while True:
            data = await reader.read()
            if not data:
                return
            held += data
            while b"\r\n\r\n" in held:
                _, _, held = held.partition(b"\r\n\r\n")
                writer.write(response)

    return script


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, head and body of one response with a Content-Length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return int(head.split()[1]), head, await reader.readexactly(length)


def test_requests_are_judged_one_by_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            for method, path, status in (
                ("GET", "/a", 200),
                ("DELETE", "/a", 403),
                ("GET", "/b?x=1", 200),
                ("POST", "/no", 403),
            ):
                writer.write(f"{method} {path} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode())
                got, head, body = await read_response(reader)
                assert got == status, body
                if status == 403:
                    error = json.loads(body)["error"]
                    assert error["code"] in ("method_not_allowed", "path_not_allowed")
                    assert b"x-netmgr-reason: " + error["code"].encode() in head
                    assert error["message"]
                    assert error["remedy"].startswith("netmgr policy update box ")
                    assert error["request_id"]
            writer.close()
            assert b"GET /b?x=1 HTTP/1.1\r\n" in origin.bytes
            assert b"DELETE" not in origin.bytes
            assert b"POST" not in origin.bytes
            assert len(origin.heard) == 1  # one upstream connection served both

    run(story())


def test_two_hundred_pipelined_requests_are_judged_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            methods = ["DELETE" if n % 5 == 0 else "GET" for n in range(200)]
            writer.write(
                b"".join(
                    f"{m} /{n} HTTP/1.1\r\nHost: api.test\r\n\r\n".encode()
                    for n, m in enumerate(methods)
                )
            )
            for method in methods:
                status, _, _ = await read_response(reader)
                assert status == (403 if method == "DELETE" else 200)
            writer.close()
            assert b"DELETE" not in origin.bytes
            assert origin.bytes.count(b"GET /") == 160

    run(story())


GET = b"GET / HTTP/1.1\r\nHost: api.test\r\n"
BAD_HEADS = [
    (GET + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (GET + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    (GET + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    (GET + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: api.test\n\n", 400),
    (GET + b"A: b\r\n c\r\n\r\n", 400),
    (GET + b"A: b\0c\r\n\r\n", 400),
    (GET + b"Connection: content-length\r\nContent-Length: 1\r\n\r\nx", 400),
    (GET + b"Host: api.test\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\nHost: api.test\r\n\r\n", 400),
    (b"GET /%00 HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (b"GET /a%0d%0aX:y HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (b"GET /../x HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (b"GET /a#frag HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (b"OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n", 400),
    (GET + b"A: " + b"a" * 17000 + b"\r\n\r\n", 431),
    (GET + b"" + b"A: b\r\n" * 101 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421),
    (b"GET / HTTP/1.1\r\nHost: api.test:444\r\n\r\n", 421),
    (b"GET https://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", 421),
    (b"GET http://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", 421),
    (b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", 403),
    (GET + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 403),
    (GET + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", 403),
]


@pytest.mark.parametrize(("request_bytes", "status"), BAD_HEADS)
def test_what_is_malformed_or_not_ours_gets_a_face(
    tmp_path: Path, request_bytes: bytes, status: int
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(request_bytes)
            got, head, body = await read_response(reader)
            assert got == status, (head, body)
            assert json.loads(body)["error"]["code"] in head.decode()
            writer.close()
            assert origin.bytes == b""

    run(story())


async def _upload(r: Rig, head: bytes, pieces: list[bytes]) -> bytes:
    reader, writer = await r.open("plain.test", 8080)
    writer.write(head)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    _, _, body = await read_response(reader)
    writer.close()
    return body


async def count_body(reader: Tee, writer: asyncio.StreamWriter) -> None:
    """An origin that reads bodies and answers with what each was, framing included."""
    while True:
        data = await reader.until(b"\r\n\r\n")
        head, _, body = data.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            while not body.endswith(b"0\r\n\r\n"):
                body += await reader.read()
        else:
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def test_bodies_are_framed_anew(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("plain.test", 8080, count_body)
            host = b"POST /x HTTP/1.1\r\nHost: plain.test:8080\r\n"
            body = await _upload(r, host + b"Content-Length: 6\r\n\r\n", [b"abc", b"def"])
            assert body == b"abcdef"
            chunks = [b"3;ext=1\r\nab", b"c\r\n", b"1\r\nd\r\n0\r\nTrailer: x\r\n\r\n"]
            body = await _upload(r, host + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
            assert re.sub(rb"[0-9]+\r\n|\r\n", b"", body) == b"abcd"  # no extension, no trailer
            assert body.endswith(b"0\r\n\r\n")

    run(story())


def test_no_byte_behind_a_chunked_body_goes_up_unjudged(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, count_body, tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(
                b"POST /ok/1 HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\na\r\n0\r\n\r\nDELETE /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n"
            )
            assert (await read_response(reader))[0] == 200
            assert (await read_response(reader))[0] == 403
            writer.close()
            assert b"smuggled" not in origin.bytes
            assert origin.bytes.endswith(b"0\r\n\r\n")

    run(story())


def test_a_large_upload_is_streamed_with_back_pressure(tmp_path: Path) -> None:
    size = 8_000_000

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def slow(reader: Tee, writer: asyncio.StreamWriter) -> None:
                got = len((await reader.until(b"\r\n\r\n")).partition(b"\r\n\r\n")[2])
                await asyncio.sleep(0.2)
                while got < size:
                    got += len(await reader.read())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

            await r.origin("plain.test", 8080, slow)
            reader, writer = await r.open("plain.test", 8080)
            writer.write(
                b"PUT /x HTTP/1.1\r\nHost: plain.test:8080\r\nContent-Length: %d\r\n\r\n" % size
            )
            writer.write(b"x" * size)
            assert (await read_response(reader))[0] == 200
            writer.close()
            await asyncio.sleep(0.05)
            assert next(x for x in r.records if x["kind"] == "http")["bytes_out"] == size

    run(story())


def test_headers_cross_without_hop_by_hop_fields(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            answer = (
                b"HTTP/1.1 200 Fine\r\nX-Kept: 1\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\n"
                b'Keep-Alive: timeout=5\r\nAlt-Svc: h3=":443"\r\nContent-Length: 0\r\n\r\n'
            )
            origin = await r.origin("api.test", 443, answer_each(answer), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(
                b"GET //a/./b/../c%41 HTTP/1.1\r\nHost: API.test:443\r\nX-Kept: a\r\nX-Gone: b\r\n"
                b"Connection: X-Gone\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\n\r\n"
            )
            _, head, _ = await read_response(reader)
            assert head == b"HTTP/1.1 200 Fine\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
            assert origin.bytes == b"GET /a/cA HTTP/1.1\r\nHost: api.test\r\nX-Kept: a\r\n\r\n"
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nuntil close", b"until close"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, b"ok"),
    ],
)
def test_every_framing_of_a_response_passes(tmp_path: Path, response: bytes, body: bytes) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                for at in range(len(response)):  # byte by byte
                    writer.write(response[at : at + 1])
                    await asyncio.sleep(0)
                writer.close()

            await r.origin("api.test", 443, script, tls="api.test")
            request = b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
            answer = await r.exchange("api.test", 443, request, tls=True)
            assert answer.endswith(b"\r\n\r\n" + body)
            assert b"103 Early" not in response or b"103 Early" in answer

    run(story())


def test_head_has_no_body_and_http10_gets_no_chunks(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            await r.origin("api.test", 443, answer_each(chunked), tls="api.test")
            answer = await r.exchange("api.test", 443, b"GET / HTTP/1.0\r\n\r\n", tls=True)
            assert answer.endswith(b"\r\n\r\nabc")
            assert b"hunked" not in answer
            headed = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            await r.origin("audit.test", 443, answer_each(headed), tls="audit.test")
            request = b"HEAD / HTTP/1.1\r\nHost: audit.test\r\nConnection: close\r\n\r\n"
            answer = await r.exchange("audit.test", 443, request, tls=True)
            assert answer.endswith(b"Content-Length: 5\r\nconnection: close\r\n\r\n")

    run(story())


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000,
        b"SSH-2.0-x\r\n\r\n",
        b"",
    ],
)
def test_a_broken_answer_is_a_502(tmp_path: Path, response: bytes) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(response)
                writer.close()

            await r.origin("api.test", 443, script, tls="api.test")
            request = b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
            answer = await r.exchange("api.test", 443, request, tls=True)
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert (await r.record("upstream_unreachable"))["verdict"] == "failed"

    run(story())


def test_more_than_was_announced_never_reaches_the_client(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            split = OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            await r.origin("api.test", 443, answer_each(split), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            status, _, body = await read_response(reader)
            assert status == 502
            assert b"poison" not in body
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert b"poison" not in (await read_response(reader))[2]
            writer.close()

    run(story())


def test_upstream_tls_is_verified_and_its_failure_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="other.test")
            request = b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
            answer = await r.exchange("api.test", 443, request, tls=True)
            assert answer.startswith(b"HTTP/1.1 502 ")
            error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
            assert error["code"] == "upstream_tls"
            assert "mismatch" in error["message"].lower()
            assert origin.bytes == b""

    run(story())


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("name_not_resolved", 502),
        ("upstream_unreachable", 502),
        ("upstream_timeout", 504),
        ("address_blocked", 403),
    ],
)
def test_each_failure_of_a_dial_has_its_status(tmp_path: Path, code: str, status: int) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            r.refusals = {"api.test": code}
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            got, _, body = await read_response(reader)
            assert (got, json.loads(body)["error"]["code"]) == (status, code)
            writer.close()

    run(story())


def test_audit_forwards_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("audit.test", 443, answer_each(OK), tls="audit.test")
            reader, writer = await r.open("audit.test", 443, tls=True)
            writer.write(b"DELETE /x HTTP/1.1\r\nHost: audit.test\r\n\r\n")
            assert (await read_response(reader))[0] == 200
            writer.close()
            assert origin.bytes.startswith(b"DELETE /x ")
            record = await r.record("method_not_allowed")
            assert record["verdict"] == "audited"
            assert record["http"] == {"method": "DELETE", "path": "/x", "status": 200}

    run(story())


def test_a_stream_is_relayed_event_by_event(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            go = asyncio.Event()

            async def sse(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                for n in range(3):
                    await go.wait()
                    go.clear()
                    writer.write(b"data: %d\n\n" % n)
                writer.close()

            await r.origin("api.test", 443, sse, tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert b"event-stream" in await reader.readuntil(b"\r\n\r\n")
            for n in range(3):
                go.set()
                assert await reader.readuntil(b"\n\n") == b"data: %d\n\n" % n
            assert await reader.read(-1) == b""
            writer.close()

    run(story())


def test_a_client_that_leaves_takes_the_upstream_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def silent(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")

            origin = await r.origin("api.test", 443, silent, tls="api.test")
            _, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            while not origin.bytes:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            async with asyncio.timeout(1):
                await origin.ended[0].wait()

    run(story())


def test_an_answer_that_does_not_come_is_a_504(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, response_head_timeout_s=0.3) as r:

            async def silent(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")

            await r.origin("api.test", 443, silent, tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            status, _, body = await read_response(reader)
            assert (status, json.loads(body)["error"]["code"]) == (504, "upstream_timeout")
            writer.close()

    run(story())


def test_a_slow_head_and_a_slow_body_are_a_408(tmp_path: Path) -> None:
    async def story() -> None:
        limits = {"request_head_timeout_s": 0.3, "request_body_timeout_s": 0.3}
        async with rig(tmp_path, POLICY, **limits) as r:
            await r.origin("api.test", 443, answer_each(b""), tls="api.test")
            for request in (
                b"GET / HTTP/1.1\r\nHost:",
                b"POST /ok/1 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nab",
            ):
                reader, writer = await r.open("api.test", 443, tls=True)
                writer.write(request)
                assert (await read_response(reader))[0] == 408
                writer.close()

    run(story())


def test_an_idle_connection_is_closed_without_a_word(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, keepalive_timeout_s=0.3) as r:
            reader, writer = await r.open("api.test", 443, tls=True)
            assert await reader.read(-1) == b""
            writer.close()
            await asyncio.sleep(0)
            assert not [x for x in r.records if x["verdict"] != "allowed"]

    run(story())


def test_a_pooled_connection_that_died_is_replaced_for_repeatable_requests(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def once(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(OK)
                await reader.until(b"\r\n\r\n")  # the second request: gone without an answer
                writer.transport.abort()

            origin = await r.origin("plain.test", 8080, once)
            reader, writer = await r.open("plain.test", 8080)
            for _ in range(2):
                writer.write(b"GET / HTTP/1.1\r\nHost: plain.test:8080\r\n\r\n")
                assert (await read_response(reader))[0] == 200
            assert len(origin.heard) == 2
            writer.write(b"POST / HTTP/1.1\r\nHost: plain.test:8080\r\nContent-Length: 1\r\n\r\nx")
            assert (await read_response(reader))[0] == 502
            writer.close()

    run(story())


def test_two_sandboxes_never_share_an_upstream(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            r.set_policy(POLICY, address="10.77.0.6")
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            for address in ("10.77.0.5", "10.77.0.6"):
                reader, writer = await r.open("api.test", 443, tls=True, address=address)
                writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
                assert (await read_response(reader))[0] == 200
                writer.close()
            assert len(origin.heard) == 2

    run(story())


def test_a_denial_reads_a_small_body_away_and_keeps_the_connection(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"POST /no HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\n\r\nabc")
            assert (await read_response(reader))[0] == 403
            writer.write(b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert (await read_response(reader))[0] == 200
            huge = b"POST /no HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999999\r\n\r\n"
            writer.write(huge + b"x" * 1_000_000)
            status, head, _ = await read_response(reader)
            assert status == 403
            assert b"connection: close" in head
            writer.close()

    run(story())


def test_expect_continue_is_asked_of_the_origin(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def origin(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await reader.until(b"body")
                writer.write(OK)

            await r.origin("plain.test", 8080, origin)
            reader, writer = await r.open("plain.test", 8080)
            writer.write(
                b"POST / HTTP/1.1\r\nHost: plain.test:8080\r\nExpect: 100-continue\r\n"
                b"Content-Length: 4\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"body")
            assert (await read_response(reader))[0] == 200
            writer.close()

    run(story())


def test_a_policy_change_cuts_the_exchange_that_it_denies(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def stream(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nfirst")

            await r.origin("api.test", 443, stream, tls="api.test")
            held, held_writer = await r.open("api.test", 443, tls=True)
            held_writer.write(b"GET /kept HTTP/1.1\r\nHost: api.test\r\n\r\n")
            await held.readuntil(b"first")
            cut, cut_writer = await r.open("api.test", 443, tls=True)
            cut_writer.write(b"GET /cut HTTP/1.1\r\nHost: api.test\r\n\r\n")
            await cut.readuntil(b"first")
            r.set_policy(
                POLICY.replace("path: /**}\n          - allow", "path: /kept}\n          - allow")
            )
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await cut.readexactly(1)
            await r.record("path_not_allowed")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await held.readexactly(1)
            for writer in (held_writer, cut_writer):
                writer.transport.abort()

    run(story())


def test_a_request_is_judged_again_when_the_policy_changed_while_dialling(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            r.dial_gate.clear()
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n")
            while not r.dials:
                await asyncio.sleep(0.01)
            r.set_policy(POLICY.replace("method: GET", "method: PUT"), judge=False)
            r.dial_gate.set()
            assert (await read_response(reader))[0] == 403
            writer.close()
            assert origin.bytes == b""

    run(story())


def test_the_journal_being_full_refuses_what_is_new(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert (await read_response(reader))[0] == 200
            r.role.apply({"op": "journal", "available": False})
            writer.write(b"GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n")
            assert (await read_response(reader))[0] == 503
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "unsupported_protocol"),
        (b"\0\1\2", "unsupported_protocol"),
        (b"\x16\x03\x01\x00\x05\x02aaaa", "malformed_request"),
    ],
)
def test_other_protocols_are_refused_where_requests_are_judged(
    tmp_path: Path, first: bytes, reason: str
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            sock = await r.connect("api.test", 443)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, first)
            if first.startswith(b"\0"):
                with pytest.raises(ConnectionResetError):
                    await loop.sock_recv(sock, 1)
            else:
                assert await loop.sock_recv(sock, 1) in (b"H", b"\x15")
            sock.close()
            await r.record(reason)

    run(story())


def test_wrong_names_and_h2_only_clients_get_alerts(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            for sni, alpn, word in (
                ("evil.test", None, "unrecognized"),
                ("api.test", ["h2"], "no application protocol"),
            ):
                context = client_context(alpn=alpn)
                with pytest.raises(OSError) as caught:  # noqa: PT011 - ssl.SSLError
                    await asyncio.open_connection(
                        sock=await r.connect("api.test", 443), ssl=context, server_hostname=sni
                    )
                assert word in str(caught.value).lower().replace("_", " ")

    run(story())


def _distrust(sock: socket.socket) -> None:
    """A blocking client, because asyncio's never sends the alert that others send."""
    sock.setblocking(True)
    with sock, pytest.raises(ssl.SSLError):
        ssl.create_default_context().wrap_socket(sock, server_hostname="api.test")


def test_a_client_that_does_not_trust_us_is_recorded_with_a_remedy(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await asyncio.to_thread(_distrust, await r.connect("api.test", 443))
            record = await r.record("malformed_request")
            assert "unknown ca" in record["message"]
            assert "trust doctor" in record["remedy"]

    run(story())


def test_records_of_equal_requests_are_counted_exactly(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            for _ in range(20):
                writer.write(b"GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n")
                assert (await read_response(reader))[0] == 200
            writer.close()
            await asyncio.sleep(1.2)
            found = [x for x in r.records if x["kind"] == "http"]
            assert len(found) < 5
            assert sum(x["count"] for x in found) == 20
            assert sum(x["bytes_in"] for x in found) == 40

    run(story())


def test_a_stop_lets_the_exchange_under_way_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            go = asyncio.Event()

            async def later(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.until(b"\r\n\r\n")
                await go.wait()
                writer.write(OK)

            await r.origin("api.test", 443, later, tls="api.test")
            busy, busy_writer = await r.open("api.test", 443, tls=True)
            idle, idle_writer = await r.open("api.test", 443, tls=True)
            busy_writer.write(b"GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n")
            while not r.dials:
                await asyncio.sleep(0.01)
            closing = asyncio.ensure_future(r.role.close())
            assert await idle.read(-1) == b""
            go.set()
            assert (await read_response(busy))[0] == 200
            assert await busy.read(-1) == b""
            await closing
            busy_writer.close()
            idle_writer.close()

    run(story())


def test_running_out_of_descriptors_pauses_accepting_and_recovers(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("plain.test", 8080, answer_each(OK))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            fill = [os.dup(0) for _ in range(40)]  # no gaps below, so that the limit is exact
            try:
                touching = asyncio.ensure_future(r.touch("plain.test", 8080))
                await asyncio.sleep(0)  # its socket is made; the worker has not run yet
                resource.setrlimit(resource.RLIMIT_NOFILE, (fill[-1] + 1, hard))
                with pytest.raises(ConnectionResetError):
                    await touching
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in fill:
                    os.close(fd)
            reader, writer = await r.open("plain.test", 8080)
            writer.write(b"GET / HTTP/1.1\r\nHost: plain.test:8080\r\n\r\n")
            assert (await read_response(reader))[0] == 200
            writer.close()

    run(story())
