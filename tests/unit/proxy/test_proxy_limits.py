"""`limits` of an entry: on requests that are judged, and on connections that are only relayed."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.proxy.rig import OK, Rig, Tee, answer_each, read_response, rig, run

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: api.test, port: 443, protocol: rest, access: full}
      - {host: raw.test, port: 25}
    limits: {request_bytes: 1000, bytes_per_hour: 20KiB}
    binaries: [{path: /**}]
  free:
    endpoints: [{host: free.test, port: 25}]
    binaries: [{path: /**}]
"""
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\n\r\n" + b"x" * 15000


def hits(r: Rig) -> dict[str, int]:
    found: dict[str, int] = r.role.statistics()["limits_met"]
    return found


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: str, body: bytes
) -> tuple[int, bytes]:
    writer.write(f"POST / HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n\r\n".encode() + body)
    status, _, answer = await read_response(reader)
    return status, answer


async def until_reset(reader: asyncio.StreamReader) -> int:
    """Bytes that came before the connection was reset."""
    got = 0
    try:
        while data := await reader.read(100_000):
            got += len(data)
    except ConnectionResetError:
        return got
    raise AssertionError("it ended well")


async def echo(reader: Tee, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read():
        writer.write(data)
        await writer.drain()


def test_a_request_may_be_as_large_as_its_entry_says(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def take(reader: Tee, writer: asyncio.StreamWriter) -> None:
                while data := await reader.read():
                    if data.endswith(b"y" * 1000):
                        writer.write(OK)

            origin = await r.origin("api.test", 443, take, tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            status, _ = await post(reader, writer, "Content-Length: 1000", b"y" * 1000)
            assert status == 200
            status, answer = await post(reader, writer, "Content-Length: 1001", b"z" * 1001)
            assert status == 413
            error = json.loads(answer)["error"]
            assert error["code"] == "limit_exceeded"
            assert "1000 bytes per request (limits.request_bytes)" in error["message"]
            writer.close()
            record = await r.record("limit_exceeded", kind="http")
            assert (record["verdict"], record["rule"]) == ("denied", "web")
            assert b"z" not in origin.bytes
            assert hits(r) == {"request_bytes": 1, "bytes_per_hour": 0}

    run(story())


def test_a_body_of_unknown_length_is_cut_where_it_becomes_too_large(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("api.test", 443, answer_each(OK), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            chunk = b"190\r\n" + b"z" * 400 + b"\r\n"
            status, _ = await post(reader, writer, "Transfer-Encoding: chunked", 3 * chunk)
            assert status == 413
            writer.close()
            await r.record("limit_exceeded")
            assert origin.bytes.count(b"z") <= 1000
            assert b"0\r\n\r\n" not in origin.bytes

    run(story())


def test_an_hour_of_requests_ends_without_a_byte_too_much(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("api.test", 443, answer_each(BIG), tls="api.test")
            reader, writer = await r.open("api.test", 443, tls=True)
            writer.write(b"GET /1 HTTP/1.1\r\nHost: api.test\r\n\r\n")
            status, _, body = await read_response(reader)
            assert (status, len(body)) == (200, 15000)
            writer.write(b"GET /2 HTTP/1.1\r\nHost: api.test\r\n\r\n")
            rest = await reader.read(-1)
            assert rest.count(b"x") < 5480
            writer.close()
            record = await r.record("limit_exceeded", kind="http")
            assert "20480 bytes per hour (limits.bytes_per_hour)" in record["message"]
            assert hits(r)["bytes_per_hour"] == 1

    run(story())


def test_a_relayed_connection_has_the_same_limits(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("raw.test", 25, echo)
            reader, writer = await r.open("raw.test", 25)
            writer.write(b"a" * 1000)
            writer.write_eof()
            assert await reader.read(-1) == b"a" * 1000  # exactly as much, and its end
            writer.close()
            reader, writer = await r.open("raw.test", 25)
            writer.write(b"b" * 1500)
            await until_reset(reader)
            writer.close()
            record = await r.record("limit_exceeded", kind="connection")
            assert "1000 bytes per request" in record["message"]
            await asyncio.sleep(0.05)
            assert origin.bytes.count(b"b") <= 1000

    run(story())


def test_what_comes_down_a_relayed_connection_counts_to_the_byte(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def pour(reader: Tee, writer: asyncio.StreamWriter) -> None:
                writer.write(b"p" * 100_000)
                await writer.drain()

            await r.origin("raw.test", 25, pour)
            await r.origin("free.test", 25, pour)
            reader, writer = await r.open("raw.test", 25)
            got = await until_reset(reader)
            writer.close()
            record = await r.record("limit_exceeded", kind="connection")
            assert record["bytes_in"] == 20480
            assert got <= 20480
            reader, writer = await r.open("free.test", 25)  # another entry
            assert len(await reader.readexactly(100_000)) == 100_000
            writer.close()

    run(story())


def test_a_live_flow_gets_the_limits_of_a_new_policy(tmp_path: Path) -> None:
    async def story() -> None:
        without = POLICY.replace("    limits: {request_bytes: 1000, bytes_per_hour: 20KiB}\n", "")
        async with rig(tmp_path, without) as r:
            await r.origin("raw.test", 25, echo)
            reader, writer = await r.open("raw.test", 25)
            writer.write(b"a" * 5000)
            assert await reader.readexactly(5000) == b"a" * 5000
            r.set_policy(POLICY)
            writer.write(b"a")
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
            await r.record("limit_exceeded", kind="connection")

    run(story())
