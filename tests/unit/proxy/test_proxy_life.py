"""The life of terminated connections: deadlines, pools, policy changes, the stop."""

import asyncio
import json
import os
import resource
from pathlib import Path

import pytest

from tests.unit.proxy.rig import (
    OK,
    Tee,
    answer_each,
    read_response,
    rig,
    run,
)
from tests.unit.proxy.rig import REST_POLICY as POLICY


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


def test_a_client_that_asks_and_never_reads_is_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        big = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000

        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("plain.test", 8080, answer_each(big))
            sock = await r.connect("plain.test", 8080)
            loop = asyncio.get_running_loop()
            asked = b"GET / HTTP/1.1\r\nHost: plain.test:8080\r\n\r\n"
            await loop.sock_sendall(sock, asked * 200)  # 40 MB of answers
            await asyncio.sleep(0.7)
            first = origin.bytes.count(b"GET /")
            await asyncio.sleep(0.3)
            assert origin.bytes.count(b"GET /") == first < 100
            got = 0
            while got < 200 * len(big):
                got += len(await loop.sock_recv(sock, 1 << 20))
            assert got == 200 * len(big)
            sock.close()

    run(story())


def test_an_origin_that_does_not_read_stops_the_client(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            go = asyncio.Event()

            async def unwilling(reader: Tee, writer: asyncio.StreamWriter) -> None:
                writer.transport.pause_reading()
                await go.wait()
                writer.transport.resume_reading()
                writer.write(OK)

            await r.origin("plain.test", 8080, unwilling)
            reader, writer = await r.open("plain.test", 8080)
            size = 60_000_000
            writer.write(
                b"PUT / HTTP/1.1\r\nHost: plain.test:8080\r\nContent-Length: %d\r\n\r\n" % size
            )
            writer.write(b"x" * size)
            await asyncio.sleep(0.7)
            unsent = writer.transport.get_write_buffer_size()
            assert unsent > size / 2  # it is the client that holds them, not the worker
            go.set()
            status, head, _ = await read_response(reader)
            assert status == 200
            assert b"connection: close" in head  # the answer came before the request's end
            writer.transport.abort()

    run(story())
