"""Reload of a large policy with many live flows: time until it is in force, and who notices.

    sudo .venv/bin/python tests/bench/bench_reload.py [--endpoints 1000] [--flows 1000] [--rounds 9]

One sandbox, a policy of that many endpoints, as many live relayed connections. Three reloads:
something is added; half of the endpoints go (their flows must end, all others must not notice); the
same text again. Besides, an echo on one allowed flow is timed all the while, so that a pause shows.
CPU time is told, too: on a busy machine the clock tells of others.
Reports; asserts no time, but stops where an allowed flow was cut or a denied one lives.
"""

import argparse
import json
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_sandboxes import Api, row
from world import World
from world.namespaces import inside
from world.sandbox import Sandbox

PORT = 5432
BOX = "reload"


def name_of(number: int) -> str:
    """One endpoint's host."""
    return f"n{number}.bench.example"


def policy_text(numbers: list[int]) -> str:
    """A policy for these hosts."""
    endpoints = "\n".join(f"      - {{host: {name_of(n)}, port: {PORT}}}" for n in numbers)
    return (
        "version: 1\nnetwork_policies:\n  db:\n    endpoints:\n"
        f'{endpoints}\n    binaries: [{{path: "/**"}}]\n'
    )


def put(api: Api, text: str) -> float:
    """Milliseconds until a policy is in force."""
    began = time.perf_counter()
    api.call("PUT", f"/v1/sandboxes/{BOX}/policy", {"text": text, "source": "bench"})
    return (time.perf_counter() - began) * 1000


def works(flow: socket.socket) -> bool:
    """Whether bytes come back."""
    try:
        flow.sendall(b"\0x")
        return flow.recv(8) == b"\0x"
    except OSError:
        return False


def open_flows(box: Sandbox, names: dict[str, str], count: int, hosts: int) -> list[socket.socket]:
    """Live flows, `hosts` destinations in turn."""
    flows = []
    with inside(box.namespace.path):
        for number in range(count):
            address = (names[name_of(number % hosts)], PORT)
            flow = socket.create_connection(address, timeout=10)
            assert works(flow)  # one after the other: only so many may be under way at once
            flows.append(flow)
    return flows


class Cpu:
    """CPU time of the daemon and its workers, by kind."""

    def __init__(self, processes: dict[int, str]) -> None:
        self._processes = processes
        self._before = self._now()

    def _now(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for pid, kind in self._processes.items():
            for task in Path(f"/proc/{pid}/task").iterdir():
                used[kind] += int((task / "schedstat").read_text().split()[0])
        return used

    def shown(self, changes: int) -> str:
        """Milliseconds of one change, by kind, since the start."""
        used = self._now() - self._before
        parts = [f"{kind} {used[kind] / changes / 1e6:.1f}" for kind in sorted(used)]
        return f"CPU ms of one change: {', '.join(parts)}, all {used.total() / changes / 1e6:.1f}"


class Pulse:
    """Echoes on one flow for ever; the longest one tells of pauses."""

    def __init__(self, flow: socket.socket) -> None:
        self._flow = flow
        self._stop = threading.Event()
        self.worst_ms = 0.0
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            assert works(self._flow)
            self.worst_ms = max(self.worst_ms, (time.perf_counter() - began) * 1000)
            time.sleep(0.002)

    def end(self) -> float:
        """The longest echo in milliseconds."""
        self._stop.set()
        self._thread.join()
        return self.worst_ms


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    numbers = list(range(asked.endpoints))
    half = numbers[: asked.endpoints // 2]
    with World() as world:
        for place in ("host", "inet", "hub"):
            world.capture.forget(place)
        server = world.internet.tcp(name_of(0), PORT)
        for number in numbers[1:]:
            world.internet.zone.set(name_of(number), server.address)
        daemon = world.daemon(connections_per_sandbox=asked.flows + 100)
        box = world.sandbox(BOX, policy_text(numbers))
        shown = json.loads(world.netmgr("sandbox", "show", BOX, "-o", "json").stdout)
        flows = open_flows(box, shown["names"], asked.flows, asked.endpoints)
        api = Api(daemon.socket)
        cpu = Cpu(daemon.processes())
        for round_ in range(asked.rounds):
            put(api, policy_text([*numbers, 2 * asked.endpoints + round_]))
        quiet = cpu.shown(asked.rounds)
        put(api, policy_text(numbers))
        pulse = Pulse(flows[0])
        same, added, halved = [], [], []
        for round_ in range(asked.rounds):
            same.append(put(api, policy_text(numbers)))
            added.append(put(api, policy_text([*numbers, asked.endpoints + round_])))
            put(api, policy_text(numbers))
        assert all(map(works, flows[1:])), "an allowed flow was cut"
        halved.append(put(api, policy_text(half)))
        kept = [f for n, f in enumerate(flows) if n % asked.endpoints in set(half)]
        cut = [f for n, f in enumerate(flows) if n % asked.endpoints not in set(half)]
        assert all(map(works, kept[1:])), "an allowed flow was cut"
        assert not any(map(works, cut)), "a denied flow lives"
        worst = pulse.end()
        for flow in flows:
            flow.close()
        api.close()
    what = f"{asked.endpoints} endpoints, {asked.flows} live flows"
    print(f"| ms, {what} | median | p95 | max |\n|---|---|---|---|")
    print(row("the same policy again", same))
    print(row("an endpoint more", added))
    print(row(f"half of it gone, {len(cut)} flows cut", halved))
    print(f"\nlongest echo on an allowed flow meanwhile: {worst:.1f} ms")
    print(f"{quiet} (an endpoint for another, nothing else going on)")
    print(f"median of all changes: {statistics.median(added + halved):.1f} ms")


if __name__ == "__main__":
    main()
