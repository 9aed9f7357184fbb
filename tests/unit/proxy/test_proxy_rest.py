"""Requests on terminated connections: what is judged, and the faces of a no."""

import asyncio
import json
import socket
import ssl
from pathlib import Path

import pytest

from tests.unit.proxy.rig import (
    OK,
    answer_each,
    client_context,
    read_response,
    rig,
    run,
)
from tests.unit.proxy.rig import REST_POLICY as POLICY


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


def test_a_method_has_one_spelling_for_the_rule_and_for_the_origin(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            for method, wanted in ((b"get", 200), (b"dElete", 403), (b"Get", 200)):
                writer.write(method + b" /x HTTP/1.1\r\nHost: api.test\r\n\r\n")
                status, _, _ = await read_response(reader)
                assert status == wanted
            writer.close()
            assert origin.bytes.count(b"GET /x HTTP/1.1\r\n") == 2
            assert b"get" not in origin.bytes

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
