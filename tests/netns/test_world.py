"""The test world tested without netmgr: what judges the product is itself judged here."""

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from dnslib import QTYPE, DNSRecord
from world import World, web
from world.environment import clean_environment
from world.internet import DNS_SERVERS
from world.leaks import sweep
from world.namespaces import NETNS_DIR, inside

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def bare() -> Iterator[World]:
    """A world without a daemon, shared by this file."""
    with World() as made:
        yield made


def ask(world: World, name: str, kind: str = "A", server: str = DNS_SERVERS[0]) -> DNSRecord:
    """Ask the world's name server from its host."""
    with inside(world.host.path):
        return DNSRecord.parse(DNSRecord.question(name, kind).send(server, timeout=2))


def fetch(world: World, name: str, address: str, path: str = "/", port: int = 443) -> bytes:
    """GET over TLS from the world's host; the whole answer."""
    with world.host.socket(socket.AF_INET, socket.SOCK_STREAM) as plain:
        plain.settimeout(5)
        plain.connect((address, port))
        context = world.authority.client_context()
        with context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False) as sock:
            head = f"GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"
            sock.sendall(head.encode())
            answer = b""
            while data := sock.recv(65536):
                answer += data
            return answer


def test_a_world_is_cheap() -> None:
    began = time.monotonic()
    with World():
        pass
    assert time.monotonic() - began < 3.0  # measured: 0.15 s, most of it keys and the capture


def test_a_name_is_resolved_and_the_query_is_recorded(bare: World) -> None:
    bare.internet.zone.set("a.test", "203.0.113.77", "203.0.113.78")
    answer = ask(bare, "A.test")
    assert [str(rr.rdata) for rr in answer.rr] == ["203.0.113.77", "203.0.113.78"]
    (query,) = bare.internet.zone.asked("a.test")
    assert (query.kind, query.transport, query.source) == ("A", "udp", "192.0.2.1")


def test_an_unknown_name_does_not_exist(bare: World) -> None:
    assert ask(bare, "nobody.test").header.rcode == 3


def test_turns_change_the_answer_for_rebinding(bare: World) -> None:
    bare.internet.zone.set_turns("turn.test", [["203.0.113.9"], ["127.0.0.1"]])
    answers = [str(ask(bare, "turn.test").rr[0].rdata) for _ in range(3)]
    assert answers == ["203.0.113.9", "127.0.0.1", "127.0.0.1"]


def test_aliases_are_followed_and_loops_end(bare: World) -> None:
    bare.internet.zone.set("real.test", "203.0.113.5")
    bare.internet.zone.set("alias.test", alias="real.test")
    bare.internet.zone.set("loop.test", alias="loop.test")
    assert [QTYPE[rr.rtype] for rr in ask(bare, "alias.test").rr] == ["CNAME", "A"]
    assert {QTYPE[rr.rtype] for rr in ask(bare, "loop.test").rr} == {"CNAME"}


def test_a_truncated_answer_is_whole_over_tcp(bare: World) -> None:
    bare.internet.zone.set("big.test", "203.0.113.6", truncate=True)
    assert ask(bare, "big.test").header.tc == 1
    with inside(bare.host.path):
        raw = DNSRecord.question("big.test").send(DNS_SERVERS[1], tcp=True, timeout=2)
    assert str(DNSRecord.parse(raw).rr[0].rdata) == "203.0.113.6"


def test_a_dropped_query_times_out(bare: World) -> None:
    bare.internet.zone.set("gone.test", "203.0.113.6", drop=True)
    with inside(bare.host.path), pytest.raises(TimeoutError):
        DNSRecord.question("gone.test").send(DNS_SERVERS[0], timeout=0.2)


def test_a_page_over_tls_and_every_byte_of_the_request(bare: World) -> None:
    site = bare.internet.https("page.test")
    answer = fetch(bare, "page.test", site.address, "/x?y=1")
    assert answer.startswith(b"HTTP/1.1 200")
    assert site.received == (b"GET /x?y=1 HTTP/1.1\r\nhost: page.test\r\nconnection: close\r\n\r\n")
    assert site.connections[0].sni == "page.test"
    assert site.requests[0].target == "/x?y=1"


def test_a_bad_certificate_is_refused(bare: World) -> None:
    for name, options in [("old.test", {"expired": True}), ("self.test", {"self_signed": True})]:
        context = bare.authority.server_context(name, **options)
        site = bare.internet.https(name, tls=context)
        with pytest.raises(ssl.SSLCertVerificationError):
            fetch(bare, name, site.address)
        assert site.requests == []
        assert len(site.connections) == 1


