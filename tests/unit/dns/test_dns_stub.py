"""The stub resolver against scripted servers on loopback."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import dnslib
import pytest
import uvloop
from unit.dns.ports import bind_both

from netmgr.dialer.resolution import NameNotResolved, Unresolved
from netmgr_dns import stub
from netmgr_dns.messages import QType
from netmgr_dns.stub import StubResolver, follow_aliases
from netmgr_dns.wire import parse_response

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
Reply = list[bytes]
Script = Callable[[dnslib.DNSRecord], Reply]


def run(test: Callable[[], Awaitable[None]], loop: Any = asyncio.new_event_loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(15):
            await test()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


def zone(request: dnslib.DNSRecord, text: str, rcode: int = 0, tc: int = 0) -> Reply:
    """One well-formed answer from zone-file lines, owners as written."""
    reply = request.reply()
    reply.header.rcode = rcode
    reply.header.tc = tc
    for record in dnslib.RR.fromZone(text) if text else []:
        reply.add_answer(record)
    return [bytes(reply.pack())]


def by_type(v4: str, v6: str = "") -> Script:
    return lambda request: zone(request, v4 if request.q.qtype == QType.A else v6)


class Server:
    """One scripted server; what it was asked is kept."""

    def __init__(self, script: Script, tcp_script: Script | None = None) -> None:
        self._script = script
        self._tcp_script = tcp_script or script
        self.asked: list[tuple[str, str, str]] = []
        self._stack = ExitStack()
        udp, listener = bind_both("127.0.0.1")
        self._udp = self._stack.enter_context(udp)
        self._listener = self._stack.enter_context(listener)
        self._udp.setblocking(False)
        self.port = self._udp.getsockname()[1]

    async def __aenter__(self) -> "Server":
        asyncio.get_running_loop().add_reader(self._udp.fileno(), self._datagram)
        self._tcp = await asyncio.start_server(self._connection, sock=self._listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._udp.fileno())
        self._tcp.close()
        self._stack.close()

    def _datagram(self) -> None:
        data, peer = self._udp.recvfrom(4096)
        for reply in self._answers("udp", data, self._script):
            self._udp.sendto(reply, peer)

    async def _connection(self, reader: asyncio.StreamReader, writer: Any) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        for reply in self._answers("tcp", await reader.readexactly(length), self._tcp_script):
            writer.write(struct.pack("!H", len(reply)) + reply)
        writer.close()
        await writer.wait_closed()

    def _answers(self, transport: str, data: bytes, script: Script) -> Reply:
        request = dnslib.DNSRecord.parse(data)
        name = str(request.q.qname).rstrip(".").lower()
        self.asked.append((transport, name, dnslib.QTYPE[request.q.qtype]))
        return script(request)


def resolver(*servers: Server, **more: Any) -> StubResolver:
    return StubResolver([("127.0.0.1", server.port) for server in servers], **more)


async def failure(stub_resolver: StubResolver, name: str = "www.example.com") -> Unresolved:
    with pytest.raises(NameNotResolved) as caught:
        await stub_resolver.resolve(name)
    return caught.value.cause


SILENCE: Script = lambda request: []  # noqa: E731 - a script is a value here


@LOOPS
def test_both_families_ipv4_first(loop: Any) -> None:
    async def test() -> None:
        script = by_type("www.example.com. 7 A 192.0.2.1", "www.example.com. 9 AAAA 2001:db8::1")
        async with Server(script) as server:
            found = await resolver(server).resolve("www.example.com")
            assert [str(ip) for ip in found.addresses] == ["192.0.2.1", "2001:db8::1"]
            assert found.ttl == 7

    run(test, loop)


def test_answers_are_remembered_for_their_ttl_and_asked_for_once() -> None:
    async def test() -> None:
        now = 0.0
        async with Server(by_type("www.example.com. 7 A 192.0.2.1")) as server:
            stub_resolver = resolver(server, clock=lambda: now)
            await asyncio.gather(*(stub_resolver.resolve("www.example.com") for _ in range(5)))
            assert len(server.asked) == 2
            now = 6.9
            await stub_resolver.resolve("www.example.com")
            assert len(server.asked) == 2
            now = 7.1
            await stub_resolver.resolve("www.example.com")
            assert len(server.asked) == 4

    run(test)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "MAX_CACHED", 3)

    async def test() -> None:
        async with Server(lambda request: zone(request, "", rcode=3)) as server:
            stub_resolver = resolver(server)
            for number in range(6):
                assert await failure(stub_resolver, f"n{number}.example") is Unresolved.NXDOMAIN
            assert list(stub_resolver._cache) == ["n3.example", "n4.example", "n5.example"]

    run(test)


def test_one_caller_that_gives_up_takes_nothing_from_the_other() -> None:
    async def test() -> None:
        async with Server(by_type("www.example.com. 7 A 192.0.2.1")) as server:
            stub_resolver = resolver(server)
            impatient = asyncio.ensure_future(stub_resolver.resolve("www.example.com"))
            patient = asyncio.ensure_future(stub_resolver.resolve("www.example.com"))
            await asyncio.sleep(0)
            impatient.cancel()
            assert (await patient).addresses

    run(test)


def test_nxdomain_and_nodata_are_told_apart_and_remembered_shortly() -> None:
    async def test() -> None:
        rcodes = {"gone.example": 3, "empty.example": 0}

        def script(request: dnslib.DNSRecord) -> Reply:
            return zone(request, "", rcode=rcodes[str(request.q.qname).rstrip(".").lower()])

        async with Server(script) as server:
            stub_resolver = resolver(server)
            assert await failure(stub_resolver, "gone.example") is Unresolved.NXDOMAIN
            assert await failure(stub_resolver, "empty.example") is Unresolved.NODATA
            count = len(server.asked)
            assert await failure(stub_resolver, "gone.example") is Unresolved.NXDOMAIN
            assert len(server.asked) == count

    run(test)


def test_a_silent_and_a_broken_server_are_passed_over_and_then_avoided() -> None:
    async def test() -> None:
        good = by_type("www.example.com. 7 A 192.0.2.1", "www.example.com. 7 AAAA 2001:db8::1")
        async with (
            Server(SILENCE) as silent,
            Server(lambda r: zone(r, "", rcode=2)) as broken,
            Server(good) as well,
        ):
            stub_resolver = resolver(silent, broken, well, server_deadline_s=0.2)
            assert (await stub_resolver.resolve("www.example.com")).addresses
            assert {len(server.asked) for server in (silent, broken, well)} == {2}
            assert await failure(stub_resolver, "other.example") is Unresolved.NODATA
            assert len(silent.asked) == 2

    run(test)


def test_a_port_that_nobody_listens_on_is_passed_over_at_once() -> None:
    async def test() -> None:
        async with Server(by_type("www.example.com. 7 A 192.0.2.1")) as server:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
                closed.bind(("127.0.0.1", 0))
                dead = closed.getsockname()
            stub_resolver = StubResolver([dead, ("127.0.0.1", server.port)])
            async with asyncio.timeout(1):
                assert (await stub_resolver.resolve("www.example.com")).addresses

    run(test)


def test_silence_everywhere_ends_at_the_deadline() -> None:
    async def test() -> None:
        async with Server(SILENCE) as first, Server(SILENCE) as second:
            stub_resolver = resolver(first, second, server_deadline_s=0.3, total_deadline_s=0.4)
            async with asyncio.timeout(1):
                assert await failure(stub_resolver) is Unresolved.TIMEOUT

    run(test)


def test_servfail_everywhere_is_servfail() -> None:
    async def test() -> None:
        async with Server(lambda request: zone(request, "", rcode=2)) as server:
            assert await failure(resolver(server)) is Unresolved.SERVFAIL

    run(test)


def test_a_slow_ipv6_answer_does_not_hold_up_ipv4() -> None:
    async def test() -> None:
        def script(request: dnslib.DNSRecord) -> Reply:
            return zone(request, "www.example.com. 7 A 192.0.2.1") if request.q.qtype == 1 else []

        async with Server(script) as server:
            async with asyncio.timeout(0.5):
                found = await resolver(server).resolve("www.example.com")
            assert [str(ip) for ip in found.addresses] == ["192.0.2.1"]

    run(test)


@LOOPS
def test_a_truncated_answer_is_fetched_over_tcp(loop: Any) -> None:
    async def test() -> None:
        many = "\n".join(f"www.example.com. 7 A 192.0.2.{n}" for n in range(1, 60))
        script = by_type(many)
        async with Server(lambda r: zone(r, "", tc=1), script) as server:
            found = await resolver(server).resolve("www.example.com")
            assert len(found.addresses) == stub.MAX_ADDRESSES
            assert ("tcp", "www.example.com", "A") in server.asked

    run(test, loop)


def test_forged_answers_are_ignored() -> None:
    async def test() -> None:
        def script(request: dnslib.DNSRecord) -> Reply:
            (true,) = zone(
                request, "www.example.com. 7 A 192.0.2.1" if request.q.qtype == 1 else ""
            )
            other = dnslib.DNSRecord.question("evil.example")
            other.header.id = request.header.id
            (foreign,) = zone(other, "evil.example. 7 A 192.0.2.66")
            wrong_id = bytes([true[0] ^ 1]) + true[1:]
            not_a_response = bytes(request.pack())
            return [b"", b"\xff" * 40, wrong_id, foreign, not_a_response, true]

        async with Server(script) as server:
            found = await resolver(server).resolve("www.example.com")
            assert [str(ip) for ip in found.addresses] == ["192.0.2.1"]
            assert {transport for transport, *_ in server.asked} == {"udp"}

    run(test)


def test_an_answer_in_another_letter_case_is_asked_for_again_over_tcp() -> None:
    async def test() -> None:
        def lowered(request: dnslib.DNSRecord) -> Reply:
            name = dnslib.DNSLabel([label.lower() for label in request.q.qname.label])
            request.q.qname = name
            return zone(request, "long-name.example.com. 7 A 192.0.2.66")

        truth = by_type("long-name.example.com. 7 A 192.0.2.1")
        async with Server(lowered, truth) as server:
            # The odds that twenty random letters are all lower case are one in a million.
            found = await resolver(server).resolve("long-name.example.com")
            assert [str(ip) for ip in found.addresses] == ["192.0.2.1"]

    run(test)


def test_endless_stray_answers_end_the_query() -> None:
    async def test() -> None:
        async with Server(lambda request: [b"\xff" * 40] * (stub.MAX_STRAY + 1)) as server:
            async with asyncio.timeout(1):
                assert await failure(resolver(server)) is Unresolved.SERVFAIL

    run(test)


def alias_server(zone_lines: dict[str, str]) -> Script:
    def script(request: dnslib.DNSRecord) -> Reply:
        name = str(request.q.qname).rstrip(".").lower()
        if request.q.qtype != 1:
            return zone(request, "")
        return zone(request, zone_lines.get(name, ""), rcode=0 if name in zone_lines else 3)

    return script


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ({"a.example": "a.example. 9 CNAME b.example.\nb.example. 4 A 192.0.2.1"}, "192.0.2.1"),
        (
            {"a.example": "a.example. 9 CNAME b.example.", "b.example": "B.example. 4 A 192.0.2.1"},
            "192.0.2.1",
        ),
        ({"a.example": "a.example. 9 CNAME gone.example."}, Unresolved.NXDOMAIN),
        ({"a.example": "a.example. 9 CNAME a.example."}, Unresolved.CNAME),
        (
            {
                "a.example": "a.example. 9 CNAME b.example.",
                "b.example": "b.example. 9 CNAME a.example.",
            },
            Unresolved.CNAME,
        ),
        (
            {f"{n}.example": f"{n}.example. 9 CNAME {n + 1}.example." for n in range(20)}
            | {"a.example": "a.example. 9 CNAME 0.example."},
            Unresolved.CNAME,
        ),
        ({"a.example": "other.example. 9 A 192.0.2.66"}, Unresolved.NODATA),
    ],
)
def test_aliases(lines: dict[str, str], outcome: str | Unresolved) -> None:
    async def test() -> None:
        async with Server(alias_server(lines)) as server:
            stub_resolver = resolver(server)
            if isinstance(outcome, Unresolved):
                assert await failure(stub_resolver, "a.example") is outcome
                assert len(server.asked) <= 2 * (stub.MAX_ALIASES + 2)
            else:
                found = await stub_resolver.resolve("a.example")
                assert [str(ip) for ip in found.addresses] == [outcome]
                assert found.ttl == 4

    run(test)


def test_eight_aliases_are_followed_and_nine_are_not() -> None:
    for length, expected in ((8, True), (9, False)):
        lines = [f"{n}.example. 9 CNAME {n + 1}.example." for n in range(length)]
        request = dnslib.DNSRecord.question("0.example")
        (wire,) = zone(request, "\n".join([*lines, f"{length}.example. 9 A 192.0.2.1"]))
        chain = follow_aliases(("0.example",), QType.A, parse_response(wire))
        assert (chain is not None) is expected


def test_it_needs_a_server_with_an_address() -> None:
    with pytest.raises(ValueError, match="no upstream"):
        StubResolver([])
    with pytest.raises(ValueError, match="does not appear"):
        StubResolver([("dns.example", 53)])
