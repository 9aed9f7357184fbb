"""Spliced connections on real sockets."""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest

from tests.unit.proxy.rig import Tee, client_context, internet_authority, rig, run

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: site.test, port: 443}
      - {host: mail.test, port: 25}
      - {host: plain.test, port: 80}
    binaries: [{path: /**}]
"""


async def echo(reader: Tee, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read():
        writer.write(data)
        await writer.drain()


def test_bytes_pass_both_ways_and_half_close_goes_through(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def answer_after_end(reader: Tee, writer: asyncio.StreamWriter) -> None:
                size = 0
                while data := await reader.read():
                    size += len(data)
                writer.write(b"got %d" % size)
                writer.close()

            await r.origin("mail.test", 25, answer_after_end)
            reader, writer = await r.open("mail.test", 25)
            payload = os.urandom(3_000_000)
            writer.write(payload)
            writer.write_eof()
            assert await reader.read(-1) == b"got 3000000"
            writer.close()
            await asyncio.sleep(0.05)
            end = r.records[-1]
            assert (end["bytes_out"], end["bytes_in"]) == (3_000_000, 11)
            assert end["verdict"] == "allowed"
            assert end["process"]["exe"] == "/usr/bin/curl"

    run(story())


@pytest.mark.parametrize("on_uvloop", [True, False])
def test_a_large_download_arrives_whole(tmp_path: Path, on_uvloop: bool) -> None:
    payload = os.urandom(5_000_000)

    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def send(reader: Tee, writer: asyncio.StreamWriter) -> None:
                writer.write(payload)
                writer.close()

            await r.origin("mail.test", 25, send)
            reader, writer = await r.open("mail.test", 25)
            await asyncio.sleep(0.1)  # nobody reads: the relay has to wait
            assert await reader.read(-1) == payload
            writer.close()

    run(story(), on_uvloop=on_uvloop)


def test_a_server_that_speaks_first_is_heard_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def banner(reader: Tee, writer: asyncio.StreamWriter) -> None:
                writer.write(b"220 mail.test ESMTP\r\n")
                await reader.until(b"QUIT\r\n")
                writer.write(b"221 bye\r\n")
                writer.close()

            await r.origin("mail.test", 25, banner)
            reader, writer = await r.open("mail.test", 25)
            assert await reader.readline() == b"220 mail.test ESMTP\r\n"
            writer.write(b"QUIT\r\n")
            assert await reader.read(-1) == b"221 bye\r\n"
            writer.close()

    run(story())


def test_tls_with_the_resolved_name_passes_end_to_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("site.test", 443, echo, tls="site.test")
            sock = await r.connect("site.test", 443)
            context = ssl.create_default_context(cadata=internet_authority().certificate_pem)
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname="site.test"
            )
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("sni", "reason", "word"),
    [
        ("evil.test", "sni_mismatch", "unrecognized"),
        (None, "sni_missing", "access denied"),
    ],
)
def test_another_server_name_gets_an_alert(
    tmp_path: Path, sni: str | None, reason: str, word: str
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("site.test", 443, echo)
            context = client_context()
            context.check_hostname = False
            with pytest.raises(ssl.SSLError) as caught:
                await asyncio.open_connection(
                    sock=await r.connect("site.test", 443), ssl=context, server_hostname=sni or ""
                )
            assert word in str(caught.value).lower().replace("_", " ")
            record = await r.record(reason)
            assert record["verdict"] == "denied"
            assert origin.bytes == b""

    run(story())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"421"),
        (b"GET http://evil.test/ HTTP/1.1\r\nHost: plain.test\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nHost: plain.test:81\r\n\r\n", b"421"),
        (b"GET / HTTP/1.0\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\nHost: plain.test\n\n", b"400"),
        (b"get / HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 17000, b"431"),
    ],
)
def test_an_http_head_has_to_carry_the_name(
    tmp_path: Path, request_bytes: bytes, status: bytes
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("plain.test", 80, echo)
            answer = await r.exchange("plain.test", 80, request_bytes)
            assert answer.startswith(b"HTTP/1.1 " + status)
            assert b"x-netmgr-reason: " in answer
            assert origin.bytes == b""

    run(story())


def test_plain_http_with_the_name_passes_unchanged(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("plain.test", 80, echo)
            reader, writer = await r.open("plain.test", 80)
            request = b"GET /a HTTP/1.1\r\nhost: PLAIN.test\r\n\r\n"
            for piece in (request[:7], request[7:20], request[20:]):
                writer.write(piece)
                await asyncio.sleep(0.02)
            assert await reader.readexactly(len(request)) == request
            assert origin.bytes == request
            writer.close()

    run(story())


@pytest.mark.parametrize("host", [b"site.test", b"Site.Test.", b"site.test:443"])
def test_on_another_port_the_name_alone_is_enough(tmp_path: Path, host: bytes) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("site.test", 443, echo)
            request = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            reader, writer = await r.open("site.test", 443)
            writer.write(request)
            assert await reader.readexactly(len(request)) == request
            writer.close()

    run(story())


@pytest.mark.parametrize(
    ("name", "port", "ip", "reason"),
    [
        ("site.test", 8443, None, "port_not_allowed"),
        ("", 443, "203.0.113.9", "raw_ip"),
    ],
)
def test_what_the_state_does_not_know_is_reset(
    tmp_path: Path, name: str, port: int, ip: str | None, reason: str
) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            with pytest.raises(ConnectionResetError):
                await r.touch(name, port, ip=ip)
            record = await r.record(reason)
            assert record["destination"]["port"] == port
            assert not r.dials

    run(story())


def test_an_unknown_caller_is_reset(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            with pytest.raises(ConnectionResetError):
                await r.touch("site.test", 443, address="10.77.9.9")
            assert (await r.record("unknown_caller"))["sandbox"] is None

    run(story())


def test_a_failed_dial_has_a_face_for_http_and_a_reset_for_others(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            r.refusals = {"plain.test": "name_not_resolved", "mail.test": "upstream_unreachable"}
            answer = await r.exchange(
                "plain.test", 80, b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert b"name_not_resolved" in answer
            with pytest.raises(ConnectionResetError):
                await r.touch("mail.test", 25)
            assert (await r.record("upstream_unreachable"))["verdict"] == "failed"

    run(story())


def test_a_reset_of_the_server_reaches_the_client(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:

            async def break_off(reader: Tee, writer: asyncio.StreamWriter) -> None:
                await reader.read()
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                writer.transport.abort()

            await r.origin("mail.test", 25, break_off)
            sock = await r.connect("mail.test", 25)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\0hello")
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            sock.close()

    run(story())


def test_a_policy_change_cuts_only_what_is_now_denied(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("mail.test", 25, echo)
            await r.origin("plain.test", 80, echo)
            loop = asyncio.get_running_loop()
            mail, plain = await r.connect("mail.test", 25), await r.connect("plain.test", 80)
            for sock in (mail, plain):
                await loop.sock_sendall(sock, b"\0x")
                assert await loop.sock_recv(sock, 2) == b"\0x"
            r.set_policy(POLICY.replace("      - {host: mail.test, port: 25}\n", ""))
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(mail, 1)
            await loop.sock_sendall(plain, b"\0y")
            assert await loop.sock_recv(plain, 2) == b"\0y"
            mail.close()
            plain.close()
            destination = (await r.record("no_matching_rule"))["destination"]
            assert (destination["name"], destination["port"]) == ("mail.test", 25)

    run(story())


def test_a_full_journal_keeps_live_flows_and_still_cuts_what_is_denied(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("mail.test", 25, echo)
            loop = asyncio.get_running_loop()
            sock = await r.connect("mail.test", 25)
            await loop.sock_sendall(sock, b"\0x")
            assert await loop.sock_recv(sock, 2) == b"\0x"
            r.role.apply({"op": "journal", "available": False})
            r.set_policy(POLICY)
            await loop.sock_sendall(sock, b"\0y")
            assert await loop.sock_recv(sock, 2) == b"\0y"
            with pytest.raises(ConnectionResetError):
                await r.touch("mail.test", 25)  # nothing new
            r.set_policy(POLICY.replace("      - {host: mail.test, port: 25}\n", ""))
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            sock.close()

    run(story())


def test_a_spliced_flow_is_cut_when_its_endpoint_is_to_be_inspected(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("plain.test", 80, echo)
            loop = asyncio.get_running_loop()
            sock = await r.connect("plain.test", 80)
            await loop.sock_sendall(sock, b"\0x")
            assert await loop.sock_recv(sock, 2) == b"\0x"
            rest = (
                "{host: plain.test, port: 80, protocol: rest, enforcement: enforce, access: full}"
            )
            r.set_policy(POLICY.replace("{host: plain.test, port: 80}", rest))
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            sock.close()
            await r.record("policy_stale")

    run(story())


def test_a_policy_change_while_dialling_keeps_every_byte_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            origin = await r.origin("mail.test", 25, echo)
            r.dial_gate.clear()
            sock = await r.connect("mail.test", 25)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\0secret")
            await asyncio.sleep(0.05)
            r.set_policy(POLICY.replace("      - {host: mail.test, port: 25}\n", ""), judge=False)
            r.dial_gate.set()
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            sock.close()
            assert origin.bytes == b""

    run(story())


def test_a_forgotten_sandbox_loses_its_flows(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY) as r:
            await r.origin("mail.test", 25, echo)
            sock = await r.connect("mail.test", 25)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\0x")
            assert await loop.sock_recv(sock, 2) == b"\0x"
            r.role.apply({"op": "sandbox.forget", "address": "10.77.0.5"})
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(sock, 1)
            sock.close()

    run(story())


def test_a_sandbox_has_a_bounded_number_of_connections(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, connections_per_sandbox=2) as r:
            await r.origin("mail.test", 25, echo)
            loop = asyncio.get_running_loop()
            socks = []
            for _ in range(2):
                sock = await r.connect("mail.test", 25)
                await loop.sock_sendall(sock, b"\0x")
                assert await loop.sock_recv(sock, 2) == b"\0x"
                socks.append(sock)
            with pytest.raises(ConnectionResetError):
                await r.touch("mail.test", 25)
            await r.record("limit_exceeded")
            for sock in socks:
                sock.close()
            await asyncio.sleep(0.05)
            assert r.role.statistics()["flows"] == 0

    run(story())


def test_an_unfinished_hello_is_refused_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with rig(tmp_path, POLICY, hello_timeout_s=0.3) as r:
            origin = await r.origin("site.test", 443, echo)
            sock = await r.connect("site.test", 443)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"GET / HT")
            answer = await loop.sock_recv(sock, 1000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            sock.close()
            assert origin.bytes == b""

    run(story())
