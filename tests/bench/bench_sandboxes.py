"""Sandboxes: time to create one with none and with many others, memory of each, and a CNI bridge.

    sudo .venv/bin/python tests/bench/bench_sandboxes.py [--others 1000] [--samples 100]

The creation is whole: the reply comes when names, rules and links stand, the state is durable on
disk and every worker has acknowledged. The peer is the CNI bridge plugin with host-local addresses
(Debian's containernetworking-plugins) with `ip netns add` before it, which does less: no names, no
rules, no certificates, no durable state. Reports; asserts nothing.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from world import World
from world.namespaces import Namespace

CNI_DIRECTORIES = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
ALLOW = ["api.example.com", "files.example.com"]


class Api:
    """One kept-alive connection to the control socket, as a runtime would hold."""

    def __init__(self, path: Path) -> None:
        self._http = http.client.HTTPConnection("netmgr", timeout=300)
        self._http.sock = socket.socket(socket.AF_UNIX)
        self._http.sock.connect(str(path))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer of one call."""
        payload = None if body is None else json.dumps(body)
        self._http.request(method, path, payload, {"content-type": "application/json"})
        answer = self._http.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        return json.loads(text)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def create(self, name: str) -> None:
        """One sandbox that may reach two names."""
        self.call("POST", "/v1/sandboxes", {"name": name, "allow": ALLOW})

    def delete(self, name: str) -> None:
        """Its end, flows and all."""
        self.call("DELETE", f"/v1/sandboxes/{name}")


def timed(act: Callable[[str], None], names: Iterator[str], samples: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for name in names:
        began = time.perf_counter()
        act(name)
        found.append((time.perf_counter() - began) * 1000)
        if len(found) == samples:
            break
    return found


def numbered(prefix: str) -> Iterator[str]:
    """prefix1, prefix2, ..."""
    number = 0
    while True:
        number += 1
        yield f"{prefix}{number}"


def memory(pids: list[int]) -> int:
    """Proportional set size of processes, in KiB (proc_pid_smaps(5))."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


@contextmanager
def cni_bridge(host: Namespace) -> Iterator[Callable[[str], None]]:
    """A function that makes a namespace and adds it to a bridge, in the host's namespace."""
    binary = next((d for d in CNI_DIRECTORIES if (d / "bridge").exists()), None)
    if binary is None:
        raise FileNotFoundError("no CNI bridge plugin: apt-get install containernetworking-plugins")
    made: list[str] = []
    with tempfile.TemporaryDirectory() as data:
        ipam = {"type": "host-local", "subnet": "10.99.0.0/16", "dataDir": data}
        config = {"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": "cni9"}
        text = json.dumps(config | {"isGateway": True, "ipam": ipam})

        def add(name: str) -> None:
            full = f"{host.name}-{name}"
            subprocess.run(["ip", "netns", "add", full], check=True)
            made.append(full)
            env = {
                "CNI_COMMAND": "ADD",
                "CNI_CONTAINERID": full,
                "CNI_NETNS": f"/run/netns/{full}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(binary),
                "PATH": os.environ["PATH"],
            }
            command = host.command(str(binary / "bridge"))
            subprocess.run(command, input=text, text=True, env=env, check=True, capture_output=True)

        try:
            yield add
        finally:
            for name in made:
                subprocess.run(["ip", "netns", "delete", name], check=False)


def fsync_cost(directory: Path) -> float:
    """Median milliseconds of one fsync of a 4 KiB append beside the state: the disk's share."""
    found = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def all_connect(world: World, names: list[str]) -> int:
    """How many sandboxes get a TLS answer of inference.local's port, at the same time."""
    script = (
        "import socket;s=socket.create_connection(('198.18.0.1',443),20);"
        "s.send(b'x');print(s.getpeername()[0])"
    )

    def connect(name: str) -> bool:
        namespace = Namespace(f"{world.id}-{name}")
        return namespace.run(sys.executable, "-I", "-c", script, timeout=60).returncode == 0

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(connect, names))


def row(what: str, values: list[float]) -> str:
    """A table row: median, p95, max."""
    ordered = sorted(values)
    p95 = ordered[int(len(ordered) * 0.95)]
    return f"| {what} | {statistics.median(ordered):.2f} | {p95:.2f} | {ordered[-1]:.2f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=100)
    asked = parser.parse_args()
    with World() as world:
        daemon = world.daemon(max_sandboxes=asked.others + 4 * asked.samples)
        api = Api(daemon.socket)
        pids = list(daemon.processes())
        timed(api.create, numbered("warm"), 10)
        empty_memory = memory(pids)
        empty = timed(api.create, numbered("a"), asked.samples)
        timed(api.create, numbered("b"), asked.others)
        full = timed(api.create, numbered("c"), asked.samples)
        count = 10 + 2 * asked.samples + asked.others
        each = (memory(pids) - empty_memory) / (count - 10)
        names = [box["name"] for box in api.call("GET", "/v1/sandboxes")["sandboxes"]]
        connected = all_connect(world, names)
        api.close()  # it was idle for longer than the daemon keeps a connection
        api = Api(daemon.socket)
        deleted = timed(api.delete, numbered("a"), min(asked.samples, 50))
        api.call("DELETE", "/v1/sandboxes")  # a thousand take longer than a world waits at its end
        api.close()
        disk = fsync_cost(daemon.state_dir)
        with cni_bridge(world.host) as add:
            timed(add, numbered("w"), 3)
            bridge = timed(add, numbered("n"), min(asked.samples, 50))
    print("| ms | median | p95 | max |\n|---|---|---|---|")
    print(row("create, no others", empty))
    print(row(f"create, {asked.others + asked.samples} others", full))
    print(row(f"delete, {count} others", deleted))
    print(row("CNI bridge + host-local ADD, ip netns add", bridge))
    ratio = statistics.median(full) / statistics.median(empty)
    print(f"\nfull : empty = {ratio:.2f}")
    print(f"create : CNI = {statistics.median(empty) / statistics.median(bridge):.2f}")
    print(f"one fsync of the state's disk: {disk:.2f} ms (each creation commits durably once)")
    print(f"{connected} of {len(names)} sandboxes connect at once")
    print(
        f"memory (PSS): {empty_memory / 1024:.0f} MiB with 10 sandboxes, {each:.0f} KiB each more"
    )


if __name__ == "__main__":
    main()
