"""Requests that two readers read differently: what was not judged never reaches the origin."""

import asyncio
import re
from pathlib import Path

import h11

from tests.unit.proxy.rig import Rig, Tee, rig, run

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - host: api.example.com
        port: 443
        protocol: rest
        rules:
          - allow: {method: GET, path: /ok/**}
          - allow: {method: POST, path: /ok/**}
    binaries: [{path: /**}]
"""
HOST = b"Host: api.example.com\r\n"
DENIED = b"GET /no HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /ok/a HTTP/1.1\r\n" + HOST
GET = b"GET /ok/a HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent -> the first status that comes back. Behind each of them stands a denied request.
CASES: dict[bytes, int] = {
    b"POST /no HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(GET) + GET: 403,
    b"POST /no HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n": 403,
    POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n": 400,
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n": 400,
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n": 400,
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n": 400,
    POST + b"Transfer-Encoding: identity\r\n" + CHUNKED + b"0\r\n\r\n": 400,
    POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n": 400,
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab": 400,
    POST + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nab": 400,
    POST + b"Content-Length: 2, 2\r\n\r\nab": 400,
    POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n": 400,
    POST + b"Content-Length: +2\r\n\r\nab": 400,
    POST + b"Content-Length: -1\r\n\r\nab": 400,
    POST + b"Content-Length: 0x2\r\n\r\nab": 400,
    POST + b"Content-Length: 18446744073709551617\r\n\r\na": 413,  # 1, in 64 bits
    POST + b"Content-Length: 4294967297000000000\r\n\r\na": 413,
    POST + CHUNKED + b"2;x=\ny\r\nab\r\n0\r\n\r\n": 400,
    POST + CHUNKED + b"2\nab\n0\n\n": 400,
    POST + CHUNKED + b"2\r\nab\r\n0\nX: y\n\n": 400,
    POST + CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n": 400,
    GET + b"X: a\r\n b\r\n\r\n": 400,
    GET + b"X: a\x00b\r\n\r\n": 400,
    GET + b"X: a\rContent-Length: 9\r\n\r\n": 400,
    GET + b"X: a\nContent-Length: 9\r\n\r\n": 400,
    GET + b"Host: evil.example\r\n\r\n": 400,
    GET + b"Connection: content-length\r\n\r\n": 400,
    GET + b"Connection: host\r\n\r\n": 400,
    GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n": 403,
    GET.replace(b"1.1", b"2.0", 1) + b"\r\n": 400,
    b"GET /ok/a HTTP/1.1\r\nHost: api.example.com@evil.example\r\n\r\n": 400,
    b"GET /ok/a HTTP/1.1\r\nHost: api.example.com, evil.example\r\n\r\n": 400,
    b"GET /ok/a HTTP/1.1\r\nHost: 203.0.113.5\r\n\r\n": 421,
    b"GET https://evil.example/ok/a HTTP/1.1\r\n" + HOST + b"\r\n": 421,
    b"GET https://x@api.example.com/ok/a HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n": 403,
    b"GET  /ok/a HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    b"GET /ok/../no HTTP/1.1\r\n" + HOST + b"\r\n": 403,
    b"GET /ok/%2e%2e/no HTTP/1.1\r\n" + HOST + b"\r\n": 403,
    b"GET /ok/..%2fno HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    b"GET /ok/..\\no HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    b"GET /ok/..;/no HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    b"GET //no HTTP/1.1\r\n" + HOST + b"\r\n": 403,
    b"GET /ok/a#/../../no HTTP/1.1\r\n" + HOST + b"\r\n": 400,
    GET + b"\r\n": 200,
    GET + b"Content-Length: %d\r\n\r\n" % len(DENIED) + DENIED: 200,
    POST + CHUNKED + b"%x\r\n" % len(DENIED) + DENIED + b"\r\n0\r\n\r\n": 200,
    POST + CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n": 200,
}
ENOUGH_S = 10.0  # nothing waits that long, but on a machine that has other work
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


async def statuses(r: Rig, sent: bytes) -> list[int]:
    """What comes back for bytes on a connection of their own."""
    reader, writer = await r.open("api.example.com", 443, tls=True)
    writer.write(sent)
    answer = b""
    try:
        async with asyncio.timeout(ENOUGH_S):
            while data := await reader.read(65536):
                answer += data
    except TimeoutError:  # it waits for more of a body
        pass
    writer.close()
    return [int(found) for found in STATUS.findall(answer)]


class Origin:
    """A strict server: it notes the requests that it understands."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes]] = []

    async def __call__(self, reader: Tee, writer: asyncio.StreamWriter) -> None:
        parser = h11.Connection(h11.SERVER)
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await reader.read())
            elif isinstance(event, h11.Request):
                self.seen.append((bytes(event.method), bytes(event.target)))
            elif isinstance(event, h11.EndOfMessage):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
                parser.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                parser.send(h11.EndOfMessage())
                parser.start_next_cycle()
            elif isinstance(event, h11.ConnectionClosed):
                return


def test_nothing_unjudged_reaches_the_origin(tmp_path: Path) -> None:
    async def story() -> None:
        limits = {"keepalive_timeout_s": 0.2, "request_head_timeout_s": ENOUGH_S, "drain_s": 0.2}
        async with rig(tmp_path, POLICY, **limits) as r:
            origin = Origin()
            await r.origin("api.example.com", 443, origin, tls="api.example.com")
            for sent, first in CASES.items():
                got = await statuses(r, sent + DENIED)
                assert got[0] == first, (sent, got)
                assert set(got[1:]) <= {400, 403, 502}, (sent, got)
            allowed = {(b"GET", b"/ok/a"), (b"POST", b"/ok/a")}
            assert set(origin.seen) == allowed
            assert len(origin.seen) == list(CASES.values()).count(200)

    run(story())
