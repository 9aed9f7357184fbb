"""Cached DNS answers: CPU per query of our worker, dnsmasq and a plain dnslib server.

All three stand in the same namespace, at the same address, behind the same veth pair, and are asked
by dnsperf one after the other, in several rounds. Reports; asserts nothing.

    sudo .venv/bin/python tests/bench/bench_dns.py [--seconds 5] [--rounds 3]

Needs root, and Debian's dnsperf and dnsmasq-base.
"""

import argparse
import asyncio
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CLIENT_IP, SERVER_IP = "10.77.0.5", "169.254.77.1"
NAME, ANSWER = "api.example.com", "198.18.0.2"
PORTS = {"netmgr": 5301, "dnsmasq": 5302, "dnslib": 5303}
POLICY = f"""
version: 1
network_policies:
  web:
    endpoints: [{{host: {NAME}, port: 443}}]
    binaries: [{{path: "/**"}}]
"""


# -- the three servers -----------------------------------------------------------------------


def serve_netmgr(port: int) -> None:
    """The worker's own role on uvloop, on a channel to a daemon that reads its records."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_netmgr(port))


async def _serve_netmgr(port: int) -> None:
    from netmgr.policy.policy import parse_policy
    from netmgr.process.ipc import Peer
    from netmgr_dns.server import DnsRole

    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", port))
    tcp = socket.create_server(("0.0.0.0", port))
    ours, theirs = socket.socketpair()
    daemon, _reader = Peer(ours), Peer(theirs)
    role = DnsRole()
    settings = {"queries_per_s": 1e9, "queries_burst": 1e9}
    role.open(settings, {"dns_udp": udp.detach(), "dns_tcp": tcp.detach()}, daemon)
    policy = parse_policy(POLICY, "bench.yaml")
    role.apply({"op": "policy", "digest": policy.digest, "doc": policy.to_doc()})
    sandbox = {"op": "sandbox", "address": CLIENT_IP, "name": "box", "tenant": None, "labels": {}}
    sandbox |= {"policy": policy.digest, "revision": 1, "names": {NAME: ANSWER}, "scope": "box"}
    role.apply(sandbox)
    role.serve()
    await asyncio.Event().wait()


def serve_dnslib(port: int) -> None:
    """What one would write first: a datagram protocol on uvloop, parse, reply, pack."""
    import dnslib
    import uvloop

    class Plain(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            request = dnslib.DNSRecord.parse(data)
            reply = request.reply()
            reply.add_answer(dnslib.RR(request.q.qname, 1, 1, 30, dnslib.A(ANSWER)))
            self.transport.sendto(bytes(reply.pack()), addr)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Plain, local_addr=("0.0.0.0", port))
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def command(server: str) -> list[str]:
    """How a server is started."""
    port = str(PORTS[server])
    if server == "dnsmasq":
        options = f"--no-daemon --no-resolv --no-hosts --conf-file=/dev/null --port={port}"
        return ["dnsmasq", *options.split(), f"--address=/{NAME}/{ANSWER}", "--local-ttl=30"]
    return [sys.executable, __file__, "--serve", server]


# -- the place -------------------------------------------------------------------------------


def run(*words: str) -> str:
    """A command's output; its failure is ours."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextmanager
def two_namespaces() -> Iterator[tuple[str, str]]:
    """A client's and a server's namespace with a veth pair between them."""
    client, server = (f"t{os.getpid()}x{letter}" for letter in "cs")
    with ExitStack() as undo:
        for name in (client, server):
            run("ip", "netns", "add", name)
            undo.callback(run, "ip", "netns", "delete", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", client, "link", "add", "v0", "type", "veth", "peer", "v0", "netns", server)
        for name, own, other in ((client, CLIENT_IP, SERVER_IP), (server, SERVER_IP, CLIENT_IP)):
            run("ip", "-n", name, "address", "add", f"{own}/32", "dev", "v0")
            run("ip", "-n", name, "link", "set", "v0", "up")
            run("ip", "-n", name, "route", "add", f"{other}/32", "dev", "v0", "src", own)
        yield client, server


@contextmanager
def started(namespace: str, server: str) -> Iterator[int]:
    """A server's process id, once it answers no more with a refusal."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, *command(server)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(1.0)
        if process.poll() is not None:
            raise SystemExit(f"{server} ended with status {process.returncode}")
        yield process.pid  # `ip netns exec` replaces itself by the command
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, in seconds (proc(5), schedstat: nanoseconds on a CPU)."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def measure(client: str, pid: int, port: int, queries: Path, seconds: int) -> tuple[float, float]:
    """(queries per second, microseconds of the server's CPU per query)."""
    before = cpu_seconds(pid)
    report = run(
        *("ip", "netns", "exec", client, "dnsperf", "-s", SERVER_IP, "-p", str(port)),
        *("-d", str(queries), "-l", str(seconds), "-c", "4", "-q", "200"),
    )
    used = cpu_seconds(pid) - before
    found = re.search(r"Queries completed:\s+(\d+)", report)
    lost = re.search(r"Queries lost:\s+(\d+)", report)
    codes = re.search(r"Response codes:\s+(.*)", report)
    if not found or not codes or "NOERROR" not in codes[1]:
        raise SystemExit(report)
    if lost and int(lost[1]):
        print(f"  {lost[1]} queries lost", file=sys.stderr)
    completed = int(found[1])
    return completed / seconds, used / completed * 1e6


def main() -> None:
    """Measure and report."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--serve", choices=["netmgr", "dnslib"], help=argparse.SUPPRESS)
    arguments.add_argument("--seconds", type=int, default=5)
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    if chosen.serve:
        {"netmgr": serve_netmgr, "dnslib": serve_dnslib}[chosen.serve](PORTS[chosen.serve])
        return
    costs: dict[str, list[float]] = {server: [] for server in PORTS}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as queries, ExitStack() as stack:
        queries.write(f"{NAME} A\n")
        queries.flush()
        client, namespace = stack.enter_context(two_namespaces())
        pids = {server: stack.enter_context(started(namespace, server)) for server in PORTS}
        for _ in range(chosen.rounds):
            for server, port in PORTS.items():
                qps, cost = measure(client, pids[server], port, Path(queries.name), chosen.seconds)
                costs[server].append(cost)
                print(f"{server:8} {qps:9.0f} q/s {cost:6.2f} us CPU per query", flush=True)
    middle = {server: statistics.median(found) for server, found in costs.items()}
    print(f"netmgr / dnsmasq {middle['netmgr'] / middle['dnsmasq']:.2f} (target: 1.3 at most)")
    print(f"netmgr / dnslib  {middle['netmgr'] / middle['dnslib']:.2f} (target: 0.33 at most)")


if __name__ == "__main__":
    main()
