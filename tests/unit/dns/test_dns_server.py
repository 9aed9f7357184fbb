"""The dns worker as a whole, on real sockets: sandboxes are loopback addresses here."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import dnslib
import pytest
import uvloop
from unit.dns.ports import bind_both

from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import Answer, Body, Peer, PeerRefused
from netmgr_dns import desk, ledger, tcp
from netmgr_dns.server import DnsRole

POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: api.example.com, port: 443}
      - {host: "*.wild.example", port: 443}
    binaries: [{path: "/**"}]
"""
NOTHING = "version: 1\nnetwork_policies: {}\n"
ANNA, BERT, STRANGER, SERVER = "127.0.0.11", "127.0.0.12", "127.0.0.66", "127.0.0.53"
NAMES = {"inference.local": "198.18.0.1", "api.example.com": "198.18.0.2"}

LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])


def run(test: Callable[[], Awaitable[None]], loop: Any = uvloop.new_event_loop) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())


class World:
    """A worker, the daemon's end of its channel, and clients."""

    def __init__(self, settings: Body) -> None:
        udp, listener = bind_both("0.0.0.0")
        self.port = udp.getsockname()[1]
        ours, theirs = socket.socketpair()
        self.records: list[Body] = []
        self.asked: list[Body] = []
        self.name_gate = asyncio.Event()
        self.name_gate.set()
        self.name_refusal: PeerRefused | None = None
        self.daemon = Peer(theirs, on_ask=self._on_ask, on_tell=self._on_tell)
        self.role = DnsRole()
        self.channel = Peer(ours)
        fds = {"dns_udp": udp.detach(), "dns_tcp": listener.detach()}
        self.role.open(settings, fds, self.channel)
        for text in (POLICY, NOTHING):
            policy = parse_policy(text, "test.yaml")
            self.role.apply({"op": "policy", "digest": policy.digest, "doc": policy.to_doc()})
        self.put(ANNA, "anna", POLICY, NAMES)
        self.put(BERT, "bert", NOTHING, {"inference.local": "198.18.0.1"})
        self.role.serve()

    def put(
        self, address: str, name: str, policy: str, names: dict[str, str], rev: int = 1
    ) -> None:
        op = {"op": "sandbox", "address": address, "name": name, "tenant": "t1", "labels": {}}
        digest = parse_policy(policy, "test.yaml").digest
        self.role.apply(op | {"policy": digest, "revision": rev, "names": names, "scope": name})

    async def _on_ask(self, what: str, body: Body, fds: tuple[int, ...]) -> Answer:
        assert what == "name"
        self.asked.append(body)
        await self.name_gate.wait()
        if self.name_refusal is not None:
            raise self.name_refusal
        ip = f"198.18.1.{len(self.asked)}"
        op = {"op": "names", "address": body["address"], "names": {body["name"]: ip}}
        self.role.apply(op)
        return Answer({"ip": ip, "ttl": 30})

    def _on_tell(self, what: str, body: Body, fds: tuple[int, ...]) -> None:
        assert what == "record"
        self.records.append(body)

    async def udp(self, data: bytes, source: str = ANNA, wait: float = 2.0) -> bytes | None:
        """One datagram and its answer, which must come from the address that was asked."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((source, 0))
            sock.connect((SERVER, self.port))  # drops answers from any other address
            sock.send(data)
            try:
                async with asyncio.timeout(wait):
                    return await loop.sock_recv(sock, 4096)
            except TimeoutError:
                return None

    async def ask(self, name: str, qtype: str = "A", source: str = ANNA) -> dnslib.DNSRecord:
        query = dnslib.DNSRecord.question(name, qtype)
        query.add_ar(dnslib.EDNS0(udp_len=1232))
        wire = await self.udp(bytes(query.pack()), source)
        assert wire is not None
        answer = dnslib.DNSRecord.parse(wire)
        assert answer.header.id == query.header.id
        return answer

    async def tcp(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(SERVER, self.port, local_addr=(ANNA, 0))

    async def told(self, count: int) -> list[Body]:
        """The records, once there are that many."""
        async with asyncio.timeout(5):
            while len(self.records) < count:
                await asyncio.sleep(0.01)
        return self.records


@asynccontextmanager
async def world(**settings: float) -> AsyncIterator[World]:
    place = World(settings)
    try:
        yield place
    finally:
        await place.role.close()
        place.channel.close()
        place.daemon.close()
        await asyncio.sleep(0)


def ede(answer: dnslib.DNSRecord) -> tuple[int, str]:
    (option,) = answer.ar[0].rdata
    return struct.unpack("!H", option.data[:2])[0], option.data[2:].decode()


def framed(record: dnslib.DNSRecord) -> bytes:
    wire = bytes(record.pack())
    return struct.pack("!H", len(wire)) + wire


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other end hangs up without another word."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def read_answer(reader: asyncio.StreamReader) -> dnslib.DNSRecord:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return dnslib.DNSRecord.parse(await reader.readexactly(length))


@LOOPS
def test_each_sandbox_sees_its_own_view(loop: Any) -> None:
    async def test() -> None:
        async with world() as place:
            assert str((await place.ask("API.example.com")).a.rdata) == "198.18.0.2"
            denied = await place.ask("api.example.com", source=BERT)
            assert denied.header.rcode == 3
            assert ede(denied) == (15, "no_matching_rule rule=none")
            both = [await place.ask("inference.local", source=who) for who in (ANNA, BERT)]
            assert [str(answer.a.rdata) for answer in both] == ["198.18.0.1"] * 2

    run(test, loop)


def test_an_unknown_source_hears_nothing_and_is_recorded() -> None:
    async def test() -> None:
        async with world() as place:
            data = bytes(dnslib.DNSRecord.question("inference.local").pack())
            assert await place.udp(data, STRANGER, wait=0.3) is None
            (record,) = await place.told(1)
            assert (record["sandbox"], record["reason"]) == (None, "unknown_caller")

    run(test)


def test_garbage_gets_formerr_or_silence_and_the_worker_lives() -> None:
    async def test() -> None:
        async with world() as place:
            assert await place.udp(b"\x12\x34", wait=0.2) is None
            response = bytes(dnslib.DNSRecord.question("inference.local").reply().pack())
            assert await place.udp(response, wait=0.2) is None
            answer = await place.udp(b"\x12\x34\x01\x00" + b"\xff" * 30)
            assert answer is not None
            assert answer[:2] == b"\x12\x34"
            assert answer[3] & 0xF == 1
            too_long = b"\x12\x34\x01\x00\x00\x01" + b"\0" * 3000
            assert (await place.udp(too_long) or b"....")[3] & 0xF == 1
            assert (await place.ask("inference.local")).header.rcode == 0
            reasons = [record["reason"] for record in await place.told(2)]
            assert "malformed_request" in reasons

    run(test)


def test_first_occurrences_are_told_at_once_and_repeats_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("netmgr_dns.server.WINDOW_S", 0.5)

    async def test() -> None:
        async with world() as place:
            for _ in range(5):
                await place.ask("api.example.com")
                await place.ask("api.entropics.com")
            first = {r["destination"]["name"]: r for r in await place.told(2)}
            assert len(place.records) == 2
            allowed, denied = first["api.example.com"], first["api.entropics.com"]
            assert (allowed["verdict"], allowed["count"]) == ("allowed", 1)
            assert allowed["destination"]["ip"] == "198.18.0.2"
            assert (denied["verdict"], denied["reason"]) == ("denied", "no_matching_rule")
            assert denied["tenant"] == "t1"
            assert denied["policy_revision"] == 1
            assert denied["remedy"] is not None
            assert denied["remedy"].startswith("netmgr policy update anna ")
            later = (await place.told(4))[2:]
            assert [record["count"] for record in later] == [4, 4]

    run(test)


def test_a_policy_change_is_in_force_at_the_next_query() -> None:
    async def test() -> None:
        async with world() as place:
            query = bytes(dnslib.DNSRecord.question("api.example.com").pack())
            first = await place.udp(query)
            assert first == await place.udp(query)  # the second one from the cache
            place.put(ANNA, "anna", NOTHING, {}, rev=2)
            denied = await place.udp(query)
            assert denied is not None
            assert denied[3] & 0xF == 3
            place.put(ANNA, "anna", POLICY, NAMES, rev=3)
            assert await place.udp(query) == first
            place.role.apply({"op": "sandbox.forget", "address": ANNA})
            assert await place.udp(query, wait=0.2) is None

    run(test)


def test_a_new_wildcard_name_is_asked_for_once_and_then_known() -> None:
    async def test() -> None:
        async with world() as place:
            place.name_gate.clear()
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(place.ask("a.wild.example")) for _ in range(2)]
                await asyncio.sleep(0.1)
                place.name_gate.set()
            assert [str(task.result().a.rdata) for task in both] == ["198.18.1.1"] * 2
            assert place.asked == [{"address": ANNA, "name": "a.wild.example"}]
            assert str((await place.ask("A.wild.example")).a.rdata) == "198.18.1.1"
            assert len(place.asked) == 1
            pointer = await place.ask("1.1.18.198.in-addr.arpa", "PTR")
            assert str(pointer.a.rdata) == "a.wild.example."
            assert (await place.ask("b.wild.example", "AAAA")).header.rcode == 0
            assert len(place.asked) == 1  # no address is spent on a type that has none

    run(test)


def test_a_name_that_gets_no_address_is_servfail_with_the_reason() -> None:
    async def test() -> None:
        async with world() as place:
            place.name_refusal = PeerRefused("limit_exceeded", "1024 names are in use")
            answer = await place.ask("a.wild.example")
            assert answer.header.rcode == 2
            assert ede(answer)[1].startswith("limit_exceeded rule=web")
            (record,) = await place.told(1)
            assert record["message"] == "1024 names are in use"

    run(test)


def test_a_silent_daemon_is_a_servfail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netmgr_dns.server.NAME_DEADLINE_S", 0.1)

    async def test() -> None:
        async with world() as place:
            place.name_gate.clear()
            answer = await place.ask("a.wild.example")
            assert answer.header.rcode == 2
            assert ede(answer)[1].startswith("name_not_resolved rule=web")
            place.name_gate.set()

    run(test)


def test_many_new_names_are_limited_per_sandbox_and_others_are_served() -> None:
    async def test() -> None:
        async with world() as place:
            place.name_gate.clear()
            flood = [
                asyncio.ensure_future(place.ask(f"n{i}.wild.example"))
                for i in range(desk.MAX_NEW_NAMES + 3)
            ]
            await asyncio.sleep(0.3)
            codes = [task.result().header.rcode for task in flood if task.done()]
            assert codes == [2, 2, 2]
            assert (await place.ask("inference.local", source=BERT)).header.rcode == 0
            place.name_gate.set()
            answers = await asyncio.gather(*flood)
            assert sum(answer.header.rcode == 0 for answer in answers) == desk.MAX_NEW_NAMES

    run(test)


def test_a_flood_of_queries_hurts_only_its_own_sandbox() -> None:
    async def test() -> None:
        async with world(queries_per_s=1, queries_burst=5) as place:
            data = bytes(dnslib.DNSRecord.question("inference.local").pack())
            answers = [await place.udp(data, wait=0.1) for _ in range(7)]
            assert [answer is None for answer in answers] == [False] * 5 + [True] * 2
            assert await place.udp(data, BERT) is not None
            await place.told(3)
            assert "limit_exceeded" in [record["reason"] for record in place.records]
            statistics = await place.role.on_ask("statistics", {}, ())
            assert statistics.body["over_limit"] == 2

    run(test)


@LOOPS
def test_tcp_answers_pipelined_queries_in_pieces(loop: Any) -> None:
    async def test() -> None:
        async with world() as place:
            reader, writer = await place.tcp()
            names = ("api.example.com", "nowhere.example", "a.wild.example")
            stream = b"".join(framed(dnslib.DNSRecord.question(name)) for name in names)
            for byte in stream:
                writer.write(bytes([byte]))
                await writer.drain()
            writer.write_eof()  # what was asked is answered all the same
            found = [await read_answer(reader) for _ in names]
            codes = {str(answer.q.qname): answer.header.rcode for answer in found}
            expected = {"api.example.com.": 0, "nowhere.example.": 3, "a.wild.example.": 0}
            assert codes == expected
            writer.close()
            await writer.wait_closed()

    run(test, loop)


def test_tcp_connections_are_bounded_idle_ones_end_and_long_frames_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "IDLE_S", 0.5)
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 2)

    async def test() -> None:
        async with world() as place:
            opened = [await place.tcp() for _ in range(2)]
            third, third_writer = await place.tcp()
            assert await ended(third)
            opened[0][1].write(b"\xff\xff")
            assert await ended(opened[0][0])
            assert await ended(opened[1][0])  # nothing was asked on it
            again, again_writer = await place.tcp()  # places are given back
            again_writer.write(framed(dnslib.DNSRecord.question("inference.local")))
            assert (await read_answer(again)).header.rcode == 0
            for writer in (third_writer, again_writer, *(w for _, w in opened)):
                writer.close()

    run(test)


def test_a_tcp_stranger_is_cut_off() -> None:
    async def test() -> None:
        async with world() as place:
            reader, writer = await asyncio.open_connection(
                SERVER, place.port, local_addr=(STRANGER, 0)
            )
            assert await ended(reader)
            writer.close()

    run(test)


def test_the_cache_is_bounded_and_ignores_what_varies() -> None:
    async def test() -> None:
        async with world() as place:
            for number in range(desk.MAX_CACHED + 20):
                await place.ask(f"n{number}.example")
            assert place.role._desk is not None
            client = place.role._desk.clients[ANNA]
            assert len(client.cache) == desk.MAX_CACHED
            client.cache.clear()
            cookie = dnslib.DNSRecord.question("inference.local")
            cookie.add_ar(dnslib.EDNS0(opts=[dnslib.EDNSOption(10, b"12345678")]))
            assert await place.udp(bytes(cookie.pack())) is not None
            assert client.cache == {}

    run(test)


def test_names_beyond_the_budget_are_counted_in_one_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "FIRSTS_BURST", 3.0)
    monkeypatch.setattr(ledger, "FIRSTS_PER_S", 0.0)

    async def test() -> None:
        async with world() as place:
            for number in range(10):
                await place.ask(f"n{number}.example")
            assert place.role._desk is not None
            place.role._desk.tell_repeats()
            records = await place.told(4)
            assert [record["count"] for record in records] == [1, 1, 1, 7]
            assert records[-1]["destination"]["name"] is None

    run(test)


def test_a_question_that_nobody_answers_is_refused() -> None:
    async def test() -> None:
        async with world() as place:
            with pytest.raises(PeerRefused):
                await place.role.on_ask("probe", {}, ())

    run(test)