def test_behaviours(bare: World) -> None:
    site = bare.internet.https("b.test", web.chunked([b"one", b"two"]))
    assert b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n" in fetch(bare, "b.test", site.address)
    site.behave(web.events(["hello", "[DONE]"]))
    assert b"data: hello\n\n" in fetch(bare, "b.test", site.address)
    site.behave(web.cut(10))
    with suppress(ssl.SSLEOFError, ConnectionResetError):  # some OpenSSLs take it for an end
        assert fetch(bare, "b.test", site.address).count(b"x") <= 10


def test_a_server_that_speaks_first(bare: World) -> None:
    server = bare.internet.tcp("mail.test", 25, web.banner(b"220 mail.test\r\n"))
    with bare.host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        sock.connect((server.address, 25))
        assert sock.recv(100) == b"220 mail.test\r\n"


def test_keep_alive_and_raw_heads_are_recorded(bare: World) -> None:
    site = bare.internet.http("plain.test")
    with bare.host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        sock.connect((site.address, 80))
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert len(site.requests) == 2
    assert len(site.connections) == 1


def test_the_capture_sees_frames_and_proves_silence(bare: World) -> None:
    since = bare.capture.mark()
    with bare.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"tag-4711", ("8.8.8.8", 443))
    seen = bare.capture.frames(containing=b"tag-4711", protocol=17, since=since)
    assert {(f.place, f.link, f.outgoing) for f in seen} == {
        ("host", "up0", True),
        ("inet", "up0", False),
    }
    assert bare.capture.frames("inet", dst="8.8.8.0/24", dport=443, protocol=17, since=since)
    bare.capture.assert_silent(containing=b"tag-0815", since=since)
    with pytest.raises(AssertionError, match="1 frames where none may be"):
        bare.capture.assert_silent("inet", containing=b"tag-4711", protocol=17, since=since)


def test_a_flood_is_seen_whole_or_the_capture_says_it_is_partial(bare: World) -> None:
    since = bare.capture.mark()
    with bare.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(5000):
            sock.sendto(b"flood-%d" % number, ("9.9.9.9", 9))
    assert len(bare.capture.frames("inet", dst="9.9.9.9", since=since)) == 5000


def test_nothing_leads_out_of_a_world(bare: World) -> None:
    assert sorted(bare.host.links()) == ["lo", "up0"]
    assert sorted(bare.inet.links()) == ["lo", "up0"]
    assert "default" not in bare.inet.run("ip", "route").stdout


def test_two_worlds_side_by_side(bare: World) -> None:
    with World() as other:
        other.internet.zone.set("a.test", "198.51.100.1")
        bare.internet.zone.set("a.test", "198.51.100.2")
        assert str(ask(other, "a.test").rr[0].rdata) == "198.51.100.1"
        assert str(ask(bare, "a.test").rr[0].rdata) == "198.51.100.2"


# -- the leak detector ---------------------------------------------------------------------


def leaks_of(world: World) -> str:
    """What the end of `world` complains about."""
    with pytest.raises(AssertionError) as caught:
        world.__exit__(None, None, None)
    return str(caught.value)


def test_a_leaked_process_is_found() -> None:
    world = World().__enter__()
    process = subprocess.Popen(world.host.command("sleep", "60"))
    try:
        assert f"process {process.pid}: sleep 60" in leaks_of(world)
    finally:
        process.kill()
        process.wait()


def test_a_leaked_namespace_is_found() -> None:
    world = World().__enter__()
    name = f"{world.id}-forgotten"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        story = leaks_of(world)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    assert f"namespace {name}" in story
    assert f"mount {NETNS_DIR}/{name}" in story


def test_a_leaked_descriptor_is_found() -> None:
    world = World().__enter__()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert f"descriptor {descriptor}: /dev/null" in leaks_of(world)
    finally:
        os.close(descriptor)


def test_what_a_killed_run_left_is_swept() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = [f"w{dead.pid}n1.host", f"w{dead.pid}n1-hub"]
    kept = f"w{os.getpid()}n999-hub"
    for name in [*names, kept]:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        sweep()
        assert [name for name in names if (NETNS_DIR / name).exists()] == []
        assert (NETNS_DIR / kept).exists()
    finally:
        subprocess.run(["ip", "netns", "del", kept], check=True)


def fail_in_a_leaking_world(opened: list[int]) -> None:
    """A test that fails, and leaks besides."""
    with World():
        opened.append(os.open("/dev/null", os.O_RDONLY))
        raise ZeroDivisionError


def test_a_failing_test_is_not_masked_by_its_leak() -> None:
    opened: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail_in_a_leaking_world(opened)
    os.close(opened[0])


def test_the_environment_of_the_machine_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:1")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/nowhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    seen = clean_environment()
    assert not {"HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} & seen.keys()
    assert seen["LANG"] == "C.UTF-8"
