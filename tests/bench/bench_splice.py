"""Bulk download through a spliced (L4) endpoint, beside a plain uvloop protocol relay.

    sudo .venv/bin/python tests/bench/bench_splice.py [--quick] [--gigabytes 2] [--rounds 5]

One server sends from memory, one client throws the bytes away in the kernel, both over one veth
pair to what stands between. "direct" is the same download with only the host's forwarding between.
Reports; asserts nothing.
"""

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import (
    PROXY_ADDRESS,
    RUN_DEADLINE_S,
    Options,
    client_namespace,
    cpu_seconds,
    family,
    netmgr_processes,
    private_address,
    quiet_world,
    started,
)
from world.environment import clean_environment
from world.namespaces import Namespace

NAME: Final = "files.bench.example"
PORT: Final = 9000
GB: Final = 1_000_000_000
BLOCK: Final = 64 * 1024 * 1024  # the server's file in memory, sent again and again
DISCARD: Final = 1024 * 1024
SOCKET_DEADLINE_S: Final = 60.0
POLICY: Final = f"""
version: 1
network_policies:
  bench:
    endpoints: [{{host: {NAME}, port: {PORT}}}]
    binaries: [{{path: "/**"}}]
"""


# -- what runs inside: `bench_splice.py --serve ROLE ...` ----------------------------------


def serve_file(address: str) -> None:
    """Sends every client as many bytes as its first line asks for."""
    block = os.memfd_create("block")
    os.pwrite(block, os.urandom(BLOCK), 0)

    def send(client: socket.socket) -> None:
        with client:
            line = client.recv(64)
            left = int(line) if line else 0
            while left:
                left -= os.sendfile(client.fileno(), block, 0, min(left, BLOCK))

    listener = socket.create_server((address, PORT))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=send, args=(client,), daemon=True).start()


def download(address: str, size: int) -> None:
    """Asks for `size` bytes, drops them in the kernel, prints the seconds that took."""
    with socket.create_connection((address, PORT), SOCKET_DEADLINE_S) as server:
        server.settimeout(None)
        began = time.perf_counter()
        server.sendall(b"%d\n" % size)
        left = size
        while left and (got := len(server.recv(DISCARD, socket.MSG_TRUNC))):
            left -= got
        print(json.dumps({"left": left, "seconds": time.perf_counter() - began}))


class Leg(asyncio.Protocol):
    """One side of the plain relay: what one would write first, with back pressure."""

    def __init__(self) -> None:
        self.other: Leg | None = None
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.waiting.append(data)
        else:
            self.other.transport.write(data)  # type: ignore[attr-defined]

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


def serve_relay(listen: str, origin: str) -> None:
    """The plain relay, on uvloop."""
    import uvloop

    async def join(client: Leg) -> None:
        loop = asyncio.get_running_loop()
        _, server = await loop.create_connection(Leg, origin, PORT)
        client.other, server.other = server, client
        if client.transport.is_closing():
            server.transport.close()
        for data in client.waiting:
            server.transport.write(data)  # type: ignore[attr-defined]

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        joins = set()

        class Accepted(Leg):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                joins.add(loop.create_task(join(self)))

        await loop.create_server(Accepted, listen, PORT)
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def role(*words: str) -> list[str]:
    """The command of one of the above."""
    return [sys.executable, str(Path(__file__).resolve()), "--serve", *words]


# -- measuring -----------------------------------------------------------------------------


@dataclass(slots=True)
class Way:
    """One row of the table."""

    name: str
    place: Namespace
    address: str
    pids: list[int]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def run(self, size: int) -> None:
        """One download, noted."""
        before = cpu_seconds(self.pids)
        done = subprocess.run(
            self.place.command(*role("download", self.address, str(size))),
            text=True,
            capture_output=True,
            timeout=RUN_DEADLINE_S,
            env=clean_environment(),
            check=False,
        )
        if done.returncode or json.loads(done.stdout)["left"]:
            raise SystemExit(f"{self.name}: the download broke off: {done.stdout}{done.stderr}")
        used = cpu_seconds(self.pids) - before
        self.rates.append(size / 1e6 / json.loads(done.stdout)["seconds"])
        self.costs.append(used * 1000 / (size / GB))


def report(ways: list[Way]) -> None:
    """The table, and the ratios within the rounds."""
    print("| download | MB/s | min | max | CPU ms per GB |\n|---|---|---|---|---|")
    for way in ways:
        cost = f"{statistics.median(way.costs):.0f}" if way.pids else ""
        rates = way.rates
        print(
            f"| {way.name} | {statistics.median(rates):.0f} | {min(rates):.0f} |"
            f" {max(rates):.0f} | {cost} |"
        )
    ours, plain = ways[0], ways[1]
    rate = statistics.median(a / b for a, b in zip(ours.rates, plain.rates, strict=True))
    cost = statistics.median(a / b for a, b in zip(ours.costs, plain.costs, strict=True))
    print(f"\nthroughput, netmgr : relay = {rate:.2f} (target: 0.9 at least)")
    print(f"\nCPU per GB, netmgr : relay = {cost:.2f} (target: 0.8 at most)")


def measure() -> None:
    """Set up, take turns, report."""
    asked = (
        Options(__doc__)
        .number("gigabytes", 2, 1, "of each download")
        .number("rounds", 5, 1, "of all ways")
        .read()
    )
    size = asked.gigabytes * GB
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world())
        origin = world.internet.address()
        world.internet.zone.set(NAME, origin)
        stack.enter_context(started(world.inet, (origin, PORT), role("file", origin)))
        sandbox = world.sandbox("bench", POLICY)
        place = stack.enter_context(client_namespace(world))
        place.ip(f"route add default via {PROXY_ADDRESS}")
        world.inet.ip("route add 10.78.0.0/30 via 192.0.2.1")
        relay = role("relay", PROXY_ADDRESS, origin)
        pid = stack.enter_context(started(world.host, (PROXY_ADDRESS, PORT), relay))
        inside = private_address(sandbox, NAME)
        workers = netmgr_processes(world)["proxy"]
        ways = [
            Way("netmgr, L4 endpoint", sandbox.namespace, inside, workers),
            Way("uvloop protocol relay", place, PROXY_ADDRESS, family(pid)),
            Way("direct, forwarded by the host", place, origin, []),
        ]
        for way in ways:
            way.run(GB // 10)
            way.rates.clear()
            way.costs.clear()
        for _ in range(asked.rounds):
            for way in ways:
                way.run(size)
    report(ways)


def main() -> None:
    """Measure, or be one of the processes that take part."""
    roles = {
        "file": serve_file,
        "relay": serve_relay,
        "download": lambda address, size: download(address, int(size)),
    }
    if sys.argv[1:2] == ["--serve"]:
        roles[sys.argv[2]](*sys.argv[3:])
    else:
        measure()


if __name__ == "__main__":
    main()
