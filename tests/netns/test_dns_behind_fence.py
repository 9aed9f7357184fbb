"""The confined dns worker in a real hub, asked from real sandboxes (cases 26, 34 and 37)."""

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import dnslib
import pytest
from netns.hub_stage import HubStage, StageSandbox

from netmgr.policy.policy import parse_policy
from netmgr.process.ipc import Answer, Body
from netmgr.process.supervise import Launch, Supervisor, WorkerSpec

pytestmark = pytest.mark.root

NOBODY = 65534
POLICY = """
version: 1
network_policies:
  web:
    endpoints:
      - {host: page.test, port: 443}
      - {host: "*.wild.test", port: 443}
    binaries: [{path: "/**"}]
"""
NAMES = {"inference.local": "198.18.0.1", "page.test": "198.18.0.2"}


def full_state(*boxes: StageSandbox) -> list[Body]:
    policy = parse_policy(POLICY, "test.yaml")
    ops: list[Body] = [{"op": "policy", "digest": policy.digest, "doc": policy.to_doc()}]
    for box in boxes:
        op = {"op": "sandbox", "address": box.address, "name": f"s{box.address.split('.')[-1]}"}
        op |= {"tenant": None, "labels": {}, "policy": policy.digest, "revision": 1}
        ops.append(op | {"names": NAMES, "scope": op["name"]})
    return ops


@asynccontextmanager
async def resolver(
    stage: HubStage, records: list[Body], *boxes: StageSandbox
) -> AsyncIterator[None]:
    """The worker, started as the daemon starts it. It gives no address to a new name."""
    supervisor = Supervisor()
    listeners = stage.listeners
    fds = {
        "netns": stage.kernel.hub_descriptor(),
        "dns_udp": listeners.dns_udp,
        "dns_tcp": listeners.dns_tcp,
    }

    async def on_ask(what: str, body: Body, _: tuple[int, ...]) -> Answer:
        await asyncio.sleep(60)
        return Answer()

    def on_tell(what: str, body: Body, _: tuple[int, ...]) -> None:
        records.append(body)

    with tempfile.TemporaryDirectory() as empty:
        confine = {"uid": NOBODY, "gid": NOBODY, "root": empty}
        spec = WorkerSpec(
            kind="dns",
            index=0,
            launch=lambda: Launch({}, fds, confine),
            full_state=lambda: full_state(*boxes),
            on_ask=on_ask,
            on_tell=on_tell,
        )
        try:
            supervisor.add(spec)
            await supervisor.wait_ready()
            yield
        finally:
            await supervisor.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await test()

    asyncio.run(bounded())


async def ask(
    box: StageSandbox, name: str, server: str = "169.254.77.1", *, tcp: bool = False
) -> dnslib.DNSRecord:
    """An ordinary client's query; the answer must come from the server that was asked."""
    wire = bytes(dnslib.DNSRecord.question(name).pack())

    def query() -> bytes:
        with socket.socket(
            socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
        ) as sock:
            sock.settimeout(3)
            sock.connect((server, 53))
            sock.sendall(len(wire).to_bytes(2, "big") + wire if tcp else wire)
            data = sock.recv(4096)
            return data[2:] if tcp else data

    return dnslib.DNSRecord.parse(await asyncio.to_thread(box.run, query))


def test_whatever_server_a_sandbox_asks_it_is_us(stage: HubStage) -> None:
    box = stage.sandbox(2)
    records: list[Body] = []

    async def test() -> None:
        async with resolver(stage, records, box):
            for server in ("169.254.77.1", "8.8.8.8", "1.1.1.1", "10.77.0.3", "198.18.0.2"):
                for tcp in (False, True):
                    answer = await ask(box, "page.test", server, tcp=tcp)
                    assert str(answer.a.rdata) == "198.18.0.2", (server, tcp)
            assert (await ask(box, "api.entropics.com", "8.8.8.8")).header.rcode == 3

    run(test)
    assert [record["verdict"] for record in records][:2] == ["allowed", "denied"]
    assert records[1]["sandbox"] == "s2"
    assert records[1]["destination"]["name"] == "api.entropics.com"
    assert sum(record["count"] for record in records) == 11  # ten of them from or beside the cache


def test_a_flood_from_one_sandbox_leaves_the_other_alone(stage: HubStage) -> None:
    noisy, quiet = stage.sandbox(2), stage.sandbox(3)
    records: list[Body] = []

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("169.254.77.1", 53))
            for number in range(20_000):
                question = dnslib.DNSRecord.question(f"n{number % 500}.wild.test")
                wire = (
                    bytes(question.pack()) if number < 500 else b"\x12\x34\x01\x00" + b"\xff" * 40
                )
                sock.send(wire)

    async def test() -> None:
        async with resolver(stage, records, noisy, quiet):
            noise = asyncio.ensure_future(asyncio.to_thread(noisy.run, flood))
            answered = 0
            while not noise.done() or answered < 20:
                answer = await ask(quiet, "page.test")
                assert str(answer.a.rdata) == "198.18.0.2"
                answered += 1
                await asyncio.sleep(0.01)
            await noise

    run(test)
    reasons = {record["reason"] for record in records if record["sandbox"] == "s2"}
    assert {"limit_exceeded", "malformed_request"} <= reasons
    assert {record["verdict"] for record in records if record["sandbox"] == "s3"} == {"allowed"}
