"""Messages on terminated connections: framing and bodies, both ways."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.unit.proxy.rig import (
    CHUNKED,
    OK,
    Rig,
    Tee,
    answer_each,
    read_response,
    rig,
    run,
)
from tests.unit.proxy.rig import REST_POLICY as POLICY


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
