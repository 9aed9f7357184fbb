"""WebSocket connections: the handshake, messages one by one, and how they are ended."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netmgr_proxy.wire.frames import unmask
from tests.unit.proxy.rig import Rig, Script, Tee, read_response, rig, run

KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
).decode()
POLICY = """
version: 1
network_policies:
  live:
    endpoints:
      - {host: ws.test, port: 8080, path: /full, protocol: websocket, access: read-write}
      - {host: ws.test, port: 8080, path: /quiet, protocol: websocket, access: read-only}
      - host: ws.test
        port: 8080
        path: /audit
        protocol: websocket
        access: read-only
        enforcement: audit
      - host: ws.test
        port: 8080
        path: /graphql
        protocol: websocket
        rules:
          - allow: {method: GET, path: /graphql}
          - allow: {operation_type: subscription}
          - allow: {operation_type: query, fields: [user]}
        deny_rules: [{fields: [secret]}]
        graphql_max_body_bytes: 300
      - {host: ws.test, port: 8080, path: /mixed, protocol: websocket, access: full}
      - {host: ws.test, port: 8080, path: /mixed, protocol: rest, access: full}
    binaries: [{path: /**}]
"""
MASK = b"\x09\x08\x07\x06"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([(0x80 if fin else 0) | opcode]) + length + MASK + unmask(payload, MASK, 0)


def text(words: str) -> bytes:
    return frame(1, words.encode())


def offer(path: str, *more: str, method: str = "GET") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: ws.test:8080",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *more,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def server(*more: str, accept: str = ACCEPT, after: bytes = b"") -> Script:
    """An origin that switches, sends `after`, and keeps what it hears."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        *more,
    ]

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await reader.until(b"\r\n\r\n")
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + after)
        await writer.drain()

    return script


async def handshake(
    r: Rig, path: str, *more: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await r.open("ws.test", 8080)
    writer.write(offer(path, *more))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return reader, writer, head


async def close_of(reader: asyncio.StreamReader) -> int:
    """The code of the close frame that comes next, and behind which nothing does."""
    head = await reader.readexactly(2)
    assert head[0] == 0x88, head
    payload = await reader.readexactly(head[1])
    return int.from_bytes(payload[:2], "big")


def story(tmp_path: Path, work: Callable[[Rig], Any], **limits: Any) -> None:
    async def told() -> None:
        async with rig(tmp_path, POLICY, **limits) as r:
            await work(r)

    run(told())


async def until(r: Rig, told: Callable[[], bool]) -> None:
    for _ in range(200):
        if told():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_what_the_client_sends_arrives_as_it_was(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server(after=b"\x81\x05hello"))
        reader, writer, head = await handshake(
            r, "/full", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: a=b"
        )
        assert b"Sec-WebSocket-Accept: " + ACCEPT.encode() in head
        assert await reader.readexactly(7) == b"\x81\x05hello"
        sent = text("one") + frame(9, b"?") + frame(1, b"tw", fin=False) + frame(0, b"o")
        sent += frame(2, b"\xff" * 500)
        for at in range(0, len(sent), 100):
            writer.write(sent[at : at + 100])
            await asyncio.sleep(0)
        await until(r, lambda: origin.bytes.endswith(sent))
        asked, _, rest = origin.bytes.partition(b"\r\n\r\n")
        assert rest == sent
        assert b"Upgrade: websocket" in asked
        assert b"Cookie: a=b" in asked
        assert b"xtensions" not in asked
        writer.close()
        record = await r.record("allowed", kind="http")
        assert record["http"] == {"method": "GET", "path": "/full", "status": 101}
        assert record["bytes_out"] == len(sent)
        assert record["bytes_in"] == 7

    story(tmp_path, work)


def test_a_message_that_is_not_allowed_ends_it_with_1008(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        for message in (text("no"), frame(2, b"no"), frame(1, b"n", fin=False)):
            reader, writer, _ = await handshake(r, "/quiet")
            writer.write(frame(9, b"alive") + message)
            assert await close_of(reader) == 1008
            writer.close()
        assert b"alive" in unmask(origin.heard[0].partition(b"\r\n\r\n")[2][6:], MASK, 0)
        assert len(origin.heard[0].partition(b"\r\n\r\n")[2]) == len(frame(9, b"alive"))
        record = await r.record("method_not_allowed", kind="http")
        assert "WEBSOCKET_TEXT" in record["message"]
        assert record["remedy"]

    story(tmp_path, work)


def test_under_audit_it_goes_on(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        _, writer, _ = await handshake(r, "/audit")
        writer.write(text("yes"))
        await until(r, lambda: origin.bytes.endswith(text("yes")))
        assert (await r.record("method_not_allowed", kind="http"))["verdict"] == "audited"
        writer.close()

    story(tmp_path, work)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (offer("/full", method="POST"), 403),
        (offer("/full").replace(KEY.encode(), b"short"), 400),
        (offer("/full").replace(b"Version: 13", b"Version: 8"), 400),
        (offer("/full", f"Sec-WebSocket-Key: {KEY}"), 400),
        (offer("/full", "Content-Length: 3") + b"abc", 400),
        (offer("/full", "Sec-WebSocket-Protocol: a b"), 400),
        (offer("/full").replace(b"Connection: Upgrade", b"Connection: close"), 400),
        (offer("/full").replace(b"Upgrade: websocket", b"Upgrade: h2c"), 403),
        (offer("/elsewhere"), 403),
        (b"GET /full HTTP/1.1\r\nHost: ws.test:8080\r\n\r\n", 403),
    ],
)
def test_what_is_no_handshake_never_arrives(tmp_path: Path, request_: bytes, status: int) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        reader, writer = await r.open("ws.test", 8080)
        writer.write(request_)
        got, _, body = await read_response(reader)
        assert got == status, body
        assert not origin.bytes
        writer.close()

    story(tmp_path, work)


@pytest.mark.parametrize(
    "script",
    [
        server(accept="wrong"),
        server("Sec-WebSocket-Extensions: permessage-deflate"),
        server("Sec-WebSocket-Protocol: other"),
        server("Upgrade: websocket"),
    ],
)
def test_a_server_that_answers_another_handshake_is_given_up(
    tmp_path: Path, script: Script
) -> None:
    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, script)
        reader, writer = await r.open("ws.test", 8080)
        writer.write(offer("/full", "Sec-WebSocket-Protocol: chat"))
        status, _, _ = await read_response(reader)
        assert status == 502
        writer.close()

    story(tmp_path, work)


def test_a_server_may_refuse_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def refuse(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await reader.until(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        await reader.until(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, refuse)
        reader, writer = await r.open("ws.test", 8080)
        writer.write(offer("/mixed"))
        assert (await read_response(reader))[0] == 401
        writer.write(b"GET /mixed HTTP/1.1\r\nHost: ws.test:8080\r\n\r\n")
        assert (await read_response(reader))[0] == 200
        writer.close()

    story(tmp_path, work)


def test_frames_that_are_none_end_it(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        for bad, code in (
            (b"\x81\x01a", 1002),
            (frame(1, b"\xff"), 1007),
            (b"\xc1\x80" + MASK, 1002),
            (b"\x81\xff" + struct.pack("!Q", 5 << 20) + MASK, 1009),
            (frame(1, b"a", fin=False) + frame(0, b"", fin=False) * 4096, 1002),
        ):
            reader, writer, _ = await handshake(r, "/full")
            writer.write(text("fine") + bad)
            assert await close_of(reader) == code
            writer.close()
            await r.record("limit_exceeded" if code == 1009 else "malformed_request")
        assert all(text("fine") in heard for heard in origin.heard)

    story(tmp_path, work)


def test_our_close_waits_for_the_server_s_frame(tmp_path: Path) -> None:
    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await server(after=b"\x82\x06abc")(reader, writer)
        await asyncio.sleep(0.2)
        writer.write(b"def\x81\x01x")

    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, script)
        reader, writer, _ = await handshake(r, "/quiet")
        assert await reader.readexactly(5) == b"\x82\x06abc"
        writer.write(text("no"))
        assert await reader.readexactly(3) == b"def"
        assert await close_of(reader) == 1008
        assert await reader.read() == b""
        writer.close()

    story(tmp_path, work)


def subscribe(query: str, kind: str = "subscribe") -> str:
    return json.dumps({"id": "1", "type": kind, "payload": {"query": query}})


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (text(subscribe("mutation { m }")), 1008),
        (text(subscribe("{ secret }")), 1008),
        (text(subscribe("{ user other }", "start")), 1008),
        (text('{"type":"unknown"}'), 1008),
        (text("no json"), 1008),
        (frame(2, subscribe("{ user }").encode()), 1008),
        (text(" " * 301), 1009),
    ],
)
def test_graphql_over_websocket(tmp_path: Path, message: bytes, code: int) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        reader, writer, _ = await handshake(r, "/graphql")
        long = subscribe("subscription { any }")
        fine = text('{"type":"connection_init"}') + text(subscribe("{ user { name } }", "start"))
        fine += frame(1, long[:9].encode(), fin=False) + frame(9) + frame(0, long[9:].encode())
        writer.write(fine)
        # A control frame overtakes the message whose fragments are held.
        await until(r, lambda: len(origin.bytes.partition(b"\r\n\r\n")[2]) == len(fine))
        writer.write(message)
        assert await close_of(reader) == code
        assert len(origin.bytes.partition(b"\r\n\r\n")[2]) == len(fine)
        assert not r.role._room.holdings.bytes
        writer.close()

    story(tmp_path, work)


def test_a_change_of_policy_is_heeded_by_the_next_message(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        reader, writer, _ = await handshake(r, "/full")
        writer.write(text("one"))
        await until(r, lambda: origin.bytes.endswith(text("one")))
        r.set_policy(POLICY.replace("access: read-write", "access: read-only"))
        await asyncio.sleep(0.05)
        writer.write(frame(9, b"alive"))
        await until(r, lambda: origin.bytes.endswith(frame(9, b"alive")))
        writer.write(text("two"))
        assert await close_of(reader) == 1008
        writer.close()

    story(tmp_path, work)


def test_a_connection_that_is_no_longer_allowed_is_closed_with_1012(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, server())
        reader, writer, _ = await handshake(r, "/full")
        r.set_policy(POLICY.replace("path: /full", "path: /moved"))
        assert await close_of(reader) == 1012
        record = await r.record("unsupported_protocol", kind="http")
        assert record["verdict"] == "denied"
        writer.close()

    story(tmp_path, work)


def test_silence_is_no_reason_to_cut(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, server())
        _, writer, _ = await handshake(r, "/full")
        await asyncio.sleep(1.5)  # longer than every deadline but the one for silence
        writer.write(text("still here"))
        await until(r, lambda: origin.bytes.endswith(text("still here")))
        writer.close()

    short = dict.fromkeys(
        (
            "keepalive_timeout_s",
            "request_head_timeout_s",
            "request_body_timeout_s",
            "response_head_timeout_s",
            "hello_timeout_s",
        ),
        0.5,
    )
    story(tmp_path, work, **short)


def test_silence_has_its_bound(tmp_path: Path) -> None:
    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, server())
        reader, writer, _ = await handshake(r, "/full")
        assert await close_of(reader) == 1001
        await r.record("upstream_timeout", kind="http")
        writer.close()

    story(tmp_path, work, flow_idle_timeout_s=0.3)


def test_a_good_end_is_relayed(tmp_path: Path) -> None:
    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await server()(reader, writer)
        await reader.until(frame(8, struct.pack("!H", 1000)))
        writer.write(b"\x88\x02\x03\xe8")
        await writer.drain()
        writer.close()

    async def work(r: Rig) -> None:
        await r.origin("ws.test", 8080, script)
        reader, writer, _ = await handshake(r, "/full")
        writer.write(frame(8, struct.pack("!H", 1000)))
        assert await reader.read() == b"\x88\x02\x03\xe8"
        writer.close()

    story(tmp_path, work)


def test_a_client_that_outruns_the_server_waits(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def script(reader: Tee, writer: asyncio.StreamWriter) -> None:
        await server()(reader, writer)
        await gate.wait()

    async def work(r: Rig) -> None:
        origin = await r.origin("ws.test", 8080, script)
        _, writer, _ = await handshake(r, "/full")
        piece = frame(2, b"x" * 60_000)
        sent = 0
        try:
            async with asyncio.timeout(1):
                while sent < 800:
                    writer.write(piece)
                    await writer.drain()
                    sent += 1
        except TimeoutError:
            pass
        assert sent < 800
        gate.set()
        await until(r, lambda: len(origin.bytes) > sent * len(piece))
        writer.close()

    story(tmp_path, work)
