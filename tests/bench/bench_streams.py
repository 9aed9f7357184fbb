"""What netmgr costs per event of a stream, beside haproxy; many slow streams at once.

    sudo .venv/bin/python tests/bench/bench_streams.py [--quick] [--streams 50] [--many 2000]

The same source and the same client; "direct" asks the source from the host's namespace. CPU is
that of the proxy's processes. Reports; asserts nothing.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import (
    MODEL_NAME,
    PROXY_ADDRESS,
    Options,
    client_namespace,
    cpu_seconds,
    family,
    netmgr_processes,
    private_address,
    pss_kib,
    quiet_world,
    set_inference,
    started,
)
from world import Sandbox, World
from world.environment import clean_environment
from world.namespaces import Namespace

HERE: Final = Path(__file__).resolve().parent
POLICY: Final = "version: 1\nnetwork_policies: {}\n"
GAP_MS: Final = 10  # 100 events a second
SLOW_MS: Final = 1000
DEADLINE_S: Final = 300.0
SETTLE_S: Final = 1.0  # until what connecting took is freed again


@dataclass
class Way:
    """One way from a client to the source."""

    name: str
    place: Namespace
    address: str
    host: str
    ca: str
    pids: list[int] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def start(self, streams: int, events: int, gap_ms: int) -> "subprocess.Popen[str]":
        """The client, reading."""
        words = [self.address, "443", self.host, self.ca, str(streams), str(events), str(gap_ms)]
        return subprocess.Popen(
            self.place.command(sys.executable, "-I", str(HERE / "stream_sink.py"), *words),
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )

    def measure(self, streams: int, events: int) -> None:
        """One turn."""
        client = self.start(streams, events, GAP_MS)
        await_line(client)
        before = cpu_seconds(self.pids)
        told = last_words(client)
        spent = cpu_seconds(self.pids) - before
        if told["errors"]:
            raise SystemExit(f"{self.name}: {told}")
        self.costs.append(spent * 1e6 / told["events"])
        self.p50.append(told["p50"])
        self.p99.append(told["p99"])


def await_line(client: "subprocess.Popen[str]") -> None:
    """Wait until every stream has begun."""
    assert client.stdout is not None
    line = client.stdout.readline()
    if "begun" not in line:
        raise SystemExit(f"not every stream began: {line}")


def last_words(client: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the client counted."""
    text, _ = client.communicate(timeout=DEADLINE_S)
    told: dict[str, Any] = json.loads(text.splitlines()[-1])
    return told


@contextmanager
def source(world: World) -> Iterator[str]:
    """The address of the server of all streams."""
    address = world.internet.address()
    world.internet.zone.set(MODEL_NAME, address)
    leaf = str(world.authority.leaf_file(MODEL_NAME))
    command = [sys.executable, "-I", str(HERE / "stream_source.py"), address, "443", leaf]
    with started(world.inet, (address, 443), command):
        yield address


@contextmanager
def haproxy(world: World, place: Namespace, origin: str) -> Iterator[Way]:
    """haproxy with TLS on both sides and as many threads as we have workers."""
    threads = len(netmgr_processes(world)["proxy"])
    root = world.authority.root_file
    config = world.directory / "haproxy.cfg"
    config.write_text(f"""
        global
            nbthread {threads}
            maxconn 8192
        defaults
            mode http
            timeout connect 10s
            timeout client 300s
            timeout server 300s
        frontend front
            bind {PROXY_ADDRESS}:443 ssl crt {world.authority.leaf_file(MODEL_NAME)}
            default_backend back
        backend back
            server one {origin}:443 ssl verify required ca-file {root} sni str({MODEL_NAME})
""")
    command = ["haproxy", "-db", "-f", str(config)]
    with started(world.host, (PROXY_ADDRESS, 443), command) as pid:
        yield Way("haproxy", place, PROXY_ADDRESS, MODEL_NAME, str(root), family(pid))


def ours(world: World, sandbox: Sandbox) -> Way:
    """inference.local of one sandbox."""
    inside = private_address(sandbox, "inference.local")
    ca = sandbox.facts["run_dir"] + "/ca.pem"
    workers = netmgr_processes(world)["proxy"]
    return Way("netmgr", sandbox.namespace, inside, "inference.local", ca, workers)


def hold_many(ways: list[Way], count: int, seconds: int) -> None:
    """Streams of one event a second each, shared out over sandboxes."""
    workers = ways[0].pids
    for way in ways:  # what a worker loads once is not counted
        last_words(way.start(1, 1, GAP_MS))
    before, spent = pss_kib(workers), cpu_seconds(workers)
    clients = [way.start(count // len(ways), seconds, SLOW_MS) for way in ways]
    for client in clients:
        await_line(client)
    time.sleep(SETTLE_S)
    each = (pss_kib(workers) - before) / count
    told = [last_words(client) for client in clients]
    cpu = cpu_seconds(workers) - spent
    events, errors = sum(t["events"] for t in told), sum(t["errors"] for t in told)
    print(
        f"\n{count} streams of one event a second: {errors} errors (target: 0), {events} events, "
        f"{each:.1f} KiB of the workers per stream (target: under 64), {cpu:.1f} s of CPU, "
        f"p99 {max(t['p99'] for t in told) / 1000:.2f} ms"
    )


def report(ways: list[Way]) -> None:
    """The table, and the ratios to the targets."""
    print("| one event | CPU µs | delay median µs | p99 |\n|---|---|---|---|")
    for way in ways:
        cpu = f"{statistics.median(way.costs):.1f}" if way.pids else ""
        middle = statistics.median
        print(f"| {way.name} | {cpu} | {middle(way.p50):.0f} | {middle(way.p99):.0f} |")
    by_name = {way.name: way for way in ways}
    mine, direct = by_name["netmgr"], by_name["direct"]
    added = statistics.median(a - b for a, b in zip(mine.p99, direct.p99, strict=True))
    print(f"\nadded p99 delay of an event: {added / 1000:.3f} ms (target: under 1)")
    if peer := by_name.get("haproxy"):
        ratio = statistics.median(a / b for a, b in zip(mine.costs, peer.costs, strict=True))
        print(f"\nnetmgr : haproxy, CPU per event = {ratio:.3g} (target: 1.5 at most)")
    else:
        print("\nno row for haproxy: it is not installed (apt install haproxy)")


def main() -> None:
    """Measure and report."""
    asked = (
        Options(__doc__)
        .number("streams", 50, 10, "of 100 events a second each")
        .number("events", 1000, 100, "of each stream")
        .number("rounds", 5, 1, "of all ways")
        .number("many", 2000, 200, "streams of one event a second")
        .number("seconds", 30, 5, "that these last")
        .read()
    )
    with ExitStack() as stack:
        world = stack.enter_context(quiet_world(connections_per_sandbox=asked.many))
        origin = stack.enter_context(source(world))
        set_inference(world)
        mine = [ours(world, world.sandbox(name, POLICY)) for name in ("one", "two")]
        root = str(world.authority.root_file)
        ways = [Way("direct", world.host, origin, MODEL_NAME, root), mine[0]]
        if shutil.which("haproxy"):
            place = stack.enter_context(client_namespace(world))
            ways.append(stack.enter_context(haproxy(world, place, origin)))
        for _ in range(asked.rounds):
            for way in ways:
                way.measure(asked.streams, asked.events)
        report(ways)
        hold_many(mine, asked.many, asked.seconds)


if __name__ == "__main__":
    main()
