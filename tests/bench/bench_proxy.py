"""What the proxy costs: worker CPU per request and per GB, beside competitors in the same run.

    .venv/bin/python tests/bench/bench_proxy.py [--seconds 4] [--connections 32]

The worker is a process of its own; daemon, dialer and load run in this one. Competitors: nginx as
a TLS-ending reverse proxy with its access log on and upstream keep-alive (where it is installed),
and a uvloop protocol relay for spliced bytes. Reports, never judges: the machine decides numbers.
"""

import argparse
import asyncio
import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "proxy")]

from netmgr.authority import Authority  # noqa: E402
from netmgr.ipc import Answer, Body, Peer  # noqa: E402
from netmgr.policy.policy import parse_policy  # noqa: E402
from netmgr_proxy.peer import Caller  # noqa: E402
from netmgr_proxy.server import ProxyRole  # noqa: E402

POLICY: Final = """
version: 1
network_policies:
  a:
    endpoints:
      - {host: rest.test, port: 443, protocol: rest, enforcement: enforce, access: full}
      - {host: raw.test, port: 9000}
    binaries: [{path: /**}]
"""
NAMES: Final = {"rest.test": "198.18.0.1", "raw.test": "198.18.0.2"}
PORTS: Final = {"rest.test": 443, "raw.test": 9000}
ADDRESS: Final = "10.77.0.5"
MESSAGES: Final = [{"role": "user", "content": "x" * 940}]
BODY: Final = json.dumps({"model": "m", "messages": MESSAGES})
TICKS: Final = os.sysconf("SC_CLK_TCK")
CHUNK: Final = b"z" * (1 << 20)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def pss_kib(pid: int) -> int:
    """Proportional memory of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


# -- the worker, a process of its own ------------------------------------------------------------


def worker_main(name: str, listener: int, daemon: int, dialer: int, roots: str) -> None:
    """A proxy worker whose every caller means `name`."""

    def find(sock: socket.socket) -> Caller:
        return Caller(ADDRESS, sock.getpeername()[1], NAMES[name], PORTS[name])

    async def serve() -> None:
        gc.freeze()  # as the real worker does
        role = ProxyRole(find)
        ended = asyncio.Event()
        peer = Peer(socket.socket(fileno=daemon), on_ask=role.on_ask, on_close=ended.set)
        role.open({"ca_roots": Path(roots).read_text()}, {"listener": listener}, peer)
        await role.on_ask("dialer", {}, (dialer,))
        policy = parse_policy(POLICY, "bench")
        role.apply({"op": "policy", "digest": policy.digest, "doc": policy.to_doc()})
        sandbox = {"address": ADDRESS, "name": "box", "tenant": None, "labels": {}}
        state = {"policy": policy.digest, "revision": 1, "names": NAMES}
        role.apply({"op": "sandbox", **sandbox, **state})
        role.serve()
        await ended.wait()
        await role.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


@dataclass
class Worker:
    """The worker's process, our ends of its channels, and what came over them."""

    process: subprocess.Popen[bytes]
    port: int
    peers: list[Peer]
    records: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        for peer in self.peers:
            peer.close()
        self.process.wait(10)


class Surroundings:
    """The daemon and the dialer as a worker sees them, and where certificates stand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority.create("bench", "box", time.time())
        self.roots = directory / "roots.pem"
        self.roots.write_text(self.authority.certificate_pem)
        leaf = self.authority.sign_leaf("rest.test", time.time())
        self.leaf = directory / "leaf.pem"
        self.leaf.write_text(leaf.key_pem.reveal() + leaf.chain_pem)

    async def start_worker(self, name: str, upstream: int) -> Worker:
        """A worker that leads to `upstream`, a port on loopback."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        pairs = [socket.socketpair(), socket.socketpair()]
        fds = [listener.fileno(), *(theirs.fileno() for _, theirs in pairs)]
        command = [sys.executable, __file__, "--worker", name, *map(str, fds), str(self.roots)]
        process = subprocess.Popen(command, pass_fds=fds)
        worker = Worker(process, listener.getsockname()[1], [])

        async def dial(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            sock = socket.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", upstream))
            return Answer({"peer": "203.0.113.5"}, (sock.detach(),))

        async def answer(what: str, body: Body, fds: tuple[int, ...]) -> Answer:
            if what == "owner":
                return Answer({"process": None})
            leaf = self.authority.sign_leaf(body["name"], time.time())
            return Answer({"chain": leaf.chain_pem, "key": leaf.key_pem.reveal()})

        def hear(what: str, body: Body, fds: tuple[int, ...]) -> None:
            worker.records += 1

        worker.peers = [
            Peer(pairs[0][0], on_ask=answer, on_tell=hear),
            Peer(pairs[1][0], on_ask=dial),
        ]
        for _, theirs in pairs:
            theirs.close()
        listener.close()
        return worker


# -- requests ------------------------------------------------------------------------------------


NGINX: Final = """
daemon off; master_process off; pid {dir}/{name}.pid; error_log {dir}/{name}.err;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
  access_log {log}; client_body_temp_path {dir}; proxy_temp_path {dir};
  fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
  keepalive_requests 100000000;
  {body}
}}
"""
ORIGIN: Final = """
  server {{ listen 127.0.0.1:{port}; listen 127.0.0.1:{tls} ssl;
    ssl_certificate {leaf}; ssl_certificate_key {leaf};
    location / {{ return 200 "{answer}"; }} }}
"""
REVERSE: Final = """
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {leaf}; ssl_certificate_key {leaf};
    location / {{ proxy_pass https://origin; proxy_http_version 1.1;
      proxy_set_header Host rest.test;
      proxy_ssl_session_reuse on; proxy_set_header Connection ""; }} }}
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def start_nginx(directory: Path, name: str, body: str, log: str) -> subprocess.Popen[bytes]:
    """One nginx process."""
    conf = directory / f"{name}.conf"
    conf.write_text(NGINX.format(dir=directory, name=name, log=log, body=body))
    return subprocess.Popen(["nginx", "-c", str(conf), "-p", str(directory)])


async def wrk(directory: Path, port: int, seconds: int, connections: int) -> tuple[int, float]:
    """(requests, p50 in microseconds) of wrk against rest.test at `port`."""
    hosts = directory / "hosts"
    hosts.write_text("127.0.0.1 localhost rest.test\n")
    script = directory / "post.lua"
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Host"] = "rest.test"\n'
        'wrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [[{BODY}]]\n"
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %d\\n', s.requests, "
        "l:percentile(50), s.errors.status + s.errors.read + s.errors.timeout)) end\n"
    )
    load = f"wrk -t1 -c{connections} -d{seconds} -s {script} https://rest.test:{port}/v1/x"
    # In a mount namespace of its own: the name is known to wrk alone.
    command = ["unshare", "-m", "sh", "-c", f"mount --bind {hosts} /etc/hosts && {load}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    line = next(line for line in output.decode().splitlines() if line.startswith("RESULT"))
    _, requests, median, errors = line.split()
    if int(errors):
        print(f"  {errors} errors", file=sys.stderr)
    return int(requests), float(median)


async def measure(
    label: str, pid: int, directory: Path, port: int, options: argparse.Namespace
) -> float:
    """CPU microseconds per request of process `pid`."""
    await wrk(directory, port, 1, options.connections)  # contexts, pools and caches are warm
    before = cpu_seconds(pid)
    requests, median = await wrk(directory, port, options.seconds, options.connections)
    each = (cpu_seconds(pid) - before) / max(requests, 1) * 1e6
    rate = requests / options.seconds
    print(f"{label:34} {each:8.1f} us CPU/request {rate:9.0f}/s   p50 {median:7.0f} us")
    return each


async def bench_requests(around: Surroundings, options: argparse.Namespace) -> None:
    """A small POST, TLS on both sides, keep-alive, pooled upstream."""
    directory = around.directory
    plain, tls, reverse = free_port(), free_port(), free_port()
    leaf = around.leaf
    origin = start_nginx(
        directory,
        "origin",
        ORIGIN.format(port=plain, tls=tls, leaf=leaf, answer="y" * 1024),
        "off",
    )
    log = str(directory / "access.log")
    rival = start_nginx(
        directory, "reverse", REVERSE.format(port=reverse, origin=tls, leaf=leaf), log
    )
    worker = await around.start_worker("rest.test", tls)
    await asyncio.sleep(1.5)
    try:
        ours = await measure("netmgr", worker.pid, directory, worker.port, options)
        theirs = await measure("nginx, access log on", rival.pid, directory, reverse, options)
        print(f"{'ratio':34} {ours / theirs:8.2f}   ({worker.records} records told)")
        await measure_idle(around, worker)
    finally:
        worker.stop()
        for process in (origin, rival):
            process.terminate()
            process.wait(10)


async def measure_idle(around: Surroundings, worker: Worker) -> None:
    """Memory of idle terminated connections."""
    context = ssl.create_default_context(cadata=around.authority.certificate_pem)
    kept: list[Any] = []
    before = pss_kib(worker.pid)
    for _ in range(500):
        sock = socket.create_connection(("127.0.0.1", worker.port))
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname="rest.test"
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: rest.test\r\n\r\n")
        await reader.readuntil(b"yyyy")
        kept.append(writer)
    await asyncio.sleep(1)
    each = (pss_kib(worker.pid) - before) / len(kept)
    print(f"{'idle TLS connection':34} {each:8.1f} KiB")
    for writer in kept:
        writer.transport.abort()


# -- bytes ---------------------------------------------------------------------------------------


class Relay(asyncio.Protocol):
    """The competitor: bytes through Python, as a uvloop protocol."""

    def __init__(self, other: "Relay | None" = None, upstream: int = 0) -> None:
        self.other = other
        self.upstream = upstream
        self.transport: Any = None
        self.early: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.other is None:
            loop = asyncio.get_running_loop()
            made = loop.create_connection(lambda: Relay(self), "127.0.0.1", self.upstream)
            self.task = loop.create_task(made)
        else:
            self.other.other = self
            for data in self.other.early:
                transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


def relay_main(port: int, upstream: int) -> None:
    """The competitor's process."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Relay(upstream=upstream), "127.0.0.1", port)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def pour_main(port: int) -> None:
    """A server that sends as many MiB as it is asked for."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            sock, _ = server.accept()
            with sock:
                wanted = int(sock.recv(16)[1:])
                for _ in range(wanted):
                    sock.sendall(CHUNK)


def drink(port: int, megabytes: int) -> float:
    """Seconds to receive so much through `port`."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        begun = time.perf_counter()
        sock.sendall(b"\0%d" % megabytes)
        buffer = bytearray(1 << 20)
        left = megabytes << 20
        while left > 0:
            got = sock.recv_into(buffer)
            if not got:
                raise SystemExit("the relay ended early")
            left -= got
        return time.perf_counter() - begun


async def bench_splice(around: Surroundings, options: argparse.Namespace) -> None:
    """Bytes through a spliced flow."""
    pour, rival = free_port(), free_port()
    children = [
        subprocess.Popen([sys.executable, __file__, "--pour", str(pour)]),
        subprocess.Popen([sys.executable, __file__, "--relay", str(rival), str(pour)]),
    ]
    worker = await around.start_worker("raw.test", pour)
    await asyncio.sleep(1.5)
    results = {}
    try:
        for label, pid, port in (
            ("netmgr splice", worker.pid, worker.port),
            ("uvloop protocol relay", children[1].pid, rival),
        ):
            await asyncio.to_thread(drink, port, 64)
            before = cpu_seconds(pid)
            took = await asyncio.to_thread(drink, port, options.megabytes)
            cpu = (cpu_seconds(pid) - before) / options.megabytes * 1024 * 1000
            results[label] = (options.megabytes / took, cpu)
            print(f"{label:34} {options.megabytes / took:8.0f} MiB/s {cpu:9.0f} CPU-ms/GiB")
        (rate, cost), (other_rate, other_cost) = results.values()
        print(f"{'ratio':34} {rate / other_rate:8.2f}       {cost / other_cost:9.2f}")
    finally:
        worker.stop()
        for process in children:
            process.terminate()
            process.wait(10)


async def main(options: argparse.Namespace) -> None:
    """Both benches."""
    with tempfile.TemporaryDirectory() as directory:
        around = Surroundings(Path(directory))
        if shutil.which("wrk") and shutil.which("nginx") and os.geteuid() == 0:
            await bench_requests(around, options)
        else:
            print("requests: not measured (needs root, wrk and nginx)")
        await bench_splice(around, options)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--relay", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pour", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    chosen = parse_options()
    if chosen.worker:
        which, *numbers, pem = chosen.worker
        worker_main(which, *map(int, numbers), pem)
    elif chosen.relay:
        relay_main(*chosen.relay)
    elif chosen.pour:
        pour_main(chosen.pour)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as bench:
            bench.run(main(chosen))
